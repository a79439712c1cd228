"""The command line's app: one table says which commands there are, and in which order the help lists them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import maker
from maker.cli.commands import (
    admin,
    audit,
    calibrate,
    doctor,
    export,
    init,
    plan,
    precompute,
    read,
    report,
    rescore,
    results,
    run,
    train,
    watch,
)
from maker.cli.commands.db import db
from maker.cli.errors import ErrorGroup, KnownCommand
from maker.cli.exit_codes import help_text
from maker.cli.logs import print_events, write_events

COMMANDS: dict[str, Callable[..., Any]] = {
    "init": init.init,
    "run": run.run,
    "resume": run.resume,
    "retry": run.retry,
    "watch": watch.watch,
    "results": results.results,
    "audit": audit.audit,
    "report": report.report,
    "rescore": rescore.rescore,
    "export": export.export,
    "fork": admin.fork,
    "cancel": admin.cancel,
    "prune": admin.prune,
    "calibrate": calibrate.calibrate_,
    "plan": plan.plan_,
    "train": train.train,
    "exam": train.exam_,
    "precompute": precompute.precompute_,
    "try": run.try_,
    "ls": read.ls,
    "show": read.show,
    "steps": read.steps,
    "verify": read.verify,
    "plugins": doctor.plugins,
    "doctor": doctor.doctor_,
}

app = typer.Typer(
    name="maker",
    cls=ErrorGroup,
    help="Run tasks of many language-model steps, and settle every step by a vote.",
    epilog=help_text(),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(db, name="db")
for name, command in COMMANDS.items():
    app.command(name=name, cls=KnownCommand)(command)


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
