"""Which steps of a pilot a run is compared with, from the settings that are stored with it."""

from __future__ import annotations

from typing import Any

from job_kinds import PILOT_FOUND, TARGET_PLAN

from maker.job.pilot_steps import pilot_steps
from maker.stats.vote_tests import PilotSteps

PLAN = TARGET_PLAN | {"contested": {"first": [300, 12]}}
PILOT = PILOT_FOUND | {"contested": [600, 40]}


def found(name: str, k: int, task: dict[str, Any] | None = None, **vote: Any) -> PilotSteps | None:
    return pilot_steps({"task": task or {}, "vote": vote}, name, k)


def test_a_plan_has_them_by_class() -> None:
    """The first class has k = 2: at another k the first votes were others."""
    assert found("first", 2, plan=PLAN) == PilotSteps(300, 12)
    assert found("first", 3, plan=PLAN) is None
    assert found("second", 4, plan=PLAN) is None


def test_a_pilot_has_them_of_its_rows() -> None:
    assert found("row", 3, pilot=PILOT) == PilotSteps(600, 40)
    assert found("row", 4, pilot=PILOT) is None


def test_what_was_stored_before_has_none() -> None:
    """Nor has a run whose k was given."""
    assert found("first", 2, plan=TARGET_PLAN) is None
    assert found("row", 3, pilot=PILOT_FOUND) is None
    assert found("row", 3) is None


def test_steps_that_are_chosen_are_not_compared() -> None:
    """A later round asks rows that were hard; a memo leaves out what was asked before."""
    assert found("row", 3, {"memo": "off", "round": 0}, pilot=PILOT) == PilotSteps(600, 40)
    assert found("row", 3, {"round": 1}, pilot=PILOT) is None
    assert found("first", 2, {"memo": "run"}, plan=PLAN) is None
