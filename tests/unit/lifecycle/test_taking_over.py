"""When a run is taken from a holder that may be only slow: after all that can fail."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from needs import Late
from row_tasks import job, write_rows
from sqlalchemy import update

from maker import api
from maker.errors import BadInput, MakerError, RunHeld, RunNotResumable, StoreFailed
from maker.lifecycle import control
from maker.store.backend import schema
from maker.store.backend.database import Database, open_database
from maker.store.entry import Ending, Entry
from maker.store.journal import Journal
from maker.store.lease import Lease
from maker.store.ledger import Models
from maker.store.runs import RunRow, find_run, take_over

fcntl = Late("fcntl")

Job = Callable[..., dict[str, dict[str, Any]]]


@contextmanager
def slow_holder(url: str, run_id: str) -> Iterator[Callable[[], RunRow]]:
    """Hold a run with a lease that has run out; give what reads its row. The holder can write in the end."""
    with closing(open_database(url, create=False)) as database:
        row = find_run(database, run_id)
        lease = take_over(database, row, row.settings)
        lapse(database, lease)
        yield lambda: find_run(database, run_id)
        models = Models(("simulated",), ("solver",))
        journal = Journal(database, lease, root=0, resumes=1, models=models, on_commit=lambda _entries: None)
        journal.put(Entry(ending=Ending("paused", "", None)))
        journal.flush()
        journal.close()


def lapse(database: Database, lease: Lease) -> None:
    """Let a lease run out."""
    with database.write() as connection:
        connection.execute(update(schema.run).where(schema.run.c.id == lease.run).values(lease_until=0.0))


def test_a_resume_that_cannot_write_its_files_leaves_a_slow_holder_alone(tmp_path: Path) -> None:
    """The holder still has the output folder: the resume says so, and has taken nothing."""
    write_rows(tmp_path / "rows.csv", range(30))
    task = job(tmp_path)
    url = task["store"]["url"]
    run_id = api.run(task, limit_steps=3).run_id
    lock = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with slow_holder(url, run_id) as row:
            before = row()
            for again in (api.resume, api.retry):
                with pytest.raises(BadInput, match="another process writes to the output folder"):
                    again(run_id, store=url)
            assert row() == before
    finally:
        os.close(lock)
    assert api.resume(run_id, store=url).status == "done"


def test_a_retry_of_nothing_leaves_a_slow_holder_alone(hanoi: Job, store: str) -> None:
    """Whether there is anything to retry is found out before the run is taken."""
    run_id = api.run(hanoi(5), limit_steps=3).run_id
    with slow_holder(store, run_id) as row:
        before = row()
        with pytest.raises(RunNotResumable, match="nothing to retry"):
            api.retry(run_id, store=store)
        assert row() == before


def test_what_is_taken_over_is_given_back_if_it_cannot_be_cut(
    hanoi: Job, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry that fails after it took the run pauses it, with the reason that it had."""
    stuck = api.run(hanoi(5, model={"p": 0.6}, vote={"k": 3, "max_votes": 5}))
    assert stuck.status == "paused"

    def fail(*_: object) -> None:
        raise StoreFailed("no")

    monkeypatch.setattr(control, "cut", fail)
    with pytest.raises(StoreFailed):
        api.retry(stuck.run_id, store=store)
    with closing(open_database(store, create=False)) as database:
        row = find_run(database, stuck.run_id)
    assert (row.status, row.reason, row.holder) == ("paused", stuck.reason, "")


def test_a_long_cut_keeps_its_lease(hanoi: Job, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment of taking over the lease is renewed, however long a retry takes to cut what it decides anew."""
    for module in ("keeper", "runs"):
        monkeypatch.setattr(f"maker.store.{module}.LEASE_S", 0.3)
    stuck = api.run(hanoi(5, model={"p": 0.6}, vote={"k": 3, "max_votes": 5}))
    real = control.cut

    def slow(database: Database, lease: Lease, cuts: Any) -> None:
        first = find_run(database, stuck.run_id).lease_until
        deadline = time.monotonic() + 10
        while find_run(database, stuck.run_id).lease_until < first + 0.3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        real(database, lease, cuts)

    monkeypatch.setattr(control, "cut", slow)
    assert api.retry(stuck.run_id, store=store).steps >= stuck.steps


@pytest.mark.parametrize("failing", ["create_run", "find_run", "_claim_output"])
def test_a_run_that_cannot_be_made_leaves_nothing_open(
    hanoi: Job, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """The database is closed, whatever fails before the work begins."""
    opened: list[Database] = []
    closed: list[Database] = []

    def fail(*_: object, **__: object) -> None:
        raise StoreFailed("no")

    def open_it(url: str, *, create: bool) -> Database:
        database = open_database(url, create=create)
        monkeypatch.setattr(database, "close", lambda: closed.append(database))
        opened.append(database)
        return database

    monkeypatch.setattr(control, "open_database", open_it)
    monkeypatch.setattr(control, failing, fail)
    with pytest.raises(MakerError, match="no"):
        api.run(hanoi(3))
    assert opened
    assert closed == opened


def test_a_run_that_another_process_has_continued_meanwhile_is_not_taken_for_damaged(
    hanoi: Job, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is checked is read bit by bit: where another process has worked between two of them, it is named."""
    run_id = api.run(hanoi(5), limit_steps=3).run_id
    check = control.check_resumable

    def check_late(database: Database, row: RunRow) -> None:
        monkeypatch.setattr(control, "check_resumable", check)
        assert api.resume(run_id, store=store, limit_steps=3).status == "paused"
        check(database, row)

    monkeypatch.setattr(control, "check_resumable", check_late)
    with pytest.raises(RunHeld, match="since this one read it"):
        api.resume(run_id, store=store)
    assert api.resume(run_id, store=store).status == "done"
