"""The interface for scripts: every call blocks until its work is done."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from maker.calibration import find_margins, map_pilot
from maker.engine.trial import Trial
from maker.errors import BadInput, RunHeld, extra
from maker.job.job import Job
from maker.job.keywords import JobKeywords
from maker.job.load import JobLike, load_job
from maker.lifecycle import control, once, queue_worker
from maker.lifecycle.admin import cancel, fork, prune
from maker.lifecycle.control import resume, retry
from maker.lifecycle.following import follow
from maker.lifecycle.queries import RunReport, store_url
from maker.lifecycle.rows import results
from maker.lifecycle.session import OnEvent
from maker.reporting.row_labels import LabelFile
from maker.store.queue import QueueLimits
from maker.store.queued import DEFAULT_QUEUE
from maker.voting.messages import Ended, OpenStep

if TYPE_CHECKING:
    from maker.calibration.forecast import Plan
    from maker.reporting.comparison.compare import Comparison
    from maker.store.admission import HostConnection

__all__ = [
    "JobLike",
    "cancel",
    "compare",
    "enqueue",
    "fork",
    "load_job",
    "pilot",
    "plan",
    "planned",
    "prune",
    "results",
    "resume",
    "retry",
    "run",
    "run_unless_held",
    "try_steps",
    "work_queue",
]


def run(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    run_id: str | None = None,
    limit_steps: int | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
    **keywords: Unpack[JobKeywords],
) -> RunReport:
    """Start a run and work on it until it is done, failed or paused. Blocks, a running event loop too: see `arun`.

        maker.run(hanoi(disks=8), model=maker.simulated(p=0.97), k=4)

    Args:
        job: A task: a decomposer, its class, or a workflow. Or a job file's path, its tables as a mapping, or a loaded
            `Job`.
        overrides: ``table.key=value`` words that win over the job's own.
        run_id: What the run is to be called. Then the same call again returns the same run: its report if it is over,
            else it goes on. Where another process works on it, it is followed until it rests.
        limit_steps: Pause after so many steps; `resume` goes on.
        on_event: Called in the thread that commits with what is committed; what it raises stops the run. It hears
            nothing of the pilot that a job with ``vote.row_error`` begins with.
        stop: Set it from another thread to pause the run.
        keywords: Settings that win over the job's own: see `JobKeywords`.

    Returns:
        How the run stands; look at ``status``.

    Raises:
        BadInput: The job cannot be run as it is.
        RunIdTaken: The run of that id is another job's, or was asked to do something else.
        OutOfReach, PilotPaused: As `find_margins` does, for a job that leaves its margins open.
        StoreFailed, LeaseLost, WorkerLost, TaskFailed: What stopped the work; what was committed stays.
    """
    loaded = load_job(job, overrides, **keywords)
    try:
        return run_unless_held(loaded, run_id, limit_steps=limit_steps, on_event=on_event, stop=stop)
    except RunHeld as error:
        # A pilot may be held as well.
        if run_id is None or error.facts.get("run_id") != run_id:
            raise
        return follow(run_id, store=loaded.store.url, on_event=on_event, stop=stop)


def run_unless_held(
    job: Job,
    run_id: str | None,
    *,
    limit_steps: int | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Do as `run` does, but raise `RunHeld` where another process works on the run."""
    found = find_margins.find_margins(once.with_begun_margins(job, run_id), stop=stop)
    if run_id is None:
        return control.start(found.job, limit_steps=limit_steps, on_event=on_event, stop=stop)
    return once.start_once(found.job, run_id, limit_steps=limit_steps, on_event=on_event, stop=stop)


def enqueue(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    run_id: str | None = None,
    queue: str = DEFAULT_QUEUE,
    priority: int = 0,
    key: str | None = None,
    due: datetime | None = None,
    connection: HostConnection | None = None,
    **keywords: Unpack[JobKeywords],
) -> str:
    """Put a run into a queue, for a worker to claim; return its id. The model is not asked.

    Args:
        job: As `run` takes it.
        overrides: ``table.key=value`` words that win over the job's own.
        run_id: What the run is to be called. The same call again adds nothing.
        queue: The queue; see `work_queue`, and ``maker worker``.
        priority: Runs of a higher priority are claimed first; the oldest first among equals.
        key: Whom the run counts for where workers limit runs by key: a tenant, say.
        due: Not before this time, which has a time zone.
        connection: A SQLAlchemy connection to the store, of your own. Then the run is written in its transaction: it
            is there once you commit, and never if you roll back.

    Raises:
        RunIdTaken: The run of that id is another job's, or was asked to do something else.
        BadInput: The job cannot be run as it is; or it needs a pilot first, which asks the model.
        OutOfReach: No margins reach the target that a plan was to reach.
    """
    loaded = once.with_begun_margins(load_job(job, overrides, **keywords), run_id)
    if loaded.needs_pilot:
        raise BadInput(
            "vote.row_error takes a pilot, which asks the model: a queue takes jobs with a known k",
            fix="put the job into the queue that `maker.pilot(job)` returns",
        )
    known = find_margins.find_margins(loaded).job
    return once.enqueue(
        known, run_id=run_id, queue=queue, priority=priority, key=key, due=due, connection=connection
    )  # fmt: skip


def work_queue(
    queue: str = DEFAULT_QUEUE,
    *,
    store: str | None = None,
    concurrency: int = 1,
    limit: int | None = None,
    limit_per_key: int | None = None,
    grace_s: float = queue_worker.GRACE_S,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Claim runs of a queue and work on them, until ``stop`` is set. Blocks. ``maker worker`` does this.

    Args:
        queue: The queue.
        store: The store's URL.
        concurrency: Most runs that this worker has in work at once.
        limit: Most runs of the queue in work at once, over all workers that are given the same.
        limit_per_key: Most runs with one key in work at once, likewise.
        grace_s: How long runs may go on once ``stop`` is set, in seconds; then they are paused, and wait for a worker.
        on_event: Told of what becomes of each run, from the threads of several.
        stop: Set it from another thread, or from a signal's handler.

    Raises:
        BadInput: A number or the queue's name will not do, or the store cannot be opened.
    """
    queue_worker.work_queue(
        queue,
        store=store_url(store),
        concurrency=concurrency,
        limits=QueueLimits(limit, limit_per_key),
        grace_s=grace_s,
        on_event=on_event,
        stop=stop,
    )


def planned(job: JobLike, overrides: Iterable[str] = (), **keywords: Unpack[JobKeywords]) -> Job:
    """Return the job with the margins that a plan finds by its calibration, in place of ``vote.k = "auto"``.

    Raises:
        BadInput: There is no calibration of the job in its store, or it does not say enough.
        OutOfReach: No margins reach the target, or the calibration cannot show that any do.
    """
    return find_margins.planned(load_job(job, overrides, **keywords)).job


def plan(job: JobLike, overrides: Iterable[str] = (), **keywords: Unpack[JobKeywords]) -> Plan:
    """Return the cheapest plan that reaches a job's target, as `maker.calibration.plan.plan` does; takes what it does.

    Raises:
        ExtraMissing: The extra ``plan`` is not installed.
        BadInput, OutOfReach: As there.
    """
    # Here, so that all else of this interface is there without its packages.
    with extra("plan", "a plan"):
        from maker.calibration import plan as planning
    return planning.plan(job, overrides, **keywords)


def compare(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    labels: str | Path | LabelFile,
    methods: Sequence[str] = (),
    worth: float = 0.03,
    shuffled: bool = False,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
    **keywords: Unpack[JobKeywords],
) -> Comparison:
    """Compare voting with one call a row, on labelled rows of a map, which are asked in each way. Blocks.

    The same call again goes on where it was: what was asked is not asked again. See docs/compare.md.

    Args:
        job: As for `run`.
        overrides: As for `run`.
        labels: A file of right answers by the ids of rows drawn at random.
        methods: Some of ``greedy``, ``members``, ``single``, ``self-consistency`` and ``votes``; by default all.
        worth: So much more of the rows must be right for votes to be worth it, between 0 and 1.
        shuffled: The rows stand in random order, so that labels of the first ones are a random sample.
        on_event: Told of the runs.
        stop: Set it from another thread to pause.
        keywords: As for `run`.

    Raises:
        BadInput: The job is no map, or cannot be run as it is; a number or a name will not do; the labels do not fit
            the rows, contradict each other, are too few or no random sample.
        OutOfReach, PilotPaused: As `run`; or ``stop`` was set, or a limit was reached.
    """
    from maker.reporting.comparison import compare as comparing

    file = labels if isinstance(labels, LabelFile) else LabelFile(Path(labels))
    given = comparing.with_labels(load_job(job, overrides, **keywords), file, shuffled=shuffled)
    comparing.refuse_unfit(methods, worth)
    known = find_margins.find_margins(given.job, on_event=on_event, stop=stop).job
    return comparing.compare(given._replace(job=known), methods=methods, worth=worth, on_event=on_event, stop=stop)


def pilot(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
    **keywords: Unpack[JobKeywords],
) -> Job:
    """Vote on a sample of a map's rows twice; return the job with the least margin that keeps its row error. Blocks.

    See `maker.calibration.map_pilot.pilot` for what is reused and what is raised.
    """
    return map_pilot.pilot(load_job(job, overrides, **keywords), on_event=on_event, stop=stop)


def try_steps(
    job: JobLike, overrides: Iterable[str] = (), *, count: int = 5, **keywords: Unpack[JobKeywords]
) -> Iterator[Trial | Ended]:
    """Decide a job's first steps with its model, and yield all that was asked and answered; nothing is stored."""
    tried = control.try_steps(load_job(job, overrides, **keywords), count=count)
    return (one for one in tried if not isinstance(one, OpenStep))
