"""A limit that several worker processes share: held in every minute, paused for all, given back by the killed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from processes import Commands

import maker as library
from maker.lifecycle import queries
from maker.store.shared_limits import WORKER_LEASE_S
from maker.testing import FakeReply, FakeServer, chat_completion

BOTH = pytest.mark.parametrize("commands_in", ["sqlite", "pgbouncer"], indirect=True)


class Seen(NamedTuple):
    """A request: when it came, which run sent it, and how many were in flight then, with itself."""

    at_s: float
    run: str
    in_flight: int


class CountingServer(FakeServer):
    """Answers each request after a while, and notes how many are in flight."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(self._count)
        self._delay_s = delay_s
        self._noting = threading.Lock()
        self._in_flight = 0
        self._seen: list[Seen] = []
        self.refuse: Callable[[int], float | None] = lambda _: None

    @property
    def seen(self) -> list[Seen]:
        """All requests so far."""
        with self._noting:
            return list(self._seen)

    def _count(self, body: Any) -> FakeReply:
        run = body["messages"][-1]["content"].partition(":")[0]
        with self._noting:
            self._in_flight += 1
            self._seen.append(Seen(time.monotonic(), run, self._in_flight))
            asked_s = self.refuse(len(self._seen))
        time.sleep(self._delay_s)
        with self._noting:
            self._in_flight -= 1
        if asked_s is not None:
            return FakeReply(429, {"error": "too many"}, headers={"Retry-After": f"{asked_s:g}"})
        return FakeReply(200, chat_completion(["even"] * body.get("n", 1)))


def enqueue(maker: Commands, server: CountingServer, run_id: str, rows: int = 400) -> None:
    """Put a map into the queue, whose prompts begin with its id."""
    path = maker.write("rows.csv", "number\n" + "".join(f"{number}\n" for number in range(rows)))
    job = {
        "task": {"decomposer": "map", "input": str(path), "template": f"{run_id}: is {{{{number}}}} even?"},
        "model": {"kind": "openai", "url": server.url, "name": "m", "retry_s": 20},
        "vote": {"k": 1},
        "limits": {"shared": "acme"},
        "store": {"url": maker.store},
    }
    library.enqueue(job, run_id=run_id)


def workers(maker: Commands, count: int) -> list[Any]:
    return [maker.start("worker", "--store", maker.store) for _ in range(count)]


def until(condition: Callable[[], bool], maker: Commands, within_s: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, maker.output()
        time.sleep(0.05)


def told(maker: Commands, run_id: str) -> list[str]:
    return [event["kind"] for event in queries.show(run_id, store=maker.store).events]


@BOTH
def test_three_workers_keep_one_limit(maker: Commands) -> None:
    """As many requests as a minute allows and no more, never more in flight than are allowed; and who waits says so."""
    library.limit("acme", requests_per_minute=120, concurrency=6, store=maker.store)
    with CountingServer(0.05) as server:
        for name in "abc":
            enqueue(maker, server, name)
        workers(maker, 3)
        until(lambda: all("limit_awaited" in told(maker, name) for name in "abc"), maker)
        seen = server.seen
        assert seen[-1].at_s - seen[0].at_s < 60, "all of them are of one minute"
        assert {one.run for one in seen} == {"a", "b", "c"}
        # A grant is four requests, and each worker may hold one that it has not used.
        assert 120 - 3 * 4 <= len(seen) <= 120
        assert max(one.in_flight for one in seen) <= 6
        (limit,) = library.limits(store=maker.store)
        assert (limit.requests_per_minute, limit.workers) == (120, 3)
        assert limit.requests <= 120


def test_one_servers_word_pauses_all(maker: Commands) -> None:
    """A Retry-After that one worker gets holds the others within a second; then all go on."""
    library.limit("acme", requests_per_minute=30_000, store=maker.store)
    with CountingServer(0.02) as server:
        server.refuse = lambda number: 4.0 if number == 200 else None
        for name in "ab":
            enqueue(maker, server, name, rows=2000)
        workers(maker, 2)
        until(lambda: len(server.seen) > 300, maker)
        seen = server.seen
        refused_s = seen[199].at_s
        assert {one.run for one in seen[:199]} == {"a", "b"}
        held = [one for one in seen if refused_s + 1.5 < one.at_s < refused_s + 4]
        assert held == []


def test_a_killed_workers_places_come_back(maker: Commands) -> None:
    """Within two lease times the others have all of them."""
    library.limit("acme", concurrency=4, store=maker.store)
    with CountingServer(0.05) as server:
        enqueue(maker, server, "a", rows=20_000)
        one = workers(maker, 1)[0]
        until(lambda: len(server.seen) > 20, maker)
        enqueue(maker, server, "b", rows=20_000)
        workers(maker, 1)
        until(lambda: {seen.run for seen in server.seen[-20:]} == {"a", "b"}, maker)
        assert max(seen.in_flight for seen in server.seen) <= 4
        one.send_signal(signal.SIGKILL)
        one.wait()
        killed_s = time.monotonic()
        until(
            lambda: any(seen.in_flight == 4 for seen in server.seen if seen.at_s > killed_s + 0.2),
            maker,
            within_s=2 * WORKER_LEASE_S,
        )
        assert {seen.run for seen in server.seen if seen.at_s > killed_s + 0.2} == {"b"}
        assert max(seen.in_flight for seen in server.seen) <= 4
