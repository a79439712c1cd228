"""Verifies a run's log without a model: every action re-applied, every count and digest compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from maker.chain import SNAPSHOT_STEPS
from maker.errors import MakerError, TaskFailed
from maker.owned import own
from maker.plugin import Decomposer, Voter
from maker.store.database import Database
from maker.store.log import SnapshotRow, StepRow, read_snapshots, read_steps
from maker.store.runs import ChainRow, RunRow, root_chain
from maker.tally import Tally, genesis, link, unpack
from maker.types import Ballots, Decision, Done, Step


@dataclass(frozen=True, slots=True)
class Verified:
    """What verification found.

    ``problem`` names the first thing that is wrong, "" if nothing is. ``whole`` says that the run reached its goal.
    """

    run_id: str
    steps: int
    digest: str
    whole: bool
    problem: str

    @property
    def right(self) -> bool:
        """Whether the log is whole, clean and right."""
        return self.whole and not self.problem


class _Bad(MakerError):
    """Something in the log is wrong."""


@dataclass(slots=True)
class _Walk:
    """Where the re-application stands, and what it has counted."""

    state: Any
    digest: bytes
    epoch: int
    index: int = 0
    votes: int = 0
    red_flags: int = 0
    disputed: int = 0


def verify(database: Database, run: RunRow, decomposer: Decomposer[Any, Any], voter: Voter) -> Verified:
    """Re-apply every action of a run.

    Checks that each step's action is legal, that its tally elects it by the run's own voter, that the digests link,
    that snapshots, counts, cursor and result are what the steps make them. Finds damage and edits; not an editor who
    recomputes the whole chain: for that compare the printed digest. Reads in constant memory.
    """
    chain = root_chain(database, run.key)
    walk = _Walk(decomposer.start(), genesis(fingerprint_text(run.fingerprint)), chain.epoch)
    snapshots = iter(read_snapshots(database, chain.key))
    try:
        _snapshot(walk, decomposer, next(snapshots, None))
        due = next(snapshots, None)
        for step in read_steps(database, chain.key):
            own(f"step {walk.index}: the task", _step, walk, step, decomposer, voter)
            if due is None and walk.index % SNAPSHOT_STEPS == 0:
                raise _Bad(f"the snapshot at step {walk.index} is missing")
            if due is not None and walk.index % SNAPSHOT_STEPS == 0:
                _snapshot(walk, decomposer, due)
                due = next(snapshots, None)
        if due is not None:
            raise _Bad(f"a snapshot stands at step {due.idx}, where no step leads")
        whole = _end(walk, run, chain, decomposer)
    except (_Bad, TaskFailed) as bad:
        return Verified(run.run_id, walk.index, walk.digest.hex(), False, str(bad))
    return Verified(run.run_id, walk.index, walk.digest.hex(), whole, "")


def fingerprint_text(fingerprint: dict[str, Any]) -> str:
    """Return a fingerprint in the one form that digests are made from."""
    return json.dumps(fingerprint, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _step(walk: _Walk, row: StepRow, decomposer: Decomposer[Any, Any], voter: Voter) -> None:
    where = f"step {walk.index}"
    if row.idx != walk.index:
        raise _Bad(f"{where} is missing; the log goes on at {row.idx}")
    if [type(cell) for cell in row[2:]] != [str, bytes, int, bytes]:
        raise _Bad(f"{where}: a column holds a value of another type than it was written with")
    if row.epoch != walk.epoch:
        raise _Bad(f"{where} is of epoch {row.epoch}, its chain of {walk.epoch}")
    try:
        move = decomposer.next(walk.state)
        tally, action = unpack(row.tally), decomposer.action.read(row.action)
    except ValueError as error:
        raise _Bad(f"{where} cannot be read: {error}") from error
    if not isinstance(move, Step):
        raise _Bad(f"{where}: the task asks for no step there: {type(move).__name__}")
    if [kind.name for kind in decomposer.classes[tally.kind : tally.kind + 1]] != [move.kind.name]:
        raise _Bad(f"{where}: its class is number {tally.kind}, the task's is {move.kind.name}")
    if decomposer.action.write(action) != row.action:
        raise _Bad(f"{where}: its action {row.action!r} is not written as the task writes it")
    if broken := move.kind.check(walk.state, action):
        raise _Bad(f"{where}: its action {row.action!r} is forbidden: {broken}")
    _elected(where, row.action, tally, voter)
    digest = link(walk.digest, row.idx, row.epoch, row.action, row.tally)
    if digest != row.digest:
        raise _Bad(f"{where}: its digest is {row.digest.hex()}, but its contents give {digest.hex()}")
    walk.state, walk.digest = decomposer.apply(walk.state, action), digest
    walk.index += 1
    walk.votes += sum(tally.votes) + sum(sum(votes) for votes in tally.rivals.values())
    walk.red_flags += sum(tally.flags.values())
    walk.disputed += tally.disputed


def _elected(where: str, action: str, tally: Tally, voter: Voter) -> None:
    counts = {action: sum(tally.votes)} | {key: sum(votes) for key, votes in tally.rivals.items()}
    verdict = voter.decide(Ballots(counts))
    if not isinstance(verdict, Decision) or (verdict.winner, verdict.margin) != (action, tally.margin):
        raise _Bad(f"{where}: its votes {counts} do not elect {action!r} by {voter.name}")


def _snapshot(walk: _Walk, decomposer: Decomposer[Any, Any], snapshot: SnapshotRow | None) -> None:
    if snapshot is None:
        raise _Bad("the first snapshot is missing")
    expected = decomposer.state.write(walk.state)
    if (snapshot.idx, snapshot.state) != (walk.index, expected):
        raise _Bad(f"the snapshot at step {snapshot.idx} is not what the steps before {walk.index} make: {expected!r}")


def _end(walk: _Walk, run: RunRow, chain: ChainRow, decomposer: Decomposer[Any, Any]) -> bool:
    """Compare the ends; returns whether the run reached its goal."""
    if (chain.cursor, chain.digest) != (walk.index, walk.digest):
        raise _Bad(f"the log ends after {walk.index} steps, the chain's cursor stands at {chain.cursor}")
    counted = (walk.index, walk.digest, walk.votes, walk.red_flags, walk.disputed)
    if (run.steps, run.digest, run.votes, run.red_flags, run.disputed) != counted:
        raise _Bad(
            f"the run's row counts {run.steps} steps, {run.votes} votes, {run.red_flags} flags, {run.disputed}"
            f" disputed; the log holds {walk.index}, {walk.votes}, {walk.red_flags}, {walk.disputed}"
        )
    move = decomposer.next(walk.state)
    if run.status not in ("done", "failed"):
        return False
    if not isinstance(move, Done):
        raise _Bad(f"the run is {run.status}, but its task asks for another step after {walk.index}")
    if (run.status == "done") != move.ok or json.dumps(run.result, sort_keys=True) != json.dumps(
        move.result, sort_keys=True
    ):
        raise _Bad(f"the run is {run.status} with {run.result!r}; its last state gives {move.result!r}")
    return move.ok
