"""Joins finished children: reads their results from the store in child order, and folds them into one state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from maker.core.user_code import call_for_text, call_user_code
from maker.engine.open_fork import OpenFork
from maker.errors import TaskFailed
from maker.plugin import Decomposer
from maker.store.backend.database import Database
from maker.store.chains import DONE, ForkRow, read_children
from maker.store.entry import Closed, Folded, Missed
from maker.store.log import StepRow, read_outcomes, read_steps
from maker.store.seals import Place
from maker.types import Done, Fork, Outcome
from maker.voting.forks import join_step, opened
from maker.voting.messages import Decided
from maker.voting.paths import chain_name
from maker.voting.tally import folded

AT_ONCE = 10_000
"""How many children are joined before the driver looks after its workers again."""


class Joined(NamedTuple):
    """How far a fork is joined now, and where that is to its end, the row that says so.

    ``more`` says that others can be joined at once. ``refused`` is what its join raised at child ``folded.joined``:
    ``closed`` and ``missed`` mark that child.
    """

    folded: Folded
    step: Decided | None = None
    more: bool = False
    refused: TaskFailed | None = None
    closed: tuple[Closed, ...] = ()
    missed: tuple[Missed, ...] = ()


class _Child(NamedTuple):
    """A finished child: its chain (one for all single steps), its epoch, its last digest, its result.

    ``missed`` is the outcome of one that holds nothing up, though it has no good decision.
    """

    chain: int
    epoch: int
    digest: bytes
    result: Any
    missed: str = ""


def join(database: Database, decomposer: Decomposer[Any, Any], fork: OpenFork) -> Joined:
    """Join what is finished and in order, so many children at most. Raises `TaskFailed` for the task's other code."""
    at = fork.at
    broken, first_state = opened(decomposer, at)
    where = f"chain {chain_name(at.path)}, step {at.idx}" if at.path else f"step {at.idx}"
    state = call_user_code(f"{where}: state.read", decomposer.state.read, fork.folded)
    number, digest = fork.joined, fork.digest
    for child in islice(_finished(database, decomposer, fork, broken, first_state), AT_ONCE):
        if child.missed and broken.missed is not None:
            what = f"{where}: {decomposer.name}: missed of child {number}"
            state = call_user_code(what, broken.missed, state, number, child.missed)
        elif broken.join is not None:
            what = f"{where}: {decomposer.name}: join of child {number}"
            try:
                state = call_user_code(what, broken.join, state, number, child.result)
            except TaskFailed as error:
                return _refused(fork, number, child, error)
        digest = folded(digest, child.digest)
        number += 1
    more = number - fork.joined == AT_ONCE and number < fork.count
    fork.folded = call_for_text(f"{where}: state.write", decomposer.state.write, state)
    fork.joined, fork.digest = number, digest
    folded_to = Folded(at.chain, at.idx, at.epoch, fork.count, fork.single, number, fork.folded, digest)
    if number < fork.count:
        return Joined(folded_to, more=more)
    after = _after(decomposer, broken, state, fork, where)
    if after == at.state:
        endless = TaskFailed(
            f"{where}: {decomposer.name} has the same state after joining its {fork.count} children as before, and"
            " would fork forever",
            fix="change the state in the fork's join or then",
        )
        return Joined(folded_to, refused=endless)
    return Joined(folded_to, join_step(at, fork.count, digest, after))


def _after(decomposer: Decomposer[Any, Any], broken: Fork[Any], state: Any, fork: OpenFork, where: str) -> str:
    """Return the state to go on with, as text."""
    if broken.then is None:
        return fork.folded
    following = call_user_code(f"{where}: {decomposer.name}: then", broken.then, state)
    return call_for_text(f"{where}: {decomposer.name}: state.write after then", decomposer.state.write, following)


def _refused(fork: OpenFork, number: int, child: _Child, error: TaskFailed) -> Joined:
    """Mark the child that was refused. What was joined before it in the same go is joined again later."""
    at = fork.at
    as_before = Folded(at.chain, at.idx, at.epoch, fork.count, fork.single, fork.joined, fork.folded, fork.digest)
    if not fork.single:
        place = Place(at.chain, at.idx, at.epoch, number)
        closed = Closed(child.chain, place, "rejected", error.message, child.result)
        return Joined(as_before, refused=error, closed=(closed,))
    if number in fork.refused:
        return Joined(as_before, refused=error)
    missed = Missed(child.chain, number, child.epoch, str(Outcome.REFUSED), error.message)
    return Joined(as_before, refused=error, missed=(missed,))


def single_result(decomposer: Decomposer[Any, Any], fork: Fork[Any], state: Any, number: int, action: Any) -> Any:
    """Return what a child of a fork of single steps came to, from its action."""
    done = decomposer.next(decomposer.apply(fork.child(state, number), action))
    if not isinstance(done, Done):
        raise ValueError(f"child {number} is not done after its step")
    # As the results of chains are, which come from the store.
    return json.loads(json.dumps(done.result))


def _finished(
    database: Database, decomposer: Decomposer[Any, Any], fork: OpenFork, broken: Fork[Any], state: Any
) -> Iterator[_Child]:
    """Yield the children in order, from the first that is not joined to one that is not done."""
    at = fork.at
    if fork.single:
        yield from _singles(database, decomposer, fork, broken, state)
        return
    stored = ForkRow(at.chain, at.idx, at.epoch, fork.count, False, 0, "", b"")
    for number, chain in enumerate(read_children(database, stored, at.path, start=fork.joined), fork.joined):
        if chain.number != number or chain.status not in DONE:
            return
        yield _Child(chain.key, chain.epoch, chain.digest, chain.result)


def _singles(
    database: Database, decomposer: Decomposer[Any, Any], fork: OpenFork, broken: Fork[Any], state: Any
) -> Iterator[_Child]:
    stop = min(fork.first_wrong, fork.joined + AT_ONCE)
    missed = {one.idx: one for one in read_outcomes(database, fork.rows, fork.joined, stop)} if fork.lenient else {}
    rows = read_steps(database, fork.rows, fork.joined, stop, single=True)
    row = next(rows, None)
    for number in range(fork.joined, stop):
        here = row if row is not None and row.idx == number else None
        one = missed.get(number)
        refused = one is not None and one.outcome == Outcome.REFUSED
        if one is not None and not refused and not Outcome(one.outcome).open:
            yield _Child(fork.rows, one.epoch, missed_digest(one.outcome, here), None, one.outcome)
        elif here is not None and (one is None or refused):
            result = None if broken.join is None else _result(decomposer, broken, state, number, here.action)
            yield _Child(fork.rows, here.epoch, here.digest, result)
        else:
            return
        row = next(rows, None) if here is not None else row


def missed_digest(outcome: str, row: StepRow | None) -> bytes:
    """Return what a child without a good decision adds to its fork's digest: its step's digest, or its outcome."""
    return outcome.encode() if row is None else row.digest


def _result(decomposer: Decomposer[Any, Any], fork: Fork[Any], state: Any, number: int, action: str) -> Any:
    def result() -> Any:
        return single_result(decomposer, fork, state, number, decomposer.action.read(action))

    return call_user_code(f"{decomposer.name}: the result of child {number}", result)
