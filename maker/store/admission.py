"""Admits new runs under ids that their users give: the same id twice is one run.

What a run was asked to do is kept as a digest (``begun``): settings that a resume has changed since do not make it
another run.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sqlalchemy import Connection as HostConnection
from sqlalchemy import select

from maker.errors import StoreFailed
from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.backend.guest import Guest
from maker.store.queued import QueuePlace
from maker.store.runs import PENDING, RESTORE, Executes, NewRun, Standing, write_run
from maker.store.shared_limits import money_limit

__all__ = ["Begun", "HostConnection", "admit", "admit_within", "find_begun", "money_limit_within"]


class Begun(NamedTuple):
    """A run that the store holds: what it was begun with."""

    settings: dict[str, Any]
    fingerprint: dict[str, Any]
    digest: bytes | None


@retried
def admit(database: Database, run_id: str, new: NewRun, place: QueuePlace | None = None) -> Begun | None:
    """Write a new run that nobody works on yet; returns None, or the run that has this id already.

    If the connection was lost after the commit, what is found is the run itself.
    """
    with database.write() as connection:
        return _admit(connection, run_id, new, place)


def admit_within(connection: HostConnection, run_id: str, new: NewRun, place: QueuePlace) -> Begun | None:
    """Do as `admit` does, in the transaction of a program's own connection: the run is there once that commits.

    Raises `StoreUnusable`, or what SQLAlchemy raises.
    """
    return _admit(Guest(connection), run_id, new, place)


def money_limit_within(connection: HostConnection, key: str) -> tuple[float | None] | None:
    """Do as `maker.store.shared_limits.money_limit` does, in the transaction of a program's own connection."""
    return money_limit(Guest(connection), key)


@retried
def find_begun(database: Database, run_id: str) -> Begun | None:
    """Return the run that has an id, None if there is none."""
    with database.read() as connection:
        return _begun(connection, run_id)


def _admit(connection: Executes, run_id: str, new: NewRun, place: QueuePlace | None) -> Begun | None:
    # Looked for first: PostgreSQL gives a number to a row that it then does not insert, and locks.
    if (found := _begun(connection, run_id)) is not None:
        return found
    made = write_run(connection, run_id, new, Standing(PENDING, fence=0), place)
    return None if made is not None else _begun(connection, run_id)


def _begun(connection: Executes, run_id: str) -> Begun | None:
    run = schema.run.c
    query = select(run.settings, run.fingerprint, run.begun).where(run.run_id == run_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    try:
        return Begun(json.loads(row[0]), json.loads(row[1]), row[2])
    except (RecursionError, TypeError, ValueError) as error:
        raise StoreFailed(
            f"run {run_id} is damaged: its stored settings cannot be read: {error}", fix=RESTORE, run_id=run_id
        ) from error
