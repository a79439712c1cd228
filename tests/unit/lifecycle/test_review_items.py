"""Rows that votes did not decide, and that a person does: beside the log, once, and for good."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job as rows_job
from row_tasks import write_rows

import maker
from maker.errors import BadInput, RunNotResumable
from maker.lifecycle.rows import RowResult, results
from maker.store.backend.database import upgrade_database

ROWS = 30
HARD = {"k": 3, "max_votes": 5}


@pytest.fixture
def url(database_url: str) -> str:
    """Return the URL of an empty store, of each kind in turn."""
    upgrade_database(database_url)
    return database_url


def hard(tmp_path: Path, url: str, **tables: dict[str, Any]) -> dict[str, Any]:
    """Return a map over rows, in which many votes elect nobody."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    return rows_job(tmp_path, **({"store": {"url": url}, "vote": HARD, "model": {"p": 0.6, "malformed": 0.3}} | tables))


def outcomes(run_id: str, url: str) -> dict[str, RowResult]:
    """Return what became of each row."""
    return {one.id: one for one in results(run_id, store=url)}


def written(tmp_path: Path) -> dict[str, Any]:
    """Return the rows of the part file, by id."""
    (file,) = (tmp_path / "out").glob("rows-*9.jsonl")
    return {row["id"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}


def test_rows_of_a_map_that_is_over(tmp_path: Path, url: str) -> None:
    """Each is shown with its question and votes. Answers change results and files, and nothing of the log."""
    report = maker.run(hard(tmp_path, url))
    items = list(maker.review(report.run_id, store=url))
    assert [one.name for one in items] == [one.id for one in results(report.run_id, store=url) if one.reason]
    assert len(items) == report.missing > 5
    assert {one.outcome for one in items} == {"undecided"}
    for item in items:
        assert item.question == f"What colour is {item.values['text']}?"
        votes = outcomes(report.run_id, url)[item.name].votes
        assert {one.key: one.votes for one in item.candidates} == votes
    first, second = items[:2]
    maker.answer(report.run_id, first.name, "@2", by="ann", store=url)
    maker.answer(report.run_id, second.at, {"label": "green", "why": "I looked"}, by="bob", store=url)
    found = outcomes(report.run_id, url)
    assert found[first.name].answer == json.loads(first.candidates[1].text)
    assert found[second.name].answer == {"label": "green", "why": "I looked"}
    assert [(found[one.name].outcome, found[one.name].answered_by) for one in items[:3]] == [
        ("reviewed", "ann"), ("reviewed", "bob"), ("undecided", ""),
    ]  # fmt: skip
    assert [one.name for one in maker.review(report.run_id, store=url)] == [one.name for one in items[2:]]
    again = maker.resume(report.run_id, store=url)
    assert (again.digest, again.steps, again.missing) == (report.digest, report.steps, report.missing - 2)
    # No step of the log was decided by a person.
    assert (again.answered, again.reviewed) == (0, 2)
    assert written(tmp_path)[second.name]["why"] == "I looked"
    assert len(written(tmp_path)) == report.steps + 2
    verified = maker.verify(report.run_id, store=url)
    assert (verified.right, verified.digest, verified.reviewed) == (True, report.digest, 2)


def test_one_answer_a_row(tmp_path: Path, url: str) -> None:
    """A second one is refused, by whomever, and what the rules forbid changes nothing."""
    report = maker.run(hard(tmp_path, url))
    item = next(maker.review(report.run_id, store=url))
    for wrong in ("@9", "pink", '{"label": "pink", "why": ""}', ""):
        with pytest.raises(BadInput):
            maker.answer(report.run_id, item.name, wrong, store=url)
    assert next(maker.review(report.run_id, store=url)) == item
    maker.answer(report.run_id, item.name, "@1", by="ann", store=url)
    for name in (item.name, item.at):
        with pytest.raises(BadInput, match="is over: it has been answered, by ann"):
            maker.answer(report.run_id, name, "@1", by="bob", store=url)
    with pytest.raises(RunNotResumable, match="waits for nothing"):
        maker.answer(report.run_id, "row-no", "@1", store=url)


def test_two_reviewers_at_once(tmp_path: Path, url: str) -> None:
    """Of two who answer the same rows at the same time, one is taken for each row, and the other is told."""
    report = maker.run(hard(tmp_path, url))
    items = list(maker.review(report.run_id, store=url))

    def work(by: str) -> int:
        taken = 0
        for item in items:
            try:
                maker.answer(report.run_id, item.at, "@1", by=by, store=url)
                taken += 1
            except BadInput as error:
                assert "is over: it has been answered" in error.message
        return taken

    with ThreadPoolExecutor(2) as pool:
        taken = dict(zip(("ann", "bob"), pool.map(work, ("ann", "bob")), strict=True))
    found = Counter(one.answered_by for one in results(report.run_id, store=url) if one.answered_by)
    assert sum(taken.values()) == len(items)
    assert found == Counter(taken) - Counter()
    assert maker.show(report.run_id, store=url).missing == 0


def test_a_retry_leaves_out_what_is_answered(tmp_path: Path, url: str) -> None:
    """Of a map that is over: the new run asks the other rows, and shows the answers of the earlier one."""
    report = maker.run(hard(tmp_path, url))
    items = list(maker.review(report.run_id, store=url))
    kept = [items[0], items[1], items[-1]]
    for item in kept:
        maker.answer(report.run_id, item.at, "@2", by="ann", store=url)
    again = maker.retry(report.run_id, ["vote.max_votes=60"], store=url)
    found = outcomes(again.run_id, url)
    assert {name for name, one in found.items() if one.answered_by} == {one.name for one in kept}
    assert (again.status, again.missing, again.steps) == ("done", 0, len(items) - len(kept))
    assert len(written(tmp_path)) == ROWS
    assert maker.verify(again.run_id, store=url).right
    assert not list(maker.review(again.run_id, store=url))
    with pytest.raises(RunNotResumable, match="no row to ask again"):
        maker.retry(again.run_id, store=url)


def test_rows_that_an_earlier_run_has_left(tmp_path: Path, url: str) -> None:
    """A retry of some outcomes leaves the others in the round of the earlier run: they are reviewed with the newest."""
    report = maker.run(hard(tmp_path, url, model={"p": 0.6, "malformed": 0.8}))
    before = list(maker.review(report.run_id, store=url))
    undecided = [one.name for one in before if one.outcome == "undecided"]
    assert 0 < len(undecided) < len(before)
    again = maker.retry(report.run_id, outcomes=["rejected"], store=url)
    items = {one.name: one for one in maker.review(again.run_id, store=url)}
    assert len(items) == again.missing
    assert items.keys() >= set(undecided)
    for item in items.values():
        reply = '={"label": "red", "why": "by hand"}'
        maker.answer(again.run_id, item.at, reply, by="ann", store=url)
    assert maker.resume(again.run_id, store=url).missing == 0
    assert len(written(tmp_path)) == ROWS
    assert {one.id for one in results(again.run_id, store=url) if one.answered_by} == items.keys()
    # The earlier run shows what was answered of its own round.
    assert set(undecided) <= {one.id for one in results(report.run_id, store=url) if one.answered_by}


def test_a_retry_of_a_paused_map(tmp_path: Path, url: str) -> None:
    """What is answered stays; the run goes on and writes all rows."""
    report = maker.run(hard(tmp_path, url, limits={"max_calls": 80}))
    items = list(maker.review(report.run_id, store=url))
    assert (report.status, len(items) > 2) == ("paused", True)
    maker.answer(report.run_id, items[0].name, "@2", by="ann", store=url)
    again = maker.retry(report.run_id, ["vote.max_votes=60", "limits.max_calls=5000"], store=url)
    assert (again.status, again.missing) == ("done", 0)
    (answered,) = (one for one in results(report.run_id, store=url) if one.answered_by)
    assert (answered.id, answered.answer) == (items[0].name, json.loads(items[0].candidates[1].text))
    assert len(written(tmp_path)) == ROWS
    assert maker.verify(report.run_id, store=url).right


def test_what_waits_comes_first(tmp_path: Path, url: str) -> None:
    """Rows that the run waits for, with their values; then rows without a valid vote, which have no candidates."""
    job = hard(tmp_path, url, vote=HARD | {"on_undecided": "ask"}, model={"p": 0.9, "malformed": 0.7})
    report = maker.run(job)
    items = list(maker.review(report.run_id, store=url))
    kinds = [one.outcome for one in items]
    assert kinds == sorted(kinds) == ["asked"] * kinds.count("asked") + ["rejected"] * kinds.count("rejected")
    assert set(kinds) == {"asked", "rejected"}
    assert all(one.values["id"] == one.name for one in items)
    last = items[-1]
    assert not last.candidates
    reply = '{"label": "red", "why": "by hand"}'
    maker.answer(report.run_id, last.at, f"={reply}", by="ann", store=url)
    for item in items:
        if item.outcome == "asked":
            maker.answer(report.run_id, item.at, "@1", by="ann", store=url)
    done = maker.resume(report.run_id, store=url)
    assert (done.status, done.answered, done.missing) == ("done", kinds.count("asked"), kinds.count("rejected") - 1)
    row = outcomes(report.run_id, url)[last.name]
    assert (row.outcome, row.answer, row.votes) == ("reviewed", json.loads(reply), {'{"label":"red"}': 0})


def test_rows_that_cannot_be_read(tmp_path: Path, store: str) -> None:
    """They are shown with the reason, and take no answer."""
    job = hard(tmp_path, store)
    with (tmp_path / "rows.csv").open("a") as file:
        file.write("row-30,too,many\n")
    report = maker.run(job)
    item = list(maker.review(report.run_id, store=store))[-1]
    assert (item.outcome, item.candidates) == ("failed", [])
    with pytest.raises(BadInput, match="takes no such answer"):
        maker.answer(report.run_id, item.at, '={"label": "red", "why": ""}', store=store)


def test_a_run_of_other_tasks(tmp_path: Path, store: str) -> None:
    """There are only the steps that wait; a run without any has nothing to review."""
    job = {
        "task": {"decomposer": "hanoi", "disks": 4},
        "model": {"kind": "simulated", "p": 0.6},
        "vote": {"k": 2, "max_votes": 4, "on_undecided": "ask"},
        "store": {"url": store},
        "run": {"seed": 1},
    }
    report = maker.run(job)
    (item,) = maker.review(report.run_id, store=store)
    assert (item.outcome, item.values, len(item.candidates)) == ("asked", {}, 2)
    maker.answer(report.run_id, item.at, "@1", store=store)
    assert not list(maker.review(report.run_id, store=store))
    other = maker.run(job | {"vote": {"k": 1}, "model": {"kind": "simulated", "p": 1.0}})
    assert not list(maker.review(other.run_id, store=store))
