"""Audits of maps: rows are drawn at random, and a labelled file is read back or refused."""

from __future__ import annotations

import csv
import io
import json
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job, label, write_rows
from typer.testing import CliRunner

from maker import api
from maker.cli.app import app
from maker.errors import BadInput
from maker.lifecycle.rows import RowResult, Settled, results
from maker.reporting.audit import LEAST, RowDraw, Sample, Stratum, draw, judged, least_margin, stratum_of
from maker.reporting.labels import LONGEST_CELL, judge_labels, write_sample
from maker.stats.bounds import Labelled, most_wrong_in
from maker.store.lease import this_process

ROWS = 600
Cells = list[dict[str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a map that is done."""
    found = tmp_path_factory.mktemp("map")
    write_rows(found / "rows.csv", range(ROWS))
    api.run(job(found))
    return found


def store(folder: Path) -> str:
    return f"sqlite:///{folder}/maker.db"


def read(file: Path) -> Cells:
    """Return the lines of a file for labels."""
    return list(csv.DictReader(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline="")))


def write(file: Path, lines: Cells, delimiter: str = ",") -> None:
    """Write them back, as a spreadsheet would."""
    with file.open("w", newline="", encoding="utf-8") as out:
        found = csv.DictWriter(out, list(lines[0]), delimiter=delimiter)
        found.writeheader()
        found.writerows(lines)


def is_right(line: dict[str, str]) -> bool:
    return bool(json.loads(line["answer"])["label"] == label(int(json.loads(line["id"])[4:])))


def fill(lines: Cells) -> Cells:
    """Label all lines by the truth."""
    return [line | {"correct": "y" if is_right(line) else "n"} for line in lines]


def written(folder: Path, out: Path, **how: Any) -> Sample:
    """Write a sample of the newest run."""
    sample = draw("last", store=store(folder), **how)
    write_sample(sample, out)
    return sample


def test_an_audit_from_end_to_end(folder: Path, tmp_path: Path) -> None:
    """Rows that are drawn and labelled by the truth give its share of wrong rows, with a bound that holds."""
    file = tmp_path / "audit.csv"
    sample = written(folder, file, size=200)
    decided = [one for one in results("last", store=store(folder)) if one.outcome == "decided"]
    assert sample.decided == Counter(stratum_of(one) for one in decided)
    assert set(sample.decided) == set(Stratum)
    lines = read(file)
    assert [int(line["row"]) for line in lines] == sorted(one.result.row for one in sample.rows)
    assert {line["correct"] for line in lines} == {""}
    odd = next(one for one in sample.rows if one.result.row % 10 == 3)
    assert json.loads(next(line for line in lines if line["row"] == str(odd.result.row))["input"]) == odd.values
    write(file, fill(lines))
    found = judge_labels("last", file, store=store(folder))
    wrong = sum(one.answer["label"] != label(one.row) for one in decided)
    assert 0 < wrong <= found.whole.at_most_rows
    assert found.whole.decided == len(decided)
    assert found.whole.labelled == found.whole.sampled == len(lines)
    assert found.whole.wrong == sum(not is_right(line) for line in lines)
    assert found.whole.estimate == pytest.approx(
        sum(one.decided / len(decided) * one.wrong / one.labelled for one in found.strata.values())
    )
    assert found.whole.estimate is not None
    assert found.whole.estimate <= found.whole.at_most == found.whole.at_most_worst
    for stratum, one in found.strata.items():
        true = sum(row.answer["label"] != label(row.row) for row in decided if stratum_of(row) == stratum)
        assert true <= one.at_most_rows
    assert sum(found.missed.values()) + found.whole.decided + found.unsettled == ROWS
    assert found.missed["undecided"] > 0


def test_every_stratum_gives_its_part_and_the_least(folder: Path) -> None:
    """No stratum is sampled more thinly than was asked for; a thin one gives some rows beyond its part."""
    sample = draw("last", size=30, store=store(folder))
    decided, counts = sum(sample.decided.values()), sample.counts()
    for stratum, rows in sample.decided.items():
        part = sum(one.in_part for one in sample.rows if one.stratum == stratum)
        assert part == math.ceil(30 * rows / decided)
        assert counts[stratum] == max(part, min(LEAST, rows))
    assert any(not one.in_part for one in sample.rows)


def test_the_same_seed_draws_the_same_rows(folder: Path) -> None:
    """A sample can be drawn again; another seed gives others; a larger one holds the smaller one."""

    def rows(size: int, seed: int) -> set[int]:
        return {one.result.row for one in draw("last", size=size, seed=seed, store=store(folder)).rows}

    assert rows(100, 0) == rows(100, 0)
    assert rows(100, 0) < rows(200, 0)
    assert len(rows(100, 0) - rows(100, 1)) > 50


def test_a_larger_sample_than_there_are_rows_is_a_census(folder: Path, tmp_path: Path) -> None:
    """All decided rows are drawn, and the share is what was counted."""
    file = tmp_path / "audit.csv"
    sample = written(folder, file, size=10_000)
    assert len(sample.rows) == sum(sample.decided.values())
    write(file, fill(read(file)))
    found = judge_labels("last", file, store=store(folder))
    assert found.census
    assert found.whole.at_most_rows == found.whole.wrong
    assert found.whole.at_most == found.whole.estimate


def test_every_row_is_as_likely_to_be_drawn() -> None:
    """Over 2,000 seeds each of 40 rows is among the 10 that are drawn as often as another, within 4 sigma."""
    counts: Counter[int] = Counter()
    for seed in range(2_000):
        lots = RowDraw(f"digest/{seed}", 15)
        for row in range(40):
            lots.add(Settled(row, None, 0, None, None))  # type: ignore[arg-type]
        assert lots.seen == 40
        counts.update(settled.row for settled in lots.first(10))
    sigma = math.sqrt(2_000 * 0.25 * 0.75)
    assert sum(counts.values()) == 20_000
    assert all(abs(counts[row] - 500) < 4 * sigma for row in range(40))


def test_bounds_hold_for_the_rows_that_are_drawn(folder: Path) -> None:
    """Over 100 seeds, at least 95 % of the audits of one map have a bound that holds, less 4 sigma of that share."""
    decided = [one for one in results("last", store=store(folder)) if one.outcome == "decided"]
    truth = {one.row: bool(one.answer["label"] == label(one.row)) for one in decided}
    wrong = {stratum: sum(not truth[one.row] for one in decided if stratum_of(one) == stratum) for stratum in Stratum}
    held: Counter[str] = Counter()
    for seed in range(100):
        sample = draw("last", size=60, seed=seed, store=store(folder))
        found = judged(sample, {one.result.row: truth[one.result.row] for one in sample.rows}, 0.95)
        held["all"] += found.whole.at_most_rows >= sum(wrong.values())
        held.update(stratum for stratum, one in found.strata.items() if one.at_most_rows >= wrong[stratum])
    assert set(held) == {"all", *Stratum}
    assert min(held.values()) / 100 >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / 100)


def test_memory_is_for_the_rows_that_are_drawn() -> None:
    """Of a hundred thousand rows no more are kept than may be drawn."""
    lots = RowDraw("digest/0", 50)
    for row in range(100_000):
        lots.add(Settled(row, None, 0, None, None))  # type: ignore[arg-type]
    assert (lots.seen, len(lots._kept), len(lots.first(100))) == (100_000, 50, 50)


@pytest.mark.parametrize(
    ("votes", "margins", "stratum", "least"),
    [
        ({"a": 3}, {}, Stratum.UNANIMOUS, 3),
        ({"a": 3}, {"x": 3, "y": 3}, Stratum.UNANIMOUS, 3),
        ({"a": 3, "b": 1}, {}, Stratum.CLEAR, 2),
        ({"a": 4, "b": 2}, {}, Stratum.NARROW, 2),
        # The answer leads by 4 of 8, one of its fields by 2: its rivals agree on that one.
        ({"a": 5, "b": 1, "c": 1, "d": 1}, {"x": 4, "y": 2}, Stratum.NARROW, 2),
        ({"a": 3, "b": 2, "c": 2}, {"x": -1}, Stratum.NARROW, -1),
        ({"a": 1}, {}, Stratum.UNANIMOUS, 1),
    ],
)
def test_strata(votes: dict[str, int], margins: dict[str, int], stratum: Stratum, least: int) -> None:
    """A row is as sure as the least sure part of its answer."""
    first, *rivals = votes.values()
    one = RowResult(0, "a", "decided", "", {}, votes, {}, first - max(rivals, default=0), margins, 0)
    assert (stratum_of(one), least_margin(one)) == (stratum, least)


def test_missing_labels_are_told_and_not_guessed(folder: Path, tmp_path: Path) -> None:
    """Bounds rest on the labels that are there; the worst case takes all others as wrong."""
    file = tmp_path / "audit.csv"
    sample = written(folder, file, size=200)
    lines = [
        line | {"correct": ["Yes", "TRUE", " 1 ", "y"][n % 4] if n % 2 else " "} for n, line in enumerate(read(file))
    ]
    write(file, lines)
    found = judge_labels("last", file, store=store(folder))
    assert found.whole.labelled == len(lines) // 2
    assert (found.whole.wrong, found.whole.estimate) == (0, 0)
    unlabelled = len(lines) - len(lines) // 2
    assert found.whole.at_most < unlabelled / len(lines) < found.whole.at_most_worst
    # A stratum of which nothing is labelled: no estimate, and it counts as wrong.
    none = judged(sample, {one.result.row: True for one in sample.rows if one.stratum != Stratum.CLEAR}, 0.95)
    assert (none.whole.estimate, none.strata[Stratum.CLEAR].estimate) == (None, None)
    assert none.whole.at_most_rows >= sample.decided[Stratum.CLEAR] == none.strata[Stratum.CLEAR].at_most_rows


def test_a_spreadsheet_may_sort_and_add_columns(folder: Path, tmp_path: Path) -> None:
    """Semicolons, another order of lines and columns, notes and empty lines change nothing."""
    file, changed = tmp_path / "audit.csv", tmp_path / "changed.csv"
    written(folder, file, size=50)
    lines = fill(read(file))
    write(file, lines)
    notes = [{"note": 'was: \u00e4; "b"', **dict(reversed(line.items()))} for line in reversed(lines)]
    write(changed, [*notes, dict.fromkeys(notes[0], "")], delimiter=";")
    assert judge_labels("last", changed, store=store(folder)) == judge_labels("last", file, store=store(folder))


def edit(at: int, **cells: str) -> Callable[[Cells], Cells]:
    """Return what changes cells of one line."""
    return lambda lines: [*lines[:at], lines[at] | cells, *lines[at + 1 :]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (edit(1, correct="maybe"), r"line 3: 'maybe' is not a label\nwrite y or n"),
        (edit(2, id='"row-9999"'), 'line 4: the id of row .* is "row-9999" there, and "row-'),
        (edit(2, answer="{}"), "line 4: the answer of row"),
        (edit(2, stratum_rows="5"), "line 4: the stratum_rows of row"),
        (edit(2, stratum="clearly"), "line 4: the stratum of row"),
        (edit(0, row="9999"), "line 2: row '9999' is not in the sample"),
        (edit(0, audit="mine"), "line 2: the column 'audit' does not name the run"),
        (edit(3, audit="mine"), "line 5 belongs to another sample than line 2"),
        (lambda lines: lines[1:], "lacks 1 of the .* sampled rows, the first is row"),
        (lambda lines: [*lines, lines[0]], "was in line 2 already"),
        (lambda lines: [line | {"correct": ""} for line in lines], "is labelled yet"),
        (lambda lines: [{k: v for k, v in line.items() if k != "correct"} for line in lines], "no column 'correct'"),
        (lambda lines: [dict.fromkeys(lines[0], "")], "holds no row"),
        (lambda lines: [line | {"audit": line["audit"].replace("seed=0", "seed=1")} for line in lines], "row"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    change: Callable[[Cells], Cells], told: str, folder: Path, tmp_path: Path
) -> None:
    """What was edited, lost or put in is named by its line."""
    file = tmp_path / "audit.csv"
    written(folder, file, size=50)
    write(file, change(fill(read(file))))
    with pytest.raises(BadInput, match=told):
        judge_labels("last", file, store=store(folder))


def test_a_file_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    """A sample is of one run as it stood: not of another one over the same rows, nor of one that has gone on."""
    file = tmp_path / "audit.csv"
    write_rows(tmp_path / "rows.csv", range(ROWS))
    run = api.run(job(tmp_path))
    sample = written(folder, file, size=50)
    write(file, fill(read(file)))
    with pytest.raises(BadInput, match=f"was drawn from run {sample.run_id}, not from {run.run_id}"):
        judge_labels("last", file, store=store(tmp_path))
    written(tmp_path, tmp_path / "own.csv", size=50)
    with closing(sqlite3.connect(tmp_path / "maker.db")) as database, database:
        database.execute("update maker_run set digest = ?", (bytes(16),))
    with pytest.raises(BadInput, match=f"now it is {'0' * 32}"):
        judge_labels("last", tmp_path / "own.csv", store=store(tmp_path))


def test_files_that_cannot_be_read_are_refused(folder: Path, tmp_path: Path) -> None:
    """No file, no text, an empty one, and a file that is there already."""
    file = tmp_path / "audit.csv"
    for content, told in ((None, "cannot be read"), (b"\xff\xfe\x00", "not UTF-8"), (b"", "no column 'row'")):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(BadInput, match=told):
            judge_labels("last", file, store=store(folder))
    sample = draw("last", size=20, store=store(folder))
    with pytest.raises(BadInput, match="exists already, and may hold labels"):
        write_sample(sample, file)
    write_sample(sample, file, force=True)
    assert len(read(file)) == len(sample.rows)
    with pytest.raises(BadInput, match="does not exist"):
        write_sample(sample, tmp_path / "none" / "audit.csv")
    for confidence in (0, 1, 95):
        with pytest.raises(BadInput, match="between 0 and 1"):
            judge_labels("last", file, confidence=confidence, store=store(folder))


def test_runs_that_cannot_be_audited_are_refused(
    folder: Path, tmp_path: Path, hanoi: Callable[..., dict[str, Any]]
) -> None:
    """Not a map; a map without a decided row; no row wanted."""
    task = hanoi(3)
    api.run(task)
    with pytest.raises(BadInput, match="is not a map over rows"):
        draw("last", store=task["store"]["url"])
    write_rows(tmp_path / "rows.csv", range(5))
    api.run(job(tmp_path, model={"p": 1.0, "malformed": 1.0}, store={"url": f"sqlite:///{tmp_path}/none.db"}))
    with pytest.raises(BadInput, match="has no decided row"):
        draw("last", store=f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(BadInput, match="is empty"):
        draw("last", size=0, store=store(folder))


def test_a_run_that_is_worked_on_is_refused(tmp_path: Path) -> None:
    """Its decided rows would be others by the time that they are labelled."""
    write_rows(tmp_path / "rows.csv", range(20))
    api.run(job(tmp_path))
    with closing(sqlite3.connect(tmp_path / "maker.db")) as database, database:
        row = (this_process(), time.time() + 1000)
        database.execute("update maker_run set status = 'running', holder = ?, lease_until = ?", row)
    with pytest.raises(BadInput, match="is still running\naudit it when it is done or paused"):
        draw("last", store=store(tmp_path))


def test_a_paused_map_is_audited_as_far_as_it_is_settled(tmp_path: Path) -> None:
    """Rows that are not settled are no part of the sample, and are counted."""
    write_rows(tmp_path / "rows.csv", range(100))
    api.run(job(tmp_path), limit_steps=40)
    sample = draw("last", store=store(tmp_path))
    assert sum(sample.decided.values()) + sum(sample.missed.values()) + sample.unsettled == 100
    assert sample.unsettled > 30
    file = tmp_path / "audit.csv"
    write_sample(sample, file)
    write(file, fill(read(file)))
    api.resume("last", store=store(tmp_path))
    with pytest.raises(BadInput):
        judge_labels("last", file, store=store(tmp_path))


def test_ids_and_values_come_back_whatever_they_look_like(tmp_path: Path) -> None:
    """A formula, a number with a leading zero, quotes, and a text too long for a cell are safe, and fit."""
    ids = ["=1+1", "+2", "-3", "@x", "007", "1e5", "'q", '"', "a,b;c", "TRUE", "2024-01-02", "\u00e4\U0001f600"]
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(
            [["id", "text"], *([name, f"item {n} " + "x" * 4000 * n] for n, name in enumerate(ids))]
        )
    api.run(job(tmp_path, model={"p": 1.0, "malformed": 0.0}))
    file = tmp_path / "audit.csv"
    written(tmp_path, file)
    lines = read(file)
    assert [json.loads(line["id"]) for line in lines] == ids
    assert all(line[column][0] not in "=+-@\t\r" for line in lines for column in line if line[column])
    assert max(len(line["input"]) for line in lines) == LONGEST_CELL + 2
    write(file, [line | {"correct": "y"} for line in lines])
    assert judge_labels("last", file, store=store(tmp_path)).census


def test_a_clean_sample_of_299_promises_one_per_cent(folder: Path) -> None:
    """What a sample can show at best is known when it is drawn."""
    sample = draw("last", size=299, store=store(folder))
    assert sample.promise(0.95) <= 0.01
    unanimous = judged(sample, {one.result.row: True for one in sample.rows}, 0.95).strata[Stratum.UNANIMOUS]
    assert unanimous.at_most_rows == most_wrong_in(Labelled(unanimous.decided, unanimous.sampled, 0), 0.95)


def test_the_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It draws, says what to do, reads back, and says what the numbers rest on."""
    monkeypatch.chdir(tmp_path)
    url, run_id = ["--store", store(folder)], draw("last", store=store(folder)).run_id

    def told(*words: str) -> str:
        done = CliRunner().invoke(app, ["audit", "last", *words, *url])
        assert done.exit_code == 0, done.output
        return done.stdout

    drawn = told("--sample", "100")
    file = tmp_path / f"audit-{run_id}.csv"
    assert f"decided rows are in audit-{run_id}.csv, drawn by seed 0" in drawn
    assert "if all of them are right, at most" in drawn
    assert "rows that votes did not decide" in drawn
    assert CliRunner().invoke(app, ["audit", "last", *url]).exit_code == 2
    told("--sample", "100", "--force")
    write(file, fill(read(file)))
    shown = told("--labels", str(file))
    assert "With a confidence of 95 % at most" in shown
    assert "labels, taken as the truth" in " ".join(shown.split())
    assert "are not labelled" not in shown
    found = json.loads(told("--labels", str(file), "--json", "--confidence", "0.9"))
    assert (found["confidence"], found["whole"]["sampled"]) == (0.9, len(read(file)))
    assert set(found["strata"]) == {"unanimous", "clear", "narrow"}
    write(file, [line | ({} if n % 3 else {"correct": ""}) for n, line in enumerate(read(file))])
    assert "If all of them were wrong, the bound on all rows would be" in " ".join(told("--labels", str(file)).split())
    assert CliRunner().invoke(app, ["audit", "last", "--labels", str(file), "--sample", "5", *url]).exit_code == 2
    assert json.loads(told("--sample", "5", "--json", "--out", "small.csv"))["file"] == "small.csv"
