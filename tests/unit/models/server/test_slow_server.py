"""The HTTP model against a real server that draws one sample at a time, and none for clients that have gone."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from openai_calls import Start, request

from maker.models.server.gate import Gate
from maker.testing import FakeReply, FakeServer, chat_completion, collect
from maker.types import Failed, Finished


class OneAtATime:
    """The script of a server that draws one sample after another, each in ``sample_s`` seconds."""

    def __init__(self, sample_s: float, timeout_s: float) -> None:
        self.sample_s = sample_s
        self._timeout_s = timeout_s
        self._drawing = threading.Lock()

    def __call__(self, body: Any) -> FakeReply:
        came_s = time.monotonic()
        with self._drawing:
            for _ in range(body.get("n", 1)):
                if time.monotonic() > came_s + self._timeout_s:
                    return FakeReply(200, "", cut=-1)
                time.sleep(self.sample_s)
        return FakeReply(200, chat_completion(["A"] * body.get("n", 1)))


def test_no_call_is_lost(start: Start) -> None:
    """Each request takes 0.06 s: of 64 at once, the last would be given up after 2 s, and be asked for again."""
    with FakeServer(OneAtATime(0.02, 2.0)) as server:
        model = start(server.url, timeout_s=2.0)
        model.submit(request(i) for i in range(64))
        answers = collect(model, 64)
    assert all(isinstance(answer, Finished) for answer in answers)
    assert len(server.requests) == 64
    assert not model.changes()


def test_a_request_that_takes_longer_than_the_timeout_is_split(start: Start) -> None:
    """Three samples never come in time, and one alone does: after two tries each is asked for by itself."""
    asked_for: list[int] = []

    def script(body: Any) -> FakeReply:
        asked_for.append(body.get("n", 1))
        return FakeReply(200, chat_completion(["A"] * body.get("n", 1)), delay_s=30.0 if body.get("n", 1) > 1 else 0.0)

    with FakeServer(script) as server:
        model = start(server.url, timeout_s=1.0)
        tries = 0
        answer: Finished | Failed | None = None
        while not isinstance(answer, Finished):
            model.submit([request()])
            (answer,) = collect(model, 1)
            tries += 1
        assert (tries, asked_for) == (3, [3, 3, 1, 1, 1])
    seeds = [one.body["seed"] for one in server.requests]
    assert seeds == [100, 100, 100, 101, 102]
    assert len(answer.samples) == 3


def test_what_was_reserved_for_one_request_is_not_sent_as_three(start: Start) -> None:
    """A request that may cost one prompt is handed back where the server is to be asked for single replies since."""
    answering, asked_for = threading.Event(), list[int]()
    answering.set()

    def script(body: Any) -> FakeReply:
        asked_for.append(body.get("n", 1))
        return FakeReply(200, chat_completion(["A"] * body.get("n", 1)), delay_s=0.0 if answering.is_set() else 5.0)

    with FakeServer(script) as server:
        model = start(server.url, timeout_s=1.0)
        model.submit([request(0)])
        collect(model, 1)
        reserved = model.worst_tokens(request(4))
        answering.clear()
        model.submit(request(i) for i in (1, 2, 3))
        while not model._concurrency.single:
            time.sleep(0.01)
        answering.set()
        model.submit([request(4)])
        answers = {answer.id: answer for answer in collect(model, 4)}
        handed_back = answers[4]
        assert isinstance(handed_back, Failed)
        assert handed_back.lost
        assert (handed_back.calls, handed_back.unaccounted) == (0, 0)
        assert set(asked_for) == {3}
        assert model.worst_tokens(request(4)) > reserved
        model.submit([request(4)])
        (answer,) = collect(model, 1)
    assert isinstance(answer, Finished)
    assert asked_for[-3:] == [1, 1, 1]


def test_a_server_that_refuses_two_at_once_gets_one(start: Start) -> None:
    """Its HTTP 429 says that two are one too many, and the line that is told says so."""
    replies = iter([200, 429])

    def script(body: Any) -> FakeReply:
        if next(replies, 200) == 429:
            return FakeReply(429, {"error": {"message": "one at a time"}}, headers={"Retry-After": "0.01"})
        return FakeReply(200, chat_completion(["A"] * body.get("n", 1)))

    with FakeServer(script) as server:
        model = start(server.url)
        for number in range(2):
            model.submit([request(number)])
            (answer,) = collect(model, 1)
            assert isinstance(answer, Finished)
        (change, *_) = model.changes()
    assert change == (0, 1, 2, "HTTP 429: one at a time (Retry-After: 0.01 s)", 120.0)


def test_a_server_that_answers_nothing_in_time_is_given_up_with_all_that_waits(start: Start) -> None:
    """Ten requests fail after five timeouts, not after five each; the message names what to change."""
    answering = threading.Event()
    answering.set()

    def script(body: Any) -> FakeReply:
        return FakeReply(200, chat_completion(["A"] * body.get("n", 1)), delay_s=0.0 if answering.is_set() else 5.0)

    with FakeServer(script) as server:
        model = start(server.url, timeout_s=0.5, concurrency=8)
        model.submit([request(0)])
        collect(model, 1)
        answering.clear()
        open_ = {i: request(i) for i in range(1, 11)}
        model.submit(open_.values())
        given_up: list[Failed] = []
        while open_:
            for reply in collect(model, 1):
                assert isinstance(reply, Failed)
                if reply.lost:
                    model.submit([open_[reply.id]])
                else:
                    given_up.append(reply)
                    del open_[reply.id]
        sent = len(server.requests) - 1
        (change,) = model.changes()
    assert len(given_up) == 10
    assert sent <= 2 + 4
    assert not any(reply.unusable for reply in given_up)
    assert "failed 5 times in a row" in given_up[0].reason
    assert given_up[0].reason.endswith("the last: no reply within 0.5 s")
    assert "raise model.timeout_s, to 2 say" in given_up[0].fix
    assert change == (0, 1, 2, "no reply within 0.5 s", 0.5)


def test_a_server_that_is_down_for_a_while_is_asked_now_and_then(start: Start) -> None:
    """It cuts every request off for a second: few more are lost than were under way, and then all are answered."""
    down_until = [0.0]

    def script(body: Any) -> FakeReply:
        down = time.monotonic() < down_until[0]
        return FakeReply(200, "", cut=-1) if down else FakeReply(200, chat_completion(["A"] * body.get("n", 1)))

    with FakeServer(script) as server:
        model = start(server.url)
        model.submit([request(0)])
        collect(model, 1)
        down_until[0] = time.monotonic() + 1.0
        open_ = {i: request(i) for i in range(1, 101)}
        model.submit(open_.values())
        lost = 0
        while open_:
            for reply in collect(model, 1):
                if isinstance(reply, Failed):
                    assert reply.lost
                    lost += reply.unaccounted
                    model.submit([open_[reply.id]])
                else:
                    del open_[reply.id]
    assert lost <= 3 * 12


def test_a_gateway_that_gives_up_at_once_is_not_a_slow_server(start: Start) -> None:
    """Its 504 comes back as lost each time, and never ends the asking: it may be a moment's failure."""
    first = iter([True])

    def script(body: Any) -> FakeReply:
        return FakeReply(200, chat_completion(["A"])) if next(first, False) else FakeReply(504, "Gateway Time-out")

    with FakeServer(script) as server:
        model = start(server.url)
        for number in range(9):
            model.submit([request(number, n=1)])
            (answer,) = collect(model, 1)
            assert isinstance(answer, Finished) if number == 0 else answer.lost
    assert len(server.requests) == 9


def test_who_waits_behind_failing_tries_is_being_tried(start: Start) -> None:
    """The server has answered, and fails now: one request at a time goes, and 20 take 2 s for a try of each.

    The second failure of the first is beyond ``retry_s``, and ends it; its own tries alone would not be.
    """
    first = iter([True])

    def script(body: Any) -> FakeReply:
        failed = FakeReply(500, {"error": "broken inside"}, delay_s=0.1)
        return FakeReply(200, chat_completion(["A"])) if next(first, False) else failed

    with FakeServer(script) as server:
        model = start(server.url, concurrency=1, retry_s=1.6)
        model.submit([request(0, n=1)])
        collect(model, 1)
        model.submit(request(i, n=1) for i in range(1, 21))
        (answer, *_) = collect(model, 1)
        tries = len(server.requests)
    assert isinstance(answer, Failed)
    assert tries < 30


def test_a_request_in_parts_goes_on_before_others_begin(start: Start) -> None:
    """A server that ignores n, asked one at a time: two of five requests for three replies are open at most."""
    begun: list[int] = []

    def script(body: Any) -> FakeReply:
        begun.append(body["seed"] // 1000)
        return FakeReply(200, chat_completion(["A"]))

    with FakeServer(script) as server:
        model = start(server.url, concurrency=1)
        model.submit(request(i, seed=1000 * i) for i in range(5))
        answers = collect(model, 5)
    assert [answer.id for answer in answers] == list(range(5))
    assert sorted(begun) == [number for number in range(5) for _ in range(3)]
    assert begun.index(4) > max(at for at, number in enumerate(begun) if number == 2)


def test_a_gate_lets_through_in_order_what_the_limit_allows() -> None:
    """A task that is cancelled while it waits takes no place, and a higher limit lets several through at once."""

    async def visit(gate: Gate, number: int, leave: asyncio.Event) -> None:
        async with gate.through(goes_on=False):
            through.append(number)
            await leave.wait()

    async def main() -> None:
        limit = [1]
        gate = Gate(lambda: limit[0])
        leave = [asyncio.Event() for _ in range(5)]
        tasks = [asyncio.create_task(visit(gate, number, leave[number])) for number in range(5)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        limit[0] = 2
        leave[0].set()
        await asyncio.gather(tasks[0], tasks[1], return_exceptions=True)
        await asyncio.sleep(0)
        assert through == [0, 2, 3]
        # Let through and cancelled in the same moment: its place is free again.
        leave[2].set()
        await tasks[2]
        tasks[4].cancel()
        leave[3].set()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with gate.through(goes_on=False):
            through.append(5)

    through: list[int] = []
    asyncio.run(main())
    assert through[-1] == 5
