"""Examples of a run: what was decided in it, with its prompts, and nothing of a run that does not verify."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import row_tasks
from fork_tasks import Shape, leaf

from decomposers.hanoi.oracle import move_truth
from maker import api
from maker.calibration.calibrate import calibrate
from maker.errors import BadInput
from maker.lifecycle import admin, queries
from maker.lifecycle.sft import export_examples

Job = Callable[..., dict[str, dict[str, Any]]]
TREE: Shape = {
    "steps": [2, 1, 3],
    "forks": [{"children": [leaf(3), {"steps": [1, 1], "forks": [{"singles": 4}]}, leaf(2)]}, {"singles": 5}],
}


def examples(store: str) -> list[dict[str, Any]]:
    stream = io.BytesIO()
    done = export_examples("last", stream, store=store)
    lines = [json.loads(line) for line in stream.getvalue().decode().splitlines()]
    assert done.steps == len(lines)
    return lines


def edit(store: str, sql: str) -> None:
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection, connection:
        assert connection.execute(sql).rowcount > 0


def test_every_step_is_an_example(hanoi: Job, store: str) -> None:
    """Prompts are those that were asked, answers what was decided, negatives the rivals, and votes are counted."""
    report = api.run(hanoi(6, model={"p": 0.8, "malformed": 0.05}))
    found = examples(store)
    records = list(queries.steps("last", store=store))
    assert len(found) == len(records) == 63
    for line, record in zip(found, records, strict=True):
        assert line["answer"] == move_truth(line["prompt"]).right[0]
        votes = dict(record.votes)
        assert votes.pop(line["answer"]) == line["votes"] - sum(votes.values())
        assert {one["answer"]: one["votes"] for one in line["negatives"]} == votes
        assert (line["class"], line["system"], line["margin"]) == ("move", "", record.margin)
        assert (line["run"], line["chain"], line["step"]) == (report.run_id, record.chain, record.step)
    assert any(line["negatives"] for line in found)


def test_what_a_judge_decided_is_an_example(hanoi: Job, store: str) -> None:
    """Votes are those of the first election, which settled nothing; answer and margin are as the judge has it."""
    tables = hanoi(5, model={"p": 0.72, "rivals": 3}, vote={"k": 4, "max_votes": 12}, store={"samples": "all"})
    api.run(tables | {"roles": {"judge": {"k": 2}}, "run": {"seed": 3}})
    found, records = examples(store), list(queries.steps("last", store=store))
    judged = [(line, one) for line, one in zip(found, records, strict=True) if one.judge]
    assert judged
    for line, one in judged:
        assert (line["answer"], line["margin"]) == (move_truth(line["prompt"]).right[0], one.margin)
        assert one.margin < 4
        assert {one["answer"] for one in line["negatives"]} == set(one.votes) - {line["answer"]}
        assert line["votes"] == sum(one.votes.values())


def test_what_was_taken_from_the_memo_is_an_example_where_it_was_decided(hanoi: Job, store: str) -> None:
    job = hanoi(5)
    job["task"]["memo"] = "store"
    api.run(job)
    assert len(examples(store)) == 31
    again = api.run(job)
    assert again.calls == 0
    with pytest.raises(BadInput, match="all 31 steps were taken from the memo"):
        examples(store)


def test_children_are_examples_too(store: str) -> None:
    """Each step of a run that forks comes once, in the order of the log, single steps as chains of their own."""
    job = {
        "task": {"decomposer": "fork_tasks:Tree", "shape": TREE},
        "model": {"kind": "simulated", "p": 0.9, "rivals": 3},
        "vote": {"k": 2, "max_votes": 1000},
        "store": {"url": store, "samples": "all"},
    }
    api.run(job)
    told = [(line["chain"], line["step"]) for line in examples(store)]
    assert told == [(record.chain, record.step) for record in queries.steps("last", store=store)]


def test_rows_of_a_map_are_examples(tmp_path: Path, store: str) -> None:
    """Rows without a good decision are left out; those that a later round decides are that round's examples."""
    row_tasks.write_rows(tmp_path / "rows.csv", range(60))
    first = api.run(row_tasks.job(tmp_path, vote={"k": 3, "max_votes": 6}))
    assert first.status == "done"
    found = examples(store)
    answered = list(queries.steps("last", store=store))
    assert [line["chain"] for line in found] == [record.chain for record in answered]
    assert 0 < len(found) < 60
    for line in found:
        right, wrong = row_tasks.truth(line["prompt"])
        # Clean rows have the answer as it is stored, with its keys in order: it reads the same.
        said = [json.loads(text) for text in (*right, *wrong)]
        assert json.loads(line["answer"]) in said
        assert all(json.loads(one["answer"]) in said for one in line["negatives"])
    second = api.retry("last", ["vote.max_votes=40"], store=store)
    again = examples(store)
    assert {line["run"] for line in again} == {first.run_id, second.run_id}
    assert [line for line in again if line["run"] == first.run_id] == found
    prompts = [line["prompt"] for line in again]
    assert len(prompts) == len(set(prompts)) == 60


def test_a_forked_run_names_who_decided(hanoi: Job, store: str) -> None:
    """Steps that a run shares with the one it was forked off carry that one's id; superseded ones are not there."""
    source = api.run(hanoi(5))
    admin.fork("last", 20, ["run.seed=7"], store=store)
    report = api.resume("last", store=store)
    assert [line["run"] for line in examples(store)] == [source.run_id] * 20 + [report.run_id] * 11


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE maker_step SET action = '1AB' WHERE idx = 20", "does not verify: step 20: .*1AB"),
        ("UPDATE maker_run SET votes = votes + 1", "does not verify: the run's row has"),
        ("DELETE FROM maker_step WHERE idx = 30", "does not verify: step 30"),
    ],
)
@pytest.mark.parametrize("file", [True, False])
def test_a_run_that_does_not_verify_is_refused(
    hanoi: Job, store: str, tmp_path: Path, sql: str, said: str, file: bool
) -> None:
    """Damage is named, and neither a file nor a stream holds anything of the run."""
    api.run(hanoi(5))
    edit(store, sql)
    stream = io.BytesIO()
    with pytest.raises(BadInput, match=said) as caught:
        export_examples("last", tmp_path / "out.jsonl" if file else stream, store=store)
    assert "maker verify" in caught.value.fix
    assert not stream.getvalue()
    assert not list(tmp_path.glob("out*"))


def test_a_run_that_is_not_done_is_refused(hanoi: Job, store: str) -> None:
    """One that pauses may go on; one that missed its goal has a wrong step somewhere."""
    api.run(hanoi(5), limit_steps=9)
    with pytest.raises(BadInput, match="is paused, not done"):
        examples(store)
    assert api.run(hanoi(5, model={"p": 0.5}, vote={"k": 1})).status == "failed"
    with pytest.raises(BadInput, match="is failed, not done"):
        examples(store)


@pytest.mark.plan
def test_a_run_that_decided_nothing_is_refused(hanoi: Job, store: str) -> None:
    """A calibration's pilot asks and decides nothing."""
    calibrate(api.load_job(hanoi(5)), steps=5, votes=2)
    with pytest.raises(BadInput, match="no training examples: it has decided no step"):
        # `last` is no pilot.
        export_examples(queries.runs(store=store)[0].run_id, io.BytesIO(), store=store)


def test_a_file_that_is_there(hanoi: Job, store: str, tmp_path: Path) -> None:
    """A file is replaced only where that is asked for."""
    api.run(hanoi(3))
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(BadInput, match="exists already"):
        export_examples("last", out, store=store)
    assert export_examples("last", out, store=store, force=True).steps == 7
    assert len(out.read_text().splitlines()) == 7


TASK = """
from maker.plugin import Decomposer, Done, Params, PydanticCodec, Step, StepClass, Truth

class Codec:
    def write(self, value): return value
    def read(self, text): return text
    def show(self, value): return value

def parse(text):
    word, _, last = text.rpartition(" ")
    if word != "so:":
        raise ValueError(text)
    return last

class Letters(Decomposer):
    name, version, Params = "letters", 1, Params
    def __init__(self, params):
        self.state, self.action = PydanticCodec(int), Codec()
        self.kind = StepClass("letter", parse=parse, max_tokens=8, system="Say a letter. ")
        self.classes = (self.kind,)
    def start(self): return 0
    def next(self, state): return Step(self.kind, f"letter {state}") if state < 40 else Done(state)
    def apply(self, state, action): return state + 1
    def oracle(self): return lambda prompt: Truth(("so: x",), ("so: y",))
"""


def test_replies_that_are_no_actions(store: str, tmp_path: Path) -> None:
    """An answer is what a sample said where samples are kept; else a step is left out whose action is no reply."""
    file = tmp_path / "letters.py"
    file.write_text(TASK)
    job: dict[str, dict[str, Any]] = {
        "task": {"decomposer": f"{file}:Letters"},
        "model": {"kind": "simulated", "p": 0.8},
        "vote": {"k": 3},
        "store": {"url": store},
    }
    report = api.run(job)
    found = examples(store)
    assert 0 < len(found) == report.disputed < 40
    assert {line["answer"] for line in found} == {"so: x"}
    assert all([one["answer"] for one in line["negatives"]] == ["so: y"] for line in found)
    assert export_examples("last", io.BytesIO(), store=store).left_out == 40 - len(found)
    api.run(job | {"store": {"url": store, "samples": "all"}})
    assert [line["prompt"] for line in examples(store)] == [f"letter {i}" for i in range(40)]
    assert {line["system"] for line in examples(store)} == {"Say a letter. "}
    api.run(job | {"model": {"kind": "simulated", "p": 1.0}})
    with pytest.raises(BadInput, match="no training examples: none of its 40 decided steps has"):
        examples(store)
