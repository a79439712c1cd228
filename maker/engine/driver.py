"""The driver: orders out, reports in, every report into the journal, until the run ends or must stop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from maker.chain import ChainAt
from maker.engine.budget import Budget, Exhausted
from maker.errors import BadInput, MakerError, StoreFailed
from maker.store.database import Database
from maker.store.journal import Ending, Entry, Journal, reserve
from maker.store.lease import Lease
from maker.store.runs import release
from maker.swarm.door import Swarm
from maker.swarm.worker import ChainOrder, Orders, Report
from maker.types import Allowance, Grant, Starved

WAIT_S = 0.5
NO_NEED = Allowance(0, 0, 0.0)


class Stint(NamedTuple):
    """One process's work on a run.

    ``until`` is the index to pause before, or None. ``wall_left_s`` are the seconds that the run's limit leaves.
    ``budget`` is None where nothing that workers spend is limited.
    """

    at: ChainAt
    until: int | None
    budget: Budget | None
    wall_left_s: float | None


class Driver:
    """Works on one run until it ends, is stuck, meets a limit or is told to stop.

    Blocks; everything is committed when `drive` returns. What was decided and not yet reported when it stops is
    decided again later, from the same seeds.

    Args:
        database: The store.
        lease: The right to write to the run.
        journal: Where reports go.
        stop: Set it from any thread to pause the run.
    """

    def __init__(self, database: Database, lease: Lease, journal: Journal, stop: threading.Event) -> None:
        self._database = database
        self._lease = lease
        self._journal = journal
        self._stop = stop
        self._grant: int | None = None
        self._error: MakerError | None = None
        self._finished = False

    def drive(self, open_swarm: Callable[[], Swarm], stint: Stint) -> Ending:
        """Work on the run; returns how it stands. Whatever it raises, call `pause` with it.

        Raises:
            BadInput: The model never worked as it is configured; the run is paused.
            StoreFailed: The database stopped taking writes; what was committed stays.
            LeaseLost: Another process has taken the run over.
            WorkerLost: A worker's process died.
        """
        with contextlib.closing(open_swarm()) as swarm:
            ending = self._work(swarm, stint)
        if isinstance(self._error, BadInput):
            raise self._error
        return ending

    def pause(self, error: BaseException) -> None:
        """Say in the store why the run stands still, unless it has ended already or the store is lost to us."""
        reason = error.message if isinstance(error, MakerError) else type(error).__name__
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else reason
        with contextlib.suppress(MakerError):
            if isinstance(error, StoreFailed):
                release(self._database, self._lease, "paused", reason)
            elif not self._finished:
                self._finish(Entry(ending=Ending("paused", reason, None)))

    def _work(self, swarm: Swarm, stint: Stint) -> Ending:
        began = time.monotonic()
        try:
            first = Orders(chains=(ChainOrder(stint.at, stint.until),), grant=self._reserve(stint.budget, NO_NEED))
            swarm.give(0, first)
            while True:
                for _, report in swarm.collect(WAIT_S):
                    if (ending := self._take(report, stint)) is not None:
                        return ending
                    self._regrant(swarm, stint.budget, report.starved)
                if (reason := self._must_stop(stint, time.monotonic() - began)) is not None:
                    return self._finish(Entry(ending=Ending("paused", reason, None)))
        except Exhausted as error:
            return self._finish(Entry(ending=Ending("paused", f"limit {error}", None)))

    def _take(self, report: Report, stint: Stint) -> Ending | None:
        """Journal a report; returns the ending if it holds one."""
        cost = stint.budget.spend(report.usage) if stint.budget else 0.0
        ending = self._ending(report, stint)
        entry = Entry(report.decided, report.usage, cost, self._grant, ending is not None, ending)
        if ending is not None:
            return self._finish(entry)
        self._journal.put(entry)
        return None

    def _ending(self, report: Report, stint: Stint) -> Ending | None:
        for _, ended in report.ended:
            return Ending("done" if ended.ok else "failed", ended.reason, ended.result)
        for _, stuck in report.stuck:
            return Ending("paused", f"step {stuck.idx} ({stuck.kind}) is undecided: {stuck.reason}", None)
        for _, error in report.errors:
            self._error = error
            return Ending("paused", str(error), None)
        return Ending("paused", f"as asked, before step {stint.until}", None) if report.held else None

    def _must_stop(self, stint: Stint, seconds: float) -> str | None:
        if self._stop.is_set():
            return "stopped"
        if stint.wall_left_s is not None and seconds >= stint.wall_left_s:
            return "limit max_wall_s is reached"
        return None

    def _reserve(self, budget: Budget | None, need: Allowance) -> Grant | None:
        if budget is None:
            return None
        allowance = budget.grant(need)
        self._grant = reserve(self._database, self._lease, budget.reserved(allowance))
        return Grant(self._grant, allowance)

    def _regrant(self, swarm: Swarm, budget: Budget | None, starved: Starved | None) -> None:
        """Settle the grant that ran out and write a new one; a report from before the newest grant asks for nothing."""
        if budget is None or starved is None or starved.grant != self._grant:
            return
        self._journal.put(Entry(grant=self._grant, settled=True))
        self._journal.flush()
        self._grant = None
        swarm.give(0, Orders(grant=self._reserve(budget, starved.need)))

    def _finish(self, entry: Entry) -> Ending:
        assert entry.ending is not None  # noqa: S101 - for the type checker
        self._journal.put(entry)
        self._journal.flush()
        self._finished = True
        return entry.ending
