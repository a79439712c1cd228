"""Build requests for OpenAI-compatible servers, and read what is around their replies. Pure: no network."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from maker.models.server_settings import OpenAISettings, ServerSettings
from maker.types import Request

_SEEDS = 2**63
"""Servers read a seed as a signed 64-bit number."""

_AT_A_RESOURCE = re.compile("/openai(/deployments/.*)?$")
"""What may follow the address of an Azure resource in a model's URL."""
_NOT_IN_NAMES = re.compile("[^A-Za-z0-9_-]")
_NAME_CHARS = 64
"""OpenAI's API allows only these characters in a schema's name, and this many."""

SHOWN_CHARS = 200
"""How much of a server's reply an error shows."""


def shown(text: str) -> str:
    """Return the beginning of a server's words on one line, in characters that can be written anywhere."""
    return " ".join(text[: 50 * SHOWN_CHARS].split())[:SHOWN_CHARS].encode("utf-8", "backslashreplace").decode()


def endpoint(settings: OpenAISettings) -> str:
    """Return the address that requests are posted to."""
    url, query = settings.url, ""
    if settings.api_version:
        query = f"?api-version={settings.api_version}"
        if "/deployments/" not in url:
            url = f"{url.removesuffix('/openai')}/openai/deployments/{quote(settings.name, safe='')}"
    return f"{url}/chat/completions{query}" if settings.chat else f"{url}/completions{query}"


def batch_url(settings: OpenAISettings, path: str) -> str:
    """Return the address of a file or a batch; at Azure they are the resource's, and of no deployment."""
    if not settings.api_version:
        return f"{settings.url}/{path}"
    resource = _AT_A_RESOURCE.sub("", settings.url)
    return f"{resource}/openai/{path}?api-version={settings.api_version}"


def body(request: Request, settings: OpenAISettings, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the JSON body of one HTTP request; fields of ``without`` are left out beside those of ``model.omit``.

    One reply is what every server sends that is not asked for more: ``n`` is left out for servers that do not know it.
    """
    left_out = {*settings.omit, *without}
    limit = "max_completion_tokens" if "max_tokens" in left_out else "max_tokens"
    fields: dict[str, Any] = {
        "model": settings.name,
        "seed": request.seed % _SEEDS,
        "temperature": settings.temperature_of(request),
        "top_p": settings.top_p,
        limit: request.max_tokens,
    }
    if request.n > 1:
        fields["n"] = request.n
    if settings.logprobs:
        fields["logprobs"] = True if settings.chat else 0
    if request.stop:
        fields["stop"] = list(request.stop)
    if (schema := settings.schema_of(request)) is not None:
        fields["response_format"] = _held_to(schema, request.kind)
    fields = {name: value for name, value in fields.items() if name not in left_out}
    if settings.chat:
        system = [{"role": "system", "content": request.system}] if request.system else []
        fields["messages"] = [*system, {"role": "user", "content": request.prompt}]
    else:
        fields["prompt"] = request.system + request.prompt
    return with_extra(fields, settings.extra_body)


def with_extra(fields: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with the further fields of ``model.extra_body``; within a field of both, maker's own come last."""
    joined = dict(extra)
    for name, value in fields.items():
        beside = extra.get(name)
        joined[name] = {**beside, **value} if isinstance(beside, dict) and isinstance(value, dict) else value
    return joined


def is_another(model: str, settings: ServerSettings) -> bool:
    """Say whether a reply comes from another model than the one that was asked.

    An Azure deployment has a name of its own, so that only ``reply_name`` can tell. Otherwise two names are one model
    if one begins with the other ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"), or if that holds for the parts after their
    last slash ("meta/llama-3", "/models/llama-3"). A reply without a name counts as the model's.
    """
    if isinstance(settings, OpenAISettings) and settings.api_version and not settings.reply_name:
        return False
    meant = (settings.reply_name or settings.name).lower()
    pairs = ((model.lower(), meant), (_last(model.lower()), _last(meant)))
    return bool(model) and not any(a.startswith(b) or b.startswith(a) for a, b in pairs)


def complaint(answer: object) -> str:
    """Return the message that a decoded error body carries, or an empty text."""
    if not isinstance(answer, Mapping):
        return ""
    error = answer.get("error")
    message = error.get("message") if isinstance(error, Mapping) else error
    message = message or answer.get("message") or answer.get("detail")
    return message if isinstance(message, str) else ""


def retry_after_s(value: str | None, *, now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None if there is none, or it cannot be read."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _until_s(value, now or datetime.now(UTC))
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until_s(date: str, now: datetime) -> float | None:
    try:
        due = parsedate_to_datetime(date)
        due = due if due.tzinfo else due.replace(tzinfo=UTC)
        return max(0.0, (due - now).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        # The standard library raises each of these for some date that nobody would write.
        return None


def _held_to(schema: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the ``response_format`` for a step class.

    Always strict: without it OpenAI's API takes the schema for a hint only, and no one would notice.
    """
    name = _NOT_IN_NAMES.sub("_", kind)[:_NAME_CHARS] or "reply"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema), "strict": True}}


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]
