"""One process's work on a run: job, store, model, swarm and driver put together, until the run rests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, NamedTuple

from maker.core.logs import logger
from maker.core.user_code import call_user_code, words_of
from maker.engine.batch_records import StoredBatches
from maker.engine.budget import Budget
from maker.engine.causes import LIMIT
from maker.engine.driver import Driver, OnReport, Session, pause_reason
from maker.engine.first_replies import FirstReplies
from maker.engine.grants import Grants
from maker.engine.memo_feed import MemoFeed
from maker.engine.outside import Outside
from maker.engine.recovery import found, recovery_point
from maker.engine.referrals import Referrals
from maker.engine.restore_forks import reopen
from maker.engine.row_faults import MANY, RowFaults
from maker.engine.scheduler import Scheduler
from maker.engine.sharing import HeldBack, Sharing
from maker.engine.vote_budget import VoteBudget
from maker.errors import LeaseLost, MakerError, StoreFailed, extra
from maker.job.job import Job
from maker.job.pilot_steps import pilot_steps
from maker.job.probe import expected_steps
from maker.job.rules import batches, prices, rules_of
from maker.job.settings import worker_gpus
from maker.job.vote_budget import budget_terms
from maker.lifecycle.commits import CommitListener, is_for_samples
from maker.lifecycle.events import (
    BatchChanged,
    CodeChanged,
    ConcurrencyChanged,
    EndpointChanged,
    Event,
    FileChanged,
    LimitAwaited,
    ModelAway,
    RunEnded,
    RunStarted,
    WorkerGone,
    WorkerWaiting,
)
from maker.lifecycle.limits import required_limit
from maker.lifecycle.named_files import changed_files
from maker.lifecycle.queries import RunReport, report, whole_report
from maker.lifecycle.row_files import Output
from maker.lifecycle.tracing import run_span
from maker.lifecycle.worker_log import WorkLog, logging_steps
from maker.models.interface import Model
from maker.models.opening import open_batch_model, open_model
from maker.models.server_settings import ServerSettings
from maker.plugin import RowDecomposer
from maker.stats.monitor import rule_of
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, last_chain, root_chain
from maker.store.code import NewCode
from maker.store.deferred import earlier_votes
from maker.store.entry import Entry, StoredEvent
from maker.store.journal import Journal
from maker.store.lease import Lease
from maker.store.ledger import Models
from maker.store.memo import load
from maker.store.open_chain import OpenChain
from maker.store.runs import ACTIVE, WAY, RunRow, find_run, release
from maker.store.unresolved import count_outcomes
from maker.store.vote_monitor import MonitoredClass, MonitorPlan, VoteMonitor
from maker.swarm.interface import FromWorker, Gone, Swarm, Waiting
from maker.swarm.messages import WorkerSpec
from maker.types import Account, Allowance, BatchNews, EndpointChange, ServerChange, spent_in_all
from maker.voting.memo import MOST, Memory, own_space, shared_space
from maker.voting.policy import Shared

log = logger("maker")

OnEvent = Callable[[Event], None]
BATCHED_STEPS = 100_000
"""So many steps are in work at once where they are asked in batches: two full ones of an OpenAI-compatible server."""
MOST_WORKERS = 64
"""As many workers the monitor reckons with where there is one for every GPU: more would blunt its test for drift."""


class HeldRun(NamedTuple):
    """A run that this process holds: its job, its row, and the right to write to it.

    ``resources`` closes what the run holds: its database, the keeper of its lease, the lock on its output folder.
    ``known`` are decisions that it may take again, None where none are. ``code`` is other code that it goes on with.
    ``queued`` says that a queue's worker holds it, which has other runs to see to while this one waits.
    """

    job: Job
    database: Database
    row: RunRow
    lease: Lease
    resumed: bool
    resources: ExitStack
    known: Memory | None
    code: NewCode | None = None
    queued: bool = False


def worker_spec(job: Job) -> WorkerSpec:
    """Return what a worker for this job is built from."""
    return WorkerSpec(
        decomposer=job.decomposer,
        rules=rules_of(job),
        open_model=partial(_open_model, job.model, job.decomposer),
        prices=prices(job),
        limited=job.limits.limits().spending,
        strict=job.store.durability == "strict",
        chains=_in_work(job),
        memo=job.memo != "off",
        budgeted=budget_terms(job) is not None,
    )


def work(held: HeldRun, limit_steps: int | None, on_event: OnEvent | None, stop: threading.Event | None) -> RunReport:
    """Work on a run until it ends, is stuck, meets a limit or is told to stop; closes its resources. Blocks."""
    row, work_log = held.row, WorkLog(held.row.run_id, tuple(held.job.members))
    with held.resources, _left_at_rest(held), closing(work_log), run_span(row.run_id, row.resumes) as span:
        on_report: OnReport = work_log.report if span is None else partial(_tell_both, work_log.report, span.report)
        ended = _drive(held, limit_steps, logging_steps(on_event), stop or threading.Event(), on_report)
        if span is not None:
            span.end_with(ended)
        return ended


def reading(database: Database, row: RunRow) -> AbstractContextManager[None]:
    """Return a block in which all is read in one transaction, if that is little: nobody has worked on the run yet."""
    return nullcontext() if row.batch else database.reading_at_once()


@contextmanager
def _left_at_rest(held: HeldRun) -> Iterator[None]:
    """Pause the run if what the block raises has left it running: there may be no journal yet that could say so."""
    try:
        yield
    except (StoreFailed, LeaseLost):
        # The store, or the run, is lost to us.
        raise
    except BaseException as error:
        with suppress(MakerError):
            if find_run(held.database, held.row.run_id).status == ACTIVE:
                release(held.database, held.lease, "paused", pause_reason(error))
                log.error("run_stopped", run_id=held.row.run_id, error=words_of(error) or type(error).__name__)
        raise


def _drive(
    held: HeldRun, limit_steps: int | None, on_event: OnEvent | None, stop: threading.Event, on_report: OnReport
) -> RunReport:
    run_id, said = held.row.run_id, log.bind(run_id=held.row.run_id)
    output = _open_output(held)
    with nullcontext() if output is None else closing(output):
        _decide(held, limit_steps, on_event, stop, on_report, output)
    # A queue's worker asks how the run stands, and nothing of what it did.
    ended = report(find_run(held.database, run_id)) if held.queued else whole_report(held.database, run_id)
    if ended.status == "paused" and ended.reason.startswith(LIMIT):
        said.warning("limit_reached", reason=ended.reason)
    said.info("run_ended", status=ended.status, reason=ended.reason, steps=ended.steps)
    if on_event is not None:
        on_event(RunEnded(run_id, ended.status, ended.reason, ended.result))
    return ended


def _decide(
    held: HeldRun,
    limit_steps: int | None,
    on_event: OnEvent | None,
    stop: threading.Event,
    on_report: OnReport,
    output: Output | None,
) -> None:
    """Decide steps until the run rests. Of what is raised the store keeps the reason."""
    job, database, row = held.job, held.database, held.row
    said = log.bind(run_id=row.run_id)
    root, space = root_chain(database, row.key), memo_space(job, row)
    memo = None if held.known is None else MemoFeed(held.known, MOST)
    monitor = VoteMonitor(monitor_plan(job), row.monitor)
    listener = CommitListener(job, row, on_event=on_event, output=output, memo=memo)
    journal = Journal(
        database,
        held.lease,
        root=root.key,
        resumes=row.resumes,
        models=_models(job),
        on_commit=listener,
        watch=monitor,
        space=space,
        strict=job.store.durability == "strict",
    )
    driver = Driver(database, held.lease, journal, stop)
    try:
        with reading(database, row):
            session = _session(held, root, limit_steps, journal, on_report, memo)
            # Made whoever listens: a task that cannot say its steps fails alike with and without a listener.
            started = _started(held)
            changed = list(changed_files(database, row))
        if on_event is not None:
            on_event(started)
        _tell_of_code(held, on_event)
        _tell_of_files(changed, on_event)
        said.info("run_started", steps=row.steps, resumes=row.resumes)
        if monitor.begun_anew:
            said.warning("monitor_begun_anew", reason=monitor.begun_anew)
        if monitor.due:
            journal.put(Entry())
            journal.flush()
        limited, quota = session.grants is not None, session.sharing is not None
        spec = worker_spec(job)._replace(worked=_worked(held), limited=limited, quota=quota)
        driver.drive(partial(_open_swarm, held, spec), session)
    except BaseException as error:
        driver.pause(error)
        said.error("run_stopped", error=words_of(error) or type(error).__name__)
        raise
    finally:
        journal.close()


def _tell_of_code(held: HeldRun, on_event: OnEvent | None) -> None:
    """Say that the run goes on with other code, where it does."""
    if held.code is not None:
        log.warning(CodeChanged.kind, run_id=held.row.run_id, **held.code.facts)
        if on_event is not None:
            on_event(CodeChanged(held.row.run_id, **held.code.facts))


def _tell_of_files(found: Iterable[FileChanged], on_event: OnEvent | None) -> None:
    """Say which of the files have changed that the texts of a run were read from, which somebody began before."""
    for changed in found:
        log.warning(changed.kind, run_id=changed.run_id, parameter=changed.parameter, file=changed.file)
        if on_event is not None:
            on_event(changed)


def _started(held: HeldRun) -> RunStarted:
    # Of a run that was forked off another, how many steps it shares is not counted.
    expected = None if held.row.forked_from else expected_steps(held.job)
    steps = held.row.steps
    if held.resumed and is_for_samples(held.job, held.row):
        steps += sum(count_outcomes(held.database, held.row.key).values())
    return RunStarted(held.row.run_id, held.resumed, steps, expected)


def _open_output(held: HeldRun) -> Output | None:
    """Return the writer of the files that a map's answers go to, None if it has none."""
    decomposer = held.job.decomposer
    if isinstance(decomposer, RowDecomposer) and decomposer.output:
        return Output(held.database, held.row, decomposer)
    return None


def _models(job: Job) -> Models:
    roles = tuple(kind.role for kind in job.decomposer.classes)
    return Models(tuple(job.members), roles, rules_of(job).judge is not None)


def memo_space(job: Job, row: RunRow) -> bytes | None:
    """Return where a run's decisions are remembered, None where they are not."""
    if job.memo == "off":
        return None
    return own_space(row.run_id) if job.memo == "run" else shared_space(row.fingerprint)


def known_decisions(database: Database, job: Job, row: RunRow) -> Memory | None:
    """Return the decisions that a run may take again, None where it takes none. Raises as `load` does."""
    space = memo_space(job, row)
    return None if space is None else load(database, space, MOST, row)


def monitor_plan(job: Job) -> MonitorPlan:
    """Return how the votes of a run are watched."""
    rules, names = rules_of(job), tuple(job.members)
    shared = Shared.of(job.decomposer, rules)
    classes = []
    for one in job.decomposer.classes:
        kind = shared.kinds[one.name]
        varied = kind.varied(one, rules.others)
        ways = {
            "models": [names[number] for number in varied.role.rotation],
            "wordings": 1 + len(one.paraphrases),
            "temperatures": [] if rules.others.temperature is None else [rules.others.temperature],
        }
        voter = kind.role.voter
        rule, later = (rule_of(voter, by.turns, by_parts=one.parts is not None) for by in (kind, varied))
        pilot = pilot_steps(job.settings, one.name, voter.race_margin)
        classes.append(MonitoredClass(one.name, rule, later, ways, pilot))
    replicas = job.swarm.replicas if isinstance(job.swarm.replicas, int) else MOST_WORKERS
    workers = 1 if job.swarm_kind == "local" else max(replicas, job.swarm.max_replicas or 0)
    return MonitorPlan(job.monitor.policy, classes, job.swarm.chains * workers, budget_terms(job) is not None)


def _session(
    held: HeldRun,
    root: ChainRow,
    limit_steps: int | None,
    journal: Journal,
    on_report: OnReport,
    memo: MemoFeed | None,
) -> Session:
    job, database, row = held.job, held.database, held.row
    limits, shared = job.limits.limits(), required_limit(database, job)
    money = "" if shared is None or shared.max_cost is None else shared.key
    budget = Budget(limits, _used(job, row), row.reserved)
    terms = budget_terms(job)
    referrals = Referrals(database, row.key, job.decomposer, rules_of(job))
    scheduler = Scheduler(
        root.key,
        last_chain(database, row.key),
        reopen=partial(reopen, database, job.decomposer),
        find=partial(found, database, job.decomposer),
        faults=RowFaults(_asked_at_once(job), worked=bool(_worked(held))),
        referred=referrals.open,
        earlier=None if terms is None else partial(earlier_votes, database),
    )
    scheduler.restore(recovery_point(OpenChain.alone(database, root), job.decomposer))
    return Session(
        scheduler=scheduler,
        decomposer=job.decomposer,
        steps=limit_steps,
        grants=_grants(held, budget, journal, money),
        wall_left_s=None if limits.max_wall_s is None else limits.max_wall_s - row.wall_s,
        most_missed=limits.max_undecided,
        first=FirstReplies(limits.max_useless),
        chains=_in_work(job),
        strict=job.store.durability == "strict",
        prices=prices(job),
        on_lost=partial(_lost, row.run_id),
        on_waiting=partial(_waits, row.run_id),
        on_unavailable=partial(_unavailable, row.run_id, tuple(job.members)),
        on_change=partial(_changed, row.run_id, tuple(job.members)),
        on_held=partial(_held_back, row.run_id),
        on_batch=partial(_batch, row.run_id),
        on_report=on_report,
        outside=Outside(database, row.key, row.run_id, job.decomposer, rehearse=row.name.startswith(WAY)),
        referrals=referrals,
        remembered=memo,
        vote_budget=None if terms is None else VoteBudget(database, row.key, terms, partial(_spent_by_now, held)),
        sharing=None if shared is None else Sharing(database, shared.key, f"{row.run_id} {held.lease.fence}"),
    )


def _asked_at_once(job: Job) -> int:
    """Return how many requests a worker may have at a server at once: where one stops, so many fail together."""
    servers = (member for member in job.members.values() if isinstance(member, ServerSettings))
    return min((server.concurrency for server in servers), default=MANY)


def _worked(held: HeldRun) -> frozenset[int]:
    """Return the numbers of the models that have answered in this run before."""
    answered = {one.model for one in held.row.accounts if one.usage.calls}
    return frozenset(number for number, name in enumerate(held.job.members) if name in answered)


def _used(job: Job, row: RunRow) -> Allowance:
    """Return what a run has spent, at the prices that the job has now."""
    numbers = {name: number for number, name in enumerate(job.members)}
    spent = {Account(numbers[one.model], one.role): one.usage for one in row.accounts if one.model in numbers}
    return spent_in_all(spent, prices(job))


def _lost(run_id: str, lost: Gone, chains: int) -> StoredEvent:
    facts = {"worker": lost.worker, "reason": lost.reason, "chains": chains, "replaced": lost.replaced}
    log.warning("worker_lost", run_id=run_id, **facts)
    return StoredEvent(WorkerGone.kind, facts)


def _unavailable(run_id: str, names: tuple[str, ...], worker: int, model: int, reason: str) -> StoredEvent:
    facts = {"worker": worker, "model": names[model], "reason": reason}
    log.warning("model_away", run_id=run_id, **facts)
    return StoredEvent(ModelAway.kind, facts)


def _changed(run_id: str, names: tuple[str, ...], worker: int, change: ServerChange) -> StoredEvent:
    facts = {"worker": worker, **change._asdict(), "model": names[change.model]}
    kind = EndpointChanged.kind if isinstance(change, EndpointChange) else ConcurrencyChanged.kind
    # It gets less: the reason says why.
    log.log(logging.WARNING if change.reason else logging.INFO, kind, run_id=run_id, **facts)
    return StoredEvent(kind, facts)


def _held_back(run_id: str, held: HeldBack) -> StoredEvent:
    log.warning(LimitAwaited.kind, run_id=run_id, **held._asdict())
    return StoredEvent(LimitAwaited.kind, held._asdict())


def _batch(run_id: str, news: BatchNews) -> StoredEvent:
    usage = {"calls": news.usage.calls, "tokens": news.usage.tokens}
    told = {"number": news.number, "state": str(news.state), "answered": None, "problems": []}
    facts = {**told, **news.facts, **usage}
    log.info(BatchChanged.kind, run_id=run_id, **facts)
    return StoredEvent(BatchChanged.kind, facts)


def _tell_both(one: OnReport, other: OnReport, message: FromWorker, entry: Entry, scheduler: Scheduler) -> None:
    one(message, entry, scheduler)
    other(message, entry, scheduler)


def _waits(run_id: str, waiting: Waiting) -> StoredEvent:
    log.warning("worker_waiting", run_id=run_id, **waiting._asdict())
    return StoredEvent(WorkerWaiting.kind, waiting._asdict())


def _open_swarm(held: HeldRun, spec: WorkerSpec) -> Swarm:
    """Open the workers of a run; where its model asks in batches, one that keeps them in the store."""
    asked = batches(held.job)
    if asked is None:
        return open_swarm(held.job, spec)
    from maker.swarm.local import LocalSwarm

    stays_s = 0.0 if held.queued and asked.batch_wait_s is None else asked.batch_wait_s
    records = StoredBatches(held.database, held.lease, held.job.limits.limits(), partial(_budget, held))
    opened = partial(open_batch_model, asked, records, run_id=held.row.run_id, stays_s=stays_s)
    return LocalSwarm(spec._replace(open_model=opened))


def _grants(held: HeldRun, budget: Budget, journal: Journal, money: str) -> Grants | None:
    """Return what gives workers what they may spend; None where nothing is limited, or batches reserve it."""
    limited = held.job.limits.limits().spending or money
    if not limited or batches(held.job) is not None:
        return None
    return Grants(budget, held.database, held.lease, journal, money)


def _budget(held: HeldRun) -> Budget:
    """Return the limits of a run, with what the store says it has spent and reserved by now."""
    row = find_run(held.database, held.row.run_id, exact=True)
    return Budget(held.job.limits.limits(), _used(held.job, row), row.reserved)


def _spent_by_now(held: HeldRun) -> Allowance:
    """Return what a run has spent, with what earlier sessions may have and nobody can tell."""
    row = find_run(held.database, held.row.run_id, exact=True)
    return _used(held.job, row).plus(held.row.reserved)


def _in_work(job: Job) -> int:
    """Return how many steps a worker has in work: as many as make full batches, where it asks in batches."""
    return job.swarm.chains if batches(job) is None else max(job.swarm.chains, BATCHED_STEPS)


def open_swarm(job: Job, spec: WorkerSpec) -> Swarm:
    """Open the workers that a job asks for, each built from ``spec``. Raises `ModelUnusable` or `WorkerLost`."""
    if job.swarm_kind == "local":
        from maker.swarm.local import LocalSwarm

        return LocalSwarm(spec)
    # A vLLM job that says nothing of its swarm wants both.
    with extra("ray" if job.swarm.kind == "ray" else "vllm", 'swarm.kind = "ray"'):
        from maker.swarm.ray import RaySwarm
    swarm = job.swarm
    gpus = worker_gpus(job.members.values(), swarm)
    return RaySwarm(
        spec,
        replicas=None if swarm.replicas == "auto" else swarm.replicas,
        most=swarm.max_replicas or 0,
        cpus=swarm.cpus,
        gpus=gpus,
        resources=swarm.resources,
        address=swarm.address,
    )


def _open_model(settings: Any, decomposer: Any) -> Model:
    return open_model(settings, call_user_code(f"{decomposer.name}: oracle", decomposer.oracle))


def ignore(_event: Event) -> None:
    """Hear nothing."""
    return
