"""Events as a program hands them on: told once committed, and JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import maker
from maker.lifecycle.events import (
    ConcurrencyChanged,
    Event,
    ModelAway,
    RunEnded,
    RunStarted,
    StepsDecided,
    WorkerGone,
    stored_event,
)
from maker.testing import FakeServer

Job = Callable[..., dict[str, dict[str, Any]]]


def test_every_event_is_json(hanoi: Job) -> None:
    """Its name and its public fields; of committed steps the counts, which add up to the report's."""
    told: list[Event] = []
    report = maker.run(hanoi(5), on_event=told.append)
    began, *steps, ended = [json.loads(json.dumps(event.to_json())) for event in told]
    assert began == {
        "event": "run_started", "run_id": report.run_id, "resumed": False, "steps": 0, "expected_steps": 31,
    }  # fmt: skip
    assert {step["event"] for step in steps} == {"steps_decided"}
    assert [sum(step[name] for step in steps) for name in ("steps", "votes")] == [report.steps, report.votes]
    assert set(steps[0]) == {"event", "run_id", "steps", "votes", "red_flags", "disputed"}
    assert ended == {
        "event": "run_ended", "run_id": report.run_id, "status": "done", "reason": "", "result": report.result,
    }  # fmt: skip


def test_a_model_that_is_away_is_told_and_kept(hanoi: Job, store: str) -> None:
    """Who listens hears of it in the order of what is committed; the run's report and an `Service` have it too."""
    with FakeServer(lambda _: (404, {"error": "gone"})) as server:
        far = {"kind": "openai", "url": server.url, "name": "m"}
        members = {"near": {"kind": "simulated"}, "far": far}
        job = hanoi(4) | {"model": {"kind": "pool", "away": "pass", "members": members}}
        told: list[Event] = []
        report = maker.run(job, on_event=told.append)

        async def work() -> list[Event]:
            async with maker.Service(store=store) as engine:
                return [event async for event in (await engine.start(job)).events()]

        streamed = asyncio.run(work())
    (away,) = [event for event in told if isinstance(event, ModelAway)]
    assert (report.status, away.run_id, away.worker, away.model) == ("done", report.run_id, 0, "far")
    assert "404" in away.reason
    (kept,) = report.events
    assert {"at": kept["at"], "kind": "model_away"} | away.to_json() == kept | {
        "event": "model_away", "run_id": report.run_id,
    }  # fmt: skip
    assert [event.model for event in streamed if isinstance(event, ModelAway)] == ["far"]


def test_what_is_told_is_committed(hanoi: Job, store: str) -> None:
    """When an event is heard, whoever reads the store finds it there."""
    seen: list[int] = []

    def look(event: Event) -> None:
        if isinstance(event, ModelAway):
            seen.append(len(maker.show(event.run_id, store=store).events))

    with FakeServer(lambda _: (404, {"error": "gone"})) as server:
        far = {"kind": "openai", "url": server.url, "name": "m"}
        members = {"near": {"kind": "simulated"}, "far": far}
        maker.run(hanoi(4) | {"model": {"kind": "pool", "away": "pass", "members": members}}, on_event=look)
    assert seen == [1]


def test_stored_events_are_the_events_that_were_told() -> None:
    """What the store keeps of an event makes it again; a kind of a later version is none."""
    for event in (
        WorkerGone("r", 3, "it died", 2, True),
        ModelAway("r", 1, "small", "no answer"),
        ConcurrencyChanged("r", 1, "small", 4, 8, "it is slow", 6.0),
    ):
        facts = event.to_json()
        kind = facts.pop("event")
        del facts["run_id"]
        assert stored_event("r", kind, facts) == event
    assert stored_event("r", "moon_rose", {"at": 1}) is None


def test_names_are_those_of_the_log() -> None:
    """Each kind has a name of its own, in the past tense of what happened."""
    kinds = [kind.kind for kind in (RunStarted, StepsDecided, WorkerGone, ModelAway, RunEnded)]
    assert kinds == ["run_started", "steps_decided", "worker_lost", "model_away", "run_ended"]
