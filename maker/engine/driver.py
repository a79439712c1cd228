"""The driver: orders out, reports in, every report into the journal, until the run ends or must stop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from maker.chain import ChainAt
from maker.engine.budget import Budget, Exhausted
from maker.errors import BadInput, MakerError
from maker.store.database import Database
from maker.store.journal import Ending, Entry, Journal, reserve
from maker.store.lease import Lease
from maker.store.runs import release
from maker.swarm.door import Swarm
from maker.swarm.worker import ChainOrder, Orders, Report
from maker.types import NOTHING, Allowance, Grant, Starved

WAIT_S = 0.5
WIND_UP_S = 10.0
LEAST = Allowance(1, 1, 0.0)
INTERRUPTED = "interrupted"


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
        self._began = 0.0
        self._asking = False
        self._finished = False

    def drive(self, open_swarm: Callable[[], Swarm], stint: Stint) -> Ending:
        """Work on the run; returns how it stands. Whatever it raises, call `pause` with it.

        Raises:
            BadInput: The model never worked as it is configured; the run is paused.
            StoreFailed: The database stopped taking writes; what was committed stays.
            LeaseLost: Another process has taken the run over.
            WorkerLost: A worker's process died.
        """
        self._began = time.monotonic()
        try:
            # Limits are looked at before a model is opened, which can take half a minute.
            if (reason := self._must_stop(stint)) is not None:
                return self._finish(Entry(ending=Ending("paused", reason, None)))
            grant = self._reserve(stint.budget, LEAST)
            with contextlib.closing(open_swarm()) as swarm:
                ending = self._work_until_stopped(swarm, stint, grant)
        except Exhausted as error:
            return self._finish(Entry(ending=Ending("paused", f"limit {error}", None)))
        if isinstance(self._error, BadInput):
            raise self._error
        return ending

    def pause(self, error: BaseException) -> None:
        """Say in the store why the run stands still, unless it has ended already or the store is lost to us."""
        reason = error.message if isinstance(error, MakerError) else type(error).__name__
        reason = INTERRUPTED if isinstance(error, KeyboardInterrupt) else reason
        if self._finished:
            return
        # A grant that a worker may have drawn on stays reserved: nobody can say what was in flight.
        unused = None if self._asking else NOTHING
        try:
            self._finish(Entry(grant=self._grant, abandoned=unused, ending=Ending("paused", reason, None)))
        except Exception:  # noqa: BLE001 - the journal has stopped, for whatever reason; the run's row may still take it
            with contextlib.suppress(MakerError):
                release(self._database, self._lease, "paused", reason)

    def _work_until_stopped(self, swarm: Swarm, stint: Stint, grant: Grant | None) -> Ending:
        try:
            return self._work(swarm, stint, grant)
        except KeyboardInterrupt:
            self._wind_up(swarm, stint, INTERRUPTED)
            raise

    def _work(self, swarm: Swarm, stint: Stint, grant: Grant | None) -> Ending:
        self._asking = True
        swarm.give(0, Orders(chains=(ChainOrder(stint.at, stint.until),), grant=grant))
        while True:
            for _, report in swarm.collect(WAIT_S):
                if (ending := self._take(report, stint)) is not None:
                    return ending
                self._regrant(swarm, stint.budget, report.starved)
            if (reason := self._must_stop(stint)) is not None:
                return self._wind_up(swarm, stint, reason)

    def _wind_up(self, swarm: Swarm, stint: Stint, reason: str) -> Ending:
        """Call the chain back, and journal what the worker still has to tell: its last steps and what they cost."""
        swarm.give(0, Orders(revoked=(stint.at.chain,)))
        deadline = time.monotonic() + WIND_UP_S
        while time.monotonic() < deadline:
            for _, report in swarm.collect(WAIT_S):
                if (ending := self._take(report, stint, reason)) is not None:
                    return ending
        return self._finish(Entry(ending=Ending("paused", reason, None)))

    def _take(self, report: Report, stint: Stint, reason: str = "") -> Ending | None:
        """Journal a report; returns the ending if it holds one. ``reason`` is why the chain was called back."""
        ending = self._ending(report, stint)
        if ending is None and report.revoked:
            ending = Ending("paused", reason, None)
        if ending is None and not report.decided and not any(report.usage):
            return None
        entry = Entry(
            decided=report.decided,
            usage=report.usage,
            cost=stint.budget.spend(report.usage) if stint.budget else 0.0,
            grant=self._grant,
            abandoned=report.abandoned if ending else None,
            undecided=report.stuck[0] if report.stuck else None,
            ending=ending,
        )
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

    def _must_stop(self, stint: Stint) -> str | None:
        if self._stop.is_set():
            return "stopped"
        if stint.wall_left_s is not None and time.monotonic() - self._began >= stint.wall_left_s:
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
        self._journal.put(Entry(grant=self._grant, abandoned=NOTHING))
        self._journal.flush()
        self._grant = None
        swarm.give(0, Orders(grant=self._reserve(budget, starved.need)))

    def _finish(self, entry: Entry) -> Ending:
        assert entry.ending is not None  # noqa: S101 - for the type checker
        self._journal.put(entry)
        self._journal.flush()
        self._finished = True
        return entry.ending
