"""Find the steps of the pilot that a run's margins rest on, from its settings: what its monitor compares it with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maker.job.settings import MEMO, PilotFound, PlanFound
from maker.stats.vote_tests import PilotSteps


def pilot_steps(settings: Mapping[str, Any], name: str, k: int | None) -> PilotSteps | None:
    """Return the steps of the pilot that found k for a step class, None where there was none, or nothing to compare.

    Args:
        settings: The run's, as they are stored.
        name: The step class.
        k: The margin that its steps are decided by.
    """
    task, vote = settings["task"], settings["vote"]
    # A later round asks the rows that were not decided before, and with a memo each question counts once, which a pilot
    # of rows may ask often: the steps that count then are others than the pilot's.
    if task.get("round") or task.get(MEMO, "off") != "off":
        return None
    if plan := vote.get("plan"):
        planned = PlanFound.model_validate(plan)
        return planned.contested.get(name) if planned.k.get(name) == k else None
    if pilot := vote.get("pilot"):
        found = PilotFound.model_validate(pilot)
        return found.contested if found.k == k else None
    return None
