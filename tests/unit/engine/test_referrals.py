"""Undecided steps that people are asked about: answered once, checked at once, never counted as won by votes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fork_tasks import Shape, count, leaf
from row_tasks import job as rows_job
from row_tasks import write_rows
from sqlalchemy import func, select, update

import maker
from maker.errors import BadInput, RunNotResumable
from maker.lifecycle.events import WaitBegun, WaitEnded
from maker.lifecycle.following import Follower
from maker.lifecycle.rows import results
from maker.lifecycle.waits import OpenWait
from maker.store import referrals
from maker.store.backend import schema
from maker.store.backend.database import open_database, upgrade_database
from maker.store.backend.texts import stored
from maker.store.outside import wakes_at
from maker.voting.tally import by_person, unpack

TREE: Shape = {
    "steps": [3, 2, 3],
    "forks": [
        {"children": [{"steps": [4, 1], "forks": [{"singles": 8}]}, leaf(3), leaf(4)]},
        {"singles": 12, "lenient": True},
    ],
}
ROWS = 30


def tree(url: str, **tables: dict[str, Any]) -> dict[str, Any]:
    """Return a job with forks of chains and of single steps, in which many votes elect nobody."""
    base: dict[str, dict[str, Any]] = {
        "task": {"decomposer": "fork_tasks:Tree", "shape": TREE},
        "model": {"kind": "simulated", "p": 0.7},
        "vote": {"k": 3, "max_votes": 6, "on_undecided": "ask"},
        "store": {"url": url},
    }
    return base | {name: base.get(name, {}) | table for name, table in tables.items()}


def answer_all(run_id: str, url: str, choose: Callable[[OpenWait], Any] = lambda wait: "@1") -> int:
    """Answer all that a run waits for; returns how many that were."""
    found = list(maker.waits(run_id, store=url))
    for wait in found:
        maker.answer(run_id, wait.at, choose(wait), by="ann", store=url)
    return len(found)


def to_its_end(job: dict[str, Any], url: str) -> tuple[maker.RunReport, int]:
    """Run a job, and answer it until it rests for another reason; returns its report, and how many answers it took."""
    report, answers = maker.run(job), 0
    while report.status == "paused" and (more := answer_all(report.run_id, url)):
        answers += more
        assert maker.verify(report.run_id, store=url).problem == ""
        report = maker.resume(report.run_id, store=url)
    return report, answers


def actions(run_id: str, url: str) -> dict[tuple[str, int], Any]:
    """Return what each step of a run decided."""
    return {(one.chain, one.step): one.action for one in maker.steps(run_id, store=url)}


@pytest.fixture
def url(database_url: str) -> str:
    """Return the URL of an empty store, of each kind in turn."""
    upgrade_database(database_url)
    return database_url


def test_every_kind_of_chain_waits_and_goes_on(url: str) -> None:
    """Roots, children and single steps: while one waits, the others go on. The log says who decided, and verifies."""
    report, answers = to_its_end(tree(url), url)
    assert (report.status, report.steps, report.answered) == ("done", count(TREE), answers)
    assert answers > 5
    assert maker.verify(report.run_id, store=url).right
    found = [one for one in maker.steps(report.run_id, store=url) if one.answered]
    assert len(found) == answers
    assert {one.answered["by"] for one in found} == {"ann"}
    assert {one.margin for one in found} == {0}
    assert all(abs(one.answered["at"] - time.time()) < 100 for one in found)
    assert {one.chain.count("/") for one in found} == {0, 1}
    assert not any(one.answered for one in maker.steps(report.run_id, store=url, disputed=True))


def test_a_strict_run_does_the_same(store: str) -> None:
    """The step after an answer begins when the answer is committed; who answers first makes no difference."""
    strict, _ = to_its_end(tree(store, store={"url": store, "durability": "strict"}), store)
    group, _ = to_its_end(tree(store), store)
    assert actions(strict.run_id, store) == actions(group.run_id, store)


def test_votes_are_counted_once_and_not_as_won(url: str) -> None:
    """The monitor sees each election once; the counts of decided steps have only those that votes decided."""
    report, answers = to_its_end(tree(url), url)
    steps = list(maker.steps(report.run_id, store=url))
    won = [one for one in steps if not one.answered]
    assert report.decided_votes == sum(sum(one.votes.values()) for one in won)
    assert report.disputed == sum(len(one.votes) > 1 for one in won)
    assert report.votes == report.calls == sum(sum(one.votes.values()) for one in steps)
    watched = sum(one["steps"] for one in report.monitor)
    assert (watched, answers) == (len(steps), len(steps) - len(won))
    whole = maker.report(report.run_id, store=url)
    assert (whole.steps, whole.decisions, whole.answered) == (len(steps), len(won), answers)
    assert whole.whole.steps == len(won)
    assert f"steps that people decided ({answers:,})" in whole.whole.outside


def rows(tmp_path: Path, **tables: dict[str, Any]) -> dict[str, Any]:
    """Return a map over rows, in which many votes elect nobody."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    asked = {"k": 3, "max_votes": 5, "on_undecided": "ask"}
    return rows_job(tmp_path, vote=asked, **tables)


def test_rows_wait_and_the_others_go_on(tmp_path: Path, url: str) -> None:
    """A row is named by its id. Its answer goes to the files with the others; its outcome says who decided."""
    job = rows(tmp_path, store={"url": url}, model={"malformed": 0.0})
    report = maker.run(job)
    waiting = list(maker.waits(report.run_id, store=url))
    assert (report.status, report.steps) == ("paused", ROWS - len(waiting))
    assert re.fullmatch(r"waits for (row-\d+, )+row-\d+ and \d+ more", report.reason)
    first = waiting[0]
    assert (first.kind, first.deadline) == ("step", None)
    assert first.prompt == f"What colour is item {first.name[4:]}?"
    assert [one.votes for one in first.candidates] == sorted((one.votes for one in first.candidates), reverse=True)
    chosen = json.loads(first.candidates[1].text)
    maker.answer(report.run_id, first.name, "@2", by="bob", store=url)
    report = maker.resume(report.run_id, store=url)
    assert report.status == "paused"
    (row,) = (one for one in results(report.run_id, store=url) if one.id == first.name)
    assert (row.outcome, row.answered_by, row.answer["label"], row.margin) == ("answered", "bob", chosen["label"], 0)
    assert not list((tmp_path / "out").glob("rows-*9.jsonl"))
    while report.status == "paused":
        answer_all(report.run_id, url)
        report = maker.resume(report.run_id, store=url)
    assert (report.status, report.missing, report.answered) == ("done", 0, len(waiting))
    assert report.result == {"rows": ROWS, "decided": ROWS}
    (file,) = (tmp_path / "out").glob("rows-*9.jsonl")
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(written) == ROWS
    assert {one["id"]: one["label"] for one in written}[first.name] == chosen["label"]
    assert maker.verify(report.run_id, store=url).right


def test_many_rows_are_listed_and_taken_page_by_page(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, each once, though a page holds fewer."""
    monkeypatch.setattr(referrals, "PAGE", 3)
    report = maker.run(rows(tmp_path, store={"url": url}, model={"malformed": 0.0}))
    names = [wait.name for wait in maker.waits(store=url)]
    assert len(set(names)) == len(names) == ROWS - report.steps > 6
    answer_all(report.run_id, url)
    done = maker.resume(report.run_id, store=url)
    assert (done.status, done.answered) == ("done", len(names))


def test_an_answer_may_end_wrong(url: str) -> None:
    """The row then has that outcome, as one that votes decided."""
    shape = {"steps": [0, 0], "forks": [{"singles": 20, "lenient": True, "wrong": list(range(20))}]}
    report, answers = to_its_end(tree(url, task={"decomposer": "fork_tasks:Tree", "shape": shape}), url)
    assert (report.status, report.answered, report.missing) == ("done", answers, 20)
    assert answers > 3
    assert maker.verify(report.run_id, store=url).right


def test_rows_without_a_valid_vote_are_rejected(tmp_path: Path, store: str) -> None:
    """Nobody can choose among no candidates: such a row has the outcome that it always had."""
    report = maker.run(rows(tmp_path, store={"url": store}, model={"p": 0.99, "malformed": 0.6}))
    outcomes = {one.outcome for one in results(report.run_id, store=store)}
    assert "rejected" in outcomes
    assert "undecided" not in outcomes


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("zz", "takes no such answer: format: one letter of abcde is wanted"),
        ("", "takes no such answer: empty"),
        (17, "takes no such answer: format"),
        (None, "takes no such answer: format"),
        ("@9", "has no candidate 9; it has"),
        ("@0", "has no candidate 0; it has"),
        ("@99999999999999999999", "has no candidate 999999999; it has"),
        ("=1", "takes no such answer: format"),
    ],
)
def test_an_answer_that_is_none_changes_nothing(store: str, answer: Any, problem: str) -> None:
    """It is refused at once, with the reason."""
    report = maker.run(tree(store))
    before = list(maker.waits(report.run_id, store=store))
    with pytest.raises(BadInput, match=re.escape(problem)):
        maker.answer(report.run_id, before[0].name, answer, store=store)
    with pytest.raises(BadInput, match="nobody can be called"):
        maker.answer(report.run_id, before[0].name, "@1", by="ann\ud800", store=store)
    assert list(maker.waits(report.run_id, store=store)) == before


def test_a_reply_of_ones_own_is_an_answer(store: str) -> None:
    """Any that the parser and the checks accept, though nobody voted for it: it has no votes."""
    report = maker.run(tree(store))
    wait = next(maker.waits(report.run_id, store=store))
    (other, *_) = (letter for letter in "abcde" if f'"{letter}"' not in {one.text for one in wait.candidates})
    maker.answer(report.run_id, wait.name, other, by="", store=store)
    maker.resume(report.run_id, store=store)
    (found,) = (one for one in maker.steps(report.run_id, store=store) if one.answered)
    assert (found.action, next(iter(found.votes.values())), found.answered["by"]) == (other, 0, "")
    assert maker.verify(report.run_id, store=store).problem == ""


def test_an_answer_counts_once(url: str) -> None:
    """A second one is refused, before the run goes on and after it; so is one to a run that is over."""
    report = maker.run(tree(url))
    wait = next(maker.waits(report.run_id, store=url))
    assert maker.answer(report.run_id, wait.name, 1, by="ann", store=url) == wait
    for _ in range(2):
        with pytest.raises(BadInput, match=f"{wait.name} of run .* is over: it has been answered, by ann"):
            maker.answer(report.run_id, wait.name, 2, store=url)
        maker.resume(report.run_id, store=url)
    with pytest.raises(BadInput, match="does not wait for 'step-99'"):
        maker.answer(report.run_id, "step-99", 1, store=url)
    maker.cancel(report.run_id, store=url)
    with pytest.raises(RunNotResumable, match="waits for nothing"):
        maker.answer(report.run_id, wait.name, 1, store=url)


def test_a_number_that_may_be_an_answer_is_asked_about(store: str) -> None:
    """Of a workflow that asks for numbers: 2 may be candidate 2, or the number."""
    report = maker.run(
        {
            "task": {"decomposer": "tests.unit.workflow_tasks:count", "steps": 3},
            "model": {"kind": "simulated", "p": 0.5, "rivals": 1},
            "vote": {"k": 2, "max_votes": 2, "on_undecided": "ask"},
            "store": {"url": store},
            "run": {"seed": 1},
        }
    )
    wait = next(maker.waits(report.run_id, store=store))
    assert len(wait.candidates) == 2
    keys = [one.key for one in wait.candidates]
    assert (keys[0] == "1", keys[1]) == (False, "2")
    with pytest.raises(BadInput, match="1 may be candidate 1 of") as raised:
        maker.answer(report.run_id, wait.name, 1, store=store)
    assert "give @1 for the candidate, or =1 for the answer" in raised.value.fix
    maker.answer(report.run_id, wait.name, 2, store=store)
    assert maker.resume(report.run_id, store=store).answered == 1
    answered = next(one for one in maker.steps(report.run_id, store=store) if one.answered)
    assert answered.votes == {"2": 1, keys[0]: 1}


def test_whoever_works_on_the_run_takes_an_answer_up(store: str) -> None:
    """The run need not rest: its other chains go on, and it goes on with the answer."""
    heard: list[Any] = []

    def answer(event: Any) -> None:
        heard.append(event)
        if isinstance(event, WaitBegun):
            maker.answer(event.run_id, event.at, "@1", by="ann", store=store)

    report = maker.run(tree(store, task={"decomposer": "fork_tasks:Tree", "shape": leaf(30)}), on_event=answer)
    assert (report.status, report.steps, report.resumes) == ("done", 30, 0)
    begun = [one.at for one in heard if isinstance(one, WaitBegun)]
    assert [one.at for one in heard if isinstance(one, WaitEnded)] == begun
    assert len(begun) == report.answered > 0


def test_a_maps_rows_tell_that_they_wait(tmp_path: Path) -> None:
    """Each row that a person is asked about, once, by its name; the others tell nothing."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    job = rows_job(tmp_path, model={"p": 0.6}, vote={"k": 3, "max_votes": 5, "on_undecided": "ask"})
    heard: list[Any] = []
    report = maker.run(job, on_event=heard.append)
    url = job["store"]["url"]
    # A NUL, which not every database stores, is left out.
    waits = sorted((wait.at, wait.name, wait.prompt) for wait in maker.waits(report.run_id, store=url))
    begun = sorted((one.at, one.name, stored(one.prompt)) for one in heard if isinstance(one, WaitBegun))
    assert 0 < len(begun) < ROWS
    assert begun == waits
    for wait in list(maker.waits(report.run_id, store=url)):
        maker.answer(report.run_id, wait.at, json.loads(wait.candidates[0].text), by="ann", store=url)
    heard.clear()
    report = maker.resume(report.run_id, store=url, on_event=heard.append)
    ended = [(one.at, one.name) for one in heard if isinstance(one, WaitEnded)]
    assert sorted(ended) == sorted((at, name) for at, name, _ in begun)
    assert not [one for one in heard if isinstance(one, WaitBegun)]


def test_who_follows_a_run_hears_of_its_waits(store: str) -> None:
    """Through the store, where an event's time stands beside the place that waits."""
    report = maker.run(tree(store))
    wait = next(maker.waits(report.run_id, store=store))
    maker.answer(report.run_id, wait.name, "@1", by="ann", store=store)
    with closing(open_database(store, create=False)) as database:
        follower = Follower(database, report.run_id)
        maker.resume(report.run_id, store=store)
        (ended,) = (one for one in follower.look() if isinstance(one, WaitEnded))
    assert (ended.at, ended.name, ended.by) == (wait.at, wait.name, "ann")


KILLED = """
import os, signal, sys
import maker
from maker.store.batch import LogWriter
write = LogWriter.write_rest
def killed(self, connection, rows):
    write(self, connection, rows)
    if rows.answered:
        os.kill(os.getpid(), signal.SIGKILL)
LogWriter.write_rest = killed
maker.resume(sys.argv[1], store=sys.argv[2])
"""


def test_a_process_killed_between_answer_and_commit_loses_nothing(url: str) -> None:
    """The answer stays, is written once by the next one, and the log verifies."""
    report = maker.run(tree(url, task={"decomposer": "fork_tasks:Tree", "shape": leaf(6)}))
    answers = answer_all(report.run_id, url)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", KILLED, report.run_id, url], check=False, env=env).returncode == -9
    with pytest.raises(BadInput, match="it has been answered"):
        maker.answer(report.run_id, "step-0", "@1", store=url)
    assert maker.show(report.run_id, store=url).answered == 0
    report = maker.resume(report.run_id, store=url)
    assert report.answered == answers
    while report.status == "paused":
        answer_all(report.run_id, url)
        report = maker.resume(report.run_id, store=url)
    assert maker.verify(report.run_id, store=url).right


def test_a_retry_votes_again_but_on_what_is_answered(url: str) -> None:
    """Who had not answered is asked about the new votes, if those elect nobody either."""
    report = maker.run(tree(url, task={"decomposer": "fork_tasks:Tree", "shape": {"steps": [0, 0], "forks": [
        {"singles": 20, "lenient": True}]}}))  # fmt: skip
    first, *others = maker.waits(report.run_id, store=url)
    maker.answer(report.run_id, first.at, "@2", by="ann", store=url)
    report = maker.retry(report.run_id, store=url)
    assert report.answered == 1
    left = {wait.at for wait in maker.waits(report.run_id, store=url)}
    assert left < {wait.at for wait in others}
    found = {one.chain: one for one in maker.steps(report.run_id, store=url)}
    place = first.at.partition(":")[0]
    assert (found[place].action, found[place].epoch) == (json.loads(first.candidates[1].text), 0)
    assert {found[wait.at.partition(":")[0]].epoch for wait in others if wait.at not in left} == {1}
    while report.status == "paused":
        answer_all(report.run_id, url)
        report = maker.resume(report.run_id, store=url)
    assert report.status == "done"
    assert maker.verify(report.run_id, store=url).right


def test_a_fork_before_an_answer_drops_it(store: str) -> None:
    """What follows an answered step is shared; before it, the votes are asked for again."""
    report, _ = to_its_end(tree(store, task={"decomposer": "fork_tasks:Tree", "shape": leaf(20)}), store)
    first = next(one.step for one in maker.steps(report.run_id, store=store) if one.answered)
    after = maker.resume(maker.fork(report.run_id, first + 1, store=store).run_id, store=store)
    before = maker.resume(maker.fork(report.run_id, first, ["vote.max_votes=100"], store=store).run_id, store=store)
    for one, kept in ((after, True), (before, False)):
        assert maker.verify(one.run_id, store=store).problem == ""
        found = next(step for step in maker.steps(one.run_id, store=store) if step.step == first)
        assert bool(found.answered) == kept


def test_a_judge_is_asked_first(store: str) -> None:
    """Its count stands after that of the votes, and a person decides where it cannot."""
    job = tree(store, roles={"judge": {"k": 3, "max_votes": 4}}, run={"seed": 5})
    report, answers = to_its_end(job, store)
    assert (report.status, report.answered) == ("done", answers)
    found = [one for one in maker.steps(report.run_id, store=store) if one.answered]
    assert any(one.judge for one in found)
    assert maker.verify(report.run_id, store=store).right


def test_a_changed_step_is_found(store: str) -> None:
    """Who decided is in the digest; votes that elect an answer leave nothing to a person."""
    report, _ = to_its_end(tree(store), store)
    step = schema.step.c
    with closing(open_database(store, create=False)) as database:
        row = next(row for row in database.fetch(select(schema.step)) if by_person(row.tally))
        here = (step.chain == row.chain, step.idx == row.idx, step.epoch == row.epoch)
        for changed, problem in (
            (row.tally.replace(b"ann", b"bob"), "its digest is"),
            (row.tally[:-4], "cannot be read"),
            (bytes([*unpacked_head(row.tally), 0, 2, 1, 6, 0, 0]), "a person decided it, but its votes"),
            (bytes([*unpacked_head(row.tally), 0, 2, 1, 0, 0, 0]), "its votes are missing"),
        ):
            with database.write() as connection:
                connection.execute(update(schema.step).where(*here).values(tally=changed))
            assert problem in maker.verify(report.run_id, store=store).problem


def unpacked_head(blob: bytes) -> bytes:
    """Return the part of a packed tally that says who decided."""
    name = unpack(blob).person
    assert name is not None
    return blob[: blob.index(name.name.encode()) + len(name.name)]


def test_a_resume_may_change_what_becomes_of_undecided_steps(store: str) -> None:
    """Those that people are asked about wait on; later ones pause the run."""
    shape = {"decomposer": "fork_tasks:Tree", "shape": leaf(40)}
    left = maker.run(tree(store, task=shape, vote={"on_undecided": "leave"}))
    assert "is undecided" in left.reason
    asked = maker.resume(left.run_id, ["vote.on_undecided=ask"], store=store)
    assert asked.reason.startswith("waits for step-")
    again = maker.resume(left.run_id, ["vote.on_undecided=leave"], store=store)
    assert again.reason == asked.reason
    answer_all(left.run_id, store)
    assert "is undecided" in maker.resume(left.run_id, store=store).reason


def test_a_run_that_waits_is_due_when_it_is_answered(url: str) -> None:
    """So that a worker of its queue claims it."""
    report = maker.run(tree(url))
    with closing(open_database(url, create=False)) as database:
        with database.read() as connection:
            assert wakes_at(connection, 1) > time.time() + 10**6
        answer_all(report.run_id, url)
        with database.read() as connection:
            assert wakes_at(connection, 1) <= time.time()


def test_a_pruned_run_leaves_nothing(url: str) -> None:
    """Neither what people were asked nor what they answered."""
    report = maker.run(tree(url))
    answer_all(report.run_id, url)
    maker.prune(report.run_id, store=url)
    with closing(open_database(url, create=False)) as database:
        assert database.fetch(select(func.count()).select_from(schema.referral))[0][0] == 0


def test_a_pilot_asks_nobody(store: str) -> None:
    """It draws its votes, whatever becomes of them."""
    maker.calibrate(tree(store), votes=5, steps=20)
    assert list(maker.waits(store=store)) == []


def test_a_workflow_asks_in_every_form(store: str) -> None:
    """Of `ask`, `gather` and `map` alike; a candidate goes by what a vote for it says."""
    job = {
        "task": {"decomposer": "tests.unit.workflow_tasks:ticket", "text": "no paper left"},
        "model": {"kind": "simulated", "p": 0.5},
        "vote": {"k": 3, "max_votes": 5, "on_undecided": "ask"},
        "store": {"url": store},
    }
    report, asked = maker.run(job), set()
    while waits := list(maker.waits(report.run_id, store=store)):
        for wait in waits:
            asked.add(wait.at.count(".") and wait.at.count("/") + 1)
            maker.answer(report.run_id, wait.at, "@1", by="ann", store=store)
        report = maker.resume(report.run_id, store=store)
    assert report.status in ("done", "paused")
    assert report.answered > 3
    assert len(asked) > 1
    assert maker.verify(report.run_id, store=store).problem == ""
