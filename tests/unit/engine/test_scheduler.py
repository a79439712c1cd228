"""The forest by itself: what a driver would do with it is tested with whole runs."""

from __future__ import annotations

from typing import Any

from maker.engine.open_fork import OpenFork
from maker.engine.recovery import RecoveryPoint
from maker.engine.scheduler import Scheduler
from maker.errors import TaskFailed
from maker.store.chains import CHAIN_BITS, first_chain
from maker.swarm.messages import Report
from maker.voting.messages import ChainAt, ChainRef, Forked
from maker.voting.paths import Path


def reopen(standing: RecoveryPoint) -> OpenFork:
    raise AssertionError("nothing is stored here")


def find(key: int, path: Path, parent: ChainAt | None, number: int) -> RecoveryPoint:
    return RecoveryPoint(number, ChainAt(key, path, 0, 0, b"", "as stored"))


def forked(root: int, children: int, *, single: bool = False) -> Report:
    """Return the report of a root chain that forks at its first step."""
    return Report(1, forked=[Forked(ChainAt(root, (), 0, 0, b"", ""), children, single)])


def grown(run: int, last: int, children: int, **more: Any) -> Scheduler:
    """Return the forest of a run whose root has forked."""
    root = first_chain(run)
    scheduler = Scheduler(root, last, reopen, find)
    scheduler.restore(RecoveryPoint(0, ChainAt(root, (), 0, 0, b"", "")))
    scheduler.hand(0, 1)
    scheduler.take(0, forked(root, children, **more))
    return scheduler


def test_chains_are_numbered_within_their_run() -> None:
    """Children get the keys that follow the highest one so far."""
    handed = grown(3, first_chain(3), 4).hand(0, 10)
    assert [new.key for new in handed.begun] == [first_chain(3) + number for number in (1, 2, 3, 4)]


def test_a_run_never_takes_keys_of_the_next_one() -> None:
    """The chain after the last that a run may have is refused, with what to do; a fork that has room is not."""
    scheduler = grown(3, first_chain(4) - 3, 2)
    assert len(scheduler.hand(0, 2).begun) == 2
    scheduler = grown(3, first_chain(4) - 3, 5)
    assert not scheduler.hand(0, 2).begun
    assert isinstance(scheduler.root_end, TaskFailed)
    assert f"{2**CHAIN_BITS:,} chains" in str(scheduler.root_end)


def test_no_more_is_handed_out_than_there_is_room_for() -> None:
    """Children wait in the fork, not in the worker; together with what is out they never pass the room."""
    scheduler = grown(1, first_chain(1), 1000, single=True)
    assert [len(scheduler.hand(0, room).children[0].born) for room in (1, 7, 100)] == [1, 7, 100]
    assert scheduler.out(0) == 108


def test_what_a_lost_worker_held_is_handed_out_again() -> None:
    """Single steps by their numbers; chains from where the store says that they are; the root, too."""
    rows = grown(1, first_chain(1), 10, single=True)
    born = rows.hand(0, 4).children[0].born
    rows.hand(1, 3)
    assert rows.lose(0) == 4
    assert (rows.out(0), rows.out(1)) == (0, 3)
    assert rows.hand(1, 4).children[0].born == born
    assert [child.number for child in rows.hand(1, 10).children[0].born] == [7, 8, 9]
    chains = grown(1, first_chain(1), 3)
    keys = [child.chain for child in chains.hand(0, 2).children[0].born]
    assert chains.lose(0) == 2
    handed = chains.hand(1, 5)
    assert {(at.chain, at.state) for at in handed.chains} == {(key, "as stored") for key in keys}
    assert [child.number for child in handed.children[0].born] == [2]
    root = Scheduler(first_chain(1), first_chain(1), reopen, find)
    root.restore(RecoveryPoint(0, ChainAt(first_chain(1), (), 0, 0, b"", "")))
    root.hand(0, 1)
    assert (root.idle, root.has_work) == (False, False)
    assert root.lose(0) == 1
    assert [at.state for at in root.hand(1, 1).chains] == ["as stored"]
    assert root.lose(0) == 0


def test_what_waits_is_shared_out() -> None:
    """A share is what each worker has if all have as many, whoever holds what now."""
    scheduler = grown(1, first_chain(1), 10, single=True)
    assert [scheduler.share(workers) for workers in (1, 3, 20)] == [10, 4, 1]
    scheduler.hand(0, 9)
    assert scheduler.share(2) == 5


def test_what_is_given_back_goes_to_another() -> None:
    scheduler = grown(1, first_chain(1), 5, single=True)
    born = scheduler.hand(0, 5).children[0].born
    scheduler.take(0, Report(2, returned=[ChainRef(child.chain, child.number) for child in born[3:]]))
    assert (scheduler.out(0), scheduler.idle) == (3, False)
    assert scheduler.hand(1, 5).children[0].born == born[3:]
