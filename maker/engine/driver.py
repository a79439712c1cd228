"""The driver: orders out, reports in, every report into the journal, until the run ends or must stop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from maker.engine.budget import Exhausted
from maker.engine.causes import BATCHES, INTERRUPTED, LIMIT, STEPS, STOPPED, undecided, waiting
from maker.engine.first_replies import FirstReplies
from maker.engine.grants import Grants
from maker.engine.join import join
from maker.engine.memo_feed import MemoFeed
from maker.engine.outside import Outside, OutsideCall
from maker.engine.quiet import Quiet
from maker.engine.referrals import Referrals, ReferredStep
from maker.engine.scheduler import LogChanges, Scheduler
from maker.engine.sharing import HeldBack, Sharing
from maker.engine.vote_budget import VoteBudget
from maker.errors import BadInput, MakerError, StoreFailed, TaskFailed
from maker.plugin import Decomposer
from maker.store.backend.database import Database
from maker.store.entry import Ending, Entry, StoredEvent
from maker.store.journal import Journal
from maker.store.lease import Lease
from maker.store.outside import WAIT_BEGUN, WAIT_ENDED
from maker.store.referrals import ReferralRow
from maker.store.runs import CANCEL, CANCELLED, release
from maker.swarm.interface import FromWorker, Gone, News, Swarm, Waiting
from maker.swarm.messages import Orders
from maker.types import Allowance, BatchNews, BatchState, Prices, ServerChange, spent_in_all
from maker.voting.messages import Ended, Stuck
from maker.voting.paths import is_single

WAIT_S = 0.5
WIND_UP_S = 10.0
OnReport: TypeAlias = Callable[[FromWorker, Entry, Scheduler], None]
"""Told of each report that has something to tell, of what the log takes in of it, and of the chains in work."""


class Session(NamedTuple):
    """One process's work on a run.

    ``scheduler`` holds the chains that go on. ``steps`` is how many may be decided before a pause, or None.
    ``wall_left_s`` are the seconds that the run's limit leaves. ``grants`` is None where nothing that workers spend is
    limited. ``most_missed`` is how many children the run may go on without, ``first`` sees whether the first replies
    are of any use. ``chains`` is how many a worker may have in work, ``strict`` whether each step is committed before
    the next. ``prices`` are those of the models, by number. ``on_lost`` is told of a lost worker, and how many chains
    go on elsewhere; ``on_waiting`` of one that cannot be started; ``on_unavailable`` of a worker that finds a model of
    its pool away, and why; ``on_change`` of one that sends a server fewer requests at once, or more again, or asks
    another; ``on_held`` of one that has waited for a shared limit; ``on_batch`` of what becomes of batches. They return
    what is to be kept of it. ``on_report`` is told of reports. ``outside`` does effects and takes in answers,
    ``referrals`` has people asked about undecided steps. ``remembered`` is there where decisions are taken again,
    ``vote_budget`` where the votes of all rows have one budget, ``sharing`` where the job names a shared limit.
    """

    scheduler: Scheduler
    decomposer: Decomposer[Any, Any]
    steps: int | None
    grants: Grants | None
    wall_left_s: float | None
    most_missed: int | None
    first: FirstReplies
    chains: int
    strict: bool
    prices: tuple[Prices, ...]
    on_lost: Callable[[Gone, int], StoredEvent]
    on_waiting: Callable[[Waiting], StoredEvent]
    on_unavailable: Callable[[int, int, str], StoredEvent]
    on_change: Callable[[int, ServerChange], StoredEvent]
    on_held: Callable[[HeldBack], StoredEvent]
    on_batch: Callable[[BatchNews], StoredEvent]
    on_report: OnReport
    outside: Outside
    referrals: Referrals
    remembered: MemoFeed | None = None
    vote_budget: VoteBudget | None = None
    sharing: Sharing | None = None


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
        self._error: MakerError | None = None
        self._began = 0.0
        self._quiet = Quiet(0.0)
        self._welcome: set[int] = set()
        self._recalled: set[int] = set()
        self._varied: dict[int, tuple[int, ...]] = {}
        self._decided = 0
        self._ahead = False
        self._finished = False
        self._rests = ""

    def drive(self, open_swarm: Callable[[], Swarm], session: Session) -> Ending:
        """Work on the run; returns how it stands. Whatever it raises, call `pause` with it.

        Raises:
            BadInput: The model never worked as it is configured; the run is paused.
            StoreFailed: The database stopped taking writes; what was committed stays.
            LeaseLost: Another process has taken the run over.
            WorkerLost: A worker's process died.
        """
        self._began = time.monotonic()
        self._quiet = Quiet(self._began)
        try:
            # Limits are looked at before a model is opened, which can take half a minute.
            if (reason := self._must_stop(session)) is not None:
                return self._finish(Entry(ending=Ending("paused", reason, None)))
            if session.grants is not None:
                session.grants.check()
            with contextlib.ExitStack() as stack:
                for one in (session.outside, session.sharing):
                    if one is not None:
                        stack.enter_context(contextlib.closing(one))
                swarm = stack.enter_context(contextlib.closing(open_swarm()))
                ending = self._work_until_stopped(swarm, session)
        except Exhausted as error:
            return self._finish(Entry(ending=Ending("paused", f"{LIMIT}{error}", None)))
        self._error = self._error or session.scheduler.fatal
        if isinstance(self._error, BadInput):
            raise self._error
        return ending

    def pause(self, error: BaseException) -> None:
        """Say in the store why the run stands still, unless it has ended already or the store is lost to us."""
        if self._finished:
            return
        reason = pause_reason(error)
        # The workers' grants stay reserved: nobody can say what was in flight.
        try:
            self._finish(Entry(ending=Ending("paused", reason, None)))
        except Exception:  # noqa: BLE001 - the journal has stopped, for whatever reason; the run's row may still take it
            if isinstance(error, StoreFailed) and error.since_s is not None:
                # The store was waited for as long as it ever is.
                return
            with contextlib.suppress(MakerError):
                release(self._database, self._lease, "paused", reason)

    def _work_until_stopped(self, swarm: Swarm, session: Session) -> Ending:
        try:
            return self._work(swarm, session)
        except KeyboardInterrupt:
            # What the scheduler knew and the journal had not yet been given is lost: nothing that follows from it may
            # be written.
            if not self._ahead:
                self._wind_up(swarm, session, INTERRUPTED)
            raise

    def _work(self, swarm: Swarm, session: Session) -> Ending:
        scheduler = session.scheduler
        while True:
            self._hand_out(swarm, session)
            for news in swarm.collect(WAIT_S):
                if (ending := self._take(swarm, news, session)) is not None:
                    return ending
            if (reason := self._must_stop(session)) is not None:
                return self._wind_up(swarm, session, reason)
            if scheduler.fatal is not None:
                return self._wind_up(swarm, session, str(scheduler.fatal))
            if self._rests and not session.outside.busy:
                return self._wind_up(swarm, session, f"{BATCHES}{self._rests}")
            if waiting := self._quiet.due(time.monotonic()):
                self._journal.put(Entry(waiting=waiting))
            if session.sharing is not None and (held := session.sharing.held()):
                self._journal.put(Entry(events=[session.on_held(one) for one in held]))
            self._look_outside(session)
            self._take_answers(session, now=scheduler.idle)
            if session.vote_budget is not None and scheduler.idle and not scheduler.held:
                self._give_votes(session, session.vote_budget)
            self._join(session)
            self._journal.catch_up()
            if not scheduler.idle or any(fork.to_join(time.monotonic()) for fork in scheduler.forks):
                continue
            if not session.outside.busy:
                return self._over(session, Ending("paused", _standstill(session), None))
            self._look_outside(session, WAIT_S)

    def _look_outside(self, session: Session, wait_s: float = 0.0) -> None:
        """Begin effects and waits that chains have come to, once that is committed; journal what is over."""
        scheduler, outside = session.scheduler, session.outside
        begun: list[tuple[OutsideCall, bool]] = []
        for call in scheduler.take_outside():
            try:
                intent = outside.begin(call)
            except TaskFailed as error:
                scheduler.settle(call, error.message)
                continue
            if intent is not None:
                self._journal.put(intent)
            begun.append((call, intent is not None))
        if begun:
            self._journal.flush()
        for call, fresh in begun:
            outside.go(call, fresh=fresh)
        for settled in outside.take(wait_s):
            self._journal.put(settled.entry)
            scheduler.settle(settled.call, settled.trouble)

    def _take_answers(self, session: Session, *, now: bool) -> None:
        """Write the steps that people have decided, and let their chains go on."""
        while True:
            if now and session.referrals.waiting:
                # The run may rest after this look: it must see all that is answered by now.
                self._journal.flush()
            rows = session.referrals.news(now=now)
            for row in rows:
                self._take_answer(session, row)
            if not (now and rows):
                return

    def _give_votes(self, session: Session, budget: VoteBudget) -> None:
        """Let deferred rows ask for further votes of the run's budget; where it is spent, go on without them."""
        scheduler = session.scheduler
        for fork in [fork for fork in scheduler.forks if fork.single and fork.lenient]:
            self._journal.flush()
            for given in budget.give(fork.rows, fork.count):
                self._ahead = True
                scheduler.ask_again(fork, given.again)
                scheduler.give_up(fork, given.given_up)
                self._journal.put(given.entry)
                self._ahead = False
            # What is asked again is read from the store.
            self._journal.flush()

    def _take_answer(self, session: Session, row: ReferralRow) -> None:
        try:
            made = session.referrals.decide(row)
        except TaskFailed as error:
            session.scheduler.unanswerable(error)
            return
        self._ahead = True
        changes = session.scheduler.answered(made)
        facts = {"at": row.at, "name": row.name, "by": row.by, "expired": False}
        told = [] if is_single(made.decided.path) else [StoredEvent(WAIT_ENDED, facts)]
        self._journal.put(
            Entry(
                decided=changes.decided,
                rows=changes.rows,
                settled=changes.settled,
                missed=changes.missed,
                answered=[row.key],
                events=told,
            )
        )
        self._ahead = False
        if session.strict:
            self._journal.flush()

    def _hand_out(self, swarm: Swarm, session: Session) -> None:
        """Keep the workers supplied: each holds as many chains as it may, and as many again to begin with at once."""
        scheduler, ready = session.scheduler, swarm.ready
        if session.steps is not None:
            # Steps are counted where they are begun: one worker has them all.
            ready = [worker for worker in ready if worker in self._welcome][:1] or ready[:1]
        for worker in ready:
            if worker not in self._welcome:
                self._welcome.add(worker)
                if session.steps is not None:
                    swarm.give(worker, Orders(steps=max(0, session.steps - self._decided)))
                if session.grants is not None:
                    session.grants.join(worker)
            self._vary(swarm, worker)
        for worker, known in session.remembered.news(ready) if session.remembered is not None else ():
            swarm.give(worker, Orders(known=known))
        self._give_grants(swarm, session)
        self._give_shares(swarm, session)
        if scheduler.held or not ready:
            return
        most = min(2 * session.chains, scheduler.share(len(ready)))
        for worker in ready:
            self._ahead = True
            handed = scheduler.hand(worker, most - scheduler.out(worker))
            if handed.begun:
                self._journal.put(Entry(chains=handed.begun))
            self._ahead = False
            if handed.chains or handed.children:
                swarm.give(worker, Orders(chains=handed.chains, children=handed.children))
        if scheduler.has_work:
            swarm.grow()
        elif len(ready) > 1:
            self._even_out(swarm, session)

    def _vary(self, swarm: Swarm, worker: int) -> None:
        """Tell a worker of which step classes the votes are to be less alike, if it does not know."""
        if (varied := self._journal.decorrelated) != self._varied.get(worker, ()):
            self._varied[worker] = varied
            swarm.give(worker, Orders(decorrelated=varied))

    def _even_out(self, swarm: Swarm, session: Session) -> None:
        """Where nothing is left to hand out, ask a worker whose chains wait for chains that an idle one can begin."""
        scheduler = session.scheduler
        idle = [worker for worker in swarm.ready if not scheduler.out(worker)]
        fullest = max(swarm.ready, key=scheduler.out)
        surplus = scheduler.out(fullest) - session.chains
        if idle and surplus > 0 and fullest not in self._recalled:
            self._recalled.add(fullest)
            swarm.give(fullest, Orders(give_back=-(-surplus * len(idle) // (len(idle) + 1))))

    def _give_grants(self, swarm: Swarm, session: Session) -> None:
        if session.grants is None:
            return
        idle = [worker for worker in self._welcome if not session.scheduler.out(worker)]
        for worker, grant in session.grants.give(idle).items():
            swarm.give(worker, Orders(grant=grant))

    def _give_shares(self, swarm: Swarm, session: Session) -> None:
        if session.sharing is not None:
            for worker, grant in session.sharing.grants().items():
                swarm.give(worker, Orders(quota=grant))

    def _wind_up(self, swarm: Swarm, session: Session, reason: str) -> Ending:
        """Call every chain back, and journal what the workers still have to tell: last steps, and what they cost."""
        status = CANCELLED if self._journal.asked == CANCEL else "paused"
        out = self._welcome.intersection(swarm.ready)
        for worker in out:
            swarm.give(worker, Orders(recall=True))
        deadline = time.monotonic() + WIND_UP_S
        while session.outside.calling and time.monotonic() < deadline:
            self._look_outside(session, WAIT_S)
        while out and time.monotonic() < deadline:
            for news in swarm.collect(WAIT_S):
                if (ending := self._take(swarm, news, session)) is not None:
                    return ending
                if isinstance(news, Gone) or (isinstance(news, FromWorker) and news.report.recalled):
                    out.discard(news.worker)
        return self._over(session, Ending(status, reason, None))

    def _take(self, swarm: Swarm, news: News, session: Session) -> Ending | None:
        """Journal a report, or take back what a lost worker had; returns the run's ending if it brings it."""
        self._ahead = True
        ending = None
        if isinstance(news, Gone):
            self._lose(news, session)
        elif isinstance(news, Waiting):
            self._journal.put(Entry(events=[session.on_waiting(news)]))
        else:
            ending = self._journalled(swarm, news, session)
        self._ahead = False
        return ending

    def _journalled(self, swarm: Swarm, message: FromWorker, session: Session) -> Ending | None:
        worker, report = message
        self._recalled.discard(worker)
        self._quiet.note(worker, report, time.monotonic())
        if session.sharing is not None and report.claim is not None:
            session.sharing.note(worker, report.claim)
        self._decided += len(report.decided)
        self._rests = report.rests
        session.first.note(report.flagged, voted=report.voted)
        if report.returned:
            # Where they go on is read from the store.
            self._journal.flush()
        changes, grants = session.scheduler.take(worker, report), session.grants
        ending = self._ending(session.scheduler)
        facts = (
            report.spent, report.unavailable, report.changes, report.place, report.errors, report.dropped,
            report.batches,
        )  # fmt: skip
        if changes or any(facts):
            used = spent_in_all(report.spent, session.prices)
            entry = _entry(message, changes, used, session)
            session.on_report(message, entry, session.scheduler)
            self._journal.put(entry)
            if grants:
                grants.spend(worker, used.plus(report.abandoned))
        if report.recalled and grants:
            grants.settle(worker)
        if ending is not None:
            return self._over(session, ending)
        if session.strict and changes:
            self._journal.flush()
            # What an alarm leads to holds for the very next step.
            self._vary(swarm, worker)
            swarm.give(worker, Orders(mark=report.number))
        if grants and report.starved is not None:
            grants.starve(worker, report.starved)
        return None

    def _lose(self, lost: Gone, session: Session) -> None:
        """Let the chains of a lost worker go on elsewhere, from what is committed of them."""
        self._journal.flush()
        self._quiet.lose(lost.worker)
        if session.grants:
            session.grants.lose(lost.worker)
        if session.sharing is not None:
            session.sharing.lose(lost.worker)
        event = session.on_lost(lost, session.scheduler.lose(lost.worker))
        self._journal.put(Entry(worker=lost.worker, gone=lost.reason, events=[event]))

    def _ending(self, scheduler: Scheduler) -> Ending | None:
        end = scheduler.root_end
        if isinstance(end, Ended):
            return Ending("done" if end.ok else "failed", end.reason, end.result)
        if isinstance(end, Stuck):
            return Ending("paused", undecided(end.idx, end.kind, end.reason), None)
        if isinstance(end, MakerError):
            self._error = end
            return Ending("paused", str(end), None)
        return None

    def _join(self, session: Session) -> None:
        """Join the children that are finished, from what is committed; let parents go on whose children all are."""
        now_s = time.monotonic()
        due = [fork for fork in session.scheduler.forks if fork.to_join(now_s)]
        if due:
            self._journal.flush()
        for fork in due:
            try:
                joined = join(self._database, session.decomposer, fork)
            except TaskFailed as error:
                session.scheduler.break_off(fork, error)
                continue
            decided = [joined.step] if joined.step else []
            self._journal.put(
                Entry(folded=[joined.folded], decided=decided, closed=joined.closed, missed=joined.missed)
            )
            if joined.refused is not None:
                session.scheduler.break_off(fork, joined.refused)
            elif joined.step is not None:
                session.scheduler.joined(fork, joined.step)
            elif not joined.more:
                fork.looked_over(now_s)
            if session.strict:
                self._journal.flush()

    def _must_stop(self, session: Session) -> str | None:
        if self._stop.is_set():
            return STOPPED
        if self._journal.asked == CANCEL:
            return CANCELLED
        return self._journal.halt or self._limit_reached(session)

    def _limit_reached(self, session: Session) -> str | None:
        if session.wall_left_s is not None and time.monotonic() - self._began >= session.wall_left_s:
            return f"{LIMIT}max_wall_s is reached"
        if session.most_missed is not None and session.scheduler.missed > session.most_missed:
            missed = session.scheduler.missed
            return f"{LIMIT}max_undecided = {session.most_missed} is exceeded: {missed} children have no good decision"
        if problem := session.first.problem:
            return f"{LIMIT}{problem}"
        return None

    def _over(self, session: Session, ending: Ending) -> Ending:
        """End the work: the grants of workers that have nothing in flight are free again."""
        if session.grants is not None:
            for worker in self._welcome:
                if not session.scheduler.out(worker) and session.grants.key(worker) is not None:
                    session.grants.settle(worker)
        return self._finish(Entry(ending=ending))

    def _finish(self, entry: Entry) -> Ending:
        assert entry.ending is not None  # noqa: S101 - for the type checker
        self._journal.put(entry)
        self._journal.flush()
        self._finished = True
        return entry.ending


def pause_reason(error: BaseException) -> str:
    """Return the reason to keep of a run that an error has stopped."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return error.message if isinstance(error, MakerError) else type(error).__name__


def _entry(message: FromWorker, changes: LogChanges, used: Allowance, session: Session) -> Entry:
    """Return what the journal takes in of a report: what it adds to the log, and what that cost."""
    worker, report = message
    referred = session.referrals.begin(changes.referred)
    return Entry(
        decided=changes.decided,
        rows=changes.rows,
        settled=changes.settled,
        chains=changes.chains,
        forks=changes.forks,
        closed=changes.closed,
        missed=changes.missed,
        undecided=changes.undecided,
        deferred=changes.deferred,
        forgotten=changes.forgotten,
        unresolved=changes.unresolved,
        referred=referred,
        dropped=report.dropped,
        worker=worker,
        place=report.place,
        spent=report.spent,
        cost=used.cost,
        grant=session.grants.key(worker) if session.grants else None,
        abandoned=report.abandoned,
        events=[
            *(session.on_unavailable(worker, one.model, one.reason) for one in report.unavailable),
            *(session.on_change(worker, change) for change in report.changes),
            *(session.on_batch(one) for one in report.batches),
            # A map's rows may be many: they are listed, not told of one by one.
            *(_wait_begun(row, one) for row, one in zip(referred, changes.referred, strict=True) if one.fork is None),
        ],
        heard=[one.number for one in report.batches if one.state is BatchState.HEARD],
    )


def _wait_begun(row: ReferralRow, one: ReferredStep) -> StoredEvent:
    facts = {"at": row.at, "name": row.name, "prompt": one.stuck.heard.prompt, "deadline": None}
    return StoredEvent(WAIT_BEGUN, facts)


def _standstill(session: Session) -> str:
    """Say why nothing is left to do, and the run is not at its end."""
    scheduler = session.scheduler
    if scheduler.held:
        return f"{STEPS}{session.steps:,} steps"
    waits, (steps, count) = session.outside.waits, session.referrals.names()
    if not scheduler.troubles and (waits or count):
        return waiting(waits, steps, count)
    others = f" (and {scheduler.troubles - 1:,} more)" if scheduler.troubles > 1 else ""
    return f"{scheduler.first_trouble}{others}"
