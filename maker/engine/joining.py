"""Joins finished children: reads their results from the store in child order, and folds them into one state."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from maker.chain import Decided, join_step
from maker.engine.forest import OpenFork
from maker.engine.standing import opened
from maker.owned import own
from maker.paths import chain_name
from maker.plugin import Decomposer
from maker.store.chains import ForkRow, read_children
from maker.store.database import Database
from maker.store.entry import Folded
from maker.store.log import read_steps
from maker.tally import folded
from maker.types import Done, Fork

AT_ONCE = 10_000
"""How many children are joined before the driver looks after its workers again."""


class Joined(NamedTuple):
    """How far a fork is joined now, and where that is to its end, the row that says so."""

    folded: Folded
    step: Decided | None
    more: bool


def join(database: Database, decomposer: Decomposer[Any, Any], fork: OpenFork) -> Joined:
    """Join what is finished and in order, so many children at most. Raises `TaskFailed`, naming the child."""
    at = fork.at
    broken, first_state = opened(decomposer, at)
    where = f"chain {chain_name(at.path)}, step {at.idx}" if at.path else f"step {at.idx}"
    state = own(f"{where}: state.read", decomposer.state.read, fork.folded)
    number, digest = fork.joined, fork.digest
    for last, result in islice(_finished(database, decomposer, fork, broken, first_state), AT_ONCE):
        if broken.join is not None:
            state = own(f"{where}: {decomposer.name}: join of child {number}", broken.join, state, number, result)
        digest = folded(digest, last)
        number += 1
    more = number - fork.joined == AT_ONCE and number < fork.count
    fork.folded = own(f"{where}: state.write", decomposer.state.write, state)
    fork.joined, fork.digest = number, digest
    step = join_step(at, fork.count, digest, fork.folded) if number == fork.count else None
    return Joined(Folded(at.chain, at.idx, at.epoch, number, fork.folded, digest), step, more)


def single_result(decomposer: Decomposer[Any, Any], fork: Fork[Any], state: Any, number: int, action: Any) -> Any:
    """Return what a child of a fork of single steps came to, from its action."""
    done = decomposer.next(decomposer.apply(fork.child(state, number), action))
    if not isinstance(done, Done):
        raise ValueError(f"child {number} is not done after its step")
    return done.result


def _finished(
    database: Database, decomposer: Decomposer[Any, Any], fork: OpenFork, broken: Fork[Any], state: Any
) -> Iterator[tuple[bytes, Any]]:
    """Yield the last digest and the result of each child, from the first that is not joined to one that is not done."""
    at = fork.at
    if fork.single:
        rows = read_steps(database, fork.rows, fork.joined, fork.first_failed, single=True)
        for number, row in enumerate(rows, fork.joined):
            if row.idx != number:
                return
            yield row.digest, broken.join and _result(decomposer, broken, state, number, row.action)
        return
    stored = ForkRow(at.chain, at.idx, at.epoch, fork.count, False, 0, "", b"")
    for number, chain in enumerate(read_children(database, stored, at.path, start=fork.joined), fork.joined):
        if chain.number != number or chain.status != "done":
            return
        yield chain.digest, chain.result


def _result(decomposer: Decomposer[Any, Any], fork: Fork[Any], state: Any, number: int, action: str) -> Any:
    def result() -> Any:
        return single_result(decomposer, fork, state, number, decomposer.action.read(action))

    return own(f"{decomposer.name}: the result of child {number}", result)
