"""The interface for scripts: every call blocks until its work is done."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Unpack

from maker.calibration import find_margins, map_pilot
from maker.engine.trial import Trial
from maker.job.job import Job
from maker.job.keywords import JobKeywords
from maker.job.load import JobLike, load_job
from maker.lifecycle import control
from maker.lifecycle.admin import cancel, fork, prune
from maker.lifecycle.control import resume, retry
from maker.lifecycle.queries import RunReport
from maker.lifecycle.rows import results
from maker.lifecycle.session import OnEvent
from maker.voting.messages import Ended, OpenStep

__all__ = [
    "JobLike",
    "cancel",
    "fork",
    "load_job",
    "pilot",
    "planned",
    "prune",
    "results",
    "resume",
    "retry",
    "run",
    "try_steps",
]


def run(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
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
        limit_steps: Pause after so many steps; `resume` goes on.
        on_event: Called in the writer's thread with what is committed; what it raises stops the run. It hears nothing
            of the pilot that a job with ``vote.row_error`` begins with.
        stop: Set it from another thread to pause the run.
        keywords: Settings that win over the job's own: see `JobKeywords`.

    Returns:
        How the run stands; look at ``status``.

    Raises:
        BadInput: The job cannot be run as it is.
        OutOfReach, PilotPaused: As `find_margins` does, for a job that leaves its margins open.
        StoreFailed, LeaseLost, WorkerLost, TaskFailed: What stopped the work; what was committed stays.
    """
    found = find_margins.find_margins(load_job(job, overrides, **keywords), stop=stop)
    return control.start(found.job, limit_steps=limit_steps, on_event=on_event, stop=stop)


def planned(job: JobLike, overrides: Iterable[str] = (), **keywords: Unpack[JobKeywords]) -> Job:
    """Return the job with the margins that a plan finds by its calibration, in place of ``vote.k = "auto"``.

    Raises:
        BadInput: There is no calibration of the job in its store, or it does not say enough.
        OutOfReach: No margins reach the target, or the calibration cannot show that any do.
    """
    return find_margins.planned(load_job(job, overrides, **keywords)).job


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
