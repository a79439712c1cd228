"""The driver: orders out, reports in, every report into the journal, until the run ends or must stop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from maker.chain import Ended, Stuck
from maker.engine.budget import Budget, Exhausted
from maker.engine.forest import Forest
from maker.engine.joining import join
from maker.errors import BadInput, MakerError, TaskFailed
from maker.plugin import Decomposer
from maker.store.accounts import reserve
from maker.store.database import Database
from maker.store.entry import Ending, Entry
from maker.store.journal import Journal
from maker.store.lease import Lease
from maker.store.runs import CANCEL, CANCELLED, release
from maker.swarm.door import Swarm
from maker.swarm.worker import Orders, Report
from maker.types import NOTHING, Allowance, Grant, Starved

WAIT_S = 0.5
WIND_UP_S = 10.0
LEAST = Allowance(1, 1, 0.0)
INTERRUPTED = "interrupted"


class Stint(NamedTuple):
    """One process's work on a run.

    ``forest`` holds the chains that go on. ``steps`` is how many may be decided before a pause, or None.
    ``wall_left_s`` are the seconds that the run's limit leaves. ``budget`` is None where nothing that workers spend is
    limited. ``most_missed`` is how many children the run may go on without. ``chains`` is how many a worker may hold,
    ``strict`` whether each step is committed before the next.
    """

    forest: Forest
    decomposer: Decomposer[Any, Any]
    steps: int | None
    budget: Budget | None
    wall_left_s: float | None
    most_missed: int | None
    chains: int
    strict: bool


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
        self._taking = False
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
        self._error = self._error or stint.forest.fatal
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
            # Within a report what it says may be lost: nothing that follows from it may be written then.
            if not self._taking:
                self._wind_up(swarm, stint, INTERRUPTED)
            raise

    def _work(self, swarm: Swarm, stint: Stint, grant: Grant | None) -> Ending:
        self._asking = True
        forest = stint.forest
        swarm.give(0, Orders(grant=grant, steps=stint.steps))
        while True:
            self._hand_out(swarm, stint)
            for _, report in swarm.collect(WAIT_S):
                if (ending := self._take(swarm, report, stint)) is not None:
                    return ending
            if (reason := self._must_stop(stint)) is not None:
                return self._wind_up(swarm, stint, reason)
            if forest.fatal is not None:
                return self._wind_up(swarm, stint, str(forest.fatal))
            self._join(stint)
            if forest.idle and not any(fork.to_join(time.monotonic()) for fork in forest.forks):
                return self._finish(Entry(ending=Ending("paused", _standstill(stint), None)))

    def _hand_out(self, swarm: Swarm, stint: Stint) -> None:
        """Keep the worker supplied: it holds as many chains as it may, and as many again to begin with at once."""
        forest = stint.forest
        if forest.held:
            return
        handed = forest.hand(2 * stint.chains - forest.out)
        if handed.begun:
            self._journal.put(Entry(chains=handed.begun))
        if handed.chains or handed.children:
            swarm.give(0, Orders(chains=handed.chains, children=handed.children))

    def _wind_up(self, swarm: Swarm, stint: Stint, reason: str) -> Ending:
        """Call every chain back, and journal what the worker still has to tell: its last steps and what they cost."""
        swarm.give(0, Orders(recall=True))
        status = CANCELLED if self._journal.asked == CANCEL else "paused"
        deadline = time.monotonic() + WIND_UP_S
        while time.monotonic() < deadline:
            for _, report in swarm.collect(WAIT_S):
                ending = Ending(status, reason, None) if report.recalled else None
                if (ending := self._take(swarm, report, stint, ending)) is not None:
                    return ending
        return self._finish(Entry(ending=Ending(status, reason, None)))

    def _take(self, swarm: Swarm, report: Report, stint: Stint, ending: Ending | None = None) -> Ending | None:
        """Journal a report; returns the run's ending if it brings it."""
        self._taking = True
        ending = self._journalled(swarm, report, stint, ending)
        self._taking = False
        return ending

    def _journalled(self, swarm: Swarm, report: Report, stint: Stint, ending: Ending | None) -> Ending | None:
        news = stint.forest.take(report)
        ending = self._ending(stint.forest) or ending
        if ending is None and not any(news) and not any(report.usage):
            self._regrant(swarm, stint.budget, report.starved)
            return None
        entry = Entry(
            **news._asdict(),
            usage=report.usage,
            cost=stint.budget.spend(report.usage) if stint.budget else 0.0,
            grant=self._grant,
            abandoned=report.abandoned if ending else None,
            ending=ending,
        )
        if ending is not None:
            return self._finish(entry)
        self._journal.put(entry)
        if stint.strict:
            self._journal.flush()
            swarm.give(0, Orders(mark=report.number))
        self._regrant(swarm, stint.budget, report.starved)
        return None

    def _ending(self, forest: Forest) -> Ending | None:
        end = forest.root_end
        if isinstance(end, Ended):
            return Ending("done" if end.ok else "failed", end.reason, end.result)
        if isinstance(end, Stuck):
            return Ending("paused", f"step {end.idx} ({end.kind}) is undecided: {end.reason}", None)
        if isinstance(end, MakerError):
            self._error = end
            return Ending("paused", str(end), None)
        return None

    def _join(self, stint: Stint) -> None:
        """Join the children that are finished, from what is committed; let parents go on whose children all are."""
        now_s = time.monotonic()
        due = [fork for fork in stint.forest.forks if fork.to_join(now_s)]
        if due:
            self._journal.flush()
        for fork in due:
            try:
                joined = join(self._database, stint.decomposer, fork)
            except TaskFailed as error:
                stint.forest.break_off(fork, error)
                continue
            decided = [joined.step] if joined.step else []
            self._journal.put(
                Entry(folded=[joined.folded], decided=decided, closed=joined.closed, missed=joined.missed)
            )
            if joined.refused is not None:
                stint.forest.break_off(fork, joined.refused)
            elif joined.step is not None:
                stint.forest.joined(fork, joined.step)
            elif not joined.more:
                fork.looked_over(now_s)
            if stint.strict:
                self._journal.flush()

    def _must_stop(self, stint: Stint) -> str | None:
        if self._stop.is_set():
            return "stopped"
        if self._journal.asked == CANCEL:
            return CANCELLED
        if stint.wall_left_s is not None and time.monotonic() - self._began >= stint.wall_left_s:
            return "limit max_wall_s is reached"
        if stint.most_missed is not None and stint.forest.missed > stint.most_missed:
            return f"limit max_undecided = {stint.most_missed} is passed: {stint.forest.missed} have no good decision"
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


def _standstill(stint: Stint) -> str:
    """Say why nothing is left to do, and the run is not at its end."""
    forest = stint.forest
    if forest.held:
        return f"as asked, after {stint.steps:,} steps"
    others = f" (and {forest.troubles - 1:,} more)" if forest.troubles > 1 else ""
    return f"{forest.first_trouble}{others}"
