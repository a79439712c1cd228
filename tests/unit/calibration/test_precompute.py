"""Questions that are decided ahead of time: by the job's own vote, for whoever asks them later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fork_tasks import leaf

from maker import api
from maker.calibration.calibrate import calibrate
from maker.calibration.plan import plan
from maker.calibration.precompute import precompute
from maker.errors import BadInput, JobError, PilotPaused
from maker.lifecycle import queries

pytestmark = pytest.mark.plan

LETTERS = Path(__file__).parents[1] / "letter_task.py"
VOTER = "voters.first_to_ahead_by_k:FirstToAheadByK"


def hanoi(url: str, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    base: dict[str, dict[str, Any]] = {
        "task": {"decomposer": "decomposers.hanoi:Hanoi", "disks": 5, "memo": "store"},
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"voter": VOTER, "k": 8},
        "store": {"url": url},
    }
    return base | {name: base.get(name, {}) | table for name, table in tables.items()}


def test_a_run_takes_what_was_decided_ahead(store: str) -> None:
    """Twelve of 31 steps are drawn and decided: the run votes on the other 19, and its log verifies."""
    ahead = precompute(hanoi(store), steps=12)
    assert (ahead.status, ahead.steps, ahead.reused, ahead.name) == (
        "done",
        12,
        0,
        "foresight of decomposers.hanoi:Hanoi",
    )
    assert queries.verify(ahead.run_id, store=store).right
    report = api.run(hanoi(store))
    assert (report.status, report.steps, report.reused) == ("done", 31, 12)
    assert (report.saved_calls, report.distinct) == (ahead.calls, 31)
    assert queries.verify(report.run_id, store=store).right
    # What the run has decided is known to the next foresight, which draws all there are.
    rest = precompute(hanoi(store), steps=100)
    assert (rest.steps, rest.reused, rest.calls) == (31, 31, 0)


def test_a_foresight_that_was_cut_off_goes_on(store: str) -> None:
    """At its limit it stops; asked for again with more, it asks nothing twice, and once it is done it is found."""
    with pytest.raises(PilotPaused, match="limit max_calls"):
        precompute(hanoi(store, limits={"max_calls": 60}), steps=31)
    ahead = precompute(hanoi(store, limits={"max_calls": 2000}), steps=31)
    assert (ahead.status, ahead.steps, ahead.resumes) == ("done", 31, 1)
    assert precompute(hanoi(store, limits={"max_calls": 2000}), steps=31).run_id == ahead.run_id
    assert api.run(hanoi(store)).calls == 0


def test_the_way_of_an_oracle_and_labels_name_steps_too(store: str) -> None:
    """A task whose steps are known once those before them are made is walked the right way; labels name any."""
    made = hanoi(store, task={"decomposer": "fork_tasks:Tree", "shape": leaf(40)})
    del made["task"]["disks"]
    ahead = precompute(made, steps=40)
    assert ahead.steps - ahead.reused == ahead.steps == 8
    assert api.run(made).calls == 0
    labels = json.dumps({"state": json.dumps(["AAAAA", None, 0]), "reply": "1AC"})
    with pytest.raises(BadInput, match="labels, line 1"):
        precompute(hanoi(store), labels=labels)
    first = json.dumps({"reply": "1AC"})
    assert precompute(hanoi(store, vote={"k": 9}), labels=first).steps == 1


def test_what_cannot_be_settled_holds_nothing_up(store: str) -> None:
    """Steps that votes do not settle within max_votes stay open; with more votes another draw settles them."""
    made = hanoi(store, model={"p": 0.6}, vote={"k": 5, "max_votes": 12})
    ahead = precompute(made, steps=31)
    assert ahead.status == "done"
    assert 0 < ahead.steps < 31
    assert precompute(made, ["vote.max_votes=1000"], steps=31).run_id == ahead.run_id
    again = precompute(made, ["vote.max_votes=1000"], steps=32)
    assert (again.steps, again.reused) == (31, ahead.steps)


def test_a_job_that_keeps_nothing_is_refused(store: str) -> None:
    for memo in ("off", "run"):
        with pytest.raises(BadInput, match=f'task.memo = "{memo}"'):
            precompute(hanoi(store, task={"memo": memo}))


def test_a_task_that_says_nothing_of_its_steps_is_refused(store: str, tmp_path: Path) -> None:
    text = "from letter_task import Letters\n\nclass Silent(Letters):\n    oracle = sample = lambda self, *how: None\n"
    (tmp_path / "silent.py").write_text(text)
    made = hanoi(store) | {"task": {"decomposer": f"{tmp_path}/silent.py:Silent", "steps": 4, "memo": "store"}}
    with pytest.raises(BadInput, match="there are no steps to draw"):
        precompute(made)


def test_nobody_else_writes_the_table(store: str) -> None:
    with pytest.raises(JobError, match=r"no table \[foresight\]"):
        api.load_job(hanoi(store, foresight={"steps": 3}))


# --- pilots and plans of jobs with a memo ---


def test_a_pilot_hears_samples_whatever_the_memo_knows(store: str) -> None:
    """What was decided before says nothing of how the votes come out: a pilot asks, and a plan fits either job."""
    api.run(hanoi(store))
    kept = calibrate(hanoi(store), steps=31, votes=6)
    assert kept.calibration.samples == 31 * 6


@pytest.mark.parametrize(("counted", "steps", "said"), [(True, 4, "distinct"), (False, 400, "every step counts")])
def test_a_plan_counts_distinct_decisions(store: str, tmp_path: Path, counted: bool, steps: int, said: str) -> None:
    """Where the task counts its questions these are planned for, else all steps are, and the plan says so."""
    questions = "    def questions(self):\n        return {'letter': 4}\n" if counted else ""
    (tmp_path / "repeats.py").write_text(REPEATS + questions)
    task = {"decomposer": f"{tmp_path}/repeats.py:Repeats", "memo": "store"}
    made = hanoi(store) | {"task": task, "vote": {"voter": "first-to-ahead-by-k", "k": "auto", "target": 0.95}}
    calibrate(made, steps=400, votes=200)
    found = plan(api.load_job(made))
    assert sum(one.steps for one in found.classes) == steps
    assert said in found.reuse
    off = {**made, "task": task | {"memo": "off"}}
    unshared = plan(api.load_job(off))
    assert (sum(one.steps for one in unshared.classes), unshared.reuse) == (400, "")
    assert found.margins.k["letter"] <= unshared.margins.k["letter"]


REPEATS = """
from maker.plugin import Decomposer, Done, Params, PydanticCodec, Step, StepClass, Truth

class Repeats(Decomposer[int, str]):
    name, version, Params = "repeats", 1, Params
    def __init__(self, params):
        self.state, self.action = PydanticCodec(int), PydanticCodec(str)
        self.kind = StepClass("letter", parse=str.strip)
        self.classes = (self.kind,)
    def start(self):
        return 0
    def next(self, state):
        return Step(self.kind, f"{state % 4}?") if state < 400 else Done(state)
    def apply(self, state, action):
        return state + 1
    def prompts(self):
        return ""
    def expected_steps(self):
        return 400
    def oracle(self):
        return lambda prompt: Truth(("x",), ("y",))
"""
