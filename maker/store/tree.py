"""Read the log of a chain and of its forks' children as one stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from maker.store.backend.database import Database
from maker.store.backend.schema import LAST_INDEX
from maker.store.chains import ChainRow, ForkRow, read_children, read_fork
from maker.store.log import StepRow, read_steps, span_at, spans
from maker.voting.paths import Path


class Row(Protocol):
    """A row at an index of a chain; a join has an empty tally."""

    @property
    def idx(self) -> int: ...  # noqa: D102
    @property
    def epoch(self) -> int: ...  # noqa: D102
    @property
    def tally(self) -> bytes | None: ...  # noqa: D102


R = TypeVar("R", bound=Row)
R_co = TypeVar("R_co", bound=Row, covariant=True)


class Reader(Protocol[R_co]):
    """Reads rows as `read_steps` does."""

    def __call__(
        self, database: Database, chain: int, start: int = 0, stop: int | None = None, *, single: bool = False
    ) -> Iterator[R_co]:
        """Yield a chain's own rows, in order."""
        ...


class Placed(NamedTuple, Generic[R]):
    """A step and the path of its chain."""

    path: Path
    step: R


PlacedStep: TypeAlias = Placed[StepRow]


class PlacedChain(NamedTuple):
    """A chain, and the index of a step in it."""

    chain: ChainRow
    idx: int


def walk_steps(database: Database, chain: ChainRow, start: int = 0) -> Iterator[PlacedStep]:
    """Yield the live steps of a chain from ``start`` on, and at each fork those of its children, in child order.

    Uses constant memory. Joins are left out: they hold no decision.
    """
    return walk(database, chain, start, read_steps)


def walk(database: Database, chain: ChainRow, start: int, read: Reader[R]) -> Iterator[Placed[R]]:
    """Yield the rows that ``read`` gives for a chain and its forks' children, in the order of `walk_steps`."""
    last = -1
    start = min(start, LAST_INDEX)
    for span in spans(database, chain):
        if span.stop is not None and span.stop <= start:
            continue
        own = span.chain
        for row in read(database, own.key, max(start, span.start), span.stop):
            last = row.idx
            if row.tally != b"":
                yield Placed(own.path, row)
            elif (fork := read_fork(database, own.key, row.idx, row.epoch)) is not None:
                yield from _children(database, fork, own.path, read)
    # If the open fork was joined after the chain's row was read, its children came with the join above.
    fork = read_fork(database, chain.key, chain.cursor, chain.epoch) if last < chain.cursor else None
    if fork is not None:
        yield from _children(database, fork, chain.path, read)


def _children(database: Database, fork: ForkRow, path: Path, read: Reader[R]) -> Iterator[Placed[R]]:
    for child in read_children(database, fork, path):
        if fork.single:
            yield from (Placed(child.path, row) for row in read(database, child.key, single=True))
        else:
            yield from walk(database, child, 0, read)


def chain_of_step(database: Database, root: ChainRow, path: Path, idx: int) -> PlacedChain | None:
    """Return the chain that stores step ``idx`` of the chain with ``path``, and the step's index in it, or None.

    Child number n of a fork of single steps is step n of the fork's only chain.
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
