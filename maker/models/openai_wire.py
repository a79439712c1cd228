"""Build requests for OpenAI-compatible servers, and read what is around their replies. Pure: no network."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from maker.models.settings import OpenAISettings
from maker.types import Request

_SEEDS = 2**63
"""Servers read a seed as a signed 64-bit number."""

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
    return f"{settings.url}/chat/completions" if settings.chat else f"{settings.url}/completions"


def body(request: Request, settings: OpenAISettings) -> dict[str, Any]:
    """Return the JSON body of one HTTP request."""
    fields: dict[str, Any] = {
        "model": settings.name,
        "n": request.n,
        "seed": request.seed % _SEEDS,
        "temperature": settings.temperature_of(request),
        "top_p": settings.top_p,
        "max_tokens": request.max_tokens,
    }
    if settings.logprobs:
        fields["logprobs"] = True if settings.chat else 0
    if request.stop:
        fields["stop"] = list(request.stop)
    if (schema := settings.schema_of(request)) is not None:
        fields["response_format"] = _held_to(schema, request.kind)
    if not settings.chat:
        return {**fields, "prompt": request.system + request.prompt}
    messages = [{"role": "user", "content": request.prompt}]
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    return {**fields, "messages": messages}


def is_another(model: str, settings: OpenAISettings) -> bool:
    """Say whether a reply comes from another model than the one that was asked.

    Two names are one model if one begins with the other ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"), or if that holds for
    the parts after their last slash ("meta/llama-3", "/models/llama-3"). A reply without a name counts as the model's.
    """
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


def advice(status: int, settings: OpenAISettings) -> str:
    """Return what a user can do about an HTTP status that no later try will change."""
    if status in (401, 403):
        if settings.key_env:
            return f"use a key with access: the variable {settings.key_env} (model.key_env) holds the one that was sent"
        return "set model.key_env to the name of the environment variable that holds the key"
    if status == 404:
        return (
            f"check model.name = {settings.name!r}, and model.url = {settings.url!r}: it must be the base address with "
            "the version, e.g. http://127.0.0.1:8000/v1"
        )
    if 300 <= status < 400:
        return "set model.url to the server's own address; redirects are not followed"
    change = "change the [model] table, or the prompt, as the server says"
    if settings.structured == "off":
        return change
    return (
        f'{change}. If it takes no response_format, start a new run with model.structured = "off"; if it refuses the '
        "schema, note that OpenAI's API needs every object to require all of its properties and to have "
        "additionalProperties = false"
    )


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
