"""A voter of somebody's own is watched and reported on by what it says of itself, whatever its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maker import api
from maker.calibration.calibrate import calibrate
from maker.calibration.plan import plan
from maker.errors import JobError
from maker.lifecycle import queries
from maker.reporting.claims import AGAINST
from maker.reporting.report import report

pytestmark = pytest.mark.plan

Job = Callable[..., dict[str, dict[str, Any]]]
COPIED = {"p": 0.95, "common": 0.45}
"""A model whose votes copy one another: where they are watched, that is found."""
STEPS = 300
SOURCE = """
from pydantic import Field

from maker.plugin import Decision, More, Params, Promise, Voter


class MineParams(Params):
    k: int = Field(default=3, ge=1)


class Silent(Voter):
    name = "silent"
    Params = MineParams

    def __init__(self, params):
        self.lead = params.k

    @property
    def least(self):
        return self.lead

    def decide(self, ballots):
        standing = ballots.standing()
        lead = 0 if standing is None else standing.votes - standing.rival
        return More(self.lead - lead) if lead < self.lead else Decision(standing.leader, lead)


class Racing(Silent):
    name = "racing"

    @property
    def race_margin(self):
        return self.lead

    def promise(self, steps):
        return Promise(0.01, f"of steps {steps}, racing decides at most 0.01 wrongly", "are wrong")
"""


@pytest.fixture
def own(hanoi: Job, tmp_path: Path) -> Callable[[str], dict[str, dict[str, Any]]]:
    """Return a function that makes a job whose voter is one of the file's."""
    (tmp_path / "mine.py").write_text(SOURCE)

    def job(voter: str, model: dict[str, Any] = COPIED, **vote: Any) -> dict[str, dict[str, Any]]:
        table = {"voter": f"{tmp_path}/mine.py:{voter}", "k": 3, "max_votes": 1000} | vote
        return hanoi(10, model=model, run={"seed": 1}) | {"vote": table}

    return job


def test_a_voter_with_a_race_margin_is_watched(own: Callable[..., Any], hanoi: Job, store: str) -> None:
    """Its votes are counted, tested and estimated from as those of first-to-ahead-by-k are; its promise is quoted."""
    found = api.run(own("Racing"))
    print(found.events)
    (seen,) = found.monitor
    assert (seen["steps"], seen["unwatched"]) == (found.steps, "")
    assert {event["statistic"] for event in found.events} == {"dispersion", "longest"}
    told = report("last", store=store)
    (one,) = told.classes
    assert (one.ruled.voter, one.ruled.k, one.unwatched) == ("racing", 3, "")
    assert one.looks > 0
    assert one.fit is not None
    # One look at all 1,023 steps: what was heaped on the first 256 of them is not heaped on all.
    assert {str(alarm.alarm.statistic) for alarm in told.alarms} == {"longest"}
    assert told.claim.text == ("of steps move, racing decides at most 0.01 wrongly", AGAINST)
    assert told.whole.stated == "on average at most 10.2 of 1,023 steps are wrong"
    ours = api.run(own("Racing") | {"vote": {"k": 3, "max_votes": 1000}})
    assert (ours.events[0]["text"], ours.monitor) == (found.events[0]["text"], found.monitor)


def test_a_voter_without_one_is_said_to_be_unwatched(own: Callable[..., Any], store: str) -> None:
    """The same votes, by a voter that does not say what decides: nothing is tested, and the report says why."""
    found = api.run(own("Silent"), limit_steps=STEPS)
    (seen,) = found.monitor
    assert seen["unwatched"] == "the monitor has no statistic for the voter silent, only for races to a lead of k"
    assert (seen["steps"], found.events) == (0, [])
    told = report("last", store=store)
    (one,) = told.classes
    assert (one.ruled.k, one.fit, one.unwatched) == (None, None, seen["unwatched"])
    assert told.whole.missing.startswith("maker estimates p only for voters that need a lead of k, and silent does not")
    assert not told.claim.made
    assert queries.verify("last", store=store).problem == ""


def test_its_margins_are_planned(own: Callable[..., Any]) -> None:
    """``vote.k = "auto"`` is for any voter whose k is the margin of a race, and for no other one."""
    auto = {"model": {"p": 0.95}, "k": "auto", "target": 0.9}
    calibrate(own("Racing", **auto), steps=200, votes=6)
    planned = plan(api.load_job(own("Racing", **auto)))
    assert planned.margins.k["move"] >= 3
    with pytest.raises(JobError, match=r"another race to a lead of k, not .*Silent"):
        api.load_job(own("Silent", **auto))
