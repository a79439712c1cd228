"""The commands that change runs without working on them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from maker.cli.options import AsJson, NamedRun, Overrides, RunId, Store
from maker.job.file import DEFAULT_STORE
from maker.lifecycle import admin
from maker.lifecycle.queries import RunReport


def fork(
    run_id: RunId,
    at: Annotated[int, typer.Option("--at", min=0, metavar="STEP", help="First step to decide again.")],
    overrides: Overrides = None,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Create a run that shares another run's steps up to a step."""
    report = admin.fork(run_id, at, overrides or [], store=store)
    _tell(report, f"goes on from before step {at}; `maker resume {report.run_id}` works on it", as_json=as_json)


def cancel(run_id: NamedRun, store: Store = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """End a run for good; its decided steps are kept."""
    report = admin.cancel(run_id, store=store)
    over = report.status == "cancelled"
    said = "is cancelled" if over else "was asked to stop; its process has not answered yet"
    _tell(report, said, as_json=as_json)
    raise typer.Exit(0 if over else 1)


def prune(run_id: NamedRun, store: Store = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Delete a run with its steps, snapshots and samples."""
    report = admin.prune(run_id, store=store)
    _tell(report, f"is removed, with its {report.steps:,} steps", as_json=as_json)


def _tell(report: RunReport, said: str, *, as_json: bool) -> None:
    print(json.dumps(report.to_json(), ensure_ascii=False) if as_json else f"run {report.run_id} {said}")
