"""Read what open chains hold, many of them in few queries: a run may stop with thousands of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from sqlalchemy import exists, select

from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.chains import DONE, ChainRow, ForkRow, read_children, read_fork
from maker.store.intact import Ahead, next_rows
from maker.store.log import CutRow, SnapshotRow, StepRow, newest_snapshot, read_cuts, read_cuts_of, read_steps
from maker.store.together import AT_ONCE, SHORT

_chain, _cut, _fork, _snapshot, _step = (
    table.c for table in (schema.chain, schema.cut, schema.fork, schema.snapshot, schema.step)
)


class Holds(NamedTuple):
    """What the store may hold of a chain: what is False is not there.

    ``fork`` and ``children`` are those at its cursor, ``ahead`` is whatever its newest epoch has after it. ``long``
    says that its steps are not read together with those of others.
    """

    snapshots: bool = True
    fork: bool = True
    children: bool = True
    ahead: bool = True
    long: bool = True


ANYTHING = Holds()
"""What a chain may hold that was not looked at: everything."""


@dataclass(frozen=True, slots=True)
class OpenChain:
    """Reads a chain that goes on at its cursor; asks for no rows that it knows are not there.

    ``cuts`` are all of the chain's. ``short`` are its live steps before its cursor, None if they are still to be read.
    """

    database: Database
    row: ChainRow
    cuts: list[CutRow]
    holds: Holds = ANYTHING
    short: list[StepRow] | None = None

    @classmethod
    def alone(cls, database: Database, row: ChainRow) -> OpenChain:
        """Return what reads one chain; the cursor of ``row`` may lie before the chain's own."""
        return cls(database, row, read_cuts(database, row.key))

    def newest_snapshot(self) -> SnapshotRow | None:
        """Return the newest live snapshot at or before the cursor, None if there is none."""
        return newest_snapshot(self.database, self.row, self.row.cursor) if self.holds.snapshots else None

    def steps(self, start: int) -> Iterator[StepRow]:
        """Yield the live steps from ``start`` to before the cursor, in order."""
        if self.short is not None:
            return (step for step in self.short if step.idx >= start)
        return read_steps(self.database, self.row.key, start, self.row.cursor, cuts=self.cuts)

    def fork(self) -> ForkRow | None:
        """Return the fork that is open at the cursor, None if there is none."""
        row = self.row
        return read_fork(self.database, row.key, row.cursor, row.epoch) if self.holds.fork else None

    def has_children(self) -> bool:
        """Say whether chains begin at the cursor, be there a fork or not."""
        row = self.row
        fork = ForkRow(row.key, row.cursor, row.epoch, 0, False, 0, "", b"")
        return self.holds.children and next(read_children(self.database, fork, row.path), None) is not None

    def ahead(self) -> Ahead | None:
        """Return the first row after the cursor in the newest epoch, None if there is none."""
        return next_rows(self.database, self.row) if self.holds.ahead else None


def open_chains(database: Database, chains: Iterator[ChainRow]) -> Iterator[tuple[ChainRow, OpenChain | None]]:
    """Yield chains in their order, each with what reads it, None for one that is done.

    Looks at `AT_ONCE` of them at a time, so that nobody may work on one before it is yielded.
    """
    while page := list(islice(chains, AT_ONCE)):
        found = _look(database, [chain for chain in page if chain.status not in DONE])
        yield from ((chain, found.get(chain.key)) for chain in page)


def _look(database: Database, rows: Sequence[ChainRow]) -> dict[int, OpenChain]:
    if not rows:
        return {}
    keys = [row.key for row in rows]
    cuts = read_cuts_of(database, keys)
    holds = _holds(database, keys)
    short = _short_steps(database, [key for key in keys if key in holds and not holds[key].long])
    return {
        row.key: OpenChain(database, row, cuts[row.key], holds.get(row.key, ANYTHING), short.get(row.key))
        for row in rows
    }


def _holds(database: Database, keys: Sequence[int]) -> dict[int, Holds]:
    child = schema.chain.alias().c
    snapshots = exists().where(_snapshot.chain == _chain.id)
    query = select(
        _chain.id,
        snapshots,
        exists().where(_fork.chain == _chain.id, _fork.idx == _chain.cursor, _fork.epoch == _chain.epoch),
        exists().where(child.parent == _chain.id, child.at == _chain.cursor, child.fork_epoch == _chain.epoch),
        # As `next_rows` has it.
        exists().where(_step.chain == _chain.id, _step.idx >= _chain.cursor, _step.epoch >= _chain.epoch)
        | exists().where(_snapshot.chain == _chain.id, _snapshot.idx > _chain.cursor, _snapshot.epoch >= _chain.epoch)
        | exists().where(_fork.chain == _chain.id, _fork.idx > _chain.cursor, _fork.epoch >= _chain.epoch),
        # Where there is a snapshot, the steps before it are history.
        snapshots | (_chain.cursor > SHORT),
    )
    return {key: Holds(*found) for key, *found in database.fetch(query.where(_chain.id.in_(keys)))}


def _short_steps(database: Database, keys: Sequence[int]) -> dict[int, list[StepRow]]:
    """Return the live steps of chains before their cursors, in order."""
    found: dict[int, list[StepRow]] = {key: [] for key in keys}
    superseded = exists().where(_cut.chain == _step.chain, _cut.epoch > _step.epoch, _cut.idx <= _step.idx)
    query = select(_step.chain, *(_step[name] for name in StepRow._fields))
    query = query.join(schema.chain, _chain.id == _step.chain).where(_chain.id.in_(keys), _step.idx < _chain.cursor)
    for key, *row in database.fetch(query.where(~superseded).order_by(_step.chain, _step.idx, _step.epoch)):
        found[key].append(StepRow(*row))
    return found
