"""The batches of requests that a run has out at a provider: kept before each is submitted, and as it goes on."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, func, insert, select, update

from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.lease import Lease
from maker.store.runs import fenced, inserted
from maker.types import NOTHING, Allowance, BatchState, SentBatch

_batch = schema.batch.c
OUT = (str(BatchState.SENDING), str(BatchState.SENT))


def read_batches(database: Database, run: int, *, out: bool = False) -> list[SentBatch]:
    """Return a run's batches, oldest first, but for those that are void; with ``out`` only those that are out.

    Of what they may cost they say the tokens.
    """
    mine = (_batch.run == run, _batch.state.in_(OUT) if out else _batch.state != str(BatchState.VOID))
    query = select(schema.batch).where(*mine).order_by(_batch.number)
    return [
        SentBatch(
            number=row.number, tag=row.tag, role=row.role, names=_unpacked(row.names),
            worst=NOTHING._replace(tokens=row.tokens), begun_at=row.begun_at, state=BatchState(row.state),
            file=row.file, id=row.batch,
        )
        for row in database.fetch(query)
    ]  # fmt: skip


def last_batch(database: Database, run: int) -> int:
    """Return the highest number that a batch of the run has had, 0 where there is none."""
    (row,) = database.fetch(select(func.max(_batch.number)).where(_batch.run == run))
    return row[0] or 0


@retried
def begin_batch(database: Database, lease: Lease, batch: SentBatch, reserved: Allowance) -> None:
    """Keep a batch that is about to be submitted, with a grant for what it may cost. Raises `LeaseLost`."""
    with database.write() as connection:
        fenced(connection, lease)
        mine = (_batch.run == lease.run, _batch.number == batch.number)
        if connection.execute(select(_batch.number).where(*mine)).first() is not None:
            # The connection was lost after the commit.
            return
        grant = insert(schema.grant).values(run=lease.run, settled=False, **reserved._asdict())
        connection.execute(
            insert(schema.batch).values(
                run=lease.run, number=batch.number, tag=batch.tag, role=batch.role, names=_packed(batch.names),
                file=batch.file, batch=batch.id, state=str(batch.state), begun_at=batch.begun_at, look_at=0.0,
                grant_id=inserted(connection, grant), tokens=batch.worst.tokens,
            )
        )  # fmt: skip


@retried
def note_batch(
    database: Database, lease: Lease, number: int, state: BatchState, *, batch_id: str, look_at: float
) -> None:
    """Keep how a batch stands; one that is void gives back what was reserved for it. Raises `LeaseLost`."""
    with database.write() as connection:
        fenced(connection, lease)
        mine = (_batch.run == lease.run, _batch.number == number)
        changes = {"state": str(state), "look_at": look_at} | ({"batch": batch_id} if batch_id else {})
        connection.execute(update(schema.batch).where(*mine).values(changes))
        if state is BatchState.VOID:
            settle_batches(connection, lease.run, [number])


def hear_batches(connection: Connection, run: int, numbers: Iterable[int]) -> None:
    """Note that batches are heard, in the transaction that writes what they cost; their reservations end with it."""
    heard = list(numbers)
    if heard:
        mine = (_batch.run == run, _batch.number.in_(heard))
        connection.execute(update(schema.batch).where(*mine).values(state=str(BatchState.HEARD)))
        settle_batches(connection, run, heard)


def next_look(connection: Connection, run: int) -> float | None:
    """Return when a batch of a run that rests is to be looked at next, None where none is out."""
    query = select(func.min(_batch.look_at)).where(_batch.run == run, _batch.state.in_(OUT))
    found: float | None = connection.execute(query).scalar()
    return found


def settle_batches(connection: Connection, run: int, numbers: list[int]) -> None:
    """Give back what was reserved for batches."""
    grants = select(_batch.grant_id).where(_batch.run == bindparam("of_run"), _batch.number.in_(numbers))
    settled = update(schema.grant).where(schema.grant.c.id.in_(grants)).values(settled=True)
    connection.execute(settled, {"of_run": run})


def _packed(names: Iterable[str]) -> bytes:
    return zlib.compress("\n".join(names).encode())


def _unpacked(packed: bytes) -> tuple[str, ...]:
    return tuple(zlib.decompress(packed).decode().split("\n"))
