"""Reads the logs of chains and of the children that they forked, as one stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from maker.paths import Path
from maker.store.chains import ChainRow, ForkRow, read_children, read_fork
from maker.store.database import Database
from maker.store.log import StepRow, read_steps, span_at, spans
from maker.store.schema import LAST_INDEX


class PlacedStep(NamedTuple):
    """A step and the path of its chain."""

    path: Path
    step: StepRow


class PlacedChain(NamedTuple):
    """A chain, and the index in it of a step that was looked for."""

    chain: ChainRow
    idx: int


def walk_steps(database: Database, chain: ChainRow, start: int = 0) -> Iterator[PlacedStep]:
    """Yield the live steps of a chain from ``start`` on, and at each fork those of its children, in child order.

    In constant memory. Joins are left out: they hold no decision.
    """
    last = -1
    start = min(start, LAST_INDEX)
    for span in spans(database, chain):
        if span.stop is not None and span.stop <= start:
            continue
        own = span.chain
        for row in read_steps(database, own.key, max(start, span.start), span.stop):
            last = row.idx
            if row.tally:
                yield PlacedStep(own.path, row)
            elif (fork := read_fork(database, own.key, row.idx, row.epoch)) is not None:
                yield from _children(database, fork, own.path)
    # A fork that has been joined since the chain's row was read was among the rows.
    fork = read_fork(database, chain.key, chain.cursor, chain.epoch) if last < chain.cursor else None
    if fork is not None:
        yield from _children(database, fork, chain.path)


def _children(database: Database, fork: ForkRow, path: Path) -> Iterator[PlacedStep]:
    for child in read_children(database, fork, path):
        if fork.single:
            yield from (PlacedStep(child.path, row) for row in read_steps(database, child.key, single=True))
        else:
            yield from walk_steps(database, child)


def chain_of_step(database: Database, root: ChainRow, path: Path, idx: int) -> PlacedChain | None:
    """Return the chain that holds step ``idx`` of the chain with a path, and the step's index in it; None without one.

    A child of a fork of single steps is step number of its fork's one chain.
    """
    if max(idx, *path, 0) > LAST_INDEX:
        return None
    chain = span_at(database, root, path[0] if path else idx).chain
    for place in range(0, len(path), 3):
        at, epoch, number = path[place : place + 3]
        fork = read_fork(database, chain.key, at, epoch)
        children = () if fork is None else read_children(database, fork, chain.path, start=0 if fork.single else number)
        found = next(iter(children), None)
        if fork is None or found is None:
            return None
        if fork.single:
            return PlacedChain(found, number) if len(path) == place + 3 and idx == 0 else None
        if found.number != number:
            return None
        chain = found
    return PlacedChain(chain, idx)
