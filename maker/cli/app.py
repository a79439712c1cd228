"""The commands."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import maker
from maker import api
from maker.calibration.find_margins import find_margins
from maker.cli import display
from maker.cli.commands import (
    admin,
    audit,
    calibrate,
    doctor,
    export,
    init,
    plan,
    precompute,
    report,
    rescore,
    results,
    train,
    watch,
)
from maker.cli.commands.db import db
from maker.cli.errors import ErrorGroup
from maker.cli.logs import print_events, write_events
from maker.cli.options import AsJson, JobFile, LimitSteps, Overrides, RayAddress, RunId, Store
from maker.cli.progress import Progress
from maker.cli.spans import send_spans
from maker.cli.stored import stored_run
from maker.cli.trial import print_trial
from maker.core.plugins import DECOMPOSERS, VOTERS, list_plugins
from maker.errors import BadInput, MakerError, ModelFailed, StoreFailed, WorkerLost
from maker.job.estimate import estimate_run, survey_rows
from maker.job.file import DEFAULT_STORE
from maker.job.job import Job
from maker.job.probe import expected_steps, input_parts
from maker.job.rules import vote_prices
from maker.lifecycle import queries
from maker.lifecycle.queries import RunReport
from maker.lifecycle.session import OnEvent
from maker.models.settings import OpenAISettings
from maker.plugin import NEW
from maker.swarm.worker import YOUNG_OBJECTS
from maker.types import Outcome

if TYPE_CHECKING:
    from maker.calibration.forecast import Plan

app = typer.Typer(
    name="maker",
    cls=ErrorGroup,
    help="Run tasks of many language-model steps, and settle every step by a vote.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(db, name="db")
app.command()(init.init)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log events to standard error.")] = False,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="Append events to FILE as JSON lines.")
    ] = None,
) -> None:
    # At the end, so that nothing in the working directory can stand in for an installed package.
    sys.path.append(str(Path.cwd()))
    if version:
        print(maker.__version__)
        raise typer.Exit
    if verbose:
        print_events()
    if log is not None:
        write_events(log)


@app.command()
def run(
    job: JobFile,
    overrides: Overrides = None,
    store: Annotated[
        str | None, typer.Option("--store", metavar="URL", help="Database of runs; overrides [store] and MAKER_STORE.")
    ] = None,
    limit_steps: LimitSteps = None,
    ray_address: RayAddress = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print every setting and where it was set, then exit.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Map tasks: count the rows and estimate their tokens, then exit.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start a run and work on it until it ends."""
    given = [*(overrides or []), *([f"store.url={store}"] if store else []), *_address(ray_address)]
    loaded = api.load_job(job, given)
    if print_config:
        display.print_config(loaded, as_json=as_json)
        return
    if dry_run:
        display.print_survey(survey_rows(loaded), vote_prices(loaded), as_json=as_json)
        if loaded.needs_pilot:
            print(f"{display.pilot_plan(loaded)}; the figures assume k = {loaded.voter.least}", file=sys.stderr)
        if loaded.needs_plan:
            print(f"the figures assume k = {loaded.voter.least}; `maker plan` finds the k you need", file=sys.stderr)
        return
    loaded = _with_margins(loaded)
    _print_estimate(loaded, limit_steps)
    _work(
        lambda on_event: api.run(loaded, limit_steps=limit_steps, on_event=on_event), loaded.store.url, as_json=as_json
    )


@app.command()
def resume(
    run_id: RunId,
    overrides: Overrides = None,
    store: Store = DEFAULT_STORE,
    limit_steps: LimitSteps = None,
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Continue a run after its last stored step."""
    given = [*(overrides or []), *_address(ray_address)]
    found, job = stored_run(run_id, given, store=store)
    _print_estimate(job, limit_steps, done=found.steps)

    def work(on_event: OnEvent) -> RunReport:
        return api.resume(found.run_id, given, store=store, limit_steps=limit_steps, on_event=on_event)

    _work(work, store, as_json=as_json)


@app.command()
def retry(
    run_id: RunId,
    overrides: Overrides = None,
    store: Store = DEFAULT_STORE,
    outcome: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Retry the rows or children with these outcomes, e.g. undecided,failed."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Vote again on a paused run's unresolved steps, and continue."""
    found = queries.show(run_id, store=store)
    outcomes = _outcomes(outcome)

    def work(on_event: OnEvent) -> RunReport:
        return api.retry(found.run_id, overrides or [], outcomes=outcomes, store=store, on_event=on_event)

    _work(work, store, as_json=as_json)


for command in (
    watch.watch, results.results, audit.audit, report.report, rescore.rescore, export.export, admin.fork,
    admin.cancel, admin.prune,
):  # fmt: skip
    app.command()(command)


app.command(name="calibrate")(calibrate.calibrate_)
app.command(name="plan")(plan.plan_)
app.command(name="train")(train.train)
app.command(name="exam")(train.exam_)
app.command(name="precompute")(precompute.precompute_)


@app.command(name="try")
def try_(
    job: JobFile,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Number of steps to decide.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Decide a few steps and print their votes; store nothing."""
    loaded = api.load_job(job, overrides or [])
    # Read the input before the model is asked: an input that does not fit then fails with the message of `run`.
    input_parts(loaded)
    _print_estimate(loaded, count)
    stuck = print_trial(api.try_steps(loaded, count=count), loaded, as_json=as_json)
    raise typer.Exit(1 if stuck else 0)


@app.command()
def ls(store: Store = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List the newest runs."""
    found = queries.runs(store=store)
    if as_json:
        for report in found:
            print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        display.print_runs(found)


@app.command()
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
        display.print_report(report, queries.steps(run_id, store=store, disputed=True), as_json=as_json)
        return
    display.print_step(step, queries.step(run_id, step, chain=chain, store=store), as_json=as_json)


@app.command()
def steps(
    run_id: RunId,
    store: Store = DEFAULT_STORE,
    disputed: Annotated[bool, typer.Option("--disputed", help="Only steps whose votes disagreed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a run's steps, one per line."""
    for record in queries.steps(run_id, store=store, disputed=disputed):
        print(json.dumps(record.to_json(), ensure_ascii=False) if as_json else display.step_line(record))


@app.command()
def verify(run_id: RunId, store: Store = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Check a run's whole log, without a model."""
    verified = queries.verify(run_id, store=store)
    display.print_verified(verified, as_json=as_json)
    raise typer.Exit(0 if verified.right else 1)


@app.command()
def plugins(as_json: AsJson = False) -> None:
    """List the installed decomposers and voters."""
    found = {"decomposer": list_plugins(DECOMPOSERS), "voter": list_plugins(VOTERS)}
    display.print_plugins(found, as_json=as_json)
    raise typer.Exit(1 if any(isinstance(item, MakerError) for items in found.values() for item in items) else 0)


@app.command(name="doctor")
def doctor_(store: Store = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Check this machine for missing or broken parts."""
    found = doctor.examine(store)
    doctor.print_findings(found, as_json=as_json)
    raise typer.Exit(1 if any(finding.state == "broken" for finding in found) else 0)


def _address(ray_address: str | None) -> list[str]:
    return [f"swarm.address={ray_address}"] if ray_address else []


def _outcomes(names: str) -> list[str]:
    """Read ``undecided,failed``. Raises `BadInput`."""
    known = [*(str(outcome) for outcome in Outcome if outcome != Outcome.AGAIN), NEW]
    words = [word.strip() for word in names.split(",") if word.strip()]
    if unknown := [word for word in words if word not in known]:
        raise BadInput(f"--outcome {names}: there is no outcome {unknown[0]!r}", fix=f"choose from {', '.join(known)}")
    return words


def _print_estimate(job: Job, limit: int | None, *, done: int = 0) -> None:
    """Print how many calls and tokens a run on a server will take, before it starts; a local model costs nothing."""
    if not any(isinstance(member, OpenAISettings) for member in job.members.values()):
        return
    expected = expected_steps(job)
    estimate = estimate_run(job, limit if expected is None else min(limit or expected, expected - done))
    unknown = "unknown: no prompt can be made from the first rows; `maker run JOB --dry-run` counts the rows that fail"
    print(f"estimate: {display.estimate_line(estimate, vote_prices(job)) if estimate else unknown}", file=sys.stderr)


def _with_margins(job: Job) -> Job:
    """Return the job with the margins k that it left open, and print how they were found."""
    if job.needs_pilot:
        print(display.pilot_plan(job), file=sys.stderr, flush=True)
    with Progress(sys.stderr) as progress:
        found = find_margins(job, on_event=progress.handle)
    if job.needs_pilot and found.job.vote.pilot is not None:
        print("pilot:", "\n  ".join(display.pilot_lines(found.job.vote.pilot)), file=sys.stderr)
    if found.plan is not None:
        _print_plan(found.plan)
    return found.job


def _print_plan(planned: Plan) -> None:
    found = planned.found()
    low, _, high = found.right
    margins = ", ".join(f"{name} = {k}" for name, k in found.k.items())
    print(
        f"plan: k of {margins} from calibration {found.calibration}; the run is right with a probability of {low:.4f}"
        f" to {high:.4f}, assuming that {found.rests_on}",
        file=sys.stderr,
    )
    if warning := plan.undecided_line(planned):
        print(f"  {warning}", file=sys.stderr)


def _work(work: Callable[[OnEvent], RunReport], store: str, *, as_json: bool) -> None:
    gc.set_threshold(YOUNG_OBJECTS)
    send_spans()
    progress = Progress(sys.stderr)
    where = display.store_words(store)
    try:
        with progress:
            report = work(progress.handle)
    except (KeyboardInterrupt, ModelFailed, StoreFailed, WorkerLost):
        if progress.run_id:
            print(
                f"run {progress.run_id} is paused; continue with `maker resume {progress.run_id}{where}`",
                file=sys.stderr,
            )
        raise
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        display.print_summary(report, where)
    raise typer.Exit(0 if report.status == "done" else 1)
