"""Finds where a run stands: newest snapshots, the few actions after them, and the forks that are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code, ends_the_program, words_of
from maker.errors import TaskFailed
from maker.plugin import Decomposer
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, ForkRow, find_chain, read_children
from maker.store.log import read_cuts, read_outcomes, read_steps
from maker.store.open_chain import OpenChain, open_chains
from maker.swarm.messages import Child
from maker.types import Outcome
from maker.voting.forks import opened
from maker.voting.messages import ChainAt
from maker.voting.paths import Path, chain_name


class RecoveryPoint(NamedTuple):
    """Where a chain goes on: at a step, or, with ``fork``, when that fork's children are joined.

    ``number`` is its place among its siblings. ``failed`` says why it cannot go on, else it is empty.
    """

    number: int
    at: ChainAt
    fork: ForkRow | None = None
    failed: str = ""


class Rows(NamedTuple):
    """How a fork of single steps stands.

    Before child ``cursor`` all are settled, and of those after it the ``ahead`` ones; from ``next`` on none was begun.
    ``finished`` counts good decisions, and in a lenient fork also the ``missed``, which have none and hold nothing up.
    ``again`` are to be decided still; ``wrong`` ended so, with why; ``refused`` are decided, but their parent's join
    has refused them.
    """

    chain: ChainRow
    cursor: int
    next: int
    finished: int
    ahead: set[int]
    again: list[Child]
    wrong: dict[int, str]
    refused: set[int]
    missed: int


def recovery_point(
    open_chain: OpenChain, decomposer: Decomposer[Any, Any], begin: Callable[[], Any] | None = None
) -> RecoveryPoint:
    """Return the place that a chain goes on from. Reads one snapshot and the steps after it, never the history.

    ``begin`` returns the state that a child chain starts in, where it has no snapshot yet.
    """
    chain, snapshot = open_chain.row, open_chain.newest_snapshot()
    since, weight = 0 if snapshot is None else snapshot.idx, 0
    try:
        if snapshot is not None:
            state = decomposer.state.read(snapshot.state)
        elif begin is not None:
            state = begin()
        else:
            raise ValueError("it has no snapshot")
        for step in open_chain.steps(since):
            state = decomposer.apply(state, decomposer.action.read(step.action))
            weight += len(step.action)
        text = decomposer.state.write(state)
    except TaskFailed:
        raise
    except BaseException as error:
        if ends_the_program(error):
            raise
        name = f"chain {chain_name(chain.path)}: " if chain.path else ""
        raise TaskFailed(
            f"{name}the state before step {chain.cursor} cannot be rebuilt from the snapshot at {since}:"
            f" {type(error).__name__}: {words_of(error)}",
            fix="find the first bad step with `maker verify`",
        ) from error
    at = ChainAt(chain.key, chain.path, chain.cursor, chain.epoch, chain.digest, text, weight)
    return RecoveryPoint(chain.number, at, open_chain.fork(), chain.reason if chain.status == "failed" else "")


def unfinished(
    database: Database, decomposer: Decomposer[Any, Any], fork: ForkRow, parent: ChainAt
) -> Iterator[RecoveryPoint]:
    """Yield where the unfinished chains of a fork go on, one after another: each costs a snapshot and some steps."""
    broken, state = opened(decomposer, parent)
    children = read_children(database, fork, parent.path, start=fork.joined, unfinished=True)
    for chain, open_chain in open_chains(database, children):
        if open_chain is None:
            continue

        def begin(number: int = chain.number) -> Any:
            return call_user_code(
                f"{decomposer.name}: child {number} of step {parent.idx}", broken.child, state, number
            )

        try:
            yield recovery_point(open_chain, decomposer, begin)
        except TaskFailed as error:
            # The other children go on.
            at = ChainAt(chain.key, chain.path, chain.cursor, chain.epoch, chain.digest, "")
            yield RecoveryPoint(chain.number, at, failed=error.message)


def found(
    database: Database, decomposer: Decomposer[Any, Any], key: int, path: Path, parent: ChainAt | None, number: int
) -> RecoveryPoint:
    """Return where one chain of a run goes on, by its key; of a child, ``parent`` and ``number`` say which it is."""
    chain = OpenChain.alone(database, find_chain(database, key, path))
    if parent is None:
        return recovery_point(chain, decomposer)
    broken, state = opened(decomposer, parent)
    what = f"{decomposer.name}: child {number} of step {parent.idx}"
    return recovery_point(chain, decomposer, lambda: call_user_code(what, broken.child, state, number))


def rows(database: Database, fork: ForkRow, path: tuple[int, ...], *, lenient: bool) -> Rows:
    """Return how a fork of single steps stands.

    Of its steps reads those after its cursor, never those before; of its outcomes keeps those that are still to come
    to something, whatever else it has missed.
    """
    chain = next(read_children(database, fork, path))
    cursor = chain.cursor
    cuts = read_cuts(database, chain.key)
    epochs = {cut.idx: cut.epoch for cut in cuts}
    ahead = {row.idx for row in read_steps(database, chain.key, cursor, single=True, cuts=cuts)}
    again: list[int] = []
    wrong: dict[int, str] = {}
    refused: set[int] = set()
    missed = waiting = 0
    for one in read_outcomes(database, chain.key):
        if one.outcome == Outcome.REFUSED:
            refused.add(one.idx)
            continue
        if one.idx >= cursor:
            ahead.add(one.idx)
        if one.outcome in (Outcome.ASKED, Outcome.DEFERRED):
            waiting += 1
        elif lenient and one.outcome != Outcome.AGAIN:
            missed += 1
        elif not lenient and one.outcome == Outcome.WRONG:
            wrong[one.idx] = one.reason
        else:
            again.append(one.idx)
    following = max(ahead, default=cursor - 1) + 1
    missing = (number for number in range(cursor, following) if number not in ahead)
    return Rows(
        chain=chain,
        cursor=cursor,
        next=following,
        finished=cursor + len(ahead) - len(again) - len(wrong) - waiting,
        ahead=ahead,
        again=[Child(number, chain.key, epochs.get(number, 0)) for number in sorted([*again, *missing])],
        wrong=wrong,
        refused=refused,
        missed=missed,
    )
