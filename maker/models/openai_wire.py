"""What goes over the wire to an OpenAI-compatible server and what comes back, without the wire."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from maker.models.door import CHAT_OVERHEAD_TOKENS
from maker.models.settings import OpenAISettings
from maker.types import Request, Sample

_SEEDS = 2**63
"""Servers read a seed as a signed 64-bit number."""

_NOT_IN_NAMES = re.compile("[^A-Za-z0-9_-]")
_NAME_CHARS = 64
"""What OpenAI's API allows in the name of a schema, and how many characters of it."""

SHOWN_CHARS = 200
"""How much of a server's reply an error shows."""


class Reply(NamedTuple):
    """One HTTP reply: samples in order of index, and the tokens billed for them."""

    samples: tuple[Sample, ...]
    prompt_tokens: int
    completion_tokens: int


class Unreadable(ValueError):
    """The body is not what the protocol promises. Carries the tokens it says were billed."""

    def __init__(self, why: str, *, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        super().__init__(why)
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens


def split(request: Request, *, max_n: int) -> list[Request]:
    """Return requests of at most ``max_n`` replies each that together ask for the same seeds.

    Seven replies from seed 100 at ``max_n = 3`` become three requests with seeds 100, 103 and 106 for 3, 3 and 1.
    """
    return [
        request._replace(n=min(max_n, request.n - offset), seed=request.seed + offset)
        for offset in range(0, request.n, max_n)
    ]


def endpoint(settings: OpenAISettings) -> str:
    """Return the address that requests are posted to."""
    return f"{settings.url}/chat/completions" if settings.chat else f"{settings.url}/completions"


def body(request: Request, settings: OpenAISettings) -> dict[str, Any]:
    """Return the JSON body of one HTTP request."""
    fields: dict[str, Any] = {
        "model": settings.name,
        "n": request.n,
        "seed": request.seed % _SEEDS,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": request.max_tokens,
    }
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


def read(answer: object, request: Request) -> Reply:
    """Return the samples of a decoded JSON body.

    A server counts the tokens of all choices together. For a single choice that is its count; of several each is
    given its equal share (the first ones one more where it does not divide), so the sum is exact and the single count
    is not. Where a server reports no usage, the UTF-8 bytes of the texts and an end mark each are counted, at most
    ``max_tokens``, and the bytes of the prompt: upper bounds for text that is shown, which hidden reasoning can exceed.

    Raises:
        Unreadable: Not an object, no choices, or choices without text.
    """
    if not isinstance(answer, Mapping):
        raise Unreadable("the body is no JSON object")
    usage = answer.get("usage")
    billed: Mapping[str, Any] = usage if isinstance(usage, Mapping) else {}
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Unreadable("the body holds no choices", **_counts(billed))
    try:
        texts = [_text(choice) for choice in sorted(choices, key=_index)[: request.n]]
    except Unreadable as error:
        raise Unreadable(str(error), **_counts(billed)) from error
    return _reply(texts, billed, request)


def complaint(answer: object) -> str:
    """Return the message that a decoded error body carries, or an empty text."""
    if not isinstance(answer, Mapping):
        return ""
    error = answer.get("error")
    said = error.get("message") if isinstance(error, Mapping) else error
    said = said or answer.get("message") or answer.get("detail")
    return said if isinstance(said, str) else ""


def advice(status: int, settings: OpenAISettings) -> str:
    """Return what a user can do about an HTTP status that no later try will change."""
    if status in (401, 403):
        if settings.key_env:
            return f"the key in the environment variable {settings.key_env} (model.key_env) has no right there"
        return "set model.key_env to the name of an environment variable that holds the key"
    if status == 404:
        return (
            f"check model.name = {settings.name!r}, and model.url = {settings.url!r}: it must be the base address up "
            "to and including the version, as in http://127.0.0.1:8000/v1"
        )
    if 300 <= status < 400:
        return "redirections are not followed: set model.url to where the server is"
    told = "change the [model] table as the server says; a server that takes no n wants model.max_n = 1"
    if settings.structured == "off":
        return told
    return (
        f'{told}, one that takes no response_format a new run with model.structured = "off"; if the schema is refused: '
        "OpenAI's own API wants every object to require all of its properties and to have additionalProperties = false"
    )


def retry_after_s(value: str | None, *, now: datetime | None = None) -> float | None:
    """Read a Retry-After header, seconds or a date. None where there is none, or nothing that can be read."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        due = parsedate_to_datetime(value)
    except ValueError:
        return None
    due = due if due.tzinfo else due.replace(tzinfo=UTC)
    return max(0.0, (due - (now or datetime.now(UTC))).total_seconds())


def _held_to(schema: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the ``response_format`` for a step class.

    Always strict: without it OpenAI's own API takes a schema for a hint, and nobody would notice.
    """
    name = _NOT_IN_NAMES.sub("_", kind)[:_NAME_CHARS] or "reply"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema), "strict": True}}


def _index(choice: object) -> int:
    index = choice.get("index") if isinstance(choice, Mapping) else None
    return index if isinstance(index, int) else 0


def _text(choice: object) -> tuple[str, bool]:
    if not isinstance(choice, Mapping):
        raise Unreadable("a choice is no JSON object")
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    if text is None:
        text = ""
    if not isinstance(text, str):
        raise Unreadable("the text of a choice is no string")
    return text, choice.get("finish_reason") == "length"


def _reply(texts: list[tuple[str, bool]], billed: Mapping[str, Any], request: Request) -> Reply:
    counts = _counts(billed)
    spoken = counts["completion_tokens"]
    if "completion_tokens" in billed:
        share, rest = divmod(spoken, len(texts))
        tokens = [share + (i < rest) for i in range(len(texts))]
    else:
        tokens = [min(len(text.encode()) + 1, request.max_tokens) for text, _ in texts]
        spoken = sum(tokens)
    prompt = counts["prompt_tokens"]
    if "prompt_tokens" not in billed:
        prompt = len(request.system.encode()) + len(request.prompt.encode()) + CHAT_OVERHEAD_TOKENS
    samples = tuple(Sample(text, n, cut) for (text, cut), n in zip(texts, tokens, strict=True))
    return Reply(samples, prompt, spoken)


def _counts(billed: Mapping[str, Any]) -> dict[str, int]:
    counts = {}
    for name in ("prompt_tokens", "completion_tokens"):
        value = billed.get(name)
        counts[name] = value if isinstance(value, int) and value >= 0 else 0
    return counts
