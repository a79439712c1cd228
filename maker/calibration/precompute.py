"""Decides ahead of time what a job's task can ask, so that its run finds the answers in the store's memo."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Unpack

from maker.calibration.find_margins import find_margins
from maker.errors import BadInput
from maker.job.job import Job
from maker.job.keywords import JobKeywords
from maker.job.load import JobLike, load_job
from maker.job.resolve import derived
from maker.job.settings import MEMO, ForesightSettings
from maker.lifecycle.control import run_through
from maker.lifecycle.queries import RunReport, show
from maker.lifecycle.session import OnEvent
from maker.sampling.draw import can_draw
from maker.store.runs import FORESIGHT

STEPS = 2000
"""Of each class so many steps are decided, unless told otherwise."""


def precompute(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    steps: int = STEPS,
    labels: str = "",
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
    **keywords: Unpack[JobKeywords],
) -> RunReport:
    """Decide steps that a job's task can ask by the job's own vote, and leave the winners in its store's memo. Blocks.

    They are drawn as `maker.sampling.draw.draw` does: from the labels, from the task itself, from a root that forks
    into single steps, or along the way that its oracle calls right; which answer is right, nobody says here. It is a
    run as any other, with the job's limits: cut off, it goes on when it is asked for again, and what is in the memo is
    not asked again. A step that votes cannot settle holds nothing up.

    Args:
        job: As for `maker.run`; it says ``task.memo = "store"``.
        overrides: As for `maker.run`.
        steps: How many steps of each class are drawn, at most.
        labels: JSON lines that name steps; each a `maker.sampling.labels.Label`.
        on_event: Told of the run.
        stop: Set it from another thread to pause it.
        keywords: As for `maker.run`.

    Raises:
        BadInput: The job keeps nothing for other runs, cannot be run as it is, or nobody says what it asks.
        OutOfReach, PilotPaused: As `maker.api.run`; or ``stop`` was set, or a limit was reached.
    """
    job = load_job(job, overrides, **keywords)
    if job.memo != "store":
        raise BadInput(
            f'task.memo = "{job.memo}": runs of this job would not use precomputed decisions',
            fix='set task.memo = "store"',
        )
    if not labels and not can_draw(job.decomposer):
        raise BadInput(
            f"{job.decomposer.name} defines neither `oracle()` nor `sample()`, so there are no steps to draw",
            fix="give --labels that name steps, or define one of the two",
        )
    job = find_margins(job, stop=stop).job
    ahead = _ahead(job, ForesightSettings(steps=steps, labels=labels))
    run_id = run_through(ahead, on_event=on_event, stop=stop)
    return show(run_id, store=job.store.url)


def _ahead(job: Job, foresight: ForesightSettings) -> Job:
    """Return the job that decides its steps ahead."""
    name = f"{FORESIGHT}{job.run.name or job.settings['task']['decomposer']}"
    settings = job.settings | {"foresight": foresight.model_dump()}
    return derived(job, settings, [f"run.name={name}", f"task.{MEMO}=store"])
