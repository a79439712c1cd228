"""Runs of one process commit together: all in one transaction, and each alone where that fails."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.engine import make_url

from maker.errors import LeaseLost, StoreFailed
from maker.store import journal as journals
from maker.store.backend import schema
from maker.store.backend.database import Database, open_database, upgrade_database
from maker.store.chains import root_chain
from maker.store.entry import Ending, Entry, StoredEvent
from maker.store.group_commit import GroupCommit
from maker.store.journal import Journal
from maker.store.ledger import Models
from maker.store.runs import NewRun, create_run, find_run
from maker.store.transaction import RunTransaction, write_together
from maker.types import Account, Usage
from maker.voting.messages import Decided

NEW = NewRun("a name", {"vote": {"k": 3}}, {"seed": 0}, ("move",), b"g" * 16, "state 0")
MODELS = Models(("m",), ("solver",))
RUNS = 4
WAIT_S = 20.0


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Run:
    """A run whose steps each wait for their commit, in a thread of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.run_id, self.lease = create_run(database, NEW)
        self.chain = root_chain(database, self.lease.run).key
        self.raised: BaseException | None = None
        self.told: list[Entry] = []
        self._thread: threading.Thread | None = None

    def begin(self, *entries: Entry) -> None:
        """Commit entries, one after the other."""
        self._thread = threading.Thread(target=self._work, args=(entries,))
        self._thread.start()

    def end(self) -> None:
        """Wait until all is tried."""
        assert self._thread is not None
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def step(self, index: int, **more: Any) -> Entry:
        """Return an entry of one step."""
        decided = Decided(self.chain, index, 0, f"a{index}\u00e9'\\", b"t\x00\xff", 3, bytes([index]) * 16, 2, 1, False)
        return Entry(
            decided=[decided], worker=0, place="here", spent={Account(0, "solver"): Usage(4, 40, 8, 1)}, **more
        )

    def edit(self, table: Any, key: int, **values: Any) -> None:
        """Change a row."""
        with self.database.write() as connection:
            connection.execute(update(table).where(table.c.id == key).values(**values))

    @property
    def steps(self) -> list[int]:
        """The steps in the log."""
        step = schema.step.c
        return [idx for (idx,) in self.database.fetch(select(step.idx).where(step.chain == self.chain))]

    def is_right(self, steps: int) -> bool:
        """Say whether so many steps are there once, and counted once."""
        row = find_run(self.database, self.run_id)
        counted = (row.steps, row.votes, row.red_flags, row.counted, [one.usage.calls for one in row.accounts])
        worked = schema.worker.c
        (done,) = self.database.fetch(select(func.sum(worked.steps)).where(worked.run == row.key))[0]
        cursor = root_chain(self.database, row.key).cursor
        held = (self.steps, counted, done, cursor, row.batch, len(self.told))
        return held == (list(range(steps)), (steps, 2 * steps, steps, True, [4 * steps]), steps, steps, steps, steps)

    def _work(self, entries: Sequence[Entry]) -> None:
        with closing(
            Journal(
                self.database, self.lease, root=self.chain, resumes=0, models=MODELS, on_commit=self.told.extend,
                strict=True,
            )
        ) as journal:  # fmt: skip
            try:
                for entry in entries:
                    journal.put(entry)
                    journal.flush()
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                self.raised = error


class Together:
    """Runs in a store, the transactions of several that were tried, and what is to go wrong in them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = open_database(url, create=True)
        self.runs = [Run(self.database) for _ in range(RUNS)]
        self.tried: list[int] = []
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    @property
    def is_postgres(self) -> bool:
        """Whether the store is PostgreSQL's, through a pooler or not."""
        return self.url.startswith("postgresql")

    def write(self, several: Sequence[RunTransaction]) -> None:
        """Stand before what writes several transactions together."""
        self.tried.append(len(several))
        if len(several) > 1:
            self.before()
        write_together(several)
        if len(several) > 1:
            self.after()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the first run from being written to."""
        if self.is_postgres:
            with closing(psycopg.connect(self.url)) as held:
                held.execute("UPDATE maker.maker_run SET name = name WHERE id = %s", (self.runs[0].lease.run,))
                yield
        else:
            with closing(sqlite3.connect(str(make_url(self.url).database), isolation_level=None)) as held:
                held.execute("BEGIN IMMEDIATE")
                yield

    def commit_together(self, entries: Sequence[Entry], meanwhile: Callable[[], None] = lambda: None) -> None:
        """Let the first run commit its entry, and the others theirs together, once the first one's is committed."""
        group: GroupCommit[RunTransaction] = self.database.once("group commit", lambda: GroupCommit(self.write))
        with self.locked():
            self.runs[0].begin(entries[0])
            until(lambda: len(self.tried) == 1)
            for run, entry in zip(self.runs[1:], entries[1:], strict=True):
                run.begin(entry)
            until(lambda: len(group._waiting) == RUNS - 1)
            meanwhile()
        for run in self.runs:
            run.end()


@pytest.fixture
def runs_together(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Together]:
    """Return runs in an empty store, of each kind in turn."""
    upgrade_database(database_url)
    together = Together(database_url)
    monkeypatch.setattr(journals, "write_together", together.write)
    yield together
    together.database.close()


def test_runs_that_commit_at_once_are_in_one_transaction(runs_together: Together) -> None:
    """Those that come while another one commits are written together, as they would be alone."""
    together = runs_together
    runs = together.runs
    together.commit_together([run.step(0) for run in runs])
    assert together.tried == [1, RUNS - 1]
    assert [run.raised for run in runs] == [None] * RUNS
    assert all(run.is_right(1) for run in runs)
    if together.is_postgres:
        with psycopg.connect(together.url) as connection:
            found = connection.execute("SELECT xmin::text, count(*) FROM maker.maker_step GROUP BY 1").fetchall()
        assert sorted(count for _, count in found) == [1, RUNS - 1]


def test_all_that_an_entry_holds_is_written(runs_together: Together) -> None:
    """What seldom occurs goes into the transaction of all: an event, a snapshot, the run's end."""
    runs = runs_together.runs
    entries = [run.step(0) for run in runs]
    ending = Ending("done", "it is\x00 over", {"moves": 3})
    kept = [entries[1].decided[0]._replace(state="the state")]
    entries[1] = replace(entries[1], decided=kept, ending=ending, events=[StoredEvent("told", {"at": "0"})])
    runs_together.commit_together(entries)
    assert runs_together.tried == [1, RUNS - 1]
    row = find_run(runs_together.database, runs[1].run_id)
    assert (row.status, row.result, row.holder, row.reason) == ("done", {"moves": 3}, "", "it is\\x00 over")
    snapshot, told = schema.snapshot.c, schema.event.c
    states = runs_together.database.fetch(
        select(snapshot.state).where(snapshot.chain == runs[1].chain, snapshot.idx == 1)
    )
    assert [state for (state,) in states] == ["the state"]
    assert [kind for (kind,) in runs_together.database.fetch(select(told.kind).where(told.run == row.key))] == ["told"]


@pytest.mark.parametrize("what", ["fence", "cursor", "epoch"])
def test_one_that_lost_its_run_hurts_no_other(runs_together: Together, what: str) -> None:
    """It hears of that; the others' steps are committed once, and only once."""
    together = runs_together
    lost, *others = together.runs[2], *together.runs[:2], together.runs[3]
    if what == "fence":
        lost.edit(schema.run, lost.lease.run, fence=99)
    elif what == "cursor":
        lost.edit(schema.chain, lost.chain, cursor=5)
    else:
        lost.edit(schema.chain, lost.chain, epoch=7)
    together.commit_together([run.step(0) for run in together.runs])
    assert together.tried == [1, RUNS - 1]
    assert isinstance(lost.raised, LeaseLost)
    assert (lost.steps, lost.told) == ([], [])
    assert [run.raised for run in others] == [None] * (RUNS - 1)
    assert all(run.is_right(1) for run in others)


def test_a_lost_commit_of_several_is_told_from_one_that_never_was(runs_together: Together) -> None:
    """The server commits, and its answer is lost: no run's step is written twice, nor counted twice."""
    together = runs_together

    def lose() -> None:
        raise StoreFailed("the connection was lost", fix="", lost=True)

    together.after = lose
    together.commit_together([run.step(0) for run in together.runs])
    assert together.tried == [1, RUNS - 1]
    assert [run.raised for run in together.runs] == [None] * RUNS
    assert all(run.is_right(1) for run in together.runs)


def test_a_connection_that_is_cut_off_within_the_transaction(runs_together: Together) -> None:
    """The server takes back what all have written; each writes it again, alone."""
    together = runs_together
    if not together.is_postgres:
        pytest.skip("there is no connection to a file")

    def cut() -> None:
        with psycopg.connect(together.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    together.before = cut
    together.commit_together([run.step(0) for run in together.runs])
    assert [run.raised for run in together.runs] == [None] * RUNS
    assert all(run.is_right(1) for run in together.runs)


def test_a_disk_that_one_run_fills_takes_what_the_others_have(runs_together: Together) -> None:
    """Together they do not fit; alone only the large one does not, and only its run stops."""
    together = runs_together
    if together.is_postgres:
        pytest.skip("the disk of a server is another's")
    engine, large = together.database.engine, together.runs[2]
    with together.database.read() as connection:
        most = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 60
    engine.dispose()

    @event.listens_for(engine, "connect")
    def _limit(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {most}")

    entries = [run.step(0) for run in together.runs]
    entries[2] = large.step(0, events=[StoredEvent("long", {"text": "a" * 1_000_000})])
    together.commit_together(entries)
    assert together.tried == [1, RUNS - 1]
    assert isinstance(large.raised, StoreFailed)
    assert "the disk is full" in large.raised.message
    assert large.steps == []
    others = [run for run in together.runs if run is not large]
    assert [run.raised for run in others] == [None] * (RUNS - 1)
    assert all(run.is_right(1) for run in others)


def test_many_steps_of_many_runs_are_all_there(runs_together: Together) -> None:
    """Whoever leads, and whoever waits for whom: each run's steps are committed in order, and told of once."""
    for run in runs_together.runs:
        run.begin(*(run.step(index) for index in range(20)))
    for run in runs_together.runs:
        run.end()
    assert [run.raised for run in runs_together.runs] == [None] * RUNS
    assert all(run.is_right(20) for run in runs_together.runs)


# --- the group itself, without a database ---


class Writes:
    """Takes in what a group writes; the first write waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def write(self, things: Sequence[str]) -> None:
        """Write things."""
        self.batches.append(list(things))
        self.begun.set()
        assert self.go_on.wait(WAIT_S)
        if "bad" in things:
            raise ValueError("it will not do")


def test_what_waits_is_tried_together_and_nobody_else_hears_of_an_error() -> None:
    """An error means no for all of a batch; the next one is tried as if nothing had been."""
    writes = Writes()
    group = GroupCommit[str](writes.write)
    members, said = [group.join() for _ in range(4)], dict[str, bool]()

    def commit(number: int, thing: str) -> threading.Thread:
        def work() -> None:
            said[thing] = group.commit(members[number], thing)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    threads = [commit(0, "first")]
    assert writes.begun.wait(WAIT_S)
    for number, thing in enumerate(("bad", "good", "fair"), start=1):
        threads.append(commit(number, thing))
        until(lambda number=number: len(group._waiting) == number)
    writes.go_on.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert writes.batches == [["first"], ["bad", "good", "fair"]]
    assert said == {"first": True, "bad": False, "good": False, "fair": False}
    assert group.commit(members[2], "again")
    assert writes.batches[-1] == ["again"]


def test_a_leader_waits_for_no_member_that_has_left() -> None:
    """Nor for one that takes its time: only for those that came back at once, and not for long."""
    writes = Writes()
    writes.go_on.set()
    group = GroupCommit[str](writes.write)
    here, gone = group.join(), group.join()
    for _ in range(2):
        assert group.commit(gone, "x")
    group.leave(gone)
    group.leave(gone)
    assert group.commit(here, "y")
    assert writes.batches == [["x"], ["x"], ["y"]]
