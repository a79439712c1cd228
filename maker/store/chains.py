"""Read chains and forks in their present state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, Select, func, select

from maker.errors import StoreFailed
from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.seals import Place, chain_seal, fork_seal
from maker.voting.paths import ROOT, Path

CHAIN_BITS = 24
"""A chain's key is its run's key, shifted by this many bits, plus the number that the driver gives it, from 0."""
PAGE = 1000
DONE = ("done", "rejected")
"""Statuses of a child that is done; a rejected one is done, but its parent's join refused it."""


class ChainRow(NamedTuple):
    """One chain: ``cursor`` is the index of its next step.

    ``number`` is its number among the children of its fork. Its steps before ``base_idx`` are those of chain ``base``.
    ``sealed`` is false where status, result or ``place`` are not as they were written.
    """

    key: int
    run: int
    path: Path
    number: int
    cursor: int
    epoch: int
    digest: bytes
    status: str
    reason: str
    result: Any
    base: int | None
    base_idx: int
    place: Place
    sealed: bool


class ForkRow(NamedTuple):
    """A step that forked: ``joined`` children are folded into ``state`` and ``digest``."""

    chain: int
    idx: int
    epoch: int
    children: int
    single: bool
    joined: int
    state: str
    digest: bytes
    seal: bytes | None = None

    @property
    def sealed(self) -> bool:
        """Whether it is as it was written, as far as one can tell."""
        return self.seal is None or self.seal == fork_seal(
            self.chain, self.idx, self.epoch, self.children, self.joined, self.digest, self.state, single=self.single
        )


def first_chain(run: int) -> int:
    """Return the key of a run's root chain; the keys of the chains it forks follow."""
    return run << CHAIN_BITS


def chain_values(**known: Any) -> dict[str, Any]:
    """Return a new chain's row with the given values, and those of a new root chain for the rest."""
    values = {
        "parent": None, "at": 0, "fork_epoch": 0, "number": 0, "cursor": 0, "epoch": 0, "status": "running",
        "reason": "", "result": None, "base": None, "base_idx": 0,
    } | known  # fmt: skip
    place = Place(*(values[name] for name in Place._fields))
    return values | {"seal": chain_seal(values["id"], place, values["status"], None)}


def root_chain(database: Database, run: int) -> ChainRow:
    """Return a run's root chain."""
    query = select(schema.chain).where(schema.chain.c.run == run, schema.chain.c.parent.is_(None))
    rows = [row._mapping for row in database.fetch(query)]
    if len(rows) != 1:
        raise StoreFailed(f"{database.shown}: run {run} has {len(rows)} root chains", fix="restore it from a backup")
    return _chain(rows[0], ROOT, database)


def chains_from(database: Database, run: int, first: int) -> Iterator[ChainRow]:
    """Yield the chains of a run from the key ``first`` on, in order of their keys; they have no paths."""
    table = schema.chain.c
    query = select(schema.chain).where(table.id < first_chain(run + 1)).order_by(table.id).limit(PAGE)
    while True:
        rows = [row._mapping for row in database.fetch(query.where(table.id >= first))]
        yield from (_chain(row, ROOT, database) for row in rows)
        if len(rows) < PAGE:
            return
        first = rows[-1]["id"] + 1


def last_chain(database: Database, run: int) -> int:
    """Return the highest key that a run's chains have."""
    table = schema.chain.c
    query = select(func.max(table.id)).where(table.id >= first_chain(run), table.id < first_chain(run + 1))
    found = database.fetch(query)[0][0]
    return first_chain(run) if found is None else int(found)


def find_chain(database: Database, key: int, path: Path) -> ChainRow:
    """Return a chain by its key. Raises `StoreFailed` if it is missing."""
    rows = database.fetch(select(schema.chain).where(schema.chain.c.id == key))
    if not rows:
        raise StoreFailed(f"{database.shown}: chain {key} is missing", fix="restore the database from a backup")
    return _chain(rows[0]._mapping, path, database)


def read_fork(database: Database, chain: int, idx: int, epoch: int) -> ForkRow | None:
    """Return the fork at a step, None if there is none."""
    table = schema.fork
    query = select(table).where(table.c.chain == chain, table.c.idx == idx, table.c.epoch == epoch)
    rows = database.fetch(query)
    return ForkRow(*rows[0]) if rows else None


def read_forks(database: Database, chain: int, start: int, stop: int | None) -> list[ForkRow]:
    """Return the forks that a chain itself holds from step ``start`` to before ``stop``, of every epoch, in order."""
    table = schema.fork
    query = select(table).where(table.c.chain == chain, table.c.idx >= start).order_by(table.c.idx, table.c.epoch)
    if stop is not None:
        query = query.where(table.c.idx < stop)
    return [ForkRow(*row) for row in database.fetch(query)]


def read_children(
    database: Database, fork: ForkRow, path: Path, *, start: int = 0, unfinished: bool = False
) -> Iterator[ChainRow]:
    """Yield the chains of a fork in order of their numbers, from ``start`` on, in constant memory.

    A fork of single steps has one, number 0. ``path`` is the parent's.
    """
    query = _children(fork)
    if unfinished:
        query = query.where(schema.chain.c.status != "done")
    while True:
        page = query.where(schema.chain.c.number >= start).order_by(schema.chain.c.number).limit(PAGE)
        rows = [row._mapping for row in database.fetch(page)]
        for row in rows:
            here = (*path, fork.idx, fork.epoch)
            yield _chain(row, here if fork.single else (*here, row["number"]), database)
        if len(rows) < PAGE:
            return
        start = rows[-1]["number"] + 1


def resting(database: Database, run: int, most: int) -> list[ChainRow]:
    """Return at most ``most`` chains of a run that stopped before their end, oldest first."""
    table = schema.chain.c
    query = select(schema.chain).where(table.run == run, table.parent.is_not(None))
    query = query.where(table.status.not_in(("running", *DONE))).order_by(table.id).limit(most)
    return [_chain(row._mapping, path_of(database, row.id), database) for row in database.fetch(query)]


def path_of(database: Database, key: int) -> Path:
    """Return the path of a chain; the chain must not be that of a fork of single steps."""
    path: Path = ROOT
    table = schema.chain.c
    columns = (table.parent, table.at, table.fork_epoch, table.number)
    while True:
        parent, at, epoch, number = database.fetch(select(*columns).where(table.id == key))[0]
        if parent is None:
            return path
        path = (at, epoch, number, *path)
        key = parent


def count_children(database: Database, fork: ForkRow) -> tuple[int, int]:
    """Return how many children of a fork of chains have begun, and how many of them are done.

    Those that are joined are not looked at.
    """
    table, mine = schema.chain.c, _children(fork).where(schema.chain.c.number >= fork.joined)
    done = select(func.count()).select_from(mine.where(table.status.in_(DONE)).subquery())
    newest = database.fetch(select(func.max(mine.subquery().c.number)))[0][0]
    return (fork.joined if newest is None else int(newest) + 1), fork.joined + int(database.fetch(done)[0][0])


def _children(fork: ForkRow) -> Select[Any]:
    table = schema.chain.c
    mine = (table.parent == fork.chain, table.at == fork.idx, table.fork_epoch == fork.epoch)
    return select(schema.chain).where(*mine)


def _chain(row: RowMapping, path: Path, database: Database) -> ChainRow:
    try:
        result = None if row["result"] is None else json.loads(row["result"])
    except (TypeError, ValueError) as error:
        raise StoreFailed(
            f"{database.shown}: the result of chain {row['id']} cannot be read: {error}",
            fix="restore the database from a backup",
        ) from error
    place = Place(row["parent"], row["at"], row["fork_epoch"], row["number"])
    return ChainRow(
        row["id"], row["run"], path, row["number"], row["cursor"], row["epoch"], row["digest"], row["status"],
        row["reason"], result, row["base"], row["base_idx"], place,
        row["seal"] is None or row["seal"] == chain_seal(row["id"], place, row["status"], row["result"]),
    )  # fmt: skip
