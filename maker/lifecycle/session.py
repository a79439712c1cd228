"""One process's work on a run: job, store, model, swarm and driver put together, until the run rests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import chain as chained
from typing import Any, NamedTuple

from maker.core.logs import logger
from maker.core.user_code import call_user_code
from maker.engine.budget import Budget
from maker.engine.driver import LIMIT, Driver, OnReport, Session
from maker.engine.grants import Grants
from maker.engine.memo_feed import MemoFeed
from maker.engine.recovery import found, recovery_point
from maker.engine.restore_forks import reopen
from maker.engine.scheduler import Scheduler
from maker.job.job import Job
from maker.job.settings import worker_gpus
from maker.lifecycle.events import (
    Event,
    ModelAway,
    RunEnded,
    RunStarted,
    StepsAsked,
    StepsDecided,
    WorkerGone,
    WorkerWaiting,
    stored_event,
)
from maker.lifecycle.queries import RunReport, whole_report
from maker.lifecycle.row_files import Output
from maker.lifecycle.tracing import run_span
from maker.lifecycle.worker_log import WorkLog, logging_steps
from maker.models.interface import Model
from maker.models.opening import open_model
from maker.plugin import RowDecomposer
from maker.stats.monitor import rule_of
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, last_chain, root_chain
from maker.store.entry import Entry, StoredEvent
from maker.store.journal import Journal
from maker.store.lease import Lease
from maker.store.ledger import Models
from maker.store.memo import load
from maker.store.runs import (
    RunRow,
)
from maker.store.vote_monitor import ALARM, DECORRELATED, MonitoredClass, MonitorPlan, VoteMonitor
from maker.swarm.interface import FromWorker, Gone, Swarm, Waiting
from maker.swarm.messages import WorkerSpec
from maker.types import Account, Allowance, RedFlag, spent_in_all
from maker.voting.memo import MOST, own_space, shared_space
from maker.voting.policy import Shared

log = logger("maker")

OnEvent = Callable[[Event], None]
MOST_WORKERS = 64
"""As many workers the monitor reckons with where there is one for every GPU: more would blunt its test for drift."""


class HeldRun(NamedTuple):
    """A run that this process holds: its job, its row, and the right to write to it."""

    job: Job
    database: Database
    row: RunRow
    lease: Lease
    resumed: bool


def worker_spec(job: Job) -> WorkerSpec:
    """Return what a worker for this job is built from."""
    model = partial(_open_model, job.model, job.decomposer)
    limited, strict = job.limits.limits().spending, job.store.durability == "strict"
    remembers = job.memo != "off"
    return WorkerSpec(job.decomposer, job.rules(), model, job.prices, limited, strict, job.swarm.chains, remembers)


def work(held: HeldRun, limit_steps: int | None, on_event: OnEvent | None, stop: threading.Event | None) -> RunReport:
    """Work on a run until it ends, is stuck, meets a limit or is told to stop; closes its database. Blocks."""
    row, heard = held.row, WorkLog(held.row.run_id, tuple(held.job.members))
    with closing(held.database), closing(heard), run_span(row.run_id, row.resumes) as span:
        on_report: OnReport = heard.report if span is None else partial(_tell_both, heard.report, span.report)
        ended = _drive(held, limit_steps, logging_steps(on_event), stop, on_report)
        if span is not None:
            span.end_with(ended)
        return ended


def _drive(
    held: HeldRun,
    limit_steps: int | None,
    on_event: OnEvent | None,
    stop: threading.Event | None,
    on_report: OnReport,
) -> RunReport:
    job, database, row, lease, resumed = held
    tell = on_event or ignore
    root = root_chain(database, row.key)
    outputs: list[Output] = []
    space = memo_space(held)
    remembered = None if space is None else MemoFeed(load(database, space, MOST), MOST)
    committed = partial(_committed, on_event, held, outputs, remembered)
    roles = tuple(kind.role for kind in job.decomposer.classes)
    models = Models(tuple(job.members), roles, job.rules().judge is not None)
    watch = VoteMonitor(monitor_plan(job), row.monitor)
    journal = Journal(
        database,
        lease,
        root=root.key,
        resumes=row.resumes,
        models=models,
        on_commit=committed,
        watch=watch,
        space=space,
    )
    driver = Driver(database, lease, journal, stop or threading.Event())
    said = log.bind(run_id=row.run_id)
    try:
        if isinstance(job.decomposer, RowDecomposer) and job.decomposer.output:
            outputs.append(Output(database, row, job.decomposer))
        session = _session(held, root, limit_steps, journal, on_report)._replace(remembered=remembered)
        # Of a run that was forked off another, how many steps it shares is not counted.
        expected = None if row.forked_from else job.expected_steps()
        tell(RunStarted(row.run_id, resumed, row.steps, expected))
        said.info("run_started", steps=row.steps, resumes=row.resumes)
        if watch.begun_anew:
            said.warning("monitor_begun_anew", reason=watch.begun_anew)
        if watch.due:
            journal.put(Entry())
            journal.flush()
        driver.drive(partial(open_swarm, job), session)
    except BaseException as error:
        driver.pause(error)
        said.error("run_stopped", error=str(error) or type(error).__name__)
        raise
    finally:
        journal.close()
        for output in outputs:
            output.close()
    ended = whole_report(database, row.run_id)
    if ended.status == "paused" and ended.reason.startswith(LIMIT):
        said.warning("limit_reached", reason=ended.reason)
    said.info("run_ended", status=ended.status, reason=ended.reason, steps=ended.steps)
    tell(RunEnded(row.run_id, ended.status, ended.reason, ended.result))
    return ended


def memo_space(held: HeldRun) -> bytes | None:
    """Return where a run's decisions are remembered, None where they are not."""
    if held.job.memo == "off":
        return None
    return own_space(held.row.run_id) if held.job.memo == "run" else shared_space(held.row.fingerprint)


def monitor_plan(job: Job) -> MonitorPlan:
    """Return how the votes of a run are watched."""
    rules, names = job.rules(), tuple(job.members)
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
        classes.append(MonitoredClass(one.name, rule_of(voter, kind.turns), rule_of(voter, varied.turns), ways))
    replicas = job.swarm.replicas if isinstance(job.swarm.replicas, int) else MOST_WORKERS
    workers = 1 if job.swarm_kind == "local" else max(replicas, job.swarm.max_replicas or 0)
    return MonitorPlan(job.monitor.policy, classes, job.swarm.chains * workers)


def _session(held: HeldRun, root: ChainRow, limit_steps: int | None, journal: Journal, on_report: OnReport) -> Session:
    job, database, row, lease, _ = held
    limits = job.limits.limits()
    budget = Budget(limits, _used(job, row), row.reserved)
    finders = (partial(reopen, database, job.decomposer), partial(found, database, job.decomposer))
    scheduler = Scheduler(root.key, last_chain(database, row.key), *finders)
    scheduler.stand(recovery_point(database, root, job.decomposer))
    return Session(
        scheduler=scheduler,
        decomposer=job.decomposer,
        steps=limit_steps,
        grants=Grants(budget, database, lease, journal) if limits.spending else None,
        wall_left_s=None if limits.max_wall_s is None else limits.max_wall_s - row.wall_s,
        most_missed=limits.max_undecided,
        chains=job.swarm.chains,
        strict=job.store.durability == "strict",
        prices=job.prices,
        on_lost=partial(_lost, row.run_id),
        on_waiting=partial(_waits, row.run_id),
        on_unavailable=partial(_unavailable, row.run_id, tuple(job.members)),
        on_report=on_report,
    )


def _used(job: Job, row: RunRow) -> Allowance:
    """Return what a run has spent, at the prices that the job has now."""
    numbers = {name: number for number, name in enumerate(job.members)}
    spent = {Account(numbers[one.model], one.role): one.usage for one in row.accounts if one.model in numbers}
    return spent_in_all(spent, job.prices)


def _lost(run_id: str, lost: Gone, chains: int) -> StoredEvent:
    facts = {"worker": lost.worker, "reason": lost.reason, "chains": chains, "replaced": lost.replaced}
    log.warning("worker_lost", run_id=run_id, **facts)
    return StoredEvent(WorkerGone.kind, facts)


def _unavailable(run_id: str, names: tuple[str, ...], worker: int, model: int, reason: str) -> StoredEvent:
    facts = {"worker": worker, "model": names[model], "reason": reason}
    log.warning("model_away", run_id=run_id, **facts)
    return StoredEvent(ModelAway.kind, facts)


def _tell_both(one: OnReport, other: OnReport, told: FromWorker, entry: Entry, scheduler: Scheduler) -> None:
    one(told, entry, scheduler)
    other(told, entry, scheduler)


def _waits(run_id: str, waiting: Waiting) -> StoredEvent:
    log.warning("worker_waiting", run_id=run_id, **waiting._asdict())
    return StoredEvent(WorkerWaiting.kind, waiting._asdict())


def open_swarm(job: Job) -> Swarm:
    """Open the workers that a job asks for. Raises `ModelUnusable` or `WorkerLost`."""
    spec = worker_spec(job)
    if job.swarm_kind == "local":
        from maker.swarm.local import LocalSwarm

        return LocalSwarm(spec)
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


def _committed(
    on_event: OnEvent | None, held: HeldRun, outputs: list[Output], remembered: MemoFeed | None, entries: list[Entry]
) -> None:
    if remembered is not None:
        remembered.note(entries)
    for output in outputs:
        output.note(entries)
    for told in chained.from_iterable(entry.events for entry in entries):
        if told.kind in (ALARM, DECORRELATED):
            # A record's own level is another thing.
            facts = {"alarm_level" if name == "level" else name: fact for name, fact in told.facts.items()}
            log.warning(told.kind, run_id=held.row.run_id, **facts)
    if on_event is None:
        return
    for entry in entries:
        for told in entry.events:
            if (event := stored_event(held.row.run_id, told.kind, told.facts)) is not None:
                on_event(event)
        if held.job.poll is not None and entry.undecided:
            flagged = [isinstance(one.outcome, RedFlag) for _, stuck in entry.undecided for one in stuck.heard.samples]
            on_event(StepsAsked(held.row.run_id, len(entry.undecided), flagged.count(False), sum(flagged)))
        if decided := [step for steps in (entry.decided, entry.rows) for step in steps if step.votes or step.calls]:
            votes, flags = sum(step.votes for step in decided), sum(step.flags for step in decided)
            disputed = sum(step.disputed for step in decided)
            codec = held.job.decomposer.action
            on_event(
                StepsDecided(held.row.run_id, len(decided), votes, flags, disputed, decided, held.row.classes, codec)
            )


def ignore(_event: Event) -> None:
    """Hear nothing."""
    return
