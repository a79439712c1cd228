"""Build requests for Anthropic's Messages API. Pure: no network."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from maker.models.dialects.openai_wire import with_extra
from maker.models.server_settings import AnthropicSettings
from maker.types import Request

VERSION = "2023-06-01"
"""The version of the interface; a header of every request."""


def body(request: Request, settings: AnthropicSettings, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the JSON body of one request, for one reply: the interface has no ``n`` and no ``seed``.

    What is as the interface has it anyway is not sent, for some models refuse the fields. It takes no blank stop
    sequences: at those `anthropic_reply.read` cuts.
    """
    left_out = {*settings.omit, *without}
    fields: dict[str, Any] = {"model": settings.name, "max_tokens": request.max_tokens}
    if request.system:
        fields["system"] = request.system
    fields["messages"] = [{"role": "user", "content": request.prompt}]
    temperature = settings.temperature_of(request)
    if temperature != 1 and "temperature" not in left_out:
        fields["temperature"] = temperature
    if settings.top_p != 1 and "top_p" not in left_out:
        fields["top_p"] = settings.top_p
    if stops := [stop for stop in request.stop if stop.strip()]:
        fields["stop_sequences"] = stops
    if (schema := settings.schema_of(request)) is not None:
        fields["output_config"] = {"format": {"type": "json_schema", "schema": dict(schema)}}
    return with_extra(fields, settings.extra_body)
