"""What databases hold of a job: settings and fingerprints are made today, byte for byte, as version 0.1 made them."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from job_kinds import BUDGET_PLAN, PILOT_FOUND, TARGET_PLAN, as_stored, job_kinds

from maker import api
from maker.job.fingerprint import calibration_fingerprint, difference, run_fingerprint, settings_fingerprint
from maker.job.job import Job
from maker.job.probe import input_parts
from maker.job.resolve import stored_job
from maker.job.rules import rules_of
from maker.job.settings import PilotFound, PlanFound
from maker.job.variants import with_pilot, with_plan

STORED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "stored_jobs.json").read_text())
"""Settings and fingerprint by the name of a job, and a digest of the fingerprint that its calibrations have."""


def made(name: str, folder: Path) -> Job:
    """Return the job of a name; the files that it reads are in a folder."""
    if name.endswith(", resumed"):
        settings = json.loads(json.dumps(made(name.removesuffix(", resumed"), folder).settings))
        return stored_job(settings, "r", ["limits.max_calls=5000"])
    kinds = job_kinds(folder)
    if name == "planned for a target":
        return with_plan(api.load_job(kinds["margin left to a plan"]), PlanFound.model_validate(TARGET_PLAN))
    if name == "planned for a budget":
        return with_plan(api.load_job(kinds["margin left to a budget"]), PlanFound.model_validate(BUDGET_PLAN))
    if name == "margin found by a pilot":
        return with_pilot(api.load_job(kinds["margin left to a pilot"]), PilotFound.model_validate(PILOT_FOUND))
    # Only a stored run has the tables of a pilot, and of steps that are decided ahead.
    stored_alone = {table: keys for table, keys in kinds[name].items() if table in ("poll", "foresight")}
    job = api.load_job({table: keys for table, keys in kinds[name].items() if table not in stored_alone})
    return stored_job(job.settings | stored_alone, "r") if stored_alone else job


@pytest.mark.parametrize("name", STORED)
def test_settings_and_fingerprints_stay_as_they_were_stored(name: str, tmp_path: Path) -> None:
    """A changed byte would part a run from its pilots and its calibrations, or refuse its resume."""
    job, stored = made(name, tmp_path.resolve()), STORED[name]
    if "input" in job.settings["task"]:
        input_parts(job)
    assert as_stored(job.settings, tmp_path.resolve()) == json.dumps(stored["settings"])
    assert as_stored(run_fingerprint(job), tmp_path.resolve()) == json.dumps(stored["fingerprint"])
    calibration = as_stored(calibration_fingerprint(job), tmp_path.resolve())
    assert sha256(calibration.encode()).hexdigest()[:16] == stored["calibration"]


def test_a_run_planned_for_a_budget_is_resumed_more_than_once(tmp_path: Path) -> None:
    """A resume stores no target where there is none, and the next one reads that."""
    once = made("planned for a budget, resumed", tmp_path)
    assert "target" not in once.settings["vote"]["plan"]
    assert made("planned for a budget, resumed, resumed", tmp_path).settings == once.settings


@pytest.mark.parametrize("name", ["planned for a target", "planned for a budget", "margin found by a pilot"])
def test_a_job_whose_margins_were_found_is_what_its_settings_make(name: str, tmp_path: Path) -> None:
    """Settings are the one source: what was found and what a resume reads of it come to the same votes."""
    found = made(name, tmp_path)
    read = stored_job(json.loads(json.dumps(found.settings)), "r")
    assert (found.vote, found.margins) == (read.vote, read.margins)
    kinds = found.decomposer.classes
    rules, again = rules_of(found), rules_of(read)
    assert [rules.of(kind).voter.least for kind in kinds] == [again.of(kind).voter.least for kind in kinds]
    assert {found.origins["vote.k"], found.origins["run.seed"]} == {"pilot" if found.vote.pilot else "plan", "default"}


EDITIONS = [
    {"decomposer": "recursive", "problem": "Add 1, 2 and 3."},
    {"decomposer": "document", "input": "x.txt", "question": "Who was it?"},
]


@pytest.mark.parametrize("task", EDITIONS, ids=lambda task: task["decomposer"])
def test_a_run_keeps_the_words_that_it_began_with(task: dict[str, Any]) -> None:
    """A new run has the newest edition and stores it; a stored run without one goes on with the first, and no other."""
    tables = {"task": task, "model": {"kind": "simulated"}}
    new, first = api.load_job(tables), api.load_job(tables | {"task": task | {"words": 1}})
    assert (new.settings["task"]["words"], "words" in first.settings["task"]) == (2, False)
    again = stored_job(first.settings, "r")
    assert again.decomposer.params == first.decomposer.params
    assert stored_job(new.settings, "r").decomposer.params == new.decomposer.params
    old, changed = settings_fingerprint(again), settings_fingerprint(stored_job(first.settings, "r", ["task.words=2"]))
    assert difference(old, settings_fingerprint(first)) == ""
    assert "words was 1, is 2" in difference(old, changed)
