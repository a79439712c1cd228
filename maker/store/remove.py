"""Cancel runs, and delete them with all that they hold."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sqlalchemy import Connection, Table, delete, func, select, text, union_all, update

from maker.errors import RunHeld, RunNeeded, RunNotResumable
from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.lease import alive, describe
from maker.store.memo import citing, forget_run
from maker.store.queued import leave
from maker.store.runs import CANCEL, CANCELLED, OVER, PRUNING, RunRow, locked_row

CHUNK = 20_000
"""Steps deleted in one transaction: it bounds how long other runs' writers wait."""
_LOG = (
    schema.step, schema.snapshot, schema.sample, schema.prompt, schema.fork, schema.cut, schema.outcome,
)  # fmt: skip


@retried
def cancel_run(database: Database, run: RunRow) -> bool:
    """Cancel a run that no process works on, or ask its holder to stop; returns whether it is cancelled now.

    Raises `RunNotResumable` if the run is over.
    """
    table = schema.run
    with database.write() as connection:
        row = locked_row(connection, run)
        if row["status"] == CANCELLED:
            return True
        if row["status"] in OVER:
            raise RunNotResumable(f"run {run.run_id} is {row['status']} already, so it cannot be cancelled")
        held = alive(row["holder"], row["lease_until"])
        gone = {"status": CANCELLED, "reason": CANCELLED, "holder": "", "lease_until": 0.0, "fence": row["fence"] + 1}
        changes = {"asked": CANCEL} if held else gone | {"updated_at": time.time()}
        if not held:
            leave(connection, run.key)
        connection.execute(update(table).where(table.c.id == run.key).values(changes))
        return not held


def remove_run(database: Database, run: RunRow) -> None:
    """Delete a run and all that it holds, in many small transactions; an interrupted deletion can be repeated.

    Raises:
        RunHeld: A process works on it.
        RunNeeded: Another run was forked from it, or reuses its decisions.
    """
    _close(database, run)
    chains = select(schema.chain.c.id).where(schema.chain.c.run == run.key)
    while True:
        with database.read() as connection:
            keys = list(connection.execute(chains.order_by(schema.chain.c.id.desc()).limit(500)).scalars())
        if not keys:
            break
        for key in keys:
            _empty(database, key)
        _drop_chains(database, keys)
    _drop_run(database, run)


@retried
def _close(database: Database, run: RunRow) -> None:
    """Check that no run needs this one, and mark it so that no process can resume or fork it any more."""
    table = schema.run
    with database.write() as connection:
        row = locked_row(connection, run)
        if alive(row["holder"], row["lease_until"]):
            raise RunHeld(
                f"{describe(row['holder'])} is working on run {run.run_id}",
                fix=f"stop it first with `maker cancel {run.run_id}`",
                run_id=run.run_id,
            )
        if needed := list(_forks(connection, run.key)):
            raise RunNeeded(
                f"run {run.run_id} is still needed: {', '.join(needed)} shares its steps",
                fix="delete the runs forked off it first",
                run_id=run.run_id,
            )
        if needed := citing(connection, run.key):
            raise RunNeeded(
                f"run {run.run_id} is still needed: {', '.join(needed)} reused its decisions",
                fix="delete the runs that reused them first",
                run_id=run.run_id,
            )
        forget_run(connection, run.key)
        gone = {"status": PRUNING, "reason": "being deleted; finish with `maker prune`", "fence": row["fence"] + 1}
        connection.execute(update(table).where(table.c.id == run.key).values(gone))


def _forks(connection: Connection, run: int) -> Iterator[str]:
    mine, other = schema.chain.alias("mine"), schema.chain.alias("other")
    query = (
        select(schema.run.c.run_id)
        .join(other, other.c.run == schema.run.c.id)
        .join(mine, mine.c.id == other.c.base)
        .where(mine.c.run == run, other.c.run != run)
    )
    yield from connection.execute(query).scalars()


def _empty(database: Database, chain: int) -> None:
    for table in _LOG:
        with database.read() as connection:
            last = connection.execute(select(func.max(table.c.idx)).where(table.c.chain == chain)).scalar()
        if last is not None:
            for stop in range(CHUNK, last + CHUNK + 1, CHUNK):
                _delete(database, table, chain, stop)


@retried
def _delete(database: Database, table: Table, chain: int, stop: int) -> None:
    with database.write() as connection:
        connection.execute(delete(table).where(table.c.chain == chain, table.c.idx < stop))


@retried
def _drop_chains(database: Database, keys: list[int]) -> None:
    with database.write() as connection:
        connection.execute(delete(schema.chain).where(schema.chain.c.id.in_(keys)))


@retried
def _drop_run(database: Database, run: RunRow) -> None:
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            from maker.store.backend.postgres import SCHEMA

            # Lock out writers: one that has just found its text stored must not lose it.
            connection.execute(text(f"LOCK TABLE {SCHEMA}.{schema.text.name} IN EXCLUSIVE MODE"))
        connection.execute(delete(schema.source).where(schema.source.c.run == run.key))
        used = union_all(
            select(schema.sample.c.text), select(schema.prompt.c.system), select(schema.prompt.c.prompt),
            select(schema.source.c.text),
        )  # fmt: skip
        connection.execute(delete(schema.text).where(schema.text.c.digest.not_in(used)))
        for table in (
            schema.ledger, schema.grant, schema.worker, schema.event, schema.input_part, schema.outside, schema.queued,
            schema.referral, schema.review,
            schema.change, schema.batch,
        ):  # fmt: skip
            connection.execute(delete(table).where(table.c.run == run.key))
        connection.execute(delete(schema.run).where(schema.run.c.id == run.key))
