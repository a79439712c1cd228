"""Real stand-ins for tests, ours and those of plugin authors. Nothing here is a mock of our own code."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from threading import Lock
from typing import Any, NamedTuple

from maker.models.interface import Model
from maker.testing.local_server import FakeReply, LocalServer
from maker.types import Failed, Finished


class FakeRequest(NamedTuple):
    """What a `FakeServer` was sent. Header names are in lower case; ``at_s`` is `time.monotonic`."""

    path: str
    headers: Mapping[str, str]
    body: Any
    at_s: float


class FakeServer(LocalServer):
    """A scripted HTTP server on 127.0.0.1, for tests of what talks to an OpenAI-compatible server.

    A context manager::

        with FakeServer(lambda body: (200, completion(["A", "B"]))) as server:
            settings = OpenAISettings(url=server.url, name="m")

    Args:
        script: Called with each request's decoded body, in the thread that serves it; returns a `FakeReply` or a
            tuple of its first fields.
    """

    def __init__(self, script: Callable[[Any], FakeReply | tuple[Any, ...]]) -> None:
        super().__init__()
        self._script = script
        self._lock = Lock()
        self._requests: list[FakeRequest] = []

    @property
    def requests(self) -> list[FakeRequest]:
        """All requests so far, in order of arrival: a copy."""
        with self._lock:
            return list(self._requests)

    def reply_to(self, request: FakeRequest) -> FakeReply:
        """Return what is sent back: what the script says of the body."""
        return FakeReply(*self._script(request.body))

    def _received(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> FakeReply:
        if method != "POST":
            return FakeReply(501, {"error": {"message": f"a FakeServer answers POST, not {method}"}})
        request = FakeRequest(path, headers, json.loads(raw), time.monotonic())
        with self._lock:
            self._requests.append(request)
        return self.reply_to(request)


def collect(model: Model, n: int, *, within_s: float = 10.0) -> list[Finished | Failed]:
    """Poll until n answers are in, and return them in order of arrival.

    Raises:
        TimeoutError: Fewer came within ``within_s`` seconds.
    """
    answers: list[Finished | Failed] = []
    deadline = time.monotonic() + within_s
    while len(answers) < n:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(answers)} of {n} answers within {within_s:g} s")
        answers += model.poll(0.5)
    return answers


def completion(texts: list[str], *, finish: str = "stop", prompt_tokens: int = 7, tokens: int = 5) -> dict[str, Any]:
    """Return the body of a ``/completions`` reply: a choice per text, ``tokens`` completion tokens each."""
    choices = [{"index": i, "text": text, "finish_reason": finish} for i, text in enumerate(texts)]
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens * len(texts)}
    return {"choices": choices, "usage": usage}


def chat_completion(texts: list[str | None], *, finish: str = "stop") -> dict[str, Any]:
    """Return the body of a ``/chat/completions`` reply: a choice per text, 7 prompt and 5 completion tokens each."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        for i, text in enumerate(texts)
    ]
    return {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 5 * len(texts)}}


class Fault(StrEnum):
    """What a `FaultyServer` does wrong.

    ``LIMITED`` is HTTP 429 with Retry-After, ``BROKEN`` HTTP 500: nothing was drawn. Of the others the reply was drawn,
    and may be billed: ``SLOW`` is held back and dropped, ``SILENT`` closes the connection without a word, ``CUT`` after
    the head, ``HALF`` is half of the JSON under its own length, ``OTHER`` a whole reply of another model.
    """

    LIMITED = "limited"
    BROKEN = "broken"
    SLOW = "slow"
    SILENT = "silent"
    CUT = "cut"
    HALF = "half"
    OTHER = "other"


LOST = frozenset({Fault.SLOW, Fault.SILENT, Fault.CUT, Fault.HALF})
"""Faults after which nobody has told what was billed."""


class Served(NamedTuple):
    """What a `FaultyServer` has done so far.

    ``calls`` and tokens are those of whole replies, of another model's too; ``untold`` counts calls that were drawn,
    and whose reply was cut off. ``requests`` counts all that came in, ``faults`` those of each kind.
    """

    requests: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    untold: int
    faults: Mapping[Fault, int]


class FaultyServer(FakeServer):
    """An OpenAI-compatible server on 127.0.0.1 that fails now and then, and keeps count of what it draws.

    A context manager, as `FakeServer`; it answers ``/chat/completions`` and ``/completions``::

        with FaultyServer(lambda prompt, seed: "yes", rate=0.05, seed=1) as server:
            ...
            assert server.served.calls == report.calls

    A prompt has a token for each character, a reply too, and one for its end.

    Args:
        answer: Makes a reply from a prompt, system part first, and the seed of one sample.
        rate: The share of requests that go wrong, the kinds in equal shares.
        seed: Of the draws of what goes wrong; which request meets which draw depends on the order of arrival.
        faults: The kinds to draw from.
        retry_after_s: What ``LIMITED`` asks for.
        slow_s: For how long ``SLOW`` holds its reply back: longer than the client waits, or it is no fault.
    """

    def __init__(
        self,
        answer: Callable[[str, int], str],
        *,
        rate: float,
        seed: int = 0,
        faults: Iterable[Fault] = tuple(Fault),
        retry_after_s: float = 0.1,
        slow_s: float = 30.0,
    ) -> None:
        super().__init__(self._serve)
        self._draw_reply = answer
        self._rate = rate
        self._random = random.Random(seed)
        self._kinds = tuple(faults)
        self._retry_after_s = retry_after_s
        self._slow_s = slow_s
        self._count = Lock()
        self._served = Served(0, 0, 0, 0, 0, {})

    @property
    def served(self) -> Served:
        """What was served so far: a reply counts before it is sent."""
        with self._count:
            return self._served

    def _serve(self, body: Any) -> FakeReply:
        with self._count:
            fault = self._random.choice(self._kinds) if self._random.random() < self._rate else None
        if fault in (Fault.LIMITED, Fault.BROKEN):
            self._add(fault)
            if fault is Fault.BROKEN:
                return FakeReply(500, {"error": {"message": "broken inside"}})
            headers = {"Retry-After": f"{self._retry_after_s:g}"}
            return FakeReply(429, {"error": {"message": "too many requests"}}, headers=headers)
        reply, usage = self._drawn(body)
        n = body.get("n", 1)
        if fault in LOST:
            self._add(fault, untold=n)
        else:
            self._add(fault, calls=n, **usage)
        return self._sent(fault, reply)

    def _sent(self, fault: Fault | None, reply: dict[str, Any]) -> FakeReply:
        if fault is Fault.SLOW:
            return FakeReply(200, "", delay_s=self._slow_s, cut=-1)
        if fault is Fault.SILENT:
            return FakeReply(200, "", cut=-1)
        if fault is Fault.CUT:
            return FakeReply(200, reply, cut=0)
        if fault is Fault.HALF:
            text = json.dumps(reply)
            return FakeReply(200, text[: len(text) // 2])
        if fault is Fault.OTHER:
            return FakeReply(200, reply | {"model": "some-other-model"})
        return FakeReply(200, reply)

    def _drawn(self, body: Any) -> tuple[dict[str, Any], dict[str, int]]:
        chat = "messages" in body
        prompt = "".join(message["content"] for message in body["messages"]) if chat else body["prompt"]
        texts = [self._draw_reply(prompt, body["seed"] + i) for i in range(body.get("n", 1))]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": sum(map(len, texts)) + len(texts)}
        reply = chat_completion(list(texts)) if chat else completion(texts)
        return reply | {"model": body["model"], "usage": usage}, usage

    def _add(self, fault: Fault | None, **more: int) -> None:
        with self._count:
            served = self._served
            faults = {**served.faults, fault: served.faults.get(fault, 0) + 1} if fault else served.faults
            grown = {name: getattr(served, name) + amount for name, amount in more.items()}
            self._served = served._replace(requests=served.requests + 1, faults=faults, **grown)
