"""The forest by itself: what a driver would do with it is tested with whole runs."""

from __future__ import annotations

from typing import Any

import pytest

from maker.chain import ChainAt, Forked
from maker.engine.forest import Forest
from maker.engine.open_fork import OpenFork
from maker.engine.standing import Standing
from maker.errors import TaskFailed
from maker.store.chains import CHAIN_BITS, first_chain
from maker.swarm.worker import Report


def reopen(standing: Standing) -> OpenFork:
    raise AssertionError("nothing is stored here")


def forked(root: int, children: int, *, single: bool = False) -> Report:
    """Return the report of a root chain that forks at its first step."""
    return Report(1, forked=[Forked(ChainAt(root, (), 0, 0, b"", ""), children, single)])


def grown(run: int, last: int, children: int, **more: Any) -> Forest:
    """Return the forest of a run whose root has forked."""
    root = first_chain(run)
    forest = Forest(root, last, reopen)
    forest.stand(Standing(0, ChainAt(root, (), 0, 0, b"", "")))
    forest.hand(1)
    forest.take(forked(root, children, **more))
    return forest


def test_chains_are_numbered_within_their_run() -> None:
    """Children get the keys that follow the highest one so far."""
    handed = grown(3, first_chain(3), 4).hand(10)
    assert [new.key for new in handed.begun] == [first_chain(3) + number for number in (1, 2, 3, 4)]


def test_a_run_never_takes_keys_of_the_next_one() -> None:
    """The chain after the last that a run may have is refused, with what to do."""
    forest = grown(3, first_chain(4) - 3, 5)
    assert len(forest.hand(2).begun) == 2
    with pytest.raises(TaskFailed, match=f"{2**CHAIN_BITS:,} chains"):
        forest.hand(1)


def test_no_more_is_handed_out_than_there_is_room_for() -> None:
    """Children wait in the fork, not in the worker; together with what is out they never pass the room."""
    forest = grown(1, first_chain(1), 1000, single=True)
    assert [len(forest.hand(room).children[0].born) for room in (1, 7, 100)] == [1, 7, 100]
    assert forest.out == 108
