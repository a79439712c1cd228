"""The journal: one thread that commits decided steps in groups, and renews the run's lease."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Connection, LargeBinary, Text, bindparam, func, select, update

from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.backend.prepared import Prepared
from maker.store.backend.texts import stored
from maker.store.batch import LogRows, LogWriter
from maker.store.entry import Ending, Entry, sum_counts
from maker.store.lease import LEASE_S, Lease
from maker.store.ledger import Accounts, Models
from maker.store.memo import MemoWriter
from maker.store.runs import fenced, lost_run
from maker.store.seals import weighed
from maker.store.vote_monitor import VoteMonitor

_run = schema.run.c
_MARKED = (
    update(schema.run)
    .where(_run.id == bindparam("of_run"), _run.fence == bindparam("of_fence"), _run.batch == bindparam("after"))
    .values(
        updated_at=bindparam("now"),
        lease_until=bindparam("until"),
        batch=bindparam("number"),
        wall_s=_run.wall_s + bindparam("seconds"),
        digest=func.coalesce(bindparam("newest", type_=LargeBinary), _run.digest),
        steps=_run.steps + bindparam("more_steps"),
        votes=_run.votes + bindparam("more_votes"),
        red_flags=_run.red_flags + bindparam("more_red_flags"),
        disputed=_run.disputed + bindparam("more_disputed"),
        reused=_run.reused + bindparam("more_reused"),
        saved=_run.saved + bindparam("more_saved"),
        counted=_run.counted + bindparam("more_counted"),
        monitor=func.coalesce(bindparam("noted", type_=Text), _run.monitor),
    )
    .returning(_run.asked)
)
FOLD_S = 2.0
"""The database's log is folded so often, in seconds: after a commit has been told, not in it."""
QUEUE_ENTRIES = 64
"""How many entries may wait for the writer before `put` blocks, so that memory stays bounded."""


class Waited(NamedTuple):
    """The entries that waited for the writer, and whether they are the last."""

    entries: list[Entry]
    last: bool


class Journal:
    """Commits the driver's entries in their order, many in one transaction.

    ``on_commit`` is called in the writer's thread after each commit, with the entries that are now durable: only then
    may anyone see them. An error that it raises stops the run, and `put` raises it. ``asked`` is what another process
    has asked of the run, as of the last transaction. ``halt`` says why the vote monitor wants a pause, "" if it does
    not; ``decorrelated`` are the step classes whose votes are decorrelated.

    Args:
        database: The store.
        lease: The right to write to the run.
        root: The root chain's key; its newest digest is the run's.
        resumes: How often the run was resumed before.
        models: The run's models, to count samples by.
        on_commit: Called with the entries that were committed.
        watch: The vote monitor.
        space: The memo's cache namespace, see `maker.voting.memo`; None without a memo in the store.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        *,
        root: int,
        resumes: int,
        models: Models,
        on_commit: Callable[[list[Entry]], None],
        watch: VoteMonitor | None = None,
        space: bytes | None = None,
    ) -> None:
        self._database = database
        self._lease = lease
        self._root = root
        self._on_commit = on_commit
        self._queue: queue.Queue[Entry | None] = queue.Queue(QUEUE_ENTRIES)
        self._failure: BaseException | None = None
        self._clock = self._folded_s = time.monotonic()
        memo = None if space is None else MemoWriter(database, lease.run, space)
        self._log = LogWriter(database, lease.run, memo)
        self._accounts = Accounts(database, lease.run, resumes, models)
        self._marked = Prepared(database, _MARKED)
        self._batch = lease.batch
        self._watch = watch
        self.asked = ""
        self.halt = ""
        self.decorrelated: tuple[int, ...] = ()
        self._heed()
        self._thread = threading.Thread(target=self._work, name="maker-journal", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queue an entry; blocks while `QUEUE_ENTRIES` wait. Raises the error that stopped the writer."""
        while True:
            self._raise()
            try:
                self._queue.put(entry, timeout=1.0)
                return
            except queue.Full:
                continue

    def flush(self) -> None:
        """Wait until all queued entries are committed. Raises the error that stopped the writer."""
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks and self._thread.is_alive():
                self._queue.all_tasks_done.wait(timeout=1.0)
        self._raise()

    def close(self) -> None:
        """Commit the rest and stop the writer. Raises nothing; call `flush` first to see failures."""
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=1.0)
                break
        self._thread.join()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        # Whatever is raised, the driver must hear of it: it would wait for a dead writer for ever.
        try:
            while not self._write_waiting().last:
                pass
        except BaseException as error:  # noqa: BLE001 - the driver raises it
            self._failure = error

    def _write_waiting(self) -> Waited:
        waited = self._take()
        if self._failure is None and (waited.entries or not waited.last):
            try:
                self._on_commit(self._commit(waited.entries))
                self._fold_log()
            except BaseException as error:  # noqa: BLE001 - the driver raises it
                self._failure = error
        for _ in range(len(waited.entries) + waited.last):
            self._queue.task_done()
        return waited

    def _fold_log(self) -> None:
        if (now := time.monotonic()) - self._folded_s >= FOLD_S:
            self._database.fold_log()
            self._folded_s = now

    def _take(self) -> Waited:
        """Return all waiting entries; none when only the lease is due."""
        try:
            entries = [self._queue.get(timeout=LEASE_S / 3)]
        except queue.Empty:
            return Waited([], last=False)
        while True:
            try:
                entries.append(self._queue.get_nowait())
            except queue.Empty:
                break
        taken = [entry for entry in entries if entry is not None]
        return Waited(taken, last=len(taken) < len(entries))

    def _commit(self, entries: list[Entry]) -> list[Entry]:
        """Commit entries with the vote monitor's state and events; returns all that was committed."""
        now = time.monotonic()
        state = None
        if self._watch is not None:
            # Outside of the transaction, which may be repeated: votes must be counted once.
            state, events = self._watch.note(entries)
            entries = [*entries, Entry(events=events)] if events else entries
        # So is all that can be computed before: others wait while a transaction is open.
        self._transact(entries, self._log.prepare(entries), now - self._clock, state)
        self._log.committed()
        self._batch += 1
        self._clock = now
        self._heed()
        return entries

    def _heed(self) -> None:
        if self._watch is not None:
            self.halt, self.decorrelated = self._watch.halt, self._watch.decorrelated

    @retried
    def _transact(self, entries: list[Entry], rows: LogRows, seconds: float, noted: str | None) -> None:
        with self._database.write() as connection:
            if self._mark(connection, entries, seconds, noted):
                self._log.write(connection, rows)
                self._accounts.write(connection, entries)

    def _mark(self, connection: Connection, entries: list[Entry], seconds: float, noted: str | None) -> bool:
        """Renew the lease and update the run's row, if the run is still ours. Raises `LeaseLost`.

        Returns False if this transaction has taken place already: its connection was lost after the commit.
        """
        now = time.time()
        counts = sum_counts(entry.counts for entry in entries)
        own = (step for entry in reversed(entries) for step in reversed(entry.decided) if step.chain == self._root)
        newest = next(own, None)
        more = {
            "steps": counts.decided, "votes": counts.votes, "red_flags": counts.flags, "disputed": counts.disputed,
            "reused": counts.reused, "saved": counts.saved,
        }  # fmt: skip
        changes = {
            "of_run": self._lease.run,
            "of_fence": self._lease.fence,
            "now": now,
            "until": now + LEASE_S,
            "after": self._batch,
            "number": self._batch + 1,
            "seconds": seconds,
            "newest": None if newest is None else newest.digest,
            "more_counted": weighed(more),
            "noted": noted,
            **{f"more_{name}": count for name, count in more.items()},
        }
        asked = self._marked.execute(connection, changes).scalar()
        if asked is None:
            query = select(_run.batch, _run.fence).where(_run.id == self._lease.run)
            if connection.execute(query).first() == (self._batch + 1, self._lease.fence):
                return False
            raise lost_run(connection, self._lease, self._batch)
        self.asked = asked
        for entry in entries:
            if entry.ending is not None:
                fenced(connection, self._lease, **_ended(entry.ending))
        return True


def _ended(ending: Ending) -> dict[str, Any]:
    result = None if ending.result is None else json.dumps(ending.result)
    free = {"holder": "", "lease_until": 0.0}
    return {"status": ending.status, "reason": stored(ending.reason), "result": result} | free
