"""Rows of a map: what of an answer comes out, which rows fail by themselves, and how later rounds name their rows."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needs import Late
from pydantic import ValidationError
from row_tasks import SCHEMA, job, write_rows

from decomposers.map import Map, MapParams
from decomposers.map.root import Ranges, Root, RootCodec, Run, add_row, merged
from maker import api
from maker.errors import BadInput, JobError
from maker.lifecycle import queries, row_files
from maker.lifecycle.rows import results
from maker.plugin import Fork, Truth

fcntl = Late("fcntl")

RIGHT = {"p": 1.0, "malformed": 0.0}


def store(folder: Path) -> str:
    return f"sqlite:///{folder}/maker.db"


def written(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the part files, which must be JSON as everyone reads it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    files = sorted((folder / "out").glob("rows-*.jsonl"))
    return [json.loads(line, parse_constant=refuse) for file in files for line in file.read_text().splitlines()]


def review(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / row_files.REVIEW).read_text().splitlines()]


def write_lines(path: Path, *rows: str) -> str:
    """Write JSON lines; returns their path."""
    path.write_text("".join(row + "\n" for row in rows))
    return str(path)


def made(folder: Path, **params: Any) -> Map:
    """Return a map over ``rows.csv`` in a folder."""
    base = {"input": str(folder / "rows.csv"), "template": "What colour is {{text}}?", "schema": SCHEMA}
    return Map(MapParams.model_validate(base | params))


def forked(task: Map, root: Root) -> Fork[Any]:
    """Return what a root forks into."""
    fork = task.next(root)
    assert isinstance(fork, Fork)
    return fork


# What comes out.


def telling_too_much(prompt: str) -> Truth:
    """Return a reply with more than was asked."""
    return Truth(('{"label": "red", "id": "row-999", "text": "invented", "more": 1}',), ('{"label": "blue"}',))


def test_a_reply_gives_no_value_to_a_column_of_the_row(tmp_path: Path) -> None:
    """What the schema does not name is let through, and neither written to the output nor shown as a result."""
    write_rows(tmp_path / "rows.csv", range(3))
    schema = {"type": "object", "properties": {"label": {"enum": ["red", "blue"]}}, "minProperties": 3}
    task = {"schema": schema, "fields": {}, "truth": "test_map_rows:telling_too_much"}
    api.run(job(tmp_path, task=task, model=RIGHT))
    assert written(tmp_path) == [{"id": f"row-{n}", "text": f"item {n}", "label": "red"} for n in range(3)]
    assert [one.answer for one in results("last", store=store(tmp_path))] == [{"label": "red"}] * 3
    # The schema is asked again of what the log holds, which is all of it.
    assert queries.verify("last", store=store(tmp_path)).right


def test_what_is_no_json_comes_out_of_no_row(tmp_path: Path) -> None:
    """A line with NaN fails by itself."""
    lines = write_lines(
        tmp_path / "r.jsonl", '{"id": "a", "text": "item 1", "x": NaN}', '{"id": "b", "text": "item 2"}'
    )
    report = api.run(job(tmp_path, task={"input": lines, "id_column": ""}, model=RIGHT))
    assert report.result == {"rows": 2, "decided": 1, "failed": 1}
    assert [one["id"] for one in written(tmp_path)] == ["b"]
    assert "row 0 of r.jsonl is not readable JSON: it holds NaN" in review(tmp_path)[0]["reason"]


def test_an_answers_rule_beside_a_schema_is_refused(tmp_path: Path) -> None:
    """It would decide nothing; what a stored job holds of it, the default, is passed over."""
    write_rows(tmp_path / "rows.csv", range(3))
    with pytest.raises(JobError, match="answer is for maps without a schema"):
        api.load_job(job(tmp_path, task={"answer": "casefold"}))
    params = MapParams(input="rows.csv", template="{{text}}", schema=SCHEMA)
    assert MapParams.model_validate(params.model_dump(mode="json", by_alias=True)) == params
    with pytest.raises(ValidationError, match="set how the schema's fields count in fields"):
        MapParams.model_validate(params.model_dump(by_alias=True) | {"answer": {"vote": "number", "tolerance": 1}})


# Rows that fail by themselves.


def test_rows_of_json_lines_fail_one_by_one(tmp_path: Path) -> None:
    """One that lacks a column, has one with the name of a field, or makes no Unicode holds no other up."""
    rows = write_lines(
        tmp_path / "rows.jsonl",
        '{"id": "a"}',
        '{"id": "b", "text": "item 1"}',
        '{"id": "c", "text": "item 2", "label": "human said green"}',
        '{"id": "d", "text": "item 3 \\ud83d"}',
        '{"id": "e", "text": "item 4 \\ud83d\\ude00", "beside": "\\ud83d"}',
    )
    report = api.run(job(tmp_path, task={"input": rows}, model=RIGHT))
    assert report.result == {"rows": 5, "decided": 2, "failed": 3}
    assert [one["id"] for one in written(tmp_path)] == ["b", "e"]
    reasons = {one["id"]: one["reason"] for one in review(tmp_path)}
    assert list(reasons) == ["a", "c", "d"]
    assert "the row has no column 'text'" in reasons["a"]
    assert "the row has a column 'label', which is a field of the answer too" in reasons["c"]
    assert r"the row's prompt is not valid Unicode: '\ud83d' is half of a surrogate pair" in reasons["d"]
    assert queries.verify("last", store=store(tmp_path)).right


def test_a_column_that_no_row_can_have_is_refused_at_once(tmp_path: Path) -> None:
    """In a table the header says what there is; of JSON lines the first row does not."""
    (tmp_path / "rows.csv").write_text("id,text\na,item 1\n")
    lines = write_lines(tmp_path / "rows.jsonl", '{"id": "a"}')
    with pytest.raises(BadInput, match=r"the template names \{\{colour\}\}"):
        made(tmp_path, template="{{colour}}").parts()
    assert made(tmp_path, template="{{colour}}", input=lines).parts()[0].rows == 1


def test_prompts_are_told_without_a_row(tmp_path: Path) -> None:
    """What they are made of is known where no row can be read, and where there is no input."""
    assert made(tmp_path, template="Say {{text}}").prompts() == "Say {{text}}"


# Places.


@pytest.mark.parametrize(
    ("where", "out"), [("in", "in/out"), ("in", "in"), ("in/*.jsonl", "in"), ("**/*.jsonl", "in/out"), ("in/", "in/.")]
)
def test_an_output_that_the_input_would_read_is_refused(where: str, out: str, tmp_path: Path) -> None:
    """Both are named, and nothing is begun."""
    (tmp_path / "in").mkdir()
    write_lines(tmp_path / "in" / "a.jsonl", '{"id": "a", "text": "item 1"}')
    with pytest.raises(BadInput, match="which would read the run's own results") as caught:
        api.run(job(tmp_path, task={"input": f"{tmp_path}/{where}", "output": f"{tmp_path}/{out}"}))
    assert str(tmp_path / "in") in str(caught.value) or where in str(caught.value)
    assert not (tmp_path / "maker.db").exists()
    assert not (tmp_path / "in" / "out").exists()


@pytest.mark.parametrize(("where", "out"), [("in", "out"), ("in/a.jsonl", "in"), ("in/*.jsonl", "in/out"), ("in", "")])
def test_an_output_beside_the_input_is_none_of_it(where: str, out: str, tmp_path: Path) -> None:
    """Only what would be read is refused."""
    (tmp_path / "in").mkdir()
    write_lines(tmp_path / "in" / "a.jsonl", '{"id": "a", "text": "item 1"}')
    there = {"input": f"{tmp_path}/{where}", "output": f"{tmp_path}/{out}" if out else ""}
    assert made(tmp_path, **there).parts()[0].rows == 1


def test_a_run_whose_output_folder_is_taken_is_paused(tmp_path: Path) -> None:
    """Another process writes there: nothing is decided, the run says why, and a resume goes on when it is free."""
    write_rows(tmp_path / "rows.csv", range(3))
    (tmp_path / "out").mkdir()
    lock = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(BadInput, match="another process writes to the output folder"):
        api.run(job(tmp_path, task={"output": f"{tmp_path}/out"}))
    found = queries.show("last", store=store(tmp_path))
    assert (found.status, found.steps) == ("paused", 0)
    assert "another process writes to the output folder" in found.reason
    os.close(lock)
    assert api.resume("last", store=store(tmp_path)).status == "done"


# An input that has grown.


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("rows.csv", "row-3,item 3\n"),
        ("rows.csv", 'row-70,"item 70\nrow-71,x\n'),
        ("rows.csv", "row-70"),
        ("notes.txt", "hello"),
    ],
)
def test_what_has_come_since_is_looked_at_by_a_retry_alone(name: str, added: str, tmp_path: Path) -> None:
    """A resume, verify and results read what the run began with, whatever stands behind it."""
    (tmp_path / "in").mkdir()
    write_rows(tmp_path / "in" / "rows.csv", range(60))
    api.run(job(tmp_path, task={"input": str(tmp_path / "in")}, model=RIGHT), limit_steps=20)
    with (tmp_path / "in" / name).open("a") as file:
        file.write(added)
    assert api.resume("last", store=store(tmp_path)).result == {"rows": 60, "decided": 60}
    assert queries.verify("last", store=store(tmp_path)).right
    assert len(list(results("last", store=store(tmp_path)))) == 60
    task = made(tmp_path, input=str(tmp_path / "in"), id_column="id")
    if added == "row-70":
        assert [part.rows for part in task.grown()] == [61]
    else:
        with pytest.raises(BadInput):
            task.grown()


def test_only_what_has_grown_is_counted_as_new(tmp_path: Path) -> None:
    """A map with parts keeps to them, and tells what has come on demand."""
    write_rows(tmp_path / "rows.csv", range(5))
    known = made(tmp_path).parts()
    write_rows(tmp_path / "rows.csv", range(5, 8), more=True)
    task = made(tmp_path).with_parts(known)
    assert task.parts() == known
    assert task.expected_steps() == 5
    assert [part.rows for part in task.grown()] == [5, 3]
    assert task.parts() == known


# The rows of a round.


def missed(task: Map, root: Root, outcomes: dict[int, str]) -> Root:
    """Return the root after a round in which some children had no answer."""
    fork, root = forked(task, root), RootCodec().read(RootCodec().write(root))
    assert fork.missed is not None
    assert fork.then is not None
    for child, outcome in outcomes.items():
        fork.missed(root, child, outcome)
    after = fork.then(root)
    assert isinstance(after, Root)
    return after


def test_rows_without_an_answer_are_kept_as_runs(tmp_path: Path) -> None:
    """However many rows one after the other have one outcome, they are one entry, in memory and as text."""
    write_rows(tmp_path / "rows.csv", range(1000))
    task, root = made(tmp_path), Root()
    fork = forked(task, root)
    assert fork.missed is not None
    for child in range(1000):
        root = fork.missed(root, child, "rejected")
        assert len(root.fresh) == 1
    assert RootCodec().write(root) == '[0,0,[],[[0,1000,"rejected"]]]'
    after = missed(task, RootCodec().read(RootCodec().write(root)), {})
    assert after == Root(1, 1000, [Run(0, 1000, "rejected")], [])
    assert RootCodec().show(after) == {"round": 1, "rows": 1000, "missing": [[0, 1000, "rejected"]], "fresh": []}
    done = task.next(after)
    assert not isinstance(done, Fork)
    assert getattr(done, "result", None) == {"rows": 1000, "decided": 0, "rejected": 1000}


def test_later_rounds_name_their_rows_without_a_list(tmp_path: Path) -> None:
    """What is asked again goes before what is new, and takes as much room as there are runs of rows."""
    write_rows(tmp_path / "rows.csv", range(100))
    root = missed(made(tmp_path), Root(), dict.fromkeys([3, 4, 5, 60], "undecided") | {61: "failed", 62: "failed"})
    assert root.missing == [Run(3, 6, "undecided"), Run(60, 61, "undecided"), Run(61, 63, "failed")]
    write_rows(tmp_path / "rows.csv", range(100, 50_000), more=True)
    task = made(tmp_path, round=1, again=["undecided", "new"])
    rows = task.rows(root)
    assert isinstance(rows, Ranges)
    assert len(rows) == forked(task, root).count == 4 + 49_900
    assert [*rows[:6]] == [3, 4, 5, 60, 100, 101]
    assert (rows[-1], len(rows._ranges)) == (49_999, 3)
    after = missed(task, root, {2: "undecided", 3: "failed", 4: "failed"})
    assert after.missing == [Run(5, 6, "undecided"), Run(60, 63, "failed"), Run(100, 101, "failed")]
    assert (after.round, after.rows) == (2, 50_000)
    only = made(tmp_path, round=1, again=["failed"])
    assert list(only.rows(root)) == [61, 62]
    assert missed(only, root, {}) == Root(2, 100, [Run(3, 6, "undecided"), Run(60, 61, "undecided")])


def test_the_counts_of_rounds_are_those_of_their_rows(tmp_path: Path) -> None:
    """Rows that were missed in runs are counted one by one, also when some of them are asked again."""
    write_rows(tmp_path / "rows.csv", range(40))
    with (tmp_path / "rows.csv").open("a") as file:
        file.writelines(f"row-{n},item {n} unanswerable\n" for n in range(40, 60))
        file.writelines(f"row-{n},one,cell too many\n" for n in range(60, 70))
    first = api.run(job(tmp_path, model=RIGHT))
    assert first.result == {"rows": 70, "decided": 40, "failed": 10, "rejected": 20}
    write_rows(tmp_path / "rows.csv", range(70, 80), more=True)
    second = api.retry("last", outcomes=["rejected", "new"], store=store(tmp_path))
    assert second.result == {"rows": 80, "decided": 50, "failed": 10, "rejected": 20}
    assert queries.verify("last", store=store(tmp_path)).right
    assert [one.row for one in results("last", store=store(tmp_path))] == [*range(80)]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 8)), max_size=6), st.integers(-60, 60))
def test_ranges_are_a_sequence(spans: list[tuple[int, int]], at: int) -> None:
    """As the list of their numbers is."""
    listed = [number for first, rows in spans for number in range(first, first + rows)]
    found: Sequence[int] = Ranges(range(first, first + rows) for first, rows in spans)
    assert (list(found), len(found), bool(found)) == (listed, len(listed), bool(listed))
    assert list(found[at:]) == listed[at:]
    if -len(listed) <= at < len(listed):
        assert found[at] == listed[at]
    else:
        with pytest.raises(IndexError):
            found[at]


@given(st.dictionaries(st.integers(0, 30), st.sampled_from(["failed", "rejected"])), st.sets(st.integers(0, 30)))
def test_runs_hold_every_row_once(outcomes: dict[int, str], again: set[int]) -> None:
    """Put together row by row or from two rounds, they are the same, and no two of them could be one."""
    runs: list[Run] = []
    both: tuple[list[Run], list[Run]] = ([], [])
    for row, outcome in sorted(outcomes.items()):
        add_row(runs, row, outcome)
        add_row(both[row in again], row, outcome)
    assert {row: run.outcome for run in runs for row in range(run.first, run.stop)} == outcomes
    assert merged(*both) == runs
    assert all(one.stop < other.first or one.outcome != other.outcome for one, other in pairwise(runs))
    root = Root(1, 31, runs)
    assert RootCodec().read(RootCodec().write(root)) == root


def test_a_rows_state_is_never_written(tmp_path: Path) -> None:
    """It is made of the row each time."""
    write_rows(tmp_path / "rows.csv", range(2))
    asked = forked(made(tmp_path), Root()).child(Root(), 1)
    assert asked.prompt == "What colour is item 1?"
    with pytest.raises(TypeError, match="never written"):
        RootCodec().write(asked)
