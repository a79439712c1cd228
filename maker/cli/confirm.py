"""Ask before a command changes a run that you did not name in full."""

from __future__ import annotations

import sys

import typer

from maker.cli.advice import completed
from maker.cli.output import as_text, print
from maker.errors import BadInput
from maker.lifecycle.queries import RunReport, show
from maker.store.runs import names_whole


def run_to_change(given: str, command: str, *, store: str, yes: bool) -> str:
    """Return the id of the run that a command may change.

    A whole id or name is taken as it is. A prefix or `last` is taken with ``yes``, or after a question on a terminal.

    Args:
        given: What you wrote as RUN.
        command: The command, as you type it.
        store: The store's URL.
        yes: Ask nothing.

    Raises:
        BadInput: There is no terminal to ask on.
        RunNotFound: There is no such run.
        typer.Exit: You declined.
    """
    found = show(given, store=store)
    if yes or names_whole(given, found.run_id, found.name):
        return found.run_id
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BadInput(
            f"{command} changes a run only if you name it in full; {given!r} stands for {_described(found)}",
            fix=completed(f"give `maker {command} {found.run_id}`, or add --yes"),
            run_id=found.run_id,
        )
    if not typer.confirm(as_text(f"{command} {_described(found)}?"), err=True):
        print("nothing was changed", file=sys.stderr)
        raise typer.Exit(1)
    return found.run_id


def _described(found: RunReport) -> str:
    name = f" ({found.name})" if found.name else ""
    return f"run {found.run_id}{name}, {found.status}, {found.steps:,} steps"
