"""Read the replies of Anthropic's Messages API. Pure.

A message is read as a chat's reply of one choice: its content comes in the same kinds of parts, and what cannot be read
counts at the same upper bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maker.models.dialects import openai_reply
from maker.models.dialects.openai_reply import Reply, count
from maker.types import Request


def read(answer: object, request: Request, *, reasons: bool = False) -> Reply:
    """Return the sample of a decoded JSON body. Raises `Unreadable` as `openai_reply.read` does."""
    stops = tuple(stop for stop in request.stop if not stop.strip())
    return openai_reply.read(_as_chat(answer), request, reasons=reasons, stops=stops)


def _as_chat(answer: object) -> object:
    if not isinstance(answer, Mapping):
        return answer
    chat: dict[str, Any] = {"model": answer.get("model"), "usage": _usage(answer.get("usage"))}
    if "error" in answer:
        chat["error"] = answer["error"]
    if isinstance(answer.get("content"), list):
        message = {"role": "assistant", "content": answer["content"], "refusal": _refusal(answer)}
        chat["choices"] = [{"index": 0, "message": message, "finish_reason": _ending(answer)}]
    return chat


def _ending(answer: Mapping[str, Any]) -> object:
    """Return why a message ended, in a chat's words where those differ."""
    reason = answer.get("stop_reason")
    if reason == "model_context_window_exceeded":
        return "length"
    return "stop" if reason == "refusal" else reason


def _refusal(answer: Mapping[str, Any]) -> str | None:
    if answer.get("stop_reason") != "refusal":
        return None
    details = answer.get("stop_details")
    why = details.get("explanation") if isinstance(details, Mapping) else None
    return why if isinstance(why, str) and why else "the model refused to answer"


def _usage(usage: object) -> dict[str, Any]:
    """Return what was billed: the prompt is all that was read, from the cache and into it too."""
    if not isinstance(usage, Mapping):
        return {}
    counts = {name: count(usage, name) for name in ("cache_read_input_tokens", "cache_creation_input_tokens")}
    cached = counts["cache_read_input_tokens"] or 0
    fresh = count(usage, "input_tokens")
    prompt = None if fresh is None else fresh + cached + (counts["cache_creation_input_tokens"] or 0)
    details = usage.get("output_tokens_details")
    reasoning = count(details, "thinking_tokens") if isinstance(details, Mapping) else None
    return {
        "prompt_tokens": prompt,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens": usage.get("output_tokens"),
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
