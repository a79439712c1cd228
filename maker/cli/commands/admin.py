"""``maker fork``, ``cancel`` and ``prune``: change runs without deciding steps."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from maker.cli.advice import completed
from maker.cli.confirm import run_to_change
from maker.cli.options import AsJson, Overrides, RepeatEffects, RunId, Store, WholeRun, Yes
from maker.cli.output import print
from maker.job.file import DEFAULT_STORE
from maker.lifecycle import admin
from maker.lifecycle.batch_ends import LEFT
from maker.lifecycle.queries import RunReport


def fork(
    run_id: RunId,
    at: Annotated[int, typer.Option("--at", min=0, metavar="STEP", help="First step to decide again.")],
    overrides: Overrides = None,
    repeat_effects: RepeatEffects = False,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Create a run that shares another run's steps up to a step."""
    report = admin.fork(run_id, at, overrides or [], store=store, repeat_effects=repeat_effects)
    start = completed(f"start it with `maker resume {report.run_id}`")
    _print(report, f"shares all steps before step {at}; {start}", as_json=as_json)


def cancel(run_id: WholeRun, store: Store = DEFAULT_STORE, yes: Yes = False, as_json: AsJson = False) -> None:
    """End a run for good; its decided steps are kept."""
    report = admin.cancel(run_to_change(run_id, "cancel", store=store, yes=yes), store=store)
    over = report.status == "cancelled"
    status = f"is {report.reason}" if over else "was asked to stop; its process has not answered yet"
    _print(report, completed(status), as_json=as_json)
    raise typer.Exit(0 if over and not report.reason.startswith(LEFT) else 1)


def prune(run_id: WholeRun, store: Store = DEFAULT_STORE, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a run with its steps, snapshots and samples."""
    report = admin.prune(run_to_change(run_id, "prune", store=store, yes=yes), store=store)
    _print(report, f"and its {report.steps:,} steps are deleted", as_json=as_json)


def _print(report: RunReport, status: str, *, as_json: bool) -> None:
    print(json.dumps(report.to_json(), ensure_ascii=False) if as_json else f"run {report.run_id} {status}")
