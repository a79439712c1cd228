"""k by step class: `vote.k` as a table, and what is refused of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fork_tasks import leaf

from maker import api
from maker.errors import JobError, RunNotResumable
from maker.lifecycle import queries

TASKS = Path(__file__).parents[1] / "fork_tasks.py"


def job(k: Any, tmp_path: Path, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        "task": {"decomposer": f"{TASKS}:Tree", "shape": leaf(40)},
        "model": {"kind": "simulated", "p": 0.9},
        "store": {"url": f"sqlite:///{tmp_path}/maker.db"},
        "vote": {"k": k},
    } | tables


def test_each_class_is_decided_by_its_own_margin(tmp_path: Path) -> None:
    settings = job({"even": 2, "odd": 5}, tmp_path)
    ended = api.run(settings)
    store = settings["store"]["url"]
    margins = Counter((step.kind, step.margin) for step in queries.steps(ended.run_id, store=store))
    assert margins == {("even", 2): 20, ("odd", 5): 20}
    assert queries.verify(ended.run_id, store=store).right
    assert ended.settings["vote"]["k"] == {"even": 2, "odd": 5}


def test_margins_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    settings = job({"even": 2, "odd": 5}, tmp_path)
    ended = api.run(settings, limit_steps=3)
    store = settings["store"]["url"]
    with pytest.raises(RunNotResumable, match="vote: k: odd was 5, is 4"):
        api.resume(ended.run_id, ["vote.k.odd=4"], store=store)
    assert api.resume(ended.run_id, store=store).status == "done"


@pytest.mark.parametrize(
    ("k", "told"),
    [
        ({"even": 2}, "has no value for the step class 'odd'"),
        ({"even": 2, "odd": 3, "od": 3}, r"vote\.k\.od: tree has no such class"),
        ({"even": 2, "odd": 0}, r"vote\.k\.odd = 0 must be a whole number, 1 or more"),
        ({"even": 2, "odd": True}, r"vote\.k\.odd = True"),
        ({"even": 2, "odd": 2000}, "less than or equal to 1000"),
        ({"even": 2, "odd": 101}, r"vote\.max_votes = 100: first-to-ahead-by-k needs at least 101"),
        ({}, "names no step class"),
    ],
)
def test_wrong_margins_are_refused(k: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=told):
        api.load_job(job(k, tmp_path))


def test_a_margin_of_a_role_and_margins_by_class_are_two_ways_to_say_one_thing(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="exclude each other"):
        api.load_job(job({"even": 2, "odd": 3}, tmp_path, roles={"solver": {"k": 2}}))
    with pytest.raises(JobError, match=r"roles\.judge\.k is missing"):
        api.load_job(job({"even": 2, "odd": 3}, tmp_path, roles={"judge": {"prompt": "Which?"}}))


@pytest.mark.parametrize("target", [0, 1, 1.5, "high"])
def test_a_target_is_a_probability(target: Any, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"vote\.target"):
        api.load_job(job(3, tmp_path, vote={"k": "auto", "target": target}))
