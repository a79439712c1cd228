"""A server that answers anything: what the border to hosted models makes of it.

The real `OpenAIModel` asks a real server on loopback, whose replies are drawn: statuses, headers, bytes, packings, JSON
of any shape, usages, ends, delays, broken connections. The server counts what it draws. For as long as it lasts:

- nothing raises, and what one reply holds spoils no other;
- every request that is not cancelled is answered once, and no other;
- what a worker counts and sets aside is no less than the server has drawn;
- no reply that the server broke off can vote.

A reply is drawn from the seed, the request and its try alone, so a seed that is printed finds its fault again, whatever
the order in which requests arrive.

    python -m benchmarks.recovery.fuzz_model [--minutes 10] [--seed N]
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from typing import Any

from benchmarks.shared.options import make_parser, read_options
from maker.models.dialects.openai_reply import MOST_TOKENS
from maker.models.server.bounded_body import FLOOR_BYTES
from maker.models.server.openai import OpenAIModel
from maker.models.server_settings import OpenAISettings
from maker.swarm.spending import Spending
from maker.testing import FakeReply, FakeServer, collect
from maker.types import NOTHING, Failed, Finished, Prices, Request

ROUND = 150
"""Requests under way at a time."""

SEEDS = 1000
"""Request i has the seed 1,000 i, and its replies those from there on."""

PROBE = Request(10**9, "", "Move?", 2, SEEDS * 10**9, 4, (), "move")
"""A request that is answered well."""

TRIES = 2
TIMEOUT_S = 1.0
BROKEN = "BROKEN"
"""The text of replies that the server breaks off."""

NO_COUNTS: tuple[Any, ...] = (
    None, "20", 20.5, 7.0, -5, True, False, [], {}, "", 10**30, MOST_TOKENS + 1, float("nan"), float("inf"), -(2**70),
)  # fmt: skip
JUNK: tuple[Any, ...] = (
    *NO_COUNTS, "\ud800", "a\0b", "x" * 5000, [None], [[]], {"text": 7}, [{"type": "image_url"}], {"content": None},
    [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], -(10**400), 1e308,
)  # fmt: skip
BAD_ENDS: tuple[Any, ...] = (
    "length", "content_filter", "error", "abort", "tool_calls", "SAFETY", "\ud800", 7, {}, [], True, "no such end",
)  # fmt: skip
LONG = b" " * (2 * FLOOR_BYTES)
BOMB = gzip.compress(LONG * 32)
HEADERS: tuple[dict[str, str], ...] = (
    {}, {"Content-Type": "application/json; charset=rot13"}, {"Content-Type": "text/html; charset=idna"},
    {"Content-Type": "application/json; charset=hex"}, {"Content-Type": "\xff\xfe"}, {"Content-Type": ""},
    {"Content-Encoding": "br"}, {"Content-Encoding": "gzip"}, {"Content-Encoding": "gzip, gzip"},
    {"Content-Encoding": "\xe9"}, {"Location": "http://127.0.0.1:9/"}, {"Set-Cookie": "a=\xff; Expires=never"},
)  # fmt: skip
WAITS = (
    "nan", "inf", "-1", "0", "0.05", "1e400", "soon", "", "Mon, 01 Jan 99999999 00:00:00 GMT", "\xff",
    "Mon, 01 Jan 2024 00:00:00 +99999999999999999999", "Mon, 01 Jan 2024 00:00:00 +99999999", "9" * 400,
)  # fmt: skip
UNBILLED = (400, 401, 404, 408, 409, 413, 422, 425, 429, 500, 502, 503, 599, 301, 307)


@dataclass
class Drawn:
    """What the server has drawn and may bill, by request, as far as it tells the truth about it."""

    calls: Counter[int] = field(default_factory=Counter)
    tokens: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)


class Server:
    """Draws replies.

    Args:
        seed: What is drawn depends on it, and on each request's own seed and number of tries.
    """

    def __init__(self, seed: int) -> None:
        self.drawn = Drawn()
        self._seed = seed
        self._tries: Counter[int] = Counter()
        self._lock = Lock()

    def script(self, body: Any) -> FakeReply:
        """Return a reply, and count what it may bill."""
        with self._lock:
            self._tries[body["seed"]] += 1
            tries = self._tries[body["seed"]]
        draw = random.Random(f"{self._seed} {body['seed']} {tries}")
        kind = draw.choice(list(KINDS)) if 0 < body["seed"] < PROBE.seed else "good"
        whole, calls = good(body, draw)
        tokens = whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"]
        reply = KINDS[kind](body, whole, draw)
        with self._lock:
            self.drawn.kinds[kind] += 1
            if kind not in UNCOUNTED and body["seed"] < PROBE.seed:
                self.drawn.calls[body["seed"] // SEEDS] += calls
                self.drawn.tokens[body["seed"] // SEEDS] += tokens
        return reply


def good(body: Any, draw: random.Random) -> tuple[dict[str, Any], int]:
    """Return a reply that follows the protocol, and how many choices it has; a word is a token."""
    n, most = body.get("n", 1), body["max_tokens"]
    texts = [" ".join(draw.choice(("yes", "no", "é", "7")) for _ in range(draw.randint(1, most))) for _ in range(n)]
    chat = "messages" in body
    choices = [
        {"index": i, "finish_reason": "stop"} | ({"message": {"content": text}} if chat else {"text": text})
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 1, "completion_tokens": sum(len(text.split()) for text in texts)}
    return {"model": body["model"], "choices": choices, "usage": usage}, n


def usage_is_none(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Report counts that are none."""
    for name in ("prompt_tokens", "completion_tokens"):
        if draw.random() < 0.7:
            whole["usage"][name] = draw.choice(NO_COUNTS)
    if draw.random() < 0.3:
        whole["usage"] = draw.choice(JUNK)
    return FakeReply(200, whole)


def usage_of_one(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Report the tokens of the first choice as those of all, or of nothing."""
    first = whole["choices"][0]
    text = first["message"]["content"] if "message" in first else first["text"]
    whole["usage"] = {"prompt_tokens": 0, "completion_tokens": draw.choice((0, len(text.split())))}
    return FakeReply(200, whole)


def broken_off(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Break some replies off."""
    for choice in whole["choices"]:
        if draw.random() < 0.6:
            choice["finish_reason"] = draw.choice(BAD_ENDS)
            if "message" in choice:
                choice["message"]["content"] = BROKEN
            else:
                choice["text"] = BROKEN
    return FakeReply(200, whole)


def odd_shape(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Put something else in the place of some of the values, but for the usage."""
    for _ in range(draw.randint(1, 4)):
        at: Any = draw.choice([whole, *whole["choices"]]) if isinstance(whole["choices"], list) else whole
        if isinstance(at, dict):
            name = draw.choice([*(set(at) - {"usage"}), "logprobs", "index", "refusal", "message"])
            junk = draw.choice(JUNK)
            # Who sends a list of one for eight choices has not said that there were eight.
            at[name] = [] if name == "choices" and isinstance(junk, list) else junk
    return FakeReply(200, whole)


def odd_message(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Say something else than a text, or something beside it."""
    for choice in whole["choices"]:
        message = choice.get("message", choice)
        name = draw.choice(("content", "refusal", "tool_calls", "function_call", "reasoning_content", "reasoning"))
        message[name] = draw.choice(JUNK)
        choice["logprobs"] = {"content": [{"logprob": draw.choice((*NO_COUNTS, -0.5))} for _ in range(3)]}
    return FakeReply(200, whole)


def odd_choices(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Send some choices again, or in another order, or none."""
    choices = whole["choices"] * draw.choice((0, 1, 2))
    draw.shuffle(choices)
    return FakeReply(200, whole | {"choices": choices})


def bytes_broken(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Change, lose or add bytes."""
    content = bytearray(json.dumps(whole, ensure_ascii=draw.random() < 0.5).encode())
    for _ in range(draw.randint(1, 20)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    cut = draw.randrange(len(content)) if draw.random() < 0.5 else len(content)
    return FakeReply(200, bytes(content[:cut]))


def no_reply(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Send what is no reply at all."""
    deep = "[" * draw.choice((900, 100_000))
    huge = '{"choices": ' + "9" * 5000 + "}"
    texts = (
        "",
        "null",
        "NaN",
        "7",
        "[]",
        "{}",
        '"\\ud800"',
        "<html>Sign in</html>",
        deep,
        deep + "]" * len(deep),
        huge,
    )
    text = draw.choice(texts)
    return FakeReply(draw.choice((200, 200, 201, 206)), text)


def long_body(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Send more than was asked for, packed or not."""
    if draw.random() < 0.5:
        return FakeReply(200, BOMB, headers={"Content-Encoding": "gzip"})
    return FakeReply(200, LONG + json.dumps(whole).encode())


def packed(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Send a reply packed as gzip, which may be cut or damaged."""
    content = bytearray(gzip.compress(json.dumps(whole).encode()))
    if draw.random() < 0.5:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    end = draw.randrange(len(content)) if draw.random() < 0.3 else len(content)
    return FakeReply(200, bytes(content[:end]), headers={"Content-Encoding": draw.choice(("gzip", "GZIP", "deflate"))})


def odd_headers(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Send a good body under headers that do not fit it."""
    return FakeReply(200, whole, headers=draw.choice(HEADERS))


def failing(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Fail before anything is drawn."""
    text = draw.choice(("", "[" * 100_000, '{"error": {"message": "\\ud800 no"}}', '{"error": []}', "x" * (2 << 20)))
    headers = {"Retry-After": draw.choice(WAITS)} | draw.choice(HEADERS)
    return FakeReply(draw.choice(UNBILLED), text, headers=headers)


def cut_off(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Close the connection, or send the reply too late."""
    late = draw.random() < 0.2
    cut = None if late else draw.choice((-1, 0, 1, 30))
    return FakeReply(draw.choice((200, 504)), whole, delay_s=2 * TIMEOUT_S if late else 0.0, cut=cut)


def other_model(body: Any, whole: Any, draw: random.Random) -> FakeReply:
    """Answer as another model."""
    return FakeReply(200, json.dumps(whole | {"model": draw.choice(("other", "\ud800", "x" * 10_000, "m-1"))}))


Kind = Callable[[Any, Any, random.Random], FakeReply]
KINDS: dict[str, Kind] = {
    "good": lambda body, whole, draw: FakeReply(200, whole),
    **{
        kind.__name__: kind
        for kind in (
            usage_is_none, usage_of_one, broken_off, odd_shape, odd_message, odd_choices, bytes_broken, no_reply,
            long_body, packed, odd_headers, failing, cut_off, other_model,
        )
    },
}  # fmt: skip
UNCOUNTED = frozenset({"failing", "bytes_broken"})
"""Kinds that draw nothing, or whose own report of it may be wrong in a way that nobody could see."""


@dataclass
class Asking:
    """Asks a model as a worker does, and checks what comes back.

    ``open`` holds the requests that are to be answered, with the number of their tries; ``calls`` and ``tokens`` what
    each is counted with and set aside for.
    """

    model: OpenAIModel
    spending: Spending
    open: dict[int, tuple[Request, int]] = field(default_factory=dict)
    cancelled: set[int] = field(default_factory=set)
    calls: Counter[int] = field(default_factory=Counter)
    tokens: Counter[int] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    def submit(self, request: Request, tries: int = 1) -> None:
        """Ask."""
        self.open[request.id] = (request, tries)
        self.model.submit([request])

    def cancel(self, ids: list[int]) -> None:
        """Drop requests, and count what they cost."""
        costs = {cost.id: cost for cost in self.model.cancel(ids)}
        for i in ids:
            if (asked := self.open.pop(i, None)) is not None:
                self.cancelled.add(i)
                if i in costs:
                    self._pay(asked[0], costs[i])

    def hear(self, answer: Finished | Failed) -> None:
        """Check an answer and count what it costs; ask again for what was lost."""
        must(answer.id not in self.cancelled, f"request {answer.id} is answered after it was cancelled")
        must(answer.id in self.open, f"request {answer.id} is answered twice")
        request, tries = self.open.pop(answer.id)
        self.answers[type(answer).__name__] += 1
        if isinstance(answer, Finished):
            self._pay(request, answer)
            must(len(answer.samples) <= request.n, f"request {answer.id} has {len(answer.samples)} samples")
            for sample in answer.samples:
                votes = not sample.cut and sample.flag is None
                must(not (votes and BROKEN in sample.text), f"request {answer.id}: a reply that was broken off votes")
            return
        answer.reason.encode()
        again = answer.lost and not answer.unusable and tries < TRIES
        self._pay(request, answer)
        if again:
            self.submit(request, tries + 1)

    def _pay(self, request: Request, reply: Finished | Failed) -> None:
        if isinstance(reply, Finished):
            self.spending.count(request, NOTHING, reply)
        else:
            self.spending.count_failure(request, NOTHING, reply, repeated=False)
        (usage,) = self.spending.usage().values()
        self.calls[request.id] += usage.calls + self.spending.abandoned.calls
        self.tokens[request.id] += usage.tokens + self.spending.abandoned.tokens
        self.spending.begin_slice()


def must(true: bool, otherwise: str) -> None:
    """Raise ``AssertionError`` where something does not hold."""
    if not true:
        raise AssertionError(otherwise)


def requests(draw: random.Random) -> Iterator[Request]:
    """Yield requests; the first one is answered well."""
    for i in count():
        prompt = draw.choice(("Move?", "é" * 50, "x" * 3000)) if i else "Move?"
        n, most = draw.choice((1, 1, 2, 3, 8)), draw.choice((1, 4, 64))
        yield Request(i, draw.choice(("", "Rules. ")), prompt, n, SEEDS * i, most, (), "move")


def fuzz(seed: int, *, rounds: int = 0, seconds: float = 0.0) -> tuple[Counter[str], Drawn]:
    """Ask for so many rounds of requests, and until the time is up; return what was answered and drawn.

    Raises:
        AssertionError: Something that must hold does not, and everything else that the model raises.
    """
    draw, server = random.Random(seed), Server(seed)
    until = time.monotonic() + seconds
    answers: Counter[str] = Counter()
    with FakeServer(server.script) as listening:
        numbered, played = requests(draw), 0
        while played < rounds or time.monotonic() < until:
            settings = OpenAISettings(
                url=listening.url, name="m", chat=draw.random() < 0.7, logprobs=draw.random() < 0.3,
                max_n=draw.choice((1, 8)), timeout_s=TIMEOUT_S, retry_s=0.3, concurrency=32,
            )  # fmt: skip
            played += 1
            first = ROUND * (played - 1)
            asking = _round(settings, numbered, draw)
            answers += asking.answers
            for i in server.drawn.calls:
                counted, drawn = (asking.calls[i], asking.tokens[i]), (server.drawn.calls[i], server.drawn.tokens[i])
                must(
                    i < first or (counted[0] >= drawn[0] and counted[1] >= drawn[1]),
                    f"request {i}: calls and tokens {counted} are counted, and {drawn} were drawn",
                )
    return answers, server.drawn


def _round(settings: OpenAISettings, numbered: Iterator[Request], draw: random.Random) -> Asking:
    """Ask ``ROUND`` requests, cancel some, and wait for the others."""
    model = OpenAIModel(settings)
    asking = Asking(model, Spending(model, (Prices(),), limited=False))
    try:
        for _ in range(ROUND):
            asking.submit(next(numbered))
        deadline = time.monotonic() + 60
        while asking.open:
            must(time.monotonic() < deadline, f"{len(asking.open)} requests are never answered")
            for answer in model.poll(0.05):
                asking.hear(answer)
            if draw.random() < 0.2:
                asking.cancel(draw.sample(sorted(asking.open), min(3, len(asking.open))))
        # On a busy machine even a good reply may come too late, now and then.
        _hear_good(model)
        must(model.poll(0.01) == [], "something is answered that nobody asked")
    finally:
        model.close()
    return asking


def _hear_good(model: OpenAIModel) -> None:
    """Ask until a good reply is heard. Raises ``AssertionError`` where none of ten is."""
    failed = Counter[str]()
    while failed.total() < 10:
        model.submit([PROBE._replace(id=PROBE.id + failed.total())])
        (answer,) = collect(model, 1, within_s=60)
        if isinstance(answer, Finished):
            return
        failed[answer.reason] += 1
    must(False, f"good replies are not heard after bad ones: {dict(failed)}")


def main() -> int:
    """Fuzz for some minutes; returns 1 where something did not hold."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to go on")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="of the first pass; each is one more")
    options = read_options(parser, minutes=0.02)
    until, seed = time.monotonic() + 60 * options.minutes, options.seed
    kinds: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    while time.monotonic() < until:
        try:
            answered, drawn = fuzz(seed, rounds=3)
        except Exception:
            print(f"seed {seed} finds a fault: python -m benchmarks.recovery.fuzz_model --seed {seed} --minutes 0.1")
            raise
        kinds += drawn.kinds
        answers += answered
        seed += 1
    print(f"seeds {options.seed} to {seed - 1}: {answers.total():,} answers, {dict(answers)}")
    print(f"  {kinds.total():,} replies: {', '.join(f'{n:,} {kind}' for kind, n in kinds.most_common())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
