"""``maker precompute``: decide steps before the runs that need them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from maker.api import load_job
from maker.calibration.precompute import STEPS, precompute
from maker.cli.commands.calibrate import read_labels
from maker.cli.options import AsJson, JobFile, Overrides
from maker.cli.output import print
from maker.cli.pauses import SAME_COMMAND, progress_of
from maker.lifecycle.queries import RunReport, opened
from maker.store.runs import find_run
from maker.store.unresolved import count_outcomes


def precompute_(
    job: JobFile,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(min=1, max=10_000_000, help="Steps to decide of each class.")] = STEPS,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Steps to decide, as JSON lines; see docs/planning.md.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide steps ahead, for runs with task.memo = "store"."""
    loaded = load_job(job, overrides or [])
    label_lines = "" if labels is None else read_labels(labels)
    with progress_of(SAME_COMMAND) as progress:
        report = precompute(loaded, steps=steps, labels=label_lines, on_event=progress.handle)
    undecided = _undecided(report, loaded.store.url)
    if as_json:
        print(json.dumps(report.to_json() | {"undecided": undecided}, ensure_ascii=False))
        return
    drawn, decided = report.steps + undecided, report.steps - report.reused
    print(
        f"run {report.run_id}: of {drawn:,} steps {decided:,} were decided by {report.decided_votes:,} votes in"
        f" {report.calls:,} calls, {report.reused:,} were known already, {undecided:,} are undecided"
    )


def _undecided(report: RunReport, store: str) -> int:
    with opened(store) as database:
        return sum(count_outcomes(database, find_run(database, report.run_id).key).values())
