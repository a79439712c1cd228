"""Build requests for OpenAI-compatible servers and parse their replies. Pure: no network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from maker.models.interface import CHAT_OVERHEAD_TOKENS
from maker.models.settings import OpenAISettings
from maker.types import Request, Sample

_SEEDS = 2**63
"""Servers read a seed as a signed 64-bit number."""

_NOT_IN_NAMES = re.compile("[^A-Za-z0-9_-]")
_NAME_CHARS = 64
"""OpenAI's API allows only these characters in a schema's name, and this many."""

SHOWN_CHARS = 200
"""How much of a server's reply an error shows."""


class Reply(NamedTuple):
    """One HTTP reply: samples in order of index, and the tokens billed for them.

    ``cached_tokens`` of the prompt came from a cache, as far as the server reports; ``model`` is the model that the
    server names in its reply, "" if it names none.
    """

    samples: tuple[Sample, ...]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    model: str = ""


class Unreadable(ValueError):
    """The body does not follow the protocol.

    Carries the tokens that the body reports as billed; ``usage_known`` is False if it reports none.
    """

    def __init__(
        self, why: str, *, usage_known: bool = False, prompt_tokens: int = 0, completion_tokens: int = 0
    ) -> None:
        super().__init__(why)
        self.usage_known = usage_known
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens


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


def read(answer: object, request: Request) -> Reply:
    """Return the samples of a decoded JSON body.

    A server counts the tokens of all choices together. With several choices, each gets as many as it has
    log-probabilities, if these were asked for and add up to the server's count; else each gets an equal share, so that
    the sum is exact and the single counts are not. If the server reports no usage, the bytes of the prompt count, and
    for each text its UTF-8 bytes and an end mark, at most ``max_tokens``: upper bounds for visible text, which hidden
    reasoning can exceed.

    Raises:
        Unreadable: Not an object, no choices, or choices without text.
    """
    if not isinstance(answer, Mapping):
        raise Unreadable("the body is not a JSON object")
    usage = answer.get("usage")
    billed: Mapping[str, Any] = usage if isinstance(usage, Mapping) else {}
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Unreadable("the body holds no choices", usage_known=bool(billed), **_counts(billed))
    try:
        read = [_choice(choice) for choice in sorted(choices, key=_index)[: request.n]]
    except Unreadable as error:
        raise Unreadable(str(error), usage_known=bool(billed), **_counts(billed)) from error
    model = answer.get("model")
    return _reply(read, billed, request)._replace(model=model if isinstance(model, str) else "")


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

    Always strict: without it OpenAI's API takes the schema for a hint only, and no one would notice.
    """
    name = _NOT_IN_NAMES.sub("_", kind)[:_NAME_CHARS] or "reply"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema), "strict": True}}


def _index(choice: object) -> int:
    index = choice.get("index") if isinstance(choice, Mapping) else None
    return index if isinstance(index, int) else 0


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


class _Choice(NamedTuple):
    text: str
    cut: bool
    logprobs: tuple[float, ...] | None


def _choice(choice: object) -> _Choice:
    if not isinstance(choice, Mapping):
        raise Unreadable("a choice is not a JSON object")
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    if text is None:
        text = ""
    if not isinstance(text, str):
        raise Unreadable("the text of a choice is not a string")
    return _Choice(text, choice.get("finish_reason") == "length", _logprobs(choice.get("logprobs")))


def _logprobs(field: object) -> tuple[float, ...] | None:
    """Return the log-probability of each token from a chat's or a completion's field; None if it has none."""
    if not isinstance(field, Mapping):
        return None
    listed = field.get("content", field.get("token_logprobs"))
    if not isinstance(listed, list):
        return None
    values = [one.get("logprob") if isinstance(one, Mapping) else one for one in listed]
    numbers = tuple(float(value) for value in values if isinstance(value, int | float))
    return numbers if len(numbers) == len(values) else None


def _reply(choices: list[_Choice], billed: Mapping[str, Any], request: Request) -> Reply:
    counts = _counts(billed)
    tokens = _shares(choices, counts["completion_tokens"] if "completion_tokens" in billed else None, request)
    prompt = counts["prompt_tokens"]
    if "prompt_tokens" not in billed:
        prompt = len(request.system.encode()) + len(request.prompt.encode()) + CHAT_OVERHEAD_TOKENS
    samples = tuple(
        Sample(choice.text, n, choice.cut, None if choice.logprobs is None else sum(choice.logprobs))
        for choice, n in zip(choices, tokens, strict=True)
    )
    details = billed.get("prompt_tokens_details")
    cached = _count(details, "cached_tokens") if isinstance(details, Mapping) else 0
    return Reply(samples, prompt, sum(tokens), min(cached, prompt))


def _shares(choices: list[_Choice], spoken: int | None, request: Request) -> list[int]:
    """Return the tokens of each choice; they add up to the server's count, if it gave one."""
    known = [len(choice.logprobs) for choice in choices if choice.logprobs is not None]
    if len(known) == len(choices) and spoken in (None, sum(known)):
        return known
    if spoken is None:
        return [min(len(choice.text.encode()) + 1, request.max_tokens) for choice in choices]
    share, rest = divmod(spoken, len(choices))
    return [share + (i < rest) for i in range(len(choices))]


def _counts(billed: Mapping[str, Any]) -> dict[str, int]:
    return {name: _count(billed, name) for name in ("prompt_tokens", "completion_tokens")}


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value >= 0 else 0
