"""`maker review` with keys from standard input: choose, type, skip, back, quit; and labels of an audit's sample."""

from __future__ import annotations

import csv
import json
import multiprocessing
import re
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job as rows_job
from row_tasks import write_rows
from typer.testing import CliRunner, Result

import maker as package
from maker.cli.app import app
from maker.lifecycle.queries import RunReport
from maker.lifecycle.review import ReviewItem
from maker.lifecycle.rows import results
from maker.reporting.labels import write_label
from maker.store.backend.database import upgrade_database

ROWS = 30


@pytest.fixture
def url(database_url: str) -> str:
    """Return the URL of an empty store, of each kind in turn."""
    upgrade_database(database_url)
    return database_url


def run_hard(tmp_path: Path, url: str, **task: Any) -> RunReport:
    """Run a map over rows, in which many votes elect nobody."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    model = {"p": 0.6, "malformed": 0.3}
    return package.run(rows_job(tmp_path, store={"url": url}, vote={"k": 3, "max_votes": 5}, model=model, task=task))


def review(url: str, keys: str, *words: str) -> Result:
    """Review the only run of a store."""
    return CliRunner().invoke(app, ["review", "last", "--store", url, *words], input=keys)


def left(run: RunReport, url: str) -> list[ReviewItem]:
    """Return what is still to be decided."""
    return list(package.review(run.run_id, store=url))


def test_each_key(tmp_path: Path, url: str) -> None:
    """Choose, skip, go back, type what the rules forbid and what they allow, press what is no key, quit."""
    run = run_hard(tmp_path, url)
    first, second, third, *others = left(run, url)
    typed = '{"label": "red", "why": "by hand"}'
    keys = ["2", "b", "s", "b", "t", '{"label": "pink", "why": ""}', "t", typed, "9", "z", "", "q"]
    done = review(url, "\n".join(keys) + "\n", "--by", "ann")
    assert done.exit_code == 0, done.output
    shown = re.findall(r"^(row-\d+) \(undecided\)$", done.output, re.MULTILINE)
    assert shown == [first.name, second.name, third.name, second.name, third.name]
    for text in (
        "no item was skipped before this one",
        f"{second.name} takes no such answer: illegal: label: 'pink' is not one of",
        "'9' is none of the keys", "'z' is none of the keys", "'' is none of the keys",
        f"asked: {first.question}",
    ):  # fmt: skip
        assert text in done.output
    assert f"[1] {first.candidates[0].key} ({first.candidates[0].votes} vote" in done.output
    assert f"2 decided; go on with `maker resume {run.run_id} --store " in done.output
    rows = {one.id: one for one in results(run.run_id, store=url)}
    assert rows[first.name].answer == json.loads(first.candidates[1].text)
    assert rows[second.name].answer == json.loads(typed)
    assert {rows[one.name].answered_by for one in (first, second)} == {"ann"}
    assert [one.name for one in left(run, url)] == [one.name for one in (third, *others)]


def test_it_goes_on_where_it_was_left(tmp_path: Path, store: str) -> None:
    """The end of standard input counts as an interrupt: what is decided stays, and is not shown again."""
    run = run_hard(tmp_path, store)
    first, second, *_ = left(run, store)
    cut = review(store, "1\n")
    assert (cut.exit_code, "1 decided; go on with" in cut.output) == (130, True)
    again = review(store, "q\n")
    assert (again.exit_code, f"{first.name} (" in again.output, f"{second.name} (" in again.output) == (0, False, True)
    assert f"0 decided; {run.missing - 1} rows are left" in again.output
    done = review(store, "1\n" * ROWS)
    assert (done.exit_code, left(run, store)) == (0, [])
    resumed = CliRunner().invoke(app, ["resume", "last", "--store", store])
    assert resumed.exit_code == 0, resumed.output
    over = review(store, "")
    assert (over.exit_code, over.output.startswith(f"run {run.run_id} has nothing to decide; ")) == (0, True)


def test_a_map_without_files(tmp_path: Path, store: str) -> None:
    """There is nothing to resume: the results tell."""
    run = run_hard(tmp_path, store, output="")
    assert f"1 decided; see them with `maker results {run.run_id} --store {store}`" in review(store, "1\nq\n").output


def test_who_comes_second_is_told(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody answers the row that is on the screen: the next one is shown, and the first answer stays."""
    run = run_hard(tmp_path, store)
    first, second, *_ = left(run, store)
    texts = iter(["1", "q"])

    def press(_prompt: str) -> str:
        key = next(texts)
        if key == "1":
            package.answer(run.run_id, first.name, "@2", by="bob", store=store)
        return key

    monkeypatch.setattr("maker.cli.item_loop.read_key", press)
    done = review(store, "")
    assert f"{first.name} of run {run.run_id} is over: it has been answered, by bob" in done.output
    assert f"{second.name} (undecided)" in done.output
    assert f"0 decided; {run.missing - 1} rows are left" in done.output


def test_text_that_steers_a_terminal_does_not(tmp_path: Path, store: str) -> None:
    """Rows come from elsewhere."""
    write_rows(tmp_path / "rows.csv", range(3))
    (tmp_path / "rows.csv").open("a").write('row-9,"item 9 \x1b[2J\n  [1] red (9 votes)"\n')
    model = {"p": 0.5, "malformed": 0.5}
    job = rows_job(tmp_path, store={"url": store}, vote={"k": 3, "max_votes": 3}, model=model)
    package.run(job)
    done = review(store, "s\ns\ns\ns\n")
    assert "\x1b" not in done.output
    # Nor does a further line of a cell pass for a candidate.
    assert "  text: item 9 \\u001b[2J\n        [1] red (9 votes)\n" in done.output


def test_a_long_cell_is_cut_in_the_middle(tmp_path: Path, store: str) -> None:
    """Its beginning is shown, and its end."""
    (tmp_path / "rows.csv").write_text(f"id,text\nlong,item 1 {'x' * 1_000_000} the end\n")
    model = {"p": 0.0, "malformed": 0.5}
    package.run(rows_job(tmp_path, store={"url": store}, vote={"k": 9, "max_votes": 9}, model=model))
    output = review(store, "q\n").output
    assert "text: item 1 xxx" in output
    assert re.search(r"x… \(998,415 more characters\) …x+ the end\n", output)
    assert len(output) < 5000


def test_wrong_arguments(tmp_path: Path, store: str) -> None:
    """Each is a sentence and exit code 2."""
    run_hard(tmp_path, store)
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")
    assert review(store, "", "--show-decision").exit_code == 2
    assert review(store, "", "--audit", str(tmp_path / "none.csv")).exit_code == 2
    no_sample = review(store, "", "--audit", str(tmp_path / "no.csv"))
    assert (no_sample.exit_code, "has no column" in no_sample.output) == (2, True)


def sample(tmp_path: Path, url: str) -> tuple[Path, list[dict[str, str]]]:
    """Draw all decided rows of the run; return the file and its lines."""
    file = tmp_path / "audit.csv"
    drawn = CliRunner().invoke(app, ["audit", "last", "--sample", "100", "--out", str(file), "--store", url])
    assert drawn.exit_code == 0, drawn.output
    return file, lines_of(file)


def lines_of(file: Path) -> list[dict[str, str]]:
    """Return the lines of a sample's file."""
    return list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))


def test_labels_that_the_decision_does_not_lead(tmp_path: Path, url: str) -> None:
    """The decision is shown after the answer, or when it is asked for; labels stand in the file that audit reads."""
    run_hard(tmp_path, url)
    file, lines = sample(tmp_path, url)
    decided = [json.loads(line["answer"])["label"] for line in lines[:3]]
    other = next(label for label in ("red", "green", "blue") if label != decided[1])
    keys = [
        "y",
        "t",
        f'{{"label": "{decided[0]}", "why": ""}}',
        "t",
        f'{{"label": "{other}", "why": ""}}',
        "v",
        "n",
        "q",
    ]
    done = review(url, "\n".join(keys) + "\n", "--audit", str(file), "--by", "ann")
    assert done.exit_code == 0, done.output
    before, _, _ = done.output.partition("labelled right")
    assert "the decision" not in before.replace("view the decision", "")
    assert "vote" not in before
    assert "'y' is none of the keys" in before
    found = lines_of(file)
    assert [line["correct"] for line in found[:4]] == ["y", "n", "n", ""]
    assert [line["labelled_by"] for line in found[:4]] == ["ann", "ann", "ann", ""]
    assert all(re.fullmatch(r"20.*\+00:00", line["labelled_at"]) for line in found[:3])
    same = ("row", "id", "input", "answer", "stratum", "stratum_rows", "audit")
    assert [{name: line[name] for name in same} for line in found] == [
        {name: line[name] for name in same} for line in lines
    ]
    read = CliRunner().invoke(app, ["audit", "last", "--labels", str(file), "--json", "--store", url])
    assert json.loads(read.output)["whole"]["wrong"] == 2
    shown = review(url, "y\nq\n", "--audit", str(file), "--show-decision")
    assert f"the decision: {json.dumps(json.loads(lines[3]['answer']))}" in shown.output
    assert f"\n{json.loads(lines[0]['id'])}\n" not in shown.output
    assert [line["correct"] for line in lines_of(file)[:5]] == ["y", "n", "n", "y", ""]


def label_all(file: str, by: str, rows: list[int]) -> int:
    """Label rows in a process of its own; returns how many were not labelled yet."""
    return sum(write_label(Path(file), row, right=True, by=by) for row in rows)


def test_two_people_label_one_file(tmp_path: Path, store: str) -> None:
    """No label is lost, and none is written twice."""
    run_hard(tmp_path, store)
    file, lines = sample(tmp_path, store)
    rows = [int(line["row"]) for line in lines]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        taken = pool.starmap(label_all, [(str(file), "ann", rows), (str(file), "bob", rows[::-1])])
    found = lines_of(file)
    assert sum(taken) == len(rows) == len(found)
    assert [sum(line["labelled_by"] == by for line in found) for by in ("ann", "bob")] == taken
    assert not list(tmp_path.glob("*.part"))


def test_who_reads_the_labels(tmp_path: Path, store: str) -> None:
    """Audit, accept and report take the file as it is, also when people have decided other rows since it was drawn."""
    run = run_hard(tmp_path, store)
    file, lines = sample(tmp_path, store)
    labelled = review(store, "n\n" + "y\n" * len(lines), "--audit", str(file), "--show-decision", "--by", "ann")
    assert f"{len(lines)} labelled; read the labels with" in labelled.output

    def read(*words: str) -> str:
        done = CliRunner().invoke(app, [words[0], "last", *words[1:], "--labels", str(file), "--store", store])
        assert done.exit_code == 0, done.output
        return done.output

    audited = json.loads(read("audit", "--json"))
    review(store, "1\n1\n1\nq\n")
    again = json.loads(read("audit", "--json"))
    assert again["whole"] == audited["whole"]
    assert (audited["missed"], again["missed"]) == (
        {"undecided": run.missing},
        {"reviewed": 3, "undecided": run.missing - 3},
    )
    accepted = read("accept", "--error", "0.5", "--out", str(tmp_path / "accepted"))
    assert "beside them 3 rows that people decided, as they did" in accepted
    assert f"for review: 1 decided, {run.missing - 3} undecided" in accepted
    assert f"Labels: 1 of {len(lines)} labelled rows are wrong" in read(
        "report", "--out", str(tmp_path / "report.html")
    )
