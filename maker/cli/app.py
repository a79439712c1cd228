"""The command line's app: one table says which commands there are, and how the help groups them."""

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
    enqueue,
    export,
    init,
    limit,
    plan,
    precompute,
    read,
    report,
    rescore,
    results,
    run,
    train,
    waits,
    watch,
    worker,
)
from maker.cli.commands.db import db
from maker.cli.errors import ErrorGroup, KnownCommand
from maker.cli.exit_codes import help_text
from maker.cli.logs import print_events, print_waits, write_events
from maker.cli.output import print

GROUPS: dict[str, dict[str, Callable[..., Any]]] = {
    "Run": {
        "init": init.init,
        "try": run.try_,
        "run": run.run,
        "resume": run.resume,
        "retry": run.retry,
        "fork": admin.fork,
        "cancel": admin.cancel,
        "answer": waits.answer,
        "effect": waits.effect,
        "enqueue": enqueue.enqueue,
        "worker": worker.worker,
        "precompute": precompute.precompute_,
    },
    "Look": {
        "ls": read.ls,
        "show": read.show,
        "watch": watch.watch,
        "waits": waits.waits,
        "steps": read.steps,
        "results": results.results,
        "verify": read.verify,
        "report": report.report,
    },
    "Decide how to vote, and how far to trust": {
        "calibrate": calibrate.calibrate_,
        "plan": plan.plan_,
        "rescore": rescore.rescore,
        "audit": audit.audit,
    },
    "Move steps to other tools and models": {
        "export": export.export,
        "train": train.train,
        "exam": train.exam_,
    },
    "Administer": {
        "limit": limit.limit,
        "prune": admin.prune,
        "plugins": doctor.plugins,
        "doctor": doctor.doctor_,
    },
}
"""The commands by purpose, in the order of the help."""
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}

app = typer.Typer(
    name="maker",
    cls=ErrorGroup,
    help="Run tasks of many language-model steps, and settle every step by a vote.",
    epilog=help_text(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for title, group in GROUPS.items():
    for name, command in group.items():
        app.command(name=name, cls=KnownCommand, rich_help_panel=title)(command)
app.add_typer(db, name="db", rich_help_panel="Administer")


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
    else:
        print_waits()
    if log is not None:
        write_events(log)
