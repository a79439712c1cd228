"""The journal: commits what a run has decided, together with what other runs of the process have, and renews its lease.

A thread of its own commits what waits while the next steps are decided. Where each step waits for its commit anyway,
the driver's own thread commits: handing each step to another thread and back takes as long as the rest of it. Not the
main thread, though: Ctrl-C would come between a commit and what follows from it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from maker.store.backend.database import Database
from maker.store.batch import LogWriter
from maker.store.entry import Entry
from maker.store.group_commit import GroupCommit
from maker.store.lease import LEASE_S, Lease
from maker.store.ledger import Accounts, Models
from maker.store.memo import MemoWriter
from maker.store.transaction import RunTransaction, run_mark, write_alone, write_together
from maker.store.vote_monitor import VoteMonitor

FOLD_S = 2.0
"""The database's log is folded so often, in seconds: after a commit has been told, not in it."""
QUEUE_ENTRIES = 64
"""How many entries may wait for the writer before `put` blocks, so that memory stays bounded."""


class Waited(NamedTuple):
    """The entries that waited for the writer, and whether they are the last."""

    entries: list[Entry]
    last: bool


class Journal:
    """Commits the driver's entries in their order, many in one transaction. One thread uses it.

    ``on_commit`` is called after each commit, in the thread that made it, with the entries that are now durable: only
    then may anyone see them. An error that it raises stops the run, and `put` raises it. ``asked`` is what another
    process has asked of the run, as of the last transaction. ``halt`` says why the vote monitor wants a pause, "" if it
    does not; ``decorrelated`` are the step classes whose votes are decorrelated.

    Args:
        database: The store.
        lease: The right to write to the run.
        root: The root chain's key; its newest digest is the run's.
        resumes: How often the run was resumed before.
        models: The run's models, to count samples by.
        on_commit: Called with the entries that were committed.
        watch: The vote monitor.
        space: The memo's cache namespace, see `maker.voting.memo`; None without a memo in the store.
        strict: Each step waits for its commit.
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
        strict: bool = False,
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
        self._group: GroupCommit[RunTransaction] = database.once("group commit", lambda: GroupCommit(write_together))
        self._member = self._group.join()
        self._batch = lease.batch
        self._watch = watch
        self.asked = ""
        self.halt = ""
        self.decorrelated: tuple[int, ...] = ()
        self._heed()
        self._thread: threading.Thread | None = None
        if not strict or threading.current_thread() is threading.main_thread():
            self._thread = threading.Thread(target=self._work, name="maker-journal", daemon=True)
            self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queue an entry; blocks while `QUEUE_ENTRIES` wait. Raises the error that stopped the writer."""
        while True:
            self._raise()
            if self._thread is None and self._queue.full():
                self._write_waiting()
            try:
                self._queue.put(entry, timeout=1.0)
                return
            except queue.Full:
                continue

    def flush(self) -> None:
        """Wait until all queued entries are committed. Raises the error that stopped the writer."""
        if self._thread is None:
            self._write_waiting()
        else:
            with self._queue.all_tasks_done:
                while self._queue.unfinished_tasks and self._thread.is_alive():
                    self._queue.all_tasks_done.wait(timeout=1.0)
        self._raise()

    def catch_up(self) -> None:
        """Commit what waits, and renew the lease if that is due, unless a thread of the journal's sees to it."""
        if self._thread is None:
            self._write_waiting(due=time.monotonic() - self._clock >= LEASE_S / 3)
            self._raise()

    def close(self) -> None:
        """Commit the rest and stop the writer. Raises nothing; call `flush` first to see failures."""
        if self._thread is None:
            self._write_waiting()
        while self._thread is not None and self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=1.0)
                self._thread.join()
        self._group.leave(self._member)

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        # Whatever is raised, the driver must hear of it: it would wait for a dead writer for ever.
        try:
            while not (waited := self._take()).last:
                self._write(waited, due=True)
            self._write(waited)
        except BaseException as error:  # noqa: BLE001 - the driver raises it
            self._failure = error

    def _write_waiting(self, *, due: bool = False) -> None:
        self._write(self._waiting([]), due=due)

    def _write(self, waited: Waited, *, due: bool = False) -> None:
        """Commit entries, and tell of them. If there are none, the lease is renewed where it is ``due``."""
        if self._failure is None and (waited.entries or due):
            try:
                self._on_commit(self._commit(waited.entries))
                self._fold_log()
            except BaseException as error:  # noqa: BLE001 - the driver raises it
                self._failure = error
        for _ in range(len(waited.entries) + waited.last):
            self._queue.task_done()

    def _fold_log(self) -> None:
        if (now := time.monotonic()) - self._folded_s >= FOLD_S:
            self._database.fold_log()
            self._folded_s = now

    def _take(self) -> Waited:
        """Wait for entries, and return all that have come; none when only the lease is due."""
        try:
            return self._waiting([self._queue.get(timeout=LEASE_S / 3)])
        except queue.Empty:
            return Waited([], last=False)

    def _waiting(self, entries: list[Entry | None]) -> Waited:
        """Return entries, and those that wait behind them."""
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
        one = RunTransaction(
            database=self._database,
            lease=self._lease,
            batch=self._batch,
            entries=entries,
            mark=run_mark(self._lease, self._batch, entries, root=self._root, seconds=now - self._clock, noted=state),
            log=self._log,
            rows=self._log.prepare(entries),
            accounts=self._accounts,
            costs=self._accounts.prepare(entries),
        )
        if not (one.joins and self._group.commit(self._member, one)):
            write_alone(one)
        if one.asked is not None:
            self.asked = one.asked
        self._log.committed()
        self._batch += 1
        self._clock = now
        self._heed()
        return entries

    def _heed(self) -> None:
        if self._watch is not None:
            self.halt, self.decorrelated = self._watch.halt, self._watch.decorrelated
