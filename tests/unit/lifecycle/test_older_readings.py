"""Logs of maps whose replies were read otherwise than they are today: they verify as they did."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import maker
from decomposers.map.answer import AnswerFormat
from maker.lifecycle.rows import results
from maker.lifecycle.sft import export_examples
from maker.plugin import Truth

SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}}


def truth(prompt: str) -> Truth:
    """Return replies that are spelled in several ways, or give an example before the answer."""
    number = int(prompt.removeprefix("row r"))
    if number % 3 == 0:
        return Truth(('The form is\n```json\n{"label": "Ham"}\n```\nso {"label": "Spam"}',), ("none",))
    return Truth(('{"label": "SPAM"}', '{"label": "spam."}'), ('{"label": "ham"}',))


def job(folder: Path) -> dict[str, Any]:
    """Return a map of nine rows."""
    (folder / "rows.csv").write_text("id\n" + "".join(f"r{n}\n" for n in range(9)))
    return {
        "task": {
            "decomposer": "map", "input": str(folder / "rows.csv"), "template": "row {{id}}", "id_column": "id",
            "schema": SCHEMA, "fields": {"label": "casefold"}, "truth": "test_older_readings:truth",
        },
        "model": {"kind": "simulated", "p": 0.95},
        "vote": {"k": 3, "max_votes": 12},
        "store": {"url": f"sqlite:///{folder}/runs.db", "samples": "all"},
    }  # fmt: skip


def test_a_log_of_first_forms_and_fences_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decisions stay, examples are made of them, and an edit of a sample is found."""
    store = f"sqlite:///{tmp_path}/runs.db"
    with monkeypatch.context() as before:
        before.setattr(AnswerFormat, "parse", AnswerFormat.parse_before)
        old = maker.run(job(tmp_path))
    labels = {row.id: row.answer["label"] for row in results(old.run_id, store=store)}
    assert {labels[f"r{n}"] for n in (0, 3, 6)} == {"Ham"}
    assert {labels[f"r{n}"] for n in (1, 2, 4, 5, 7, 8)} <= {"SPAM", "spam."}
    assert maker.verify(old.run_id, store=store).right
    assert export_examples(old.run_id, tmp_path / "steps.jsonl", store=store).left_out == 0
    answers = [json.loads(line)["answer"] for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert sum("```" in answer for answer in answers) == 3
    with sqlite3.connect(tmp_path / "runs.db") as database:
        database.execute("update maker_sample set candidate = ? where idx = 1", ('{"label":"ham"}',))
    assert not maker.verify(old.run_id, store=store).right


def test_today_equal_answers_are_written_alike_and_no_example_is_taken(tmp_path: Path) -> None:
    """A row whose replies hold two objects has no valid reply."""
    store = f"sqlite:///{tmp_path}/runs.db"
    run = maker.run(job(tmp_path))
    found = {row.id: row.answer and row.answer["label"] for row in results(run.run_id, store=store)}
    assert found == {f"r{n}": "spam" if n % 3 else None for n in range(9)}
    assert maker.verify(run.run_id, store=store).right
