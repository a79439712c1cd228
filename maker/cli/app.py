"""The commands."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import maker
from maker import api
from maker.cli import display, doctor
from maker.cli.progress import Progress
from maker.cli.told import ToldGroup
from maker.cli.trial import print_trial
from maker.errors import BadInput, MakerError
from maker.models.settings import OpenAISettings
from maker.planning import estimate
from maker.registry import DECOMPOSERS, VOTERS, list_plugins

app = typer.Typer(
    name="maker",
    cls=ToldGroup,
    help="Execute tasks of up to millions of dependent language-model steps without an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

JobFile = Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[TABLE.KEY=VALUE]...", help="Settings that win over the job file's.")
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its unique beginning, or `last`.")]
Store = Annotated[str, typer.Option("--store", envvar="MAKER_STORE", metavar="URL", help="The database of runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LimitSteps = Annotated[
    int | None, typer.Option("--limit-steps", min=1, metavar="N", help="Pause after N steps; `maker resume` goes on.")
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log events to standard error.")] = False,
) -> None:
    if version:
        print(maker.__version__)
        raise typer.Exit
    if verbose:
        _configure_logging()


@app.command()
def run(
    job: JobFile,
    overrides: Overrides = None,
    store: Annotated[str | None, typer.Option("--store", metavar="URL", help="The database of runs.")] = None,
    limit_steps: LimitSteps = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print every setting with its origin, and do nothing else.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start a run and work on it until it is done, failed or paused."""
    words = [*(overrides or []), *([f"store.url={store}"] if store else [])]
    loaded = api.load_job(job, words)
    if print_config:
        display.print_config(loaded, as_json=as_json)
        return
    if isinstance(loaded.model, OpenAISettings):
        print(f"estimate: {_estimate(loaded)}", file=sys.stderr)
    _work(lambda tell: api.run(loaded, limit_steps=limit_steps, on_event=tell), loaded.store.url, as_json=as_json)


@app.command()
def resume(
    run_id: RunId,
    overrides: Overrides = None,
    store: Store = api.DEFAULT_STORE,
    limit_steps: LimitSteps = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run from its last committed step."""

    def work(tell: api.OnEvent) -> api.RunReport:
        return api.resume(run_id, overrides or [], store=store, limit_steps=limit_steps, on_event=tell)

    _work(work, store, as_json=as_json)


@app.command(name="try")
def try_(
    job: JobFile,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option("-n", min=1, help="How many steps.")] = 5,
) -> None:
    """Decide a few steps and print every prompt, sample and vote; nothing is stored."""
    loaded = api.load_job(job, overrides or [])
    stuck = print_trial(api.try_steps(loaded, count=count), loaded)
    raise typer.Exit(1 if stuck else 0)


@app.command()
def ls(store: Store = api.DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List the newest runs."""
    found = api.runs(store=store)
    if as_json:
        for report in found:
            print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        display.print_runs(found)


@app.command()
def show(
    run_id: RunId,
    store: Store = api.DEFAULT_STORE,
    step: Annotated[
        int | None, typer.Option("--step", min=0, metavar="N", help="One step with its raw samples.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how a run stands, and the steps that voting repaired."""
    if step is not None:
        record = next((record for record in api.steps(run_id, store=store, start=step) if record.step == step), None)
        if record is None:
            raise BadInput(f"run {run_id} has no step {step}", fix="`maker show` says how many it has")
        kept = api.samples(run_id, step, store=store)
        if as_json:
            print(json.dumps(record.to_json() | {"samples": [row._asdict() for row in kept]}, ensure_ascii=False))
        else:
            display.print_samples(record, kept)
        return
    report = api.show(run_id, store=store)
    disputed = api.steps(run_id, store=store, disputed=True)
    display.print_report(report, disputed, as_json=as_json)


@app.command()
def steps(
    run_id: RunId,
    store: Store = api.DEFAULT_STORE,
    disputed: Annotated[bool, typer.Option("--disputed", help="Only steps where a vote went to a rival.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a run's steps, one a line."""
    for record in api.steps(run_id, store=store, disputed=disputed):
        print(json.dumps(record.to_json(), ensure_ascii=False) if as_json else display.step_line(record))


@app.command()
def verify(run_id: RunId, store: Store = api.DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Re-apply every action without a model; exit 0 only for a whole, clean, right log."""
    verified = api.verify(run_id, store=store)
    display.print_verified(verified, as_json=as_json)
    raise typer.Exit(0 if verified.right else 1)


@app.command()
def plugins(as_json: AsJson = False) -> None:
    """List the installed decomposers and voters, with file and distribution."""
    found = {"decomposer": list_plugins(DECOMPOSERS), "voter": list_plugins(VOTERS)}
    display.print_plugins(found, as_json=as_json)
    raise typer.Exit(1 if any(isinstance(item, MakerError) for items in found.values() for item in items) else 0)


@app.command(name="doctor")
def doctor_(store: Store = api.DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Say what is missing or broken on this machine."""
    found = doctor.examine(store)
    doctor.print_findings(found, as_json=as_json)
    raise typer.Exit(1 if any(finding.state == "broken" for finding in found) else 0)


def _work(work: Callable[[api.OnEvent], api.RunReport], store: str, *, as_json: bool) -> None:
    progress = Progress(sys.stderr)
    try:
        with progress:
            report = work(progress.tell)
    except (MakerError, KeyboardInterrupt):
        if progress.run_id:
            print(f"run {progress.run_id} is paused; `maker resume {progress.run_id}` goes on", file=sys.stderr)
        raise
    if as_json:
        print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        display.print_summary(report, store)
    raise typer.Exit(0 if report.status == "done" else 1)


def _estimate(job: Any) -> str:
    first = next_prompt = job.decomposer.next(job.decomposer.start())
    characters = len(getattr(next_prompt, "prompt", "")) + len(getattr(getattr(first, "kind", None), "system", ""))
    reply = getattr(getattr(first, "kind", None), "max_tokens", 0)
    priced = None not in (job.model.prompt_price, job.model.completion_price)
    return estimate(
        steps=job.decomposer.expected_steps(),
        votes=job.voter.least,
        prompt_characters=characters,
        reply_tokens=reply,
        prices=job.prices if priced else None,
    )


def _configure_logging() -> None:
    import structlog

    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
            ],
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso"),
            ],
        )
    )
    logging.getLogger("maker").addHandler(handler)
    logging.getLogger("maker").setLevel(logging.INFO)
