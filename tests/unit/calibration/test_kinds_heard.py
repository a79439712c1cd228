"""What a calibration heard of each kind of steps, and what a plan says of kinds that the run asks and it has not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maker import api
from maker.calibration.calibrate import calibrate
from maker.calibration.observations import Calibration, KindFound
from maker.calibration.plan import plan

pytestmark = pytest.mark.plan

TASK = Path(__file__).parents[1] / "kind_task.py"
Job = dict[str, dict[str, Any]]
RARE = "next: rare (about 3 steps)"


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    def make(**task: Any) -> Job:
        return {
            "task": {"decomposer": f"{TASK}:Counted"} | task,
            "model": {"kind": "simulated", "p": 0.95},
            "vote": {"k": "auto", "target": 0.9},
            "store": {"url": f"sqlite:///{tmp_path}/maker.db"},
        }

    return make


def labels(states: range) -> str:
    return "\n".join(json.dumps({"state": str(n), "reply": str(n + 1)}) for n in states)


def test_every_kind_is_heard(job: Callable[..., Job]) -> None:
    """A pilot of some steps counts the votes of each kind, which make up those of the class."""
    found = calibrate(job(), steps=100, votes=10).calibration.classes["next"]
    rare, usual = found.kinds["rare"], found.kinds["usual"]
    assert (rare.of, usual.of) == (3, 297)
    assert 2 <= rare.steps <= 3 and rare.steps + usual.steps == found.steps == 100
    assert (rare.right + usual.right, rare.wrong + usual.wrong) == (found.right, found.wrong)
    assert plan(api.load_job(job())).unheard == ()


def test_a_plan_names_what_it_has_not_heard(job: Callable[..., Job]) -> None:
    """Labels of usual steps alone: the plan and what a run stores of it say that three steps are of another kind."""
    calibrate(job(), votes=10, labels=labels(range(250)))
    found = plan(api.load_job(job()))
    assert [tuple(one) for one in found.unheard] == [("next", "rare", 3)]
    said = f"that the kinds of steps that the pilot has not heard are no harder than the others: {RARE}"
    assert found.rests_on.endswith(said)
    assert found.found().rests_on == found.rests_on


def test_a_plan_names_the_most_frequent_of_very_many_kinds(job: Callable[..., Job]) -> None:
    """A line with hundreds of kinds helps nobody: it names twelve, and how many more there are."""
    calibrate(job(own=True), votes=10, labels=labels(range(100)))
    found = plan(api.load_job(job(own=True)))
    assert len(found.unheard) == 200
    assert found.rests_on.count("about 1 step") == 12 and found.rests_on.endswith("; and 188 more")


def test_a_kind_without_a_number_is_some_steps(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the task does not say how long it is, nobody knows how many of them there are."""
    monkeypatch.setattr("maker.sampling.kinds.FRAME", 300)
    settings = job(form="sample", known=False)
    heard = calibrate(settings, votes=10, labels=labels(range(250))).calibration.classes["next"].kinds
    assert heard["rare"] == KindFound(of=None)


def test_a_task_that_names_no_kinds_is_planned_as_before(job: Callable[..., Job]) -> None:
    """Its calibration has none, nor has one that was kept by an older version, and its plan names none."""
    kept = calibrate(job(named=False), steps=100, votes=10).calibration
    assert kept.classes["next"].kinds == {}
    stored = kept.model_dump(mode="json")
    for one in stored["classes"].values():
        del one["kinds"]
    assert Calibration.model_validate(stored) == kept
    assert plan(api.load_job(job(named=False))).unheard == ()
    assert "kinds" not in plan(api.load_job(job(named=False))).rests_on
