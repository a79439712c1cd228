"""Find rows that should not be there, and the last steps of chains, in few queries; say that a run is damaged."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select

from maker.errors import RunDamaged
from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, ForkRow, first_chain

INSTEAD = "restore the database from a backup, or start a new run"
"""What to do about a damaged run that cannot be forked before its damage."""


def damaged(run_id: str, what: str, instead: str = INSTEAD) -> RunDamaged:
    """Return the error of a run that is not resumed: ``what`` is not as it was written, ``instead`` what to do now."""
    return RunDamaged(
        f"run {run_id} is damaged, and was not resumed; nothing was written. {what[0].upper()}{what[1:]}",
        fix=f"see the first damage of its whole log with `maker verify {run_id}`; {instead}",
        run_id=run_id,
    )


class Ahead(NamedTuple):
    """A row of a chain's newest epoch after its cursor: what it is, and its index."""

    what: str
    idx: int


def last_key(database: Database, run: int) -> int:
    """Return the highest key of a chain that steps, snapshots or forks of a run are stored under; -1 without any."""
    keys = [table.c.chain for table in (schema.step, schema.snapshot, schema.fork)]
    highest = (select(func.max(key)).where(key >= first_chain(run), key < first_chain(run + 1)) for key in keys)
    (found,) = database.fetch(select(*(one.scalar_subquery() for one in highest)))
    return max(-1 if key is None else key for key in found)


def next_rows(database: Database, chain: ChainRow) -> Ahead | None:
    """Return the first row that a chain has after its cursor in its newest epoch, None if there is none."""
    for what, table, first in (
        ("step", schema.step.c, chain.cursor),
        ("snapshot", schema.snapshot.c, chain.cursor + 1),
        ("fork", schema.fork.c, chain.cursor + 1),
    ):
        query = select(table.idx).where(table.chain == chain.key, table.idx >= first, table.epoch >= chain.epoch)
        for (idx,) in database.fetch(query.order_by(table.idx).limit(1)):
            return Ahead(what, idx)
    return None


def last_digests(database: Database, fork: ForkRow) -> dict[int, bytes]:
    """Return the digest of the last step of each child of a fork that is not joined, by the chain's key."""
    chain, step = schema.chain.c, schema.step.c
    last = (step.chain == chain.id) & (step.idx == chain.cursor - 1)
    query = select(chain.id, step.digest).select_from(schema.chain.join(schema.step, last))
    mine = (chain.parent == fork.chain, chain.at == fork.idx, chain.fork_epoch == fork.epoch)
    query = query.where(*mine, chain.number >= fork.joined).order_by(chain.id, step.epoch)
    return {key: bytes(digest) for key, digest in database.fetch(query)}


def last_sample(database: Database, chain: int) -> int:
    """Return the highest index that samples or prompts of a chain are stored for, -1 without any."""
    tables = (schema.sample.c, schema.prompt.c)
    found = (database.fetch(select(func.max(table.idx)).where(table.chain == chain))[0][0] for table in tables)
    return max(-1 if idx is None else int(idx) for idx in found)
