"""Runs that are watched beside the pilot that their margin rests on: kept with the run, told, and told again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from row_tasks import job as rows_job
from row_tasks import write_rows

import maker
from maker import api
from maker.calibration.calibrate import calibrate
from maker.calibration.find_margins import planned
from maker.job.job import Job
from maker.job.settings import PlanFound
from maker.job.variants import with_pilot, with_plan
from maker.lifecycle import queries
from maker.lifecycle.session import monitor_plan
from maker.reporting.claims import AGAINST
from maker.stats.vote_tests import PilotSteps

SHIFT = ["shift"]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/maker.db"


def hanoi(store: str, p: float, **tables: Any) -> dict[str, dict[str, Any]]:
    base = {
        "task": {"decomposer": "hanoi", "disks": 10},
        "model": {"kind": "simulated", "p": p},
        "vote": {"k": "auto", "target": 0.95, "max_votes": 1000},
        "store": {"url": store},
    }
    return base | tables


def rows(store: str, folder: Path, p: float) -> dict[str, dict[str, Any]]:
    write_rows(folder / "rows.csv", range(1200))
    made = rows_job(folder, model={"p": p, "rivals": 1, "malformed": 0.0}, store={"url": store})
    return made | {"vote": {"row_error": 0.05, "max_votes": 200}}


def told(run: Any) -> list[str]:
    return [one["statistic"] for one in run.events if one["kind"] == "alarm"]


def pool(p: float) -> dict[str, Any]:
    """Return a model and another that gets no turn yet."""
    one = {"kind": "simulated", "p": p}
    return {"kind": "pool", "members": {"first": one, "spare": one}, "rotation": ["first"]}


def changed(kind: str, store: str, folder: Path) -> Job:
    """Return a job whose margin was found where p was .97, and whose model has .88 now."""
    if kind == "plan":
        before, now = (hanoi(store, p, model=pool(p)) for p in (0.97, 0.88))
        calibrate(before, steps=300)
        found = planned(api.load_job(before)).job.vote.plan
        assert found is not None
        return with_plan(api.load_job(now), found)
    pilot = maker.pilot(rows(store, folder, 0.97)).vote.pilot
    assert pilot is not None
    return with_pilot(api.load_job(rows(store, folder, 0.88)), pilot)


@pytest.mark.plan
def test_a_plan_keeps_what_its_pilot_heard_first(store: str) -> None:
    """As the samples of the pilot have it, and as nobody would see by counting: the calibration holds it by votes."""
    kept = calibrate(hanoi(store, 0.9), steps=300)
    made = planned(api.load_job(hanoi(store, 0.9)))
    assert made.plan is not None
    k = made.plan.margins.k["move"]
    alike = kept.calibration.classes["move"].alike
    assert sum(alike.values()) == 300
    assert max(alike) == kept.calibration.votes
    # At p = .9 the first k votes are alike with .9^k + .1^k.
    pilot = made.job.vote.plan.contested["move"] if made.job.vote.plan else None
    assert pilot == PilotSteps(300, sum(n for votes, n in alike.items() if votes < k))
    assert pilot is not None
    assert pilot.contested / 300 == pytest.approx(1 - 0.9**k - 0.1**k, abs=0.09)
    (watched,) = monitor_plan(made.job).classes
    assert watched.pilot == pilot


@pytest.mark.plan
def test_runs_like_their_pilot_raise_none(store: str, tmp_path: Path) -> None:
    calibrate(hanoi(store, 0.97), steps=300)
    for job in (hanoi(store, 0.97), rows(store, tmp_path, 0.97)):
        run = api.run(job)
        assert (run.status, told(run)) == ("done", [])
        assert maker.report(run.run_id, store=store).alarms == ()


def test_a_pilot_of_rows_counts_them_at_its_margin(store: str, tmp_path: Path) -> None:
    """Its first run, at k = 4, has for each row the votes of a race at the k that was found."""
    found = maker.pilot(rows(store, tmp_path, 0.95)).vote.pilot
    assert found is not None
    records = list(queries.steps(found.runs[0], store=store))
    assert found.contested is not None
    assert found.contested.steps == found.rows == len(records)
    least = sum(len(one.votes) > 1 for one in records)
    assert 1 < found.k < 4
    assert 0 < found.contested.contested < least
    assert found.contested.contested / found.rows == pytest.approx(1 - 0.95**found.k - 0.05**found.k, abs=0.06)


@pytest.mark.plan
@pytest.mark.parametrize("kind", ["plan", "pilot"])
def test_a_model_that_is_worse_than_in_the_pilot_is_told(kind: str, store: str, tmp_path: Path) -> None:
    """It is told, the log shows it again, and it speaks against what was claimed; the run's own number stays."""
    run = api.run(changed(kind, store, tmp_path))
    assert (run.status, told(run)) == ("done", SHIFT)
    page = maker.report(run.run_id, store=store)
    assert [str(one.alarm.statistic) for one in page.alarms] == SHIFT
    (alarm,) = (one.alarm for one in page.alarms)
    assert alarm.steps == run.steps
    assert alarm.found == run.monitor[0]["contested"]
    assert page.whole.right is not None
    assert page.claim.text[-1] == AGAINST
    assert "the pilot's steps were easier" in page.told[0]["text"]


@pytest.mark.plan
def test_a_resume_has_the_pilot_too(store: str, tmp_path: Path) -> None:
    """The alarm comes at a count that only the resume reaches, as in a run that was never stopped."""
    job = changed("plan", store, tmp_path)
    begun = api.run(job, limit_steps=20)
    assert told(begun) == []
    assert told(api.resume(begun.run_id, store=store)) == told(api.run(job)) == SHIFT


@pytest.mark.plan
def test_a_run_that_was_decorrelated_is_compared_no_more(store: str, tmp_path: Path) -> None:
    """Its votes are asked in other ways than the pilot's: neither the monitor does it nor the report."""
    job = changed("plan", store, tmp_path)
    paused = api.run(job, limit_steps=400)
    assert told(paused) == SHIFT
    words = ["monitor.policy=decorrelate", 'monitor.members=["spare"]']
    ended = api.resume(paused.run_id, words, store=store)
    assert ended.monitor[0]["decorrelated"]
    assert ended.monitor[0]["steps"] > 64
    assert told(ended) == SHIFT
    assert maker.report(ended.run_id, store=store).alarms == ()


@pytest.mark.plan
def test_a_plan_of_an_earlier_version_has_no_such_test(store: str, tmp_path: Path) -> None:
    """It says nothing of first votes; the run goes as it did."""
    job = changed("plan", store, tmp_path)
    assert job.vote.plan is not None
    old = PlanFound.model_validate(job.vote.plan.model_dump() | {"contested": {}})
    run = api.run(with_plan(api.load_job(hanoi(store, 0.88, model=pool(0.88))), old))
    assert (told(run), "contested" in run.settings["vote"]["plan"]) == ([], False)
    assert maker.report(run.run_id, store=store).alarms == ()
