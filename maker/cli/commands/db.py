"""``maker db``: manage the database of runs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from maker.cli.output import print
from maker.job.file import DEFAULT_STORE
from maker.store.backend.database import upgrade_database

db = typer.Typer(
    name="db",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@db.callback()
def _root() -> None:
    """Manage the database of runs."""


@db.command()
def upgrade(
    store: Annotated[
        str, typer.Option("--store", envvar="MAKER_STORE", metavar="URL", help="Database of runs.")
    ] = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Create maker's tables, or upgrade them to this version.

    A SQLite file is upgraded when it is opened. A PostgreSQL database is upgraded only by this command.
    """
    done = upgrade_database(store)
    if as_json:
        print(json.dumps({"store": done.shown, "before": done.before, "after": done.after}))
    elif done.before == done.after:
        print(f"{done.shown} has schema {done.after} already")
    elif done.before:
        print(f"{done.shown} is upgraded from schema {done.before} to {done.after}")
    else:
        print(f"{done.shown} is created with schema {done.after}")
