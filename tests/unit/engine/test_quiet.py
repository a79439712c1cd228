"""Silence of the models: said after a while, in ever longer intervals, with how many requests are open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maker import api
from maker.engine import quiet as module
from maker.engine.quiet import FIRST_S, Quiet
from maker.lifecycle.events import Event, RepliesAwaited
from maker.swarm.messages import Report
from maker.testing import FakeReply, FakeServer, completion
from maker.types import Account, Usage


def report(requests: int, calls: int = 0) -> Report:
    """Return a worker's report of so many open requests and answered calls."""
    return Report(1, requests=requests, spent={Account(0, "solver"): Usage(calls=calls)})


def test_silence_is_due_after_twice_as_long_each_time() -> None:
    """It is due once an interval, which doubles; a reply begins it anew."""
    silence = Quiet(0.0)
    silence.note(0, report(3), 0.0)
    due = [second for second in range(100) if silence.due(float(second))]
    assert due == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    silence.note(0, report(3, calls=1), 100.0)
    assert not silence.due(100.0 + FIRST_S - 1)
    assert silence.due(100.0 + FIRST_S)


def test_requests_of_all_workers_are_open() -> None:
    """Those of a lost worker are not; where none is open nothing is waited for."""
    silence = Quiet(0.0)
    silence.note(0, report(3), 0.0)
    silence.note(1, report(5), 0.0)
    assert silence.due(FIRST_S) == 8
    silence.lose(1)
    assert silence.due(4 * FIRST_S) == 3
    silence.note(0, report(0), 50 * FIRST_S)
    assert silence.due(100 * FIRST_S) == 0


def test_time_without_a_request_is_no_silence() -> None:
    """A request that is sent after a long pause of the task's own begins the time anew."""
    silence = Quiet(0.0)
    silence.note(0, report(0), 0.0)
    silence.note(0, report(2), 10 * FIRST_S)
    assert not silence.due(11 * FIRST_S - 1)
    assert silence.due(11 * FIRST_S) == 2


def test_a_run_tells_who_watches_it(hanoi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow server's open request is an event of the run; the store keeps none of it."""
    monkeypatch.setattr(module, "FIRST_S", 0.1)
    told: list[Event] = []
    with FakeServer(lambda body: FakeReply(200, completion(["1AC"] * body.get("n", 1)), delay_s=0.5)) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "chat": False}
        found = api.run(hanoi(1) | {"model": model}, on_event=told.append)
    awaited = [event for event in told if isinstance(event, RepliesAwaited)]
    assert awaited
    assert awaited[0].to_json() == {"event": "replies_awaited", "run_id": found.run_id, "requests": 1}
    assert found.events == []
