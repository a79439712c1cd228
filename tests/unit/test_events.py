"""Events as a program hands them on: told once committed, and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import maker
from maker.events import Event, ModelAway, RunEnded, RunStarted, StepsDecided, WorkerGone, stored_event

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


def test_stored_events_are_the_events_that_were_told() -> None:
    """What the store keeps of an event makes it again; a kind of a later version is none."""
    for event in (WorkerGone("r", 3, "it died", 2, True), ModelAway("r", 1, "small", "no answer")):
        facts = event.to_json()
        kind = facts.pop("event")
        del facts["run_id"]
        assert stored_event("r", kind, facts) == event
    assert stored_event("r", "moon_rose", {"at": 1}) is None


def test_names_are_those_of_the_log() -> None:
    """Each kind has a name of its own, in the past tense of what happened."""
    kinds = [kind.kind for kind in (RunStarted, StepsDecided, WorkerGone, ModelAway, RunEnded)]
    assert kinds == ["run_started", "steps_decided", "worker_lost", "model_away", "run_ended"]
