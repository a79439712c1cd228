"""Runs with models that think aloud: what is decided, what is kept, and that older runs still verify."""

from __future__ import annotations

import json
import sqlite3
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import maker
from maker.errors import BadInput, JobError
from maker.job.fingerprint import difference, run_fingerprint
from maker.job.load import load_job
from maker.lifecycle.rows import results
from maker.lifecycle.sft import export_examples
from maker.plugin import Truth
from maker.sampling.labels import Label, format_labels
from maker.voting.thinking import AS_IT_IS

LABELS = {"label": {"enum": ["ham", "spam"]}}
SCHEMA = {"type": "object", "properties": LABELS, "required": ["label"], "additionalProperties": False}
MARKS = {"tags": ("<think>", "</think>"), "own": ("<scratch>", "</scratch>")}


def truth(prompt: str) -> Truth:
    """Return replies with a draft of the other label in their thinking, in the marks that the prompt names."""
    opening, closing = MARKS[prompt.split(maxsplit=1)[0]]
    right, draft = ('{"label": "spam"}', '{"label": "ham"}')
    return Truth((f"{opening}First {draft}.{closing}\n{right}",), (f"{opening}So {draft}, or",))


def job(folder: Path, marks: str = "tags", **vote: Any) -> dict[str, Any]:
    """Return a map of six rows."""
    (folder / "rows.csv").write_text("id,marks\n" + "".join(f"r{n},{marks}\n" for n in range(6)))
    return {
        "task": {
            "decomposer": "map", "input": str(folder / "rows.csv"), "template": "{{marks}} {{id}}", "id_column": "id",
            "schema": SCHEMA, "truth": "test_thinking_runs:truth",
        },
        "model": {"kind": "simulated", "p": 0.8},
        "vote": {"k": 2, **vote},
        "store": {"url": f"sqlite:///{folder}/runs.db", "samples": "all"},
    }  # fmt: skip


def labels(run_id: str, folder: Path) -> list[str]:
    """Return the decided labels."""
    return [row.answer["label"] for row in results(run_id, store=f"sqlite:///{folder}/runs.db") if row.answer]


@pytest.mark.parametrize(("marks", "vote"), [("tags", {}), ("own", {"thinking": [["<scratch>", "</scratch>"]]})])
def test_a_draft_in_the_thinking_is_never_decided(tmp_path: Path, marks: str, vote: dict[str, Any]) -> None:
    """The answer after it is; thinking that does not end is a red flag; replies are kept whole."""
    run = maker.run(job(tmp_path, marks, **vote))
    assert labels(run.run_id, tmp_path) == ["spam"] * 6
    assert run.red_flags > 0
    assert maker.verify(run.run_id, store=f"sqlite:///{tmp_path}/runs.db").right
    kept = maker.samples(run.run_id, 0, chain="0.0", store=f"sqlite:///{tmp_path}/runs.db")
    assert kept
    assert all((one.text or "").startswith(MARKS[marks][0]) for one in kept)


def test_a_run_of_before_that_rule_verifies_as_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its replies were read whole, drafts too: the log says so. An edit of it is found all the same."""
    with monkeypatch.context() as before:
        before.setattr("maker.job.rules.KNOWN", AS_IT_IS)
        tables = job(tmp_path)
        tables["model"]["p"] = 0
        run = maker.run(tables)
    store = f"sqlite:///{tmp_path}/runs.db"
    assert labels(run.run_id, tmp_path) == ["ham"] * 6
    assert maker.verify(run.run_id, store=store).right
    with sqlite3.connect(tmp_path / "runs.db") as database:
        database.execute("update maker_sample set candidate = ?", ('{"label":"spam"}',))
    assert not maker.verify(run.run_id, store=store).right


def test_a_job_that_says_that_nothing_is_thinking_reads_replies_whole(tmp_path: Path) -> None:
    """An empty list: here a reply holds two objects, or nothing but the draft."""
    run = maker.run(job(tmp_path, thinking=[], max_votes=4))
    assert "spam" not in labels(run.run_id, tmp_path)


OWN = [["<scratch>", "</scratch>"]]


def test_training_examples_hold_answers_without_what_was_thought_in_marks_of_the_job(tmp_path: Path) -> None:
    run, out = maker.run(job(tmp_path, "own", thinking=OWN)), BytesIO()
    export_examples(run.run_id, out, store=f"sqlite:///{tmp_path}/runs.db")
    assert {json.loads(line)["answer"] for line in out.getvalue().splitlines()} == {'{"label": "spam"}'}


@pytest.mark.plan
@pytest.mark.parametrize("labelled", [False, True])
def test_a_pilot_knows_the_marks_of_the_job(tmp_path: Path, labelled: bool) -> None:
    """What its oracle or a label calls right may begin with what is thought."""
    tables = job(tmp_path, "own", thinking=OWN)
    named = [Label(child=n, reply=truth("own").right[0]) for n in range(6)]
    kept = maker.calibrate(tables, steps=6, votes=2, labels=format_labels(named) if labelled else "")
    (row,) = kept.calibration.classes.values()
    assert row.right > 0


def test_marks_of_thinking_decide_steps_and_cannot_change_under_a_run(tmp_path: Path) -> None:
    """They are in the fingerprint of jobs that name some, and in no other."""
    plain, own = load_job(job(tmp_path)), load_job(job(tmp_path, thinking=[["<scratch>", "</scratch>"]]))
    assert "thinking" not in {**plain.settings["vote"], **run_fingerprint(plain)}
    told = difference(run_fingerprint(plain), run_fingerprint(own))
    assert told == "vote.thinking was not set, is [['<scratch>', '</scratch>']]"
    run = maker.run(job(tmp_path), limit_steps=2)
    with pytest.raises(BadInput, match=r"vote\.thinking was not set, is \[\]"):
        maker.resume(run.run_id, ["vote.thinking=[]"], store=f"sqlite:///{tmp_path}/runs.db")


def test_another_voter_on_the_command_line_leaves_the_marks(tmp_path: Path) -> None:
    """How replies are read is no matter of the voter."""
    chosen = load_job(job(tmp_path, thinking=[["<scratch>", "</scratch>"]]), ["vote.voter=majority"])
    assert chosen.settings["vote"]["thinking"] == [["<scratch>", "</scratch>"]]


@pytest.mark.parametrize("marks", [[["<s>", ""]], [["***", "***"]], [["<s>"]], "<s>"])
def test_marks_that_cannot_be_are_refused_by_name(tmp_path: Path, marks: Any) -> None:
    """An empty mark would be everywhere, and one that opens and closes nothing can be told of."""
    with pytest.raises(JobError, match=r"vote\.thinking"):
        load_job(job(tmp_path, thinking=marks))
