"""The composition root: puts job, store, model, swarm and driver together. Programs start here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from maker.chain import ChainAt, Ended, Rules, own
from maker.engine.budget import Budget
from maker.engine.driver import Driver, Stint
from maker.engine.standing import standing
from maker.engine.trial import Trial, try_chain
from maker.engine.verify import Verified, fingerprint_text
from maker.engine.verify import verify as verify_log
from maker.errors import JobError, RunNotResumable
from maker.events import Event, RunEnded, RunStarted, StepRecord, StepsDecided, step_record
from maker.job import MILLION, TABLES, Job, resolve
from maker.jobfile import Raw, complete, read_job_file
from maker.logs import logger
from maker.models.settings import OpenAISettings, VllmSettings, open_model
from maker.store.database import Database, open_database
from maker.store.journal import Entry, Journal
from maker.store.lease import Lease
from maker.store.log import SampleRow, StepRow, read_samples, read_steps
from maker.store.runs import OVER, NewRun, RunRow, create_run, find_run, list_runs, root_chain, take_over
from maker.swarm.door import Swarm
from maker.swarm.worker import WorkerSpec
from maker.tally import genesis, unpack
from maker.types import Prices

DEFAULT_STORE = "sqlite:///maker.db"
log = logger("maker")

JobLike = str | Path | Mapping[str, Mapping[str, Any]] | Job
OnEvent = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run stands.

    ``calls`` are samples drawn, ``requests`` the model was asked; tokens as billed. ``cost`` is in the currency of the
    job's prices, None without them. ``reserved_calls`` and ``reserved_tokens`` were granted to a process that died and
    may have been spent. ``digest`` is the last step's, in hex.
    """

    run_id: str
    name: str
    status: str
    reason: str
    steps: int
    votes: int
    red_flags: int
    disputed: int
    calls: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    reserved_calls: int
    reserved_tokens: int
    cost: float | None
    wall_s: float
    resumes: int
    digest: str
    result: Any
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return asdict(self)


def load_job(job: JobLike, overrides: Iterable[str] = ()) -> Job:
    """Read and check a job: a TOML file's path, or its tables as a mapping.

    Overrides are ``table.key=value`` words. Raises `JobError`, `PluginError` or `ModelUnusable`.
    """
    if isinstance(job, Job):
        if words := list(overrides):
            raise JobError(f"{words[0]!r} comes too late: the job is loaded", fix="give overrides to load_job")
        return job
    raw = Raw(job, base=Path.cwd(), shown="the job") if isinstance(job, Mapping) else read_job_file(Path(job))
    return resolve(complete(raw, overrides, TABLES))


def run(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    limit_steps: int | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Start a run and work on it until it is done, failed or paused. Blocks.

    Args:
        job: A job file's path, its tables as a mapping, or a loaded `Job`.
        overrides: ``table.key=value`` words that win over the job's own.
        limit_steps: Pause after so many steps; `resume` goes on.
        on_event: Called in the writer's thread with what is committed.
        stop: Set it from another thread to pause the run.

    Returns:
        How the run stands; look at ``status``.

    Raises:
        BadInput: The job cannot be run as it is.
        StoreFailed, LeaseLost, WorkerLost: What stopped the work; what was committed stays.
    """
    job = load_job(job, overrides)
    fingerprint = job.fingerprint()
    new = NewRun(
        name=job.run.name,
        settings=job.settings,
        fingerprint=fingerprint,
        classes=tuple(kind.name for kind in job.decomposer.classes),
        digest=genesis(fingerprint_text(fingerprint)),
        state=job.first_state(),
    )
    database = open_database(job.store.url, create=True)
    run_id, lease = create_run(database, new)
    return _work(job, database, run_id, lease, limit_steps, on_event, stop)


def resume(
    run_id: str,
    overrides: Iterable[str] = (),
    *,
    store: str = DEFAULT_STORE,
    limit_steps: int | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Go on with a paused run, or with one whose process is gone, from its last committed step. Blocks.

    Overrides may change where and how the work is done (limits, swarm, the model's address), not what it is.

    Raises:
        RunNotFound: No such run.
        RunNotResumable: It is over, or its task, code, voter, seed or model is not what it was started with.
        RunHeld: Another process works on it.
    """
    database = open_database(store, create=False)
    row = find_run(database, run_id)
    if row.status in OVER:
        raise RunNotResumable(f"run {row.run_id} is {row.status}: there is nothing to resume", fix="start a new run")
    job = stored_job(row, store, overrides)
    if (difference := _difference(row.fingerprint, job.fingerprint())) != "":
        raise RunNotResumable(
            f"run {row.run_id} was started with another task: {difference}",
            fix="run it with what it was started with, or start a new run",
        )
    lease = take_over(database, row)
    return _work(job, database, row.run_id, lease, limit_steps, on_event, stop)


def stored_job(row: RunRow, store: str, overrides: Iterable[str] = ()) -> Job:
    """Return the job that a run was started with, overridden. Raises `JobError` or `PluginError`."""
    values = {table: {k: v for k, v in content.items() if v is not None} for table, content in row.settings.items()}
    raw = Raw(values, base=Path.cwd(), shown=f"run {row.run_id}")
    raw.put("store.url", store, "command line")
    raw.take_overrides(overrides)
    return resolve(raw)


def show(run_id: str, *, store: str = DEFAULT_STORE) -> RunReport:
    """Return how a run stands. Raises `RunNotFound`."""
    return report(find_run(open_database(store, create=False), run_id))


def runs(*, store: str = DEFAULT_STORE) -> list[RunReport]:
    """Return the newest runs, newest first."""
    return [report(row) for row in list_runs(open_database(store, create=False))]


def steps(run_id: str, *, store: str = DEFAULT_STORE, start: int = 0, disputed: bool = False) -> Iterator[StepRecord]:
    """Yield a run's steps in order, in constant memory; with ``disputed``, those where a vote went to a rival."""
    database = open_database(store, create=False)
    row = find_run(database, run_id)
    decomposer = stored_job(row, store).decomposer
    for step in read_steps(database, root_chain(database, row.key).key, start):
        if not disputed or unpack(step.tally).disputed:
            yield _record(decomposer, step)


def samples(run_id: str, index: int, *, store: str = DEFAULT_STORE) -> list[SampleRow]:
    """Return the kept raw samples of one step."""
    database = open_database(store, create=False)
    row = find_run(database, run_id)
    return read_samples(database, root_chain(database, row.key).key, index)


def verify(run_id: str, *, store: str = DEFAULT_STORE) -> Verified:
    """Re-apply a run's every action without a model, and compare every count and digest."""
    database = open_database(store, create=False)
    row = find_run(database, run_id)
    job = stored_job(row, store)
    if difference := _difference(row.fingerprint, job.fingerprint()):
        return Verified(row.run_id, 0, "", False, f"the task's code is not what the run was made with: {difference}")
    return verify_log(database, row, job.decomposer, job.voter)


def try_steps(job: JobLike, overrides: Iterable[str] = (), *, count: int = 5) -> Iterator[Trial | Ended]:
    """Decide a job's first steps with its model, and yield all that was asked and answered; nothing is stored."""
    job = load_job(job, overrides)
    return try_chain(worker_spec(job), ChainAt(0, (), 0, 0, b"", job.first_state()), count)


def worker_spec(job: Job) -> WorkerSpec:
    """Return what a worker for this job is built from."""
    rules = Rules(job.run.seed, job.voter, job.vote.max_votes, job.store.samples)
    model = partial(_open_model, job.model, job.decomposer)
    return WorkerSpec(job.decomposer, rules, model, job.prices, job.limits.limits().spending)


def report(row: RunRow) -> RunReport:
    """Return a run's row as a report."""
    usage, model = row.usage, row.settings["model"]
    prompt, completion = model.get("prompt_price"), model.get("completion_price")
    priced = prompt is not None and completion is not None
    cost = Prices(prompt / MILLION, completion / MILLION).of(*usage[1:3]) if priced else None
    return RunReport(
        run_id=row.run_id, name=row.name, status=row.status, reason=row.reason, steps=row.steps, votes=row.votes,
        red_flags=row.red_flags, disputed=row.disputed, calls=usage.calls, requests=usage.requests,
        prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens,
        reserved_calls=row.reserved.calls, reserved_tokens=row.reserved.tokens, cost=cost, wall_s=round(row.wall_s, 3),
        resumes=row.resumes, digest=row.digest.hex(), result=row.result, settings=row.settings,
    )  # fmt: skip


def _work(
    job: Job,
    database: Database,
    run_id: str,
    lease: Lease,
    limit_steps: int | None,
    on_event: OnEvent | None,
    stop: threading.Event | None,
) -> RunReport:
    tell: OnEvent = on_event or _ignore
    row = find_run(database, run_id)
    model = job.model.name if isinstance(job.model, OpenAISettings) else job.model.kind
    journal = Journal(database, lease, model=model, on_commit=partial(_committed, tell, run_id, job))
    driver = Driver(database, lease, journal, stop or threading.Event())
    said = log.bind(run_id=run_id)
    try:
        at = standing(database, root_chain(database, row.key), job.decomposer)
        tell(RunStarted(run_id, row.steps, job.expected_steps()))
        said.info("run_started", steps=row.steps, resumes=row.resumes)
        driver.drive(partial(_open_swarm, job), _stint(job, row, at, limit_steps))
    except BaseException as error:
        driver.pause(error)
        said.error("run_stopped", error=str(error) or type(error).__name__)
        raise
    finally:
        journal.close()
    ended = report(find_run(database, run_id))
    said.info("run_ended", status=ended.status, reason=ended.reason, steps=ended.steps)
    tell(RunEnded(run_id, ended.status, ended.reason, ended.result))
    return ended


def _stint(job: Job, row: RunRow, at: ChainAt, limit_steps: int | None) -> Stint:
    limits = job.limits.limits()
    budget = Budget(limits, job.prices, row.usage, row.reserved) if limits.spending else None
    wall_left_s = None if limits.max_wall_s is None else limits.max_wall_s - row.wall_s
    until = None if limit_steps is None else at.idx + limit_steps
    return Stint(at, until, budget, wall_left_s)


def _open_swarm(job: Job) -> Swarm:
    spec = worker_spec(job)
    if job.swarm_kind == "local":
        from maker.swarm.local import LocalSwarm

        return LocalSwarm(spec)
    from maker.swarm.ray import RaySwarm

    gpus = job.swarm.gpus if isinstance(job.model, VllmSettings) else 0.0
    return RaySwarm(spec, replicas=job.swarm.replicas, cpus=job.swarm.cpus, gpus=gpus)


def _open_model(settings: Any, decomposer: Any) -> Any:
    return open_model(settings, own(f"{decomposer.name}: oracle", decomposer.oracle))


def _committed(tell: OnEvent, run_id: str, job: Job, entries: list[Entry]) -> None:
    if tell is _ignore:
        return
    for entry in entries:
        if decided := entry.decided:
            votes, flags = sum(step.votes for step in decided), sum(step.flags for step in decided)
            disputed = sum(step.disputed for step in decided)
            tell(StepsDecided(run_id, len(decided), votes, flags, disputed, decided, job.decomposer))


def _ignore(_event: Event) -> None:
    return


def _record(decomposer: Any, step: StepRow) -> StepRecord:
    return step_record(decomposer, step.idx, step.epoch, step.action, step.tally)


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say where two fingerprints differ, "" if they do not."""
    lines = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            if inner := _difference(old, new):
                lines.append(f"{name}: {inner}")
        elif old != new:
            lines.append(f"{name} was {old!r}, is {new!r}")
    return "; ".join(lines)
