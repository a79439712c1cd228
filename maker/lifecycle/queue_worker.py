"""A queue's worker: claims runs and works on each as a resume does, several at a time, until it is told to stop."""

from __future__ import annotations

import contextvars
import math
import queue as queues
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import NamedTuple, TypeAlias

from maker.core.logs import logger
from maker.core.user_code import words_of
from maker.engine.causes import INTERRUPTED, STOPPED, Cause, cause_of
from maker.engine.driver import WIND_UP_S
from maker.errors import BadInput, MakerError, PluginError, RunDamaged, RunHeld, StoreFailed, StoreUnusable
from maker.lifecycle.control import take
from maker.lifecycle.once import refuse_bad_queue
from maker.lifecycle.queries import RunReport
from maker.lifecycle.session import OnEvent, work
from maker.store.backend.database import open_database
from maker.store.lease import LEASE_S, describe, this_process
from maker.store.queue import NO_LIMITS, Claim, QueueLimits, claim, keep, serve, serve_no_more, settle
from maker.store.queued import DEFAULT_QUEUE
from maker.store.runs import find_run

log = logger("maker")

LOOK_S = 0.5
"""Seconds between two looks at a queue that has nothing to claim."""
GRACE_S = 10.0
"""Seconds that runs in work get to come to their end, once their worker is told to stop."""
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 600.0
"""How long a run waits after its first fault in a row, and at most; so too a worker that has other code."""
MOST_FAULTS = 10
"""After so many faults in a row, an hour or so, a run rests until somebody resumes it."""


OnEnd: TypeAlias = Callable[[RunReport], None]
"""Given the report of a run when the work on it is over."""


class Verdict(NamedTuple):
    """What becomes of a claim, see `maker.store.queue.settle`."""

    again: bool
    wait_s: float = 0.0
    faults: int = 0
    note: str = ""
    asleep: bool = False


def verdict(report: RunReport, *, faults: int, steps: int) -> Verdict:
    """Return what becomes of a run's claim by how its work has ended.

    A run that its worker has paused waits for another worker. One that a fault has stopped waits the longer, the more
    faults have stopped it in a row; one that has decided steps since begins to count anew. A run that is over, or
    paused by a limit, an alarm or an undecided step, needs a person: it leaves the queue. One that waits for an answer
    or a time sleeps there until then.

    Args:
        report: How the run stands now.
        faults: How many faults in a row had stopped it before.
        steps: How many steps it had when it was claimed.
    """
    if report.status != "paused":
        return Verdict(again=False)
    if report.reason in (STOPPED, INTERRUPTED):
        return Verdict(again=True)
    if cause_of(report.reason) == Cause.WAITS:
        return Verdict(again=True, note=report.reason, asleep=True)
    if cause_of(report.reason) != Cause.FAULT:
        return Verdict(again=False, note=report.reason)
    return after_fault(0 if report.steps > steps else faults, report.reason)


def after_fault(faults: int, reason: str) -> Verdict:
    """Return what becomes of a run that a fault has stopped, ``faults`` in a row before."""
    return Verdict(faults + 1 < MOST_FAULTS, wait_s(faults), faults + 1, reason)


def wait_s(faults: int) -> float:
    """Return how long to wait after a fault, in seconds: twice as long each time."""
    return float(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**faults))


def work_queue(
    queue: str = DEFAULT_QUEUE,
    *,
    store: str,
    concurrency: int = 1,
    limits: QueueLimits = NO_LIMITS,
    grace_s: float = GRACE_S,
    on_event: OnEvent | None = None,
    on_end: OnEnd | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Work on the runs of a queue until ``stop`` is set. Blocks.

    Then nothing more is claimed. What is in work has ``grace_s`` seconds to end, and is paused after that, for another
    worker to go on with.

    Args:
        queue: The name of the queue.
        store: The database of the runs.
        concurrency: Most runs at a time; each takes a thread.
        limits: How many runs of the queue may be in work at once, over all workers that are given the same.
        grace_s: How long runs may go on once ``stop`` is set, in seconds.
        on_event: Told of what becomes of each run, from the threads of several.
        on_end: Given the report of each run when the work on it is over, before its claim is. What it raises is logged.
        stop: Set it from another thread, or a signal's handler, to end the work.

    Raises:
        StoreUnusable: The store cannot be opened.
    """
    refuse_bad_queue(queue)
    if wrong := [number for number in (concurrency, *limits) if number is not None and number < 1]:
        raise BadInput(f"a worker with {wrong[0]} runs at a time does nothing", fix="give 1 or more")
    if not (math.isfinite(grace_s) and grace_s >= 0):
        raise BadInput(f"runs cannot have {grace_s:g} s to end", fix="give a number of seconds, 0 or more")
    with closing(_Worker(store, queue, limits, on_event, on_end)) as worker:
        try:
            worker.work(concurrency, stop or threading.Event())
        finally:
            worker.drain(grace_s)


class _InWork(NamedTuple):
    """A claim that a thread works on, and what stops it."""

    claim: Claim
    stop: threading.Event


class _Worker:
    """Claims from one queue, and works on each run in a thread of its own."""

    def __init__(
        self, store: str, queue: str, limits: QueueLimits, on_event: OnEvent | None, on_end: OnEnd | None
    ) -> None:
        self._database = open_database(store, create=True)
        self._queue = queue
        self._limits = limits
        self._on_event = on_event
        self._on_end = on_end
        self._busy: dict[threading.Thread, _InWork] = {}
        self._over: queues.SimpleQueue[threading.Thread] = queues.SimpleQueue()
        self._refused: dict[bytes, tuple[int, float]] = {}
        """How often runs of each code were refused, and until when none is claimed, by ``time.monotonic``."""
        self._kept_s = time.monotonic()
        self._served_s = -math.inf

    def work(self, concurrency: int, stop: threading.Event) -> None:
        """Keep so many runs in work until ``stop`` is set."""
        while not stop.is_set():
            self._serve()
            while len(self._busy) < concurrency and not stop.is_set() and (found := self._claim()) is not None:
                self._begin(found)
            self._wait(LOOK_S)

    def _serve(self) -> None:
        """Let others see that the queue is served."""
        if time.monotonic() - self._served_s > LEASE_S / 3:
            with suppress(StoreFailed):
                serve(self._database, self._queue)
            self._served_s = time.monotonic()

    def drain(self, grace_s: float) -> None:
        """Wait for the runs in work; pause those that take longer. Gives up one that does not pause in time."""
        with suppress(StoreFailed):
            serve_no_more(self._database, self._queue)
        self._wait_for_all(grace_s)
        for one in self._busy.values():
            one.stop.set()
        self._wait_for_all(WIND_UP_S + LOOK_S)
        if self._busy:
            log.warning("worker_gave_up", queue=self._queue, runs=[thread.name for thread in self._busy])

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _wait_for_all(self, most_s: float) -> None:
        until = time.monotonic() + most_s
        while self._busy and (left_s := until - time.monotonic()) > 0:
            self._wait(min(left_s, LOOK_S))

    def _wait(self, most_s: float) -> None:
        """Wait until a run's thread is over, for some time at most; keep the claims of the others."""
        if self._busy and time.monotonic() - self._kept_s > LEASE_S / 3:
            with suppress(StoreFailed):
                keep(self._database, [one.claim for one in self._busy.values()])
            self._kept_s = time.monotonic()
        with suppress(queues.Empty):
            while self._busy or most_s:
                self._busy.pop(self._over.get(timeout=most_s))
                most_s = 0.0

    def _claim(self) -> Claim | None:
        now = time.monotonic()
        aside = [code for code, (_, until) in self._refused.items() if until > now]
        try:
            return claim(self._database, self._queue, limits=self._limits, aside=aside)
        except StoreUnusable:
            raise
        except StoreFailed as error:
            # A service outlives its database's restarts.
            log.warning("queue_unreachable", queue=self._queue, error=error.message)
            return None

    def _begin(self, found: Claim) -> None:
        stop = threading.Event()
        # A daemon: a run that does not stop in time must not keep the process from ending.
        work_on = partial(contextvars.copy_context().run, self._see_to, found, stop)
        thread = threading.Thread(target=work_on, name=f"maker-run {found.run_id}", daemon=True)
        self._busy[thread] = _InWork(found, stop)
        log.info("run_claimed", run_id=found.run_id, queue=self._queue, claims=found.claims)
        thread.start()

    def _see_to(self, found: Claim, stop: threading.Event) -> None:
        try:
            if (ends := self._worked(found, stop)) is not None:
                settle(self._database, found, **ends._asdict())
        except MakerError as error:
            # The claim runs out by itself.
            log.warning("claim_not_settled", run_id=found.run_id, error=error.message)
        finally:
            self._over.put(threading.current_thread())

    def _worked(self, found: Claim, stop: threading.Event) -> Verdict | None:
        """Work on a run; return what becomes of its claim, None if another process has the run."""
        try:
            with ExitStack() as resources:
                row = find_run(self._database, found.run_id, exact=True)
                held = take(self._database, row, resources, claims=found.claims)
            report = work(held, None, self._on_event, stop)
        except RunHeld as error:
            log.info("claim_lost", run_id=found.run_id, error=error.message)
            return None
        except Exception as error:  # noqa: BLE001 - other runs go on, whatever this one's code has raised
            return self._failed(found, error)
        self._refused.pop(found.code, None)
        self._tell_end(report)
        return verdict(report, faults=found.faults, steps=found.steps)

    def _tell_end(self, report: RunReport) -> None:
        if self._on_end is not None:
            try:
                self._on_end(report)
            except Exception as error:  # noqa: BLE001 - the run itself has not failed
                log.warning("end_not_heard", run_id=report.run_id, error=words_of(error) or type(error).__name__)

    def _failed(self, found: Claim, error: Exception) -> Verdict:
        said = (error.message if isinstance(error, MakerError) else words_of(error)) or type(error).__name__
        note = f"{describe(this_process())} could not go on with it: {said}"
        if isinstance(error, PluginError) or (isinstance(error, MakerError) and error.facts.get("other_code")):
            # Another worker may have the code: the run itself waits for nothing.
            times = self._refused.get(found.code, (0, 0.0))[0]
            self._refused[found.code] = (times + 1, time.monotonic() + wait_s(times))
            log.warning("run_refused", run_id=found.run_id, queue=self._queue, error=said)
            return Verdict(again=True, faults=found.faults, note=note)
        log.warning("run_failed", run_id=found.run_id, queue=self._queue, error=said)
        ends = after_fault(found.faults, note)
        return ends._replace(again=False) if isinstance(error, RunDamaged) else ends
