"""A run's place in a queue: the row of ``maker_queue`` beside the run's own. `maker.store.queue` claims by it."""

from __future__ import annotations

import shlex
import time
from typing import NamedTuple

from sqlalchemy import Connection, Update, select, update

from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.lease import alive

WAITING, CLAIMED, LEFT = "waiting", "claimed", "left"
DEFAULT_QUEUE = "default"
NEVER = 253_402_300_799.0
"""The end of the year 9999: when a run is due that nothing but an answer wakes."""


class QueuePlace(NamedTuple):
    """Where a run is put: its queue, its priority (the highest goes first), and the key that limits count it for.

    It is not claimed before ``due``, in seconds since 1970. ``code`` is a digest of its plugins' code.
    """

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    key: str = ""
    due: float = 0.0
    code: bytes = b""


class Queued(NamedTuple):
    """A run's place, how it stands there, how often it was claimed, and what kept it from going on.

    ``served`` says whether a worker serves the queue now.
    """

    queue: str
    key: str
    priority: int
    due: float
    state: str
    claims: int
    note: str
    served: bool

    @property
    def open(self) -> bool:
        """Whether a worker still has to see to the run."""
        return self.state != LEFT


def why_pending(queued: Queued) -> str:
    """Return why nobody works on a run that waits in a queue."""
    if queued.state != WAITING:
        return f"claimed by a worker of queue {queued.queue!r}, which prepares it"
    parts = [f"waits in queue {queued.queue!r}"]
    if queued.due > time.time():
        parts.append(f"due at {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(queued.due))} UTC")
    if queued.note:
        parts.append(queued.note)
    if not queued.served:
        parts.append(f"no worker serves it now; start one with `maker worker --queue {shlex.quote(queued.queue)}`")
    return "; ".join(parts)


def place_values(run: int, place: QueuePlace) -> dict[str, object]:
    """Return the row of a run that begins to wait."""
    return {
        "run": run, "queue": place.queue, "key": place.key, "rank": -place.priority, "due": place.due,
        "code": place.code, "state": WAITING, "claims": 0, "holder": "", "until": 0.0, "faults": 0, "note": "",
    }  # fmt: skip


def read_queued(connection: Connection, run: int) -> Queued | None:
    """Return a run's place, None if it never was in a queue."""
    table = schema.queued.c
    columns = (table.queue, table.key, -table.rank, table.due, table.state, table.claims, table.note)
    row = connection.execute(select(*columns).where(table.run == run)).first()
    return None if row is None else Queued(*row, served=is_served(connection, row.queue))


def is_served(connection: Connection, queue: str) -> bool:
    """Say whether a living worker serves a queue."""
    table = schema.queue_worker.c
    rows = connection.execute(select(table.holder, table.until).where(table.queue == queue))
    return any(alive(row.holder, row.until) for row in rows)


def due(connection: Connection, run: int) -> None:
    """Let a run that waits in a queue be claimed now."""
    table = schema.queued
    here = (table.c.run == run, table.c.state == WAITING)
    connection.execute(update(table).where(*here).values(due=time.time()))


@retried
def store_answer(database: Database, run: int, given: Update) -> bool:
    """Store an answer to a run by an update that changes no row where there is one already; returns whether it did.

    A run that sleeps in a queue is due now.
    """
    with database.write() as connection:
        # The run's row first, as in every transaction that changes its place in a queue: a worker that lays the run to
        # sleep at this moment sees the answer, or is seen.
        connection.execute(select(schema.run.c.id).where(schema.run.c.id == run).with_for_update())
        if connection.execute(given).rowcount != 1:
            return False
        due(connection, run)
        return True


def leave(connection: Connection, run: int) -> None:
    """Take a run out of its queue: whoever works on it now, or has ended it, sees to it."""
    table = schema.queued
    connection.execute(update(table).where(table.c.run == run, table.c.state != LEFT).values(state=LEFT, holder=""))


def recode(connection: Connection, run: int, code: bytes) -> None:
    """Say that a run has other code now: workers that have left the older code's runs may take it."""
    connection.execute(update(schema.queued).where(schema.queued.c.run == run).values(code=code))
