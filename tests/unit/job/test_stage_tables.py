"""Jobs with stages: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maker.errors import JobError
from maker.job.load import load_job
from maker.job.stages import load_staged, stage_job, stored_stages

CHEAP = {"name": "cheap", "model": {"kind": "simulated", "p": 0.9}, "vote": {"k": 4}}
STRONG = {"name": "strong", "model": {"kind": "simulated", "p": 0.99}}


def job(folder: Path, *stages: dict[str, Any], **tables: dict[str, Any]) -> dict[str, Any]:
    """Return a map with stages."""
    (folder / "rows.csv").write_text("id,text\n1,a\n2,b\n")
    task = {"decomposer": "map", "input": str(folder / "rows.csv"), "template": "{{text}}?"}
    accept = {"error": 0.05, "labels": "labels.csv"}
    return {"task": task, "accept": accept, "vote": {"k": 2}, "stage": list(stages or (CHEAP, STRONG))} | tables


def test_each_stage_has_its_model_and_what_it_says_of_the_vote(tmp_path: Path) -> None:
    """The rest is as the job says for all."""
    found = load_staged(job(tmp_path), ["stage.strong.vote.k=3", "run.seed=7"])
    assert found is not None
    assert found.names == ("cheap", "strong")
    assert [one.settings["vote"]["k"] for one in found.jobs] == [4, 3]
    assert [one.settings["model"]["p"] for one in found.jobs] == [0.9, 0.99]
    assert {one.run.seed for one in found.jobs} == {7}


def test_a_job_without_stages_has_none(tmp_path: Path) -> None:
    """It is a job like any other."""
    tables = job(tmp_path)
    del tables["stage"]
    assert load_staged(tables | {"model": CHEAP["model"]}) is None


def test_what_a_run_stores_makes_the_same_job(tmp_path: Path) -> None:
    """A stage's run names all stages, and which rows it asks."""
    found = load_staged(job(tmp_path, task={**job(tmp_path)["task"], "output": str(tmp_path / "out")}))
    assert found is not None
    made = stage_job(found.jobs[1], found.stages("x", 1), [1])
    assert made.decomposer.count() == 1  # type: ignore[attr-defined]
    assert made.settings["task"]["output"] == ""
    again = stored_stages(made.settings, "x.strong")
    assert again.names == found.names
    assert again.output == found.output == str(tmp_path / "out")
    assert [one.settings["vote"] for one in again.jobs] == [one.settings["vote"] for one in found.jobs]
    assert again.jobs[0].decomposer.count() == 2  # type: ignore[attr-defined]


ASKS = {**CHEAP, "vote": {"k": 4, "on_undecided": "ask"}}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"stage": [CHEAP, {**STRONG, "name": "Cheap"}]}, "two stages are called 'cheap'"),
        ({"stage": [CHEAP]}, "there is 1 stage"),
        ({"stage": CHEAP}, "not a list of tables"),
        ({"stage": [CHEAP, {"name": "people"}]}, "stage 2 names no model"),
        ({"stage": [CHEAP, {**STRONG, "accept": {"error": 0.01}}]}, "a stage has no accept"),
        ({"stage": [CHEAP, {**STRONG, "votes": {"k": 3}}]}, "no such setting 'votes'"),
        ({"stage": [CHEAP, {**STRONG, "name": "a b"}]}, "stage 2: name"),
        ({"stage": [ASKS, STRONG]}, "stage cheap asks people, and stage strong would come after"),
        ({"accept": {"error": 0.05}}, "stages need labels"),
        ({"accept": {}}, "stages need labels"),
        ({"accept": {"error": 0.05, "labels": "x", "by": ["votes", "logprob"]}}, "several signals"),
        ({"limits": {"max_undecided": 3}}, "max_undecided does not go with stages"),
        ({"limits": {"max_cost": 3.0}}, "stage cheap: .*limits.max_cost needs prices"),
        ({"model": {"kind": "simulated"}}, "has a model beside them"),
        ({"vote": {"row_error": 0.1}, "stage": [{**CHEAP, "vote": {}}, STRONG]}, "stage cheap leaves its margin open"),
        ({"stage": [CHEAP, {**STRONG, "model": {"kind": "simulated", "q": 1}}]}, "stage strong: .*no such setting"),
        ({"limits": {"max_cost": -1.0}}, "stage cheap: .*limits.max_cost"),
        ({"task": {"decomposer": "hanoi", "disks": 3}}, "is about rows, and hanoi has none"),
    ],
)
def test_what_stages_cannot_be_is_refused(tmp_path: Path, tables: dict[str, Any], message: str) -> None:
    """Before anything is asked, with what to do."""
    with pytest.raises(JobError, match=f"(?s){message}") as refused:
        load_staged(job(tmp_path) | tables)
    # A value out of its bounds names its setting and the bound.
    assert refused.value.fix or {"problems", "setting"} & refused.value.facts.keys()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model.p=1", "does not say of which stage"),
        ("stage.strnog.vote.k=3", "there is no stage 'strnog'"),
        ("stage.strong.limits.max_calls=3", "settings of model and of vote"),
    ],
)
def test_an_override_that_names_no_stage_is_refused(tmp_path: Path, word: str, message: str) -> None:
    """It is not clear what it would change."""
    with pytest.raises(JobError, match=message):
        load_staged(job(tmp_path), [word])


def test_what_takes_one_model_refuses_stages(tmp_path: Path) -> None:
    """It says how they are run."""
    with pytest.raises(JobError, match="the job has stages") as refused:
        load_job(job(tmp_path))
    assert "maker run" in refused.value.fix
