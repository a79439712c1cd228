"""Rows are accepted with a stated error: by samples and by ids, into files, by the job; what cannot be is refused."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from row_tasks import SCHEMA, job, label, write_rows
from typer.testing import CliRunner

import maker
from maker import api
from maker.cli.app import app
from maker.errors import BadInput, JobError
from maker.lifecycle.rows import ANSWERED, DECIDED, results
from maker.reporting.audit import draw, least_margin
from maker.reporting.counts import doubt
from maker.reporting.labels import write_sample
from maker.reporting.report import report
from maker.reporting.row_labels import LabelFile

ROWS = 900
ERROR = 0.1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a map that is done: some rows are wrong, some have no decision; all samples are kept."""
    found = tmp_path_factory.mktemp("accepted")
    write_rows(found / "rows.csv", range(ROWS))
    model = {"p": 0.75, "malformed": 0.0, "logprobs": True, "rho": 0.1}
    api.run(job(found, model=model, task={"output": ""}, store={"samples": "all"}))
    return found


def store(folder: Path) -> str:
    return f"sqlite:///{folder}/maker.db"


def by_truth(line: dict[str, str]) -> str:
    right: bool = json.loads(line["answer"])["label"] == label(int(json.loads(line["id"])[4:]))
    return "y" if right else "n"


def sample(folder: Path, file: Path, size: int = 300, judge: Callable[[dict[str, str]], str] = by_truth) -> Path:
    """Write a sample with labels."""
    write_sample(draw("last", size=size, store=store(folder)), file)
    lines = list(csv.DictReader(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline="")))
    with file.open("w", newline="", encoding="utf-8") as out:
        written = csv.DictWriter(out, list(lines[0]))
        written.writeheader()
        written.writerows(line | {"correct": judge(line)} for line in lines)
    return file


def by_ids(file: Path, rows: Sequence[int], right: Callable[[int], str] = label) -> LabelFile:
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("id", "label"), *((f"row-{row}", right(row)) for row in rows)])
    return LabelFile(file)


def spread(rows: int) -> list[int]:
    """Return rows drawn at random; fewer of them are the first of more."""
    return random.Random(7).sample(range(ROWS), ROWS)[:rows]


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_every_row_is_accepted_or_for_review(folder: Path, tmp_path: Path) -> None:
    """And what is said of them is what the files hold; the error among accepted ones is what the truth says."""
    out = tmp_path / "accepted"
    found = maker.accept(
        "last", error=ERROR, labels=sample(folder, tmp_path / "labels.csv"), out=out, store=store(folder)
    )
    rows = {one.row: one for one in results("last", store=store(folder))}
    right = {row for row, one in rows.items() if one.answer is not None and one.answer["label"] == label(row)}
    accepted, review = read(out / "accepted.jsonl"), read(out / "review.jsonl")
    assert [one["id"] for one in accepted] == [f"row-{row}" for row in range(ROWS) if found.accepts(row)]
    assert [one["row"] for one in review] == [row for row in range(ROWS) if not found.accepts(row)]
    assert len(accepted) == found.accepted > 400
    assert found.left == {name: sum(one["outcome"] == name for one in review) for name in (DECIDED, "undecided")}
    assert found.left["undecided"] > 10
    assert sum(found.accepts(row) and row not in right for row in range(ROWS)) <= ERROR * found.accepted
    assert all(set(one) == {"id", "text", "label", "why"} for one in accepted)
    assert all(
        one["reason"].startswith("not accepted") and one["answer"] for one in review if one["outcome"] == DECIDED
    )
    # The table has errors beyond what is stated, or nothing is shown by this test.
    assert 1 - len(right) / found.decided > ERROR * 0.7
    record = json.loads((out / "accept.json").read_text(encoding="utf-8"))
    assert record == json.loads(json.dumps(found.to_json()))
    assert not (found.accepts(-1) or found.accepts(ROWS))


def test_the_chosen_rule_is_the_last_that_passed(folder: Path, tmp_path: Path) -> None:
    """Sure rows come first, by the doubt of a report."""
    # Rows by their numbers: a sample of an audit is another one after each change to the task's code.
    given = by_ids(tmp_path / "ids.csv", spread(300))
    found = maker.accept("last", error=0.09, labels=given, store=store(folder))
    assert found.test is not None
    assert found.test in found.tested
    assert all(one.chance <= 0.05 for one in found.tested[: found.tested.index(found.test) + 1])
    assert [one.rows for one in found.tested] == sorted(one.rows for one in found.tested)
    labelled = set(spread(300))
    doubts: dict[bool, list[float]] = {True: [], False: []}
    for one in results("last", store=store(folder)):
        if one.outcome == DECIDED and one.row not in labelled:
            votes = next(iter(one.votes.values()))
            doubts[found.accepts(one.row)].append(doubt(votes, votes - least_margin(one)))
    assert max(doubts[True]) < min(doubts[False])


def test_labels_overrule_the_rule(folder: Path, tmp_path: Path) -> None:
    """A row that a label calls wrong is never accepted, and one that it calls right always is."""
    given = by_ids(tmp_path / "ids.csv", spread(300))
    found = maker.accept("last", error=ERROR, labels=given, store=store(folder))
    rows = {one.row: one for one in results("last", store=store(folder))}
    for row in spread(300):
        answer = rows[row].answer
        assert found.accepts(row) == (answer is not None and answer["label"] == label(row))
    # Rows without a decision are no part of the sample.
    assert found.sampled == sum(rows[row].outcome == DECIDED for row in spread(300)) < 300


def test_labels_of_wrong_answers_accept_nothing_else(folder: Path, tmp_path: Path) -> None:
    wrong = sample(folder, tmp_path / "labels.csv", judge=lambda line: "n" if int(line["row"]) % 3 else "y")
    found = maker.accept("last", error=ERROR, labels=wrong, store=store(folder))
    assert (found.test, found.rule, len(found.tested)) == (None, "", 1)
    kept = list(csv.DictReader(wrong.open(encoding="utf-8", newline="")))
    assert found.accepted == sum(line["correct"] == "y" for line in kept)
    words = ["--error", "0.1", "--labels", str(wrong), "--store", store(folder), "--out", str(tmp_path / "none")]
    done = CliRunner().invoke(app, ["accept", "last", *words])
    assert done.exit_code == 0
    assert "no rule could be shown to have at most 0.1 wrong" in done.output


def test_blank_labels_of_a_sample_count_as_wrong(folder: Path, tmp_path: Path) -> None:
    """So that leaving out the hard ones gains nothing."""
    whole = sample(folder, tmp_path / "whole.csv")
    holes = sample(folder, tmp_path / "holes.csv", judge=lambda line: by_truth(line).replace("n", ""))
    full, found = (maker.accept("last", error=ERROR, labels=one, store=store(folder)) for one in (whole, holes))
    assert found.blank > 0 == full.blank
    assert found.tested == full.tested


def test_the_same_is_chosen_again_and_recorded_once(folder: Path, tmp_path: Path) -> None:
    """Other terms are a second choice, which the command and the report tell."""
    labels = sample(folder, tmp_path / "labels.csv", size=310)

    def choose(error: float) -> Any:
        return maker.accept("last", error=error, labels=labels, store=store(folder))

    def told() -> int:
        return sum(one["kind"] == "rows_accepted" for one in maker.show("last", store=store(folder)).events)

    before = told()
    first = choose(0.15)
    assert told() == before + 1
    again = choose(0.15)
    assert again == first
    assert told() == before + 1
    other = choose(0.2)
    assert other.earlier == first.earlier + 1
    sentence = report("last", store=store(folder)).truth[-1]
    assert f"Accepted: {other.accepted:,} of {other.decided:,} decided rows, at most 0.2 of them wrong" in sentence
    assert f"choice number {before + 2}" in sentence


def test_other_signals_order_rows(folder: Path, tmp_path: Path) -> None:
    """Log-probabilities make a rule of almost every row; two signals share the risk."""
    labels = sample(folder, tmp_path / "labels.csv")
    by_votes, by_logprob, both = (
        maker.accept("last", error=ERROR, labels=labels, by=by, store=store(folder))
        for by in (["votes"], ["logprob"], ["votes", "logprob"])
    )
    assert len(by_logprob.tested) > len(by_votes.tested)
    assert by_logprob.rule.startswith("mean log-probability of at least -")
    assert both.signal in ("votes", "logprob")
    assert both.by == ("votes", "logprob")
    assert all(one.chance <= 0.025 for one in both.tested[:-1])
    with pytest.raises(BadInput, match=r"the log does not say models of .*\nthat takes a run with a pool of models"):
        maker.accept("last", error=ERROR, labels=labels, by="models", store=store(folder))


def test_models_of_a_pool_order_rows(tmp_path: Path) -> None:
    """First the rows on which no model is mostly for another answer."""
    write_rows(tmp_path / "rows.csv", range(400))
    one = {"kind": "simulated", "rivals": 2}
    pool = {"kind": "pool", "rotation": ["a", "b"], "members": {"a": one | {"p": 0.9}, "b": one | {"p": 0.6}}}
    tables = job(tmp_path, task={"output": ""}, vote={"k": 2, "max_votes": 20}) | {"model": pool}
    api.run(tables)
    labels = sample(tmp_path, tmp_path / "labels.csv", size=200)
    found = maker.accept("last", error=0.2, labels=labels, by="models", store=store(tmp_path))
    assert found.signal == "models"
    assert found.tested[0].rows < found.decided
    assert "of the models for other answers" in found.rule
    with pytest.raises(BadInput, match="the log does not say logprob of 400 of the 400"):
        maker.accept("last", error=0.2, labels=labels, by="logprob", store=store(tmp_path))


def test_rows_that_a_person_answered_are_accepted_as_answered(tmp_path: Path) -> None:
    """They are no part of what rules are about; one that a label calls wrong goes to review."""
    write_rows(tmp_path / "rows.csv", range(300))
    asked = {"k": 2, "max_votes": 3, "on_undecided": "ask"}
    url = store(tmp_path)
    run = api.run(job(tmp_path, model={"malformed": 0.0}, vote=asked, task={"output": ""}))
    waiting = list(maker.waits(run.run_id, store=url))
    assert len(waiting) > 20
    for wait in waiting:
        maker.answer(run.run_id, wait.at, "@1", by="ann", store=url)
    maker.resume(run.run_id, store=url)
    rows = {one.row: one for one in results(run.run_id, store=url)}
    people = [row for row, one in rows.items() if one.outcome == ANSWERED]
    bad = [row for row in people if rows[row].answer["label"] != label(row)]
    assert len(people) == len(waiting)
    labels = by_ids(tmp_path / "ids.csv", [*random.Random(3).sample(sorted({*rows} - {*people}), 150), bad[0]])
    out = tmp_path / "out"
    found = maker.accept(run.run_id, error=0.25, labels=labels, out=out, store=url)
    assert (found.decided, found.sampled, found.answered) == (300 - len(people), 150, len(people) - 1)
    assert [row for row in people if not found.accepts(row)] == bad[:1]
    assert found.left[ANSWERED] == 1
    assert (
        sum(found.accepts(row) for row in rows) == found.accepted + found.answered == len(read(out / "accepted.jsonl"))
    )


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"error": 0.0}, "the error 0 is not between 0 and 1"),
        ({"error": 1.0}, "the error 1 is not"),
        ({"confidence": 1.0}, "the confidence 1 is not between"),
        ({"by": ["luck"]}, "no signal 'luck'\nchoose from votes, models, logprob"),
        ({"by": []}, "no signal to order rows by"),
        (
            {"error": 0.001},
            r"302 labels of run .* are too few for an error of 0.001 .* at least \d{3}, all of them right",
        ),
    ],
)
def test_terms_that_cannot_be_met_are_refused(terms: dict[str, Any], told: str, folder: Path, tmp_path: Path) -> None:
    labels = sample(folder, tmp_path / "labels.csv")
    with pytest.raises(BadInput, match=told):
        maker.accept("last", **{"error": ERROR, "labels": labels, "store": store(folder)} | terms)


def test_too_few_labels_are_told_how_many_it_takes(folder: Path, tmp_path: Path) -> None:
    """And with so many, all of them right, every row is accepted."""
    with pytest.raises(BadInput, match=r"are too few for an error of 0\.1") as refused:
        maker.accept("last", error=ERROR, labels=by_ids(tmp_path / "few.csv", spread(20)), store=store(folder))
    needed = refused.value.facts["needed"]
    rows = {one.row: one for one in results("last", store=store(folder)) if one.outcome == DECIDED}
    decided = [row for row in spread(ROWS) if row in rows]

    def said(row: int) -> str:
        return str(rows[row].answer["label"])

    enough = by_ids(tmp_path / "enough.csv", decided[:needed], said)
    assert maker.accept("last", error=ERROR, labels=enough, store=store(folder)).accepted == len(decided)
    with pytest.raises(BadInput, match=f"at least {needed},"):
        fewer = by_ids(tmp_path / "fewer.csv", decided[: needed - 1], said)
        maker.accept("last", error=ERROR, labels=fewer, store=store(folder))


def test_labels_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    """Rows that there are not, a row twice, labels in a block, no file, none of a decided row."""
    file = tmp_path / "labels.csv"

    def refused(told: str, **how: Any) -> None:
        with pytest.raises(BadInput, match=told):
            maker.accept("last", error=ERROR, labels=file, store=store(folder), **how)

    refused("cannot be read: No such file")
    by_ids(file, [*spread(50), 5000])
    refused("row 50 .*'row-5000'.*has no row with this id")
    by_ids(file, [*spread(50), spread(1)[0]])
    refused("row 50: the id .* is that of row 0 too")
    by_ids(file, range(300))
    refused("your 300 labels are rows 1 to 300 of 900: a sample by order shows nothing")
    assert maker.accept("last", error=ERROR, labels=file, shuffled=True, store=store(folder)).sampled > 200
    missed = [one.row for one in results("last", store=store(folder)) if one.outcome != DECIDED]
    by_ids(file, missed[:3])
    refused("none of the labelled rows of run .* is decided", shuffled=True)


def test_runs_that_are_not_done_are_refused(folder: Path, tmp_path: Path, hanoi: Callable[..., dict[str, Any]]) -> None:
    labels = sample(folder, tmp_path / "labels.csv")
    with pytest.raises(BadInput, match="was drawn from run"):
        write_rows(tmp_path / "rows.csv", range(30))
        api.run(job(tmp_path))
        maker.accept("last", error=ERROR, labels=labels, store=store(tmp_path))
    api.run(job(tmp_path, task={"output": ""}, store={"url": f"sqlite:///{tmp_path}/half.db"}), limit_steps=10)
    with pytest.raises(BadInput, match="is paused: rows are accepted of a run that is done\nfinish it with"):
        maker.accept("last", error=ERROR, labels=labels, store=f"sqlite:///{tmp_path}/half.db")
    task = hanoi(3)
    api.run(task)
    with pytest.raises(BadInput, match="is not a map over rows"):
        maker.accept("last", error=ERROR, labels=labels, store=task["store"]["url"])


def test_a_folder_is_replaced_only_if_it_holds_accepted_rows(folder: Path, tmp_path: Path) -> None:
    labels, out = sample(folder, tmp_path / "labels.csv"), tmp_path / "out"

    def accept(force: bool) -> None:
        maker.accept("last", error=ERROR, labels=labels, out=out, force=force, store=store(folder))

    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="holds no accepted rows"):
        accept(force=True)
    assert (out / "mine.txt").read_text() == "mine"
    (out / "mine.txt").unlink()
    out.rmdir()
    accept(force=False)
    with pytest.raises(BadInput, match="holds accepted rows already\nname another folder"):
        accept(force=False)
    accept(force=True)
    assert {one.name for one in out.iterdir()} == {"accepted.jsonl", "review.jsonl", "accept.json"}
    assert [one.name for one in tmp_path.iterdir() if "part" in one.name or "old" in one.name] == []
    with pytest.raises(BadInput, match="does not exist"):
        maker.accept("last", error=ERROR, labels=labels, out=tmp_path / "no" / "out", store=store(folder))


JOB = """
[task]
decomposer = "map"
truth = "row_tasks:truth"
input = "rows.csv"
template = "What colour is {{text}}?"
schema = "answer.json"
fields = { why = "carry" }
id_column = "id"
[model]
kind = "simulated"
p = 0.95
rivals = 2
[vote]
k = 2
[accept]
error = 0.1
labels = "labels.csv"
"""


def test_the_job_accepts_rows_when_its_run_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the labels are there; before that it says what to do."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    file = tmp_path / "job.toml"
    file.write_text(JOB)
    (tmp_path / "answer.json").write_text(json.dumps(SCHEMA))
    write_rows(tmp_path / "rows.csv", range(300))
    url = store(tmp_path)
    first = CliRunner().invoke(app, ["run", str(file), "--store", url])
    assert first.exit_code == 0
    run_id = maker.show("last", store=url).run_id
    assert f"accept: no labels yet; label rows that `maker audit {run_id}" in first.output
    by_ids(tmp_path / "labels.csv", [row * 77 % 300 for row in range(90)])
    later = CliRunner().invoke(app, ["accept", "last", "--store", url])
    assert later.exit_code == 0, later.output
    second = CliRunner().invoke(app, ["run", str(file), "--store", url, "--json"])
    assert second.exit_code == 0, second.output
    newest = maker.show("last", store=url)
    assert json.loads(second.stdout)["run_id"] == newest.run_id != run_id
    assert "decided rows (" in second.stderr
    assert newest.settings["accept"]["labels"] == str(tmp_path / "labels.csv")
    for one in (run_id, newest.run_id):
        assert len(read(tmp_path / "work" / f"accept-{one}" / "accepted.jsonl")) > 250
    assert not maker.verify(newest.run_id, store=url).problem


def test_accept_tables_that_do_not_fit_are_refused(tmp_path: Path, hanoi: Callable[..., dict[str, Any]]) -> None:
    write_rows(tmp_path / "rows.csv", range(3))
    for table, told in (
        ({"error": 2}, "accept.error"),
        ({"confidence": 0.9}, "accept.error"),
        ({"error": 0.1, "by": ["luck"]}, "accept.by"),
        ({"error": 0.1, "sure": 1}, "accept.sure|no key"),
    ):
        with pytest.raises(JobError, match=told):
            api.load_job(job(tmp_path) | {"accept": table})
    with pytest.raises(JobError, match="is about rows, and hanoi has none"):
        api.load_job(hanoi(3) | {"accept": {"error": 0.1}})


def test_the_command_asks_for_an_error_and_labels(folder: Path) -> None:
    for words, told in ((["--error", "0.1"], "there are no labels"), ([], "no error is stated")):
        done = CliRunner().invoke(app, ["accept", "last", "--store", store(folder), *words])
        assert isinstance(done.exception, BadInput) or done.exit_code == 2
        assert told in f"{done.exception} {done.output}"
