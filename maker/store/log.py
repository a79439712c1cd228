"""Reading the log: steps, samples and snapshots, streamed in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import select, tuple_

from maker.errors import StoreFailed
from maker.store import schema
from maker.store.database import Database

PAGE = 5000


class StepRow(NamedTuple):
    """One decided step as stored."""

    idx: int
    epoch: int
    action: str
    tally: bytes
    tokens: int
    digest: bytes


class SnapshotRow(NamedTuple):
    """The state before step ``idx``."""

    idx: int
    epoch: int
    state: str


class SampleRow(NamedTuple):
    """One kept sample: ``candidate`` where it became a vote, else ``flag``."""

    idx: int
    epoch: int
    vote: int
    text: str
    tokens: int
    candidate: str | None
    flag: str | None
    detail: str


def read_steps(database: Database, chain: int, start: int = 0, stop: int | None = None) -> Iterator[StepRow]:
    """Yield a chain's live steps from ``start`` to before ``stop``, in order, in constant memory.

    Pages by key, each in its own short transaction, so that reading never holds a writer up.
    """
    table = schema.step
    columns = (table.c.idx, table.c.epoch, table.c.action, table.c.tally, table.c.tokens, table.c.digest)
    place = (table.c.idx, table.c.epoch)
    after = (start, -1)
    while True:
        query = select(*columns).where(table.c.chain == chain, tuple_(*place) > after)
        if stop is not None:
            query = query.where(table.c.idx < stop)
        with database.read() as connection:
            rows = connection.execute(query.order_by(*place).limit(PAGE)).all()
        yield from (StepRow(*row) for row in rows)
        if len(rows) < PAGE:
            return
        after = (rows[-1][0], rows[-1][1])


def read_samples(database: Database, chain: int, index: int) -> list[SampleRow]:
    """Return the kept samples of one step, in order of vote."""
    table = schema.sample
    columns = [table.c[name] for name in ("idx", "epoch", "vote", "text", "tokens", "candidate", "flag", "detail")]
    query = select(*columns).where(table.c.chain == chain, table.c.idx == index).order_by(table.c.epoch, table.c.vote)
    with database.read() as connection:
        return [SampleRow(*row) for row in connection.execute(query)]


def read_snapshots(database: Database, chain: int) -> list[SnapshotRow]:
    """Return a chain's snapshots in order."""
    table = schema.snapshot
    query = select(table.c.idx, table.c.epoch, table.c.state).where(table.c.chain == chain).order_by(table.c.idx)
    with database.read() as connection:
        return [SnapshotRow(*row) for row in connection.execute(query)]


def newest_snapshot(database: Database, chain: int, upto: int) -> SnapshotRow:
    """Return the newest snapshot at or before an index; there is one at 0. Raises `StoreFailed` if that is lost."""
    table = schema.snapshot
    query = select(table.c.idx, table.c.epoch, table.c.state).where(table.c.chain == chain, table.c.idx <= upto)
    with database.read() as connection:
        row = connection.execute(query.order_by(table.c.idx.desc()).limit(1)).first()
    if row is None:
        raise StoreFailed(f"{database.shown}: chain {chain} has no snapshot", fix="restore the database from a copy")
    return SnapshotRow(*row)
