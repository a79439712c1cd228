"""Finds the margins that a job leaves open: the one place where k is looked for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from maker.calibration.map_pilot import pilot
from maker.errors import extra
from maker.job.job import Job
from maker.job.variants import with_plan
from maker.lifecycle.session import OnEvent

if TYPE_CHECKING:
    from maker.calibration.forecast import Plan


class Found(NamedTuple):
    """A job whose margins are known. ``plan`` is there where they were planned by a calibration."""

    job: Job
    plan: Plan | None = None


def find_margins(job: Job, *, on_event: OnEvent | None = None, stop: threading.Event | None = None) -> Found:
    """Return the job with every margin known; as it is where it leaves none open. Blocks while a pilot runs.

    A job that says ``vote.row_error`` has its pilot run, which leaves what it found in ``vote.pilot``. One that says
    ``vote.k = "auto"`` takes the margins that its calibration in the store plans.

    Args:
        job: The job.
        on_event: Told of the pilot's runs.
        stop: Set it from another thread to pause the pilot.

    Raises:
        BadInput: The job cannot be run as it is; or there is no calibration of it, or one that does not say enough.
        OutOfReach: No margins reach the target, or what was heard cannot show that any do.
        PilotPaused: ``stop`` was set, or a limit was reached.
    """
    if job.needs_pilot:
        job = pilot(job, on_event=on_event, stop=stop)
    return planned(job) if job.needs_plan else Found(job)


def planned(job: Job) -> Found:
    """Return the job with the margins that its calibration plans. Raises as `find_margins` does."""
    # Only here are numpy and scipy needed: to import them takes half a second.
    with extra("plan", 'vote.k = "auto"'):
        from maker.calibration.plan import plan

    found = plan(job)
    return Found(with_plan(job, found.found()), found)
