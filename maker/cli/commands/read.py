"""``maker ls``, ``show``, ``steps`` and ``verify``: the commands that read the store."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from maker.cli import display
from maker.cli.options import AsJson, RunId, Store
from maker.cli.output import print
from maker.job.file import DEFAULT_STORE
from maker.job.stages import is_stage
from maker.lifecycle import queries

Status: TypeAlias = Literal["pending", "running", "paused", "done", "failed", "cancelled", "pruning"]


def ls(
    store: Store = DEFAULT_STORE,
    status: Annotated[Status | None, typer.Option("--status", help="Only runs with this status.")] = None,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Only runs with TEXT in their name.")] = "",
    decomposer: Annotated[str, typer.Option("--decomposer", metavar="NAME", help="Only runs of this decomposer.")] = "",
    job: Annotated[Path | None, typer.Option("--job", metavar="JOB", help="Only runs of this job file's task.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="Most runs to list.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest runs."""
    found = queries.runs(store=store, limit=limit + 1, status=status or "", name=name, decomposer=decomposer, job=job)
    if len(found) > limit:
        print(f"the newest {limit:,} runs; --limit {2 * limit} lists more", file=sys.stderr)
        found = found[:limit]
    if as_json:
        for report in found:
            print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        display.print_runs(found, filtered=bool(status or name or decomposer or job))


def show(
    run_id: RunId,
    store: Store = DEFAULT_STORE,
    step: Annotated[
        int | None, typer.Option("--step", min=0, metavar="N", help="Show step N and the samples kept of it.")
    ] = None,
    chain: Annotated[
        str, typer.Option("--chain", metavar="NAME", help="Chain that step N is in, as `maker steps` names it.")
    ] = "root",
    as_json: AsJson = False,
) -> None:
    """Show a run, or one of its steps with its samples."""
    if step is None:
        report = queries.show(run_id, store=store)
        if is_stage(report.settings):
            # Imported here: a run of one model is shown sooner.
            from maker.api.stages import show_stages
            from maker.cli.stages import print_stages

            print_stages(show_stages(run_id, store=store), as_json=as_json)
            return
        display.print_report(report, queries.steps(run_id, store=store, disputed=True), as_json=as_json)
        return
    display.print_step(step, queries.step(run_id, step, chain=chain, store=store), as_json=as_json)


def steps(
    run_id: RunId,
    store: Store = DEFAULT_STORE,
    disputed: Annotated[bool, typer.Option("--disputed", help="Only steps whose votes disagreed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a run's steps, one per line."""
    for record in queries.steps(run_id, store=store, disputed=disputed):
        print(json.dumps(record.to_json(), ensure_ascii=False) if as_json else display.step_line(record))


def verify(run_id: RunId, store: Store = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Check a run's whole log, without a model."""
    verified = queries.verify(run_id, store=store)
    display.print_verified(verified, as_json=as_json)
    raise typer.Exit(0 if verified.right else 1)
