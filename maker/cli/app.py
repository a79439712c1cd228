"""The command line's app: one table says which commands there are, and how the help groups them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

import maker
from maker.cli.errors import ErrorGroup, KnownCommand
from maker.cli.exit_codes import help_text
from maker.cli.output import print


class Command(NamedTuple):
    """Where a command is, ``module:name`` in `maker.cli.commands`, and its line in the help."""

    place: str
    line: str

    def load(self) -> Callable[..., Any] | typer.Typer:
        """Import the function, or the app of commands."""
        module, _, name = self.place.partition(":")
        return getattr(importlib.import_module(f"maker.cli.commands.{module}"), name)  # type: ignore[no-any-return]


GROUPS: dict[str, dict[str, Command]] = {
    "Run": {
        "init": Command("init:init", "Write a small example job that runs at once, for you to edit."),
        "try": Command("run:try_", "Decide a few steps, print replies as they come, store nothing."),
        "run": Command("run:run", "Start a run and work on it until it ends."),
        "resume": Command("run:resume", "Continue a run after its last stored step."),
        "retry": Command("run:retry", "Vote again on a paused run's unresolved steps, and continue."),
        "fork": Command("admin:fork", "Create a run that shares another run's steps up to a step."),
        "cancel": Command("admin:cancel", "End a run for good; its decided steps are kept."),
        "answer": Command("waits:answer", "Answer what a run waits for."),
        "review": Command("review:review", "Decide what votes have not decided, one step or row at a time."),
        "effect": Command("waits:effect", "Say what came of an effect in doubt."),
        "enqueue": Command("enqueue:enqueue", "Put a run into a queue, and print its id."),
        "worker": Command("worker:worker", "Work on the runs of a queue until SIGTERM or Ctrl-C."),
        "precompute": Command("precompute:precompute_", 'Decide steps ahead, for runs with task.memo = "store".'),
    },
    "Look": {
        "ls": Command("read:ls", "List the newest runs."),
        "show": Command("read:show", "Show a run, or one of its steps with its samples."),
        "watch": Command("watch:watch", "Follow a run that another process is working on."),
        "waits": Command("waits:waits", "List what runs wait for: people's answers, and effects in doubt."),
        "steps": Command("read:steps", "Print a run's steps, one per line."),
        "results": Command("results:results", "Print the result of each row of a map, in input order."),
        "verify": Command("read:verify", "Check a run's whole log, without a model."),
        "report": Command("report:report", "Write an HTML report on a run: claims, measurements, evidence."),
    },
    "Decide how to vote, and how far to trust": {
        "calibrate": Command("calibrate:calibrate_", "Measure how often a model is right on each class of steps."),
        "plan": Command("plan:plan_", "Find the k a run needs, its cost and its chance of success."),
        "compare": Command("compare:compare", "Compare voting with one call a row, on rows that you labelled."),
        "rescore": Command("rescore:rescore", "Count a run's votes again by another rule, without a model."),
        "audit": Command("audit:audit", "Bound a map's error rate with a sample of rows that you label."),
        "accept": Command("accept:accept", "Accept rows of a map with a stated error; the rest is for review."),
    },
    "Move steps to other tools and models": {
        "export": Command("export:export", "Export steps as JSON lines, Parquet or training examples."),
        "train": Command("train:train", "Train a tiny model on a task's steps; measure its error rate."),
        "exam": Command("train:exam_", "Compute a tiny model's exact error rate on a task's steps."),
    },
    "Administer": {
        "limit": Command("limit:limit", "Say what all workers of a store may use, or list it."),
        "prune": Command("admin:prune", "Delete a run with its steps, snapshots and samples."),
        "plugins": Command("doctor:plugins", "List the installed decomposers and voters."),
        "doctor": Command("doctor:doctor_", "Check this machine for missing or broken parts."),
        "db": Command("db:db", "Manage the database of runs."),
    },
}
"""The commands by purpose, in the order of the help."""
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}

_PLAIN: dict[str, Any] = {"pretty_exceptions_enable": False, "rich_markup_mode": None}


class Commands(ErrorGroup):
    """The commands, each loaded when it is called: the help shows their lines, and waits for no module of theirs."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, None where there is none of that name."""
        return _loaded(cmd_name) if cmd_name in COMMANDS else None


@cache
def _loaded(name: str) -> Any:
    found = COMMANDS[name].load()
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, **_PLAIN)
        alone.command(name=name, cls=KnownCommand)(found)
        found = alone
    return typer.main.get_command(found)


def _not_loaded() -> None:
    """Stand for a command in the help."""


app = typer.Typer(
    name="maker",
    cls=Commands,
    help="Run tasks of many language-model steps, and settle every step by a vote.",
    epilog=help_text(),
    no_args_is_help=True,
    **_PLAIN,
)
for title, group in GROUPS.items():
    for name, command in group.items():
        app.command(name=name, help=command.line, rich_help_panel=title)(_not_loaded)


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
    # After the help, which logs nothing: structlog takes a tenth of a second.
    from maker.cli.logs import print_events, print_waits, write_events

    if verbose:
        print_events()
    else:
        print_waits()
    if log is not None:
        write_events(log)
