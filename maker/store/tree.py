"""Reads the logs of chains and of the children that they forked, as one stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from maker.paths import Path
from maker.store.chains import ChainRow, ForkRow, read_children, read_fork
from maker.store.database import Database
from maker.store.log import StepRow, read_steps, spans


class PlacedStep(NamedTuple):
    """A step and the path of its chain."""

    path: Path
    step: StepRow


def walk_steps(database: Database, chain: ChainRow, start: int = 0) -> Iterator[PlacedStep]:
    """Yield the live steps of a chain from ``start`` on, and at each fork those of its children, in child order.

    In constant memory. Joins are left out: they hold no decision.
    """
    last = -1
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
