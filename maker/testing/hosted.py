"""Stand-ins for hosted models: each refuses what the real ones refuse, and keeps a bill of what it draws."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from enum import StrEnum
from fractions import Fraction
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from maker.testing.local_server import FakeReply
from maker.testing.servers import FakeRequest, FakeServer

_CHAT = "/v1/chat/completions"


class HostedKind(StrEnum):
    """What kind of server a `HostedServer` is.

    ``REASONING`` takes ``max_completion_tokens`` in place of ``max_tokens``, neither ``temperature``, ``top_p``,
    ``stop`` and ``seed`` nor ``n`` above 1, and counts reasoning that it does not send. ``AZURE`` has a deployment in
    its path, an ``api-version`` and the key in ``api-key``. ``GATEWAY`` wants the header ``X-Organization`` and the
    field ``provider``. ``PLAIN`` refuses ``seed``, ignores ``n``, and reports no usage. ``ANTHROPIC`` is the Messages
    API of a model that thinks: no ``temperature``, no ``top_p``, no blank stop sequence.
    """

    REASONING = "reasoning"
    AZURE = "azure"
    GATEWAY = "gateway"
    PLAIN = "plain"
    ANTHROPIC = "anthropic"


class Bill(NamedTuple):
    """What a `HostedServer` has drawn and refused so far.

    ``prompt_tokens`` has the ``cached_tokens`` in it, ``completion_tokens`` the ``reasoning_tokens``.
    """

    requests: int = 0
    refused: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0

    def amount(self, *, prompt: str, completion: str, cached: str) -> Fraction:
        """Return the exact amount at prices per million tokens, each written as a decimal number."""
        fresh = self.prompt_tokens - self.cached_tokens
        tokens = ((fresh, prompt), (self.cached_tokens, cached), (self.completion_tokens, completion))
        return sum((n * Fraction(price) for n, price in tokens), Fraction()) / 10**6


class _Refused(Exception):
    """The server refuses a request; ``param`` is the field, as OpenAI's API names it."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": "invalid_request_error", "param": param}


class HostedServer(FakeServer):
    """A hosted model on 127.0.0.1.

    A context manager, as `FakeServer`::

        with HostedServer(HostedKind.REASONING, lambda prompt: "yes") as server:
            ...
            assert server.bill.completion_tokens == report.completion_tokens

    A prompt has a token for each character, a reply too, and one for its end. The shared part of a prompt is cached
    once it was sent.

    Args:
        kind: What it refuses, and how it answers.
        answer: Makes a reply from a prompt, system part first. It may say another thing each time: there are no seeds.
        key: What it takes for its key; "" for any.
        reasons: The least and the most tokens that it reasons before a reply, where it does.
        seed: Of the draws of how long it reasons.
    """

    organization = "acme"
    """What ``GATEWAY`` wants in its header."""

    def __init__(
        self,
        kind: HostedKind,
        answer: Callable[[str], str],
        *,
        key: str = "",
        reasons: tuple[int, int] = (20, 120),
        seed: int = 0,
    ) -> None:
        super().__init__(lambda _: FakeReply(500, None))
        self.kind = kind
        self._draw_reply = answer
        self._key = key
        self._reasons = reasons
        self._random = random.Random(seed)
        self._count = Lock()
        self._bill = Bill()
        self._seen = set[str]()

    @property
    def url(self) -> str:
        """What ``model.url`` is to be."""
        return super().url.removesuffix("/v1") if self.kind is HostedKind.AZURE else super().url

    @property
    def bill(self) -> Bill:
        """What was drawn so far: a reply counts before it is sent."""
        with self._count:
            return self._bill

    def reply_to(self, request: FakeRequest) -> FakeReply:
        """Refuse a request, or draw its replies and put them on the bill."""
        with self._count:
            self._bill = self._bill._replace(requests=self._bill.requests + 1)
            try:
                _check(self.kind, request, self._key)
            except _Refused as refused:
                self._bill = self._bill._replace(refused=self._bill.refused + 1)
                return FakeReply(refused.status, {"type": "error", "error": refused.error})
            return FakeReply(200, self._drawn(request.body))

    def _drawn(self, body: Mapping[str, Any]) -> dict[str, Any]:
        system, prompt = _prompt(body)
        limit = body.get("max_completion_tokens") or body["max_tokens"]
        n = 1 if self.kind in (HostedKind.PLAIN, HostedKind.ANTHROPIC) else body.get("n", 1)
        drawn = [self._reply(system + prompt, limit) for _ in range(n)]
        cached = len(system) if system in self._seen and self.kind is not HostedKind.PLAIN else 0
        self._seen.add(system)
        spent = Bill(
            calls=n,
            prompt_tokens=len(system + prompt),
            cached_tokens=cached,
            completion_tokens=sum(one.tokens for one in drawn),
            reasoning_tokens=sum(one.reasoning for one in drawn),
        )
        self._bill = Bill(*(a + b for a, b in zip(self._bill, spent, strict=True)))
        if self.kind is HostedKind.ANTHROPIC:
            return _message(body, drawn[0], spent)
        return _chat(self.kind, body, drawn, spent)

    def _reply(self, prompt: str, limit: int) -> _Reply:
        thinks = self.kind in (HostedKind.REASONING, HostedKind.ANTHROPIC)
        reasoning = min(limit, self._random.randint(*self._reasons)) if thinks else 0
        text = self._draw_reply(prompt)
        room = limit - reasoning
        if len(text) + 1 <= room:
            return _Reply(text, reasoning, reasoning + len(text) + 1, cut=False)
        return _Reply(text[:room], reasoning, limit, cut=True)


class _Reply(NamedTuple):
    text: str
    reasoning: int
    tokens: int
    cut: bool


def _prompt(body: Mapping[str, Any]) -> tuple[str, str]:
    """Return the shared part of a prompt and the rest."""
    messages = {message["role"]: message["content"] for message in body["messages"]}
    return body.get("system") or messages.get("system", ""), messages["user"]


def _check(kind: HostedKind, request: FakeRequest, key: str) -> None:
    """Raise `_Refused` for what such a server does not take."""
    place = urlsplit(request.path)
    if kind is HostedKind.AZURE:
        deployment = f"/openai/deployments/{request.body.get('model')}/chat/completions"
        if place.path != deployment or "api-version" not in parse_qs(place.query):
            raise _Refused(404, "Resource not found")
    elif place.path != ("/v1/messages" if kind is HostedKind.ANTHROPIC else _CHAT):
        raise _Refused(404, f"Invalid URL (POST {request.path})")
    header = {HostedKind.AZURE: "api-key", HostedKind.ANTHROPIC: "x-api-key"}.get(kind, "authorization")
    if key and request.headers.get(header, "").removeprefix("Bearer ") != key:
        raise _Refused(401, f"invalid {header}")
    if kind in _CHECKS:
        _CHECKS[kind](request)


def _check_reasoning(request: FakeRequest) -> None:
    body = request.body
    if "max_tokens" in body:
        words = "is not supported with this model. Use 'max_completion_tokens' instead."
        raise _Refused(400, f"Unsupported parameter: 'max_tokens' {words}", "max_tokens")
    for name in ("temperature", "top_p", "stop", "seed"):
        if name in body:
            raise _Refused(400, f"Unsupported parameter: '{name}' is not supported with this model.", name)
    if body.get("n", 1) != 1:
        words = f"does not support {body['n']} with this model. Only the default (1) value is supported."
        raise _Refused(400, f"Unsupported value: 'n' {words}", "n")


def _check_gateway(request: FakeRequest) -> None:
    if request.headers.get("x-organization") != HostedServer.organization:
        raise _Refused(401, "missing header X-Organization")
    if "provider" not in request.body:
        raise _Refused(400, "provider is required")


def _check_plain(request: FakeRequest) -> None:
    if "seed" in request.body:
        raise _Refused(400, "seed: Extra inputs are not permitted")


def _check_anthropic(request: FakeRequest) -> None:
    body = request.body
    if "anthropic-version" not in request.headers:
        raise _Refused(400, "anthropic-version: header is required")
    taken = {"model", "max_tokens", "messages", "system", "stop_sequences", "output_config", "thinking", "metadata"}
    for name in body.keys() - taken:
        if name in ("temperature", "top_p"):
            raise _Refused(400, f"`{name}` is deprecated for this model.")
        raise _Refused(400, f"{name}: Extra inputs are not permitted")
    if not all(stop.strip() for stop in body.get("stop_sequences", ())):
        raise _Refused(400, "stop_sequences: each stop sequence must contain non-whitespace")


_CHECKS: Mapping[HostedKind, Callable[[FakeRequest], None]] = {
    HostedKind.REASONING: _check_reasoning,
    HostedKind.GATEWAY: _check_gateway,
    HostedKind.PLAIN: _check_plain,
    HostedKind.ANTHROPIC: _check_anthropic,
}


def _chat(kind: HostedKind, body: Mapping[str, Any], drawn: list[_Reply], spent: Bill) -> dict[str, Any]:
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": one.text, "refusal": None},
            "finish_reason": "length" if one.cut else "stop",
        }
        for i, one in enumerate(drawn)
    ]
    model = "a-model-of-azure" if kind is HostedKind.AZURE else f"{body['model']}-2026-11-30"
    reply = {"object": "chat.completion", "model": model, "choices": choices}
    if kind is HostedKind.PLAIN:
        return reply
    return reply | {
        "usage": {
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "total_tokens": spent.prompt_tokens + spent.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": spent.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": spent.reasoning_tokens},
        }
    }


def _message(body: Mapping[str, Any], one: _Reply, spent: Bill) -> dict[str, Any]:
    text = [{"type": "text", "text": one.text}] if one.text else []
    return {
        "type": "message",
        "role": "assistant",
        "model": f"{body['model']}-20261130",
        "content": [{"type": "thinking", "thinking": "", "signature": "c2lnbmVk"}, *text],
        "stop_reason": "max_tokens" if one.cut else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": spent.prompt_tokens - spent.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": spent.cached_tokens,
            "output_tokens": spent.completion_tokens,
            "output_tokens_details": {"thinking_tokens": spent.reasoning_tokens},
        },
    }
