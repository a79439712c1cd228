"""The commands that look after the database of runs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from maker.job.file import DEFAULT_STORE
from maker.store.backend.database import upgrade_database

db = typer.Typer(no_args_is_help=True)


@db.callback()
def _root() -> None:
    """Look after the database of runs."""


@db.command()
def upgrade(
    store: Annotated[
        str, typer.Option("--store", envvar="MAKER_STORE", metavar="URL", help="The database, else MAKER_STORE.")
    ] = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make maker's tables, or bring them up to date.

    A SQLite file is brought up to date by whoever opens it; a PostgreSQL database by this command alone.
    """
    done = upgrade_database(store)
    if as_json:
        print(json.dumps({"store": done.shown, "before": done.before, "after": done.after}))
    elif done.before == done.after:
        print(f"{done.shown}: at {done.after} already")
    else:
        print(f"{done.shown}: {f'from {done.before}' if done.before else 'made, now'} at {done.after}")
