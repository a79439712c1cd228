"""What is told of rows that people have decided beside the log: exports, reports, counts, and later rounds."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from row_tasks import job as rows_job
from row_tasks import write_rows
from typer.testing import CliRunner

import maker
from maker.cli.app import app
from maker.lifecycle.export import export_steps
from maker.lifecycle.queries import RunReport
from maker.lifecycle.reviewed_rows import ranges_of
from maker.lifecycle.rows import results
from maker.store.backend import schema
from maker.store.backend.database import open_database, upgrade_database

ROWS = 30


@pytest.fixture
def url(database_url: str) -> str:
    """Return the URL of an empty store, of each kind in turn."""
    upgrade_database(database_url)
    return database_url


def run_hard(tmp_path: Path, url: str, malformed: float = 0.3) -> RunReport:
    """Run a map over rows, in which many votes elect nobody."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    model = {"p": 0.6, "malformed": malformed}
    return maker.run(rows_job(tmp_path, store={"url": url}, vote={"k": 3, "max_votes": 5}, model=model))


def decide(run: RunReport, url: str, count: int) -> list[maker.ReviewItem]:
    """Decide the first rows that votes did not, and return them."""
    items = list(maker.review(run.run_id, store=url))[:count]
    for item in items:
        reply = '={"label": "red", "why": "by hand"}'
        maker.answer(run.run_id, item.at, reply, by="ann", store=url)
    return items


def command(url: str, *words: str) -> str:
    """Give a command about the newest run; return what it prints."""
    done = CliRunner().invoke(app, [words[0], "last", *words[1:], "--store", url])
    assert done.exit_code == 0, done.output
    return done.output


def test_exports_have_them_after_the_steps(tmp_path: Path, url: str) -> None:
    """With the person's answer and no digest; the file's version says that there are such lines."""
    run = run_hard(tmp_path, url)
    first = export_steps(run.run_id, tmp_path / "before.jsonl", store=url)
    items = decide(run, url, 2)
    done = export_steps(run.run_id, tmp_path / "after.jsonl", store=url)
    before, after = ((tmp_path / f"{name}.jsonl").read_text().splitlines() for name in ("before", "after"))
    assert (json.loads(before[0])["version"], json.loads(after[0])["version"]) == (1, 2)
    assert (first.steps, first.reviewed, done.steps, done.reviewed) == (run.steps, 0, run.steps, 2)
    assert after[1:-2] == before[1:]
    assert {json.loads(line)["outcome"] for line in before[1:]} == {"decided"}
    for item, line in zip(items, map(json.loads, after[-2:]), strict=True):
        assert f"{line['chain']}:{line['step']}" == item.at
        assert (line["outcome"], line["digest"], line["margin"]) == ("reviewed", "", 0)
        assert line["action"] == {"label": "red", "why": "by hand"}
        assert line["answered"]["by"] == "ann"
    assert f"{run.steps} steps and 2 rows that people decided" in command(url, "export", "--out", str(tmp_path / "o"))


def test_parquet_has_them_too(tmp_path: Path, store: str) -> None:
    """In a column of their outcomes."""
    parquet = pytest.importorskip("pyarrow.parquet")
    run = run_hard(tmp_path, store)
    decide(run, store, 2)
    export_steps(run.run_id, tmp_path / "run.parquet", format="parquet", store=store)
    table = parquet.read_table(tmp_path / "run.parquet")
    assert table["outcome"].to_pylist() == ["decided"] * run.steps + ["reviewed"] * 2


def test_they_are_counted_apart(tmp_path: Path, url: str) -> None:
    """By show, verify, results and the report; they are no steps, and not missing."""
    run = run_hard(tmp_path, url)
    items = decide(run, url, 3)
    shown = maker.show(run.run_id, store=url)
    assert (shown.steps, shown.reviewed, shown.missing) == (run.steps, 3, run.missing - 3)
    assert f"{run.steps} steps, and 3 rows that people decided beside them" in command(url, "show")
    assert "beside the log people decided 3 rows" in command(url, "verify")
    facts = json.loads(command(url, "verify", "--json"))
    assert (facts["reviewed"], facts["digest"]) == (3, run.digest)
    assert f'{items[0].name}: {{"label": "red", "why": "by hand"}} · reviewed by ann; votes: ' in command(
        url, "results"
    )
    report = maker.report(run.run_id, store=url)
    assert report.outcomes == {"undecided": run.missing - 3, "reviewed": 3}
    assert (report.steps, report.answered) == (run.steps, 0)
    page = tmp_path / "report.html"
    command(url, "report", "--out", str(page))
    assert "reviewed: people decided them" in page.read_text()
    decide(run, url, ROWS)
    assert maker.show(run.run_id, store=url).missing == 0
    assert maker.report(run.run_id, store=url).outcomes == {"reviewed": run.missing}


def test_votes_alone_make_the_numbers_of_a_report(tmp_path: Path, store: str) -> None:
    """What people decide changes neither the estimate nor the figures of a class."""
    run = run_hard(tmp_path, store)
    before = maker.report(run.run_id, store=store)
    decide(run, store, ROWS)
    after = maker.report(run.run_id, store=store)
    assert (after.whole.wrong, after.classes, after.flags) == (before.whole.wrong, before.classes, before.flags)


def test_a_row_that_is_asked_again_counts_once(tmp_path: Path, store: str) -> None:
    """Somebody decides it in the earlier run when the later one has asked it: the later result counts."""
    run = run_hard(tmp_path, store, malformed=0.8)
    outcomes = {one.outcome for one in maker.review(run.run_id, store=store)}
    assert outcomes == {"undecided", "rejected"}
    again = maker.retry(run.run_id, outcomes=["rejected"], store=store)
    decide(run, store, ROWS)
    whole = list(results(again.run_id, store=store))
    shown = maker.show(again.run_id, store=store)
    assert shown.reviewed == sum(one.outcome == "reviewed" for one in whole) > 0
    assert shown.missing == sum(one.answer is None for one in whole) > 0
    assert maker.verify(again.run_id, store=store).reviewed == shown.reviewed


def test_an_answer_that_was_changed(tmp_path: Path, url: str) -> None:
    """Its seal does not fit: the run does not verify, and the place is named."""
    run = run_hard(tmp_path, url)
    (item,) = decide(run, url, 1)
    with closing(open_database(url, create=False)) as database, database.write() as connection:
        connection.execute(schema.review.update().values(answer='{"label":"blue","why":"by hand"}'))
    verified = maker.verify(run.run_id, store=url)
    assert (verified.right, verified.reviewed) == (False, 0)
    place = item.at.removesuffix(":0")
    assert verified.problem == f"chain {place}: a person's answer beside the log does not match its seal"


def test_ranges() -> None:
    """Numbers that follow one another make one range."""
    assert ranges_of([]) == []
    assert ranges_of([3, 4, 9, 11, 12, 13]) == [(3, 5), (9, 10), (11, 14)]
