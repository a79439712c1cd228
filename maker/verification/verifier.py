"""Verifies a run's log without a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.errors import TaskFailed
from maker.plugin import Decomposer
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, root_chain
from maker.store.log import spans
from maker.store.runs import RunRow
from maker.types import Done
from maker.verification.provenance import Provenance
from maker.verification.replay import Counts, ReplayedStep, Replayer, Stand
from maker.verification.snapshots import Bad
from maker.voting.policy import Rules
from maker.voting.tally import based, genesis

ENDED = ("done", "failed")
STATUSES = ("running", "paused", "cancelled", *ENDED)


@dataclass(frozen=True, slots=True)
class Verified:
    """What verification found.

    ``problem`` names the first thing that is wrong, "" if nothing is. ``whole`` says that the run reached its goal.
    ``steps`` counts those of the run itself, not of one that it was forked off.
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


class Author(NamedTuple):
    """What a run's steps were decided by: its row, its task and the rules of its elections."""

    run: RunRow
    decomposer: Decomposer[Any, Any]
    rules: Rules


def verify(
    database: Database,
    run: RunRow,
    author: Callable[[int], Author],
    on_step: Callable[[ReplayedStep], None] | None = None,
) -> Verified:
    """Re-apply every action of a run, and of what it was forked off.

    Checks that each step's action is legal, that its tally elects it by the run's own voter, that the digests link,
    that snapshots, kept samples, forks and joins, counts, cursors and results are what the steps make them. Finds
    damage and edits; not an editor who recomputes the whole log: for that compare the printed digest. Reads in
    constant memory.

    Args:
        database: The store.
        run: The run.
        author: Returns what the steps of a run were decided by, from the run's key.
        on_step: Told each step, before it is known whether those after it are right, see `Replayer`.
    """
    chain = root_chain(database, run.key)
    counts, stand = Counts(), Stand(0, None, b"")
    try:
        for span in spans(database, chain):
            made = author(span.chain.run)
            told = fingerprint_text(made.run.fingerprint)
            if span.start == 0:
                stand.state = call_user_code("the task's start", made.decomposer.start)
            stand.digest = based(stand.digest, told) if span.start else genesis(told)
            # Of a run that this one was forked off, only what it took over counts, and not as its own.
            counts = Counts()
            cites = Provenance(database, made.run)
            walker = Replayer(database, span.chain.run, made.decomposer, made.rules, cites, counts, on_step)
            walker.along(span.chain, stand, span.stop, first_snapshot=True)
        whole = _end(run, chain, stand, counts, made.decomposer)
    except (Bad, TaskFailed) as bad:
        return Verified(run.run_id, counts.steps, stand.digest.hex(), False, str(bad))
    return Verified(run.run_id, counts.steps, stand.digest.hex(), whole, "")


def fingerprint_text(fingerprint: dict[str, Any]) -> str:
    """Return a fingerprint in the one form that digests are made from."""
    return json.dumps(fingerprint, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _end(run: RunRow, root: ChainRow, stand: Stand, counts: Counts, decomposer: Decomposer[Any, Any]) -> bool:
    """Compare the ends; returns whether the run reached its goal."""
    counted = (counts.steps, stand.digest, counts.votes, counts.red_flags, counts.disputed)
    if (run.steps, run.digest, run.votes, run.red_flags, run.disputed) != counted:
        raise Bad(
            f"the run's row counts {run.steps} steps, {run.votes} votes, {run.red_flags} flags, {run.disputed}"
            f" disputed, and ends with {run.digest.hex()}; the log holds {counts.steps}, {counts.votes},"
            f" {counts.red_flags}, {counts.disputed}, and ends with {stand.digest.hex()}"
        )
    if (run.reused, run.saved) != (counts.reused, counts.saved):
        raise Bad(
            f"the run's row says that {run.reused} steps were taken from the memo, and saved {run.saved} calls; the log"
            f" holds {counts.reused}, and {counts.saved}"
        )
    move = call_user_code("the task", decomposer.next, stand.state)
    if run.classes != tuple(kind.name for kind in decomposer.classes):
        raise Bad(f"the run's row names the step classes {', '.join(run.classes)}; its task has others")
    if run.status not in STATUSES:
        raise Bad(f"the run's row says that it is {run.status!r}")
    if run.status not in ENDED:
        if run.result is not None or root.status in ENDED:
            raise Bad(f"the run is {run.status} with {run.result!r}; its root chain is {root.status}")
        return False
    if not isinstance(move, Done):
        raise Bad(f"the run is {run.status}, but its task asks for another step after {stand.index}")
    if (run.status == "done") != move.ok or json.dumps(run.result, sort_keys=True) != json.dumps(
        move.result, sort_keys=True
    ):
        raise Bad(f"the run is {run.status} with {run.result!r}; its last state gives {move.result!r}")
    if root.status != run.status:
        raise Bad(f"the run is {run.status}; its root chain is {root.status}")
    return move.ok
