"""Verify a run's log without a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.errors import TaskFailed
from maker.plugin import Decomposer
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, root_chain
from maker.store.code import fingerprint_text
from maker.store.log import spans
from maker.store.runs import RunRow
from maker.types import Done
from maker.verification.depth import deeper
from maker.verification.earlier import UNKNOWN, Earlier
from maker.verification.provenance import Provenance
from maker.verification.replay import Counts, Position, ReplayedStep, Replayer, as_stored
from maker.verification.reviews import check_reviews
from maker.verification.snapshots import Bad
from maker.voting.policy import Rules
from maker.voting.tally import based, genesis

ENDED = ("done", "failed")
STATUSES = ("pending", "running", "paused", "cancelled", *ENDED)


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of a verification.

    ``problem`` names the first thing that is wrong, "" if nothing is. ``whole`` says whether the run reached its goal.
    ``steps`` counts the run's own steps, not those of the run that it was forked from. ``not_asked`` of all steps were
    decided by earlier code: their digests, links and tallies are right, and they were not asked again. ``reviewed``
    rows of a map have people's answers beside the log, which are as they were given and not part of the digest.
    """

    run_id: str
    steps: int
    digest: str
    whole: bool
    problem: str
    not_asked: int = 0
    reviewed: int = 0

    @property
    def right(self) -> bool:
        """Whether the log is whole, clean and right."""
        return self.whole and not self.problem


class Author(NamedTuple):
    """A run that decided steps: its row, its task and its voting rules.

    ``earlier`` says that all its steps are those of earlier code than the task's.
    """

    run: RunRow
    decomposer: Decomposer[Any, Any]
    rules: Rules
    earlier: bool = False


def verify(
    database: Database,
    run: RunRow,
    author: Callable[[int], Author],
    on_step: Callable[[ReplayedStep], None] | None = None,
) -> Verified:
    """Return whether the log of a run, and of the run that it was forked from, is correct. Reads in constant memory.

    Re-applies every action. Checks that each action is legal, that its tally elects it under the run's own voter, that
    the digests link, and that snapshots, kept samples, forks and joins, counts, cursors and results follow from the
    steps. Finds damage and edits, but not an editor who recomputes the whole log: for that, compare the digest with
    one that you noted. Of people's answers beside the log it checks the seals.

    Args:
        database: The store.
        run: The run.
        author: Returns the run that decided steps, its task and its rules, from the run's key.
        on_step: Called with each correct step, before the later ones are checked; see `Replayer`.
    """
    with deeper():
        return _verified(database, run, author, on_step)


def _verified(
    database: Database,
    run: RunRow,
    author: Callable[[int], Author],
    on_step: Callable[[ReplayedStep], None] | None,
) -> Verified:
    chain = root_chain(database, run.key)
    counts, position = Counts(), Position(0, UNKNOWN, b"")
    try:
        for span in spans(database, chain):
            made = author(span.chain.run)
            fingerprint = fingerprint_text(made.run.first_fingerprint)
            earlier = Earlier.of(made.run, whole=made.earlier)
            if span.start == 0 and earlier.place(span.chain.key) is None:
                position.state = call_user_code("the task's start", made.decomposer.start)
            position.digest = based(position.digest, fingerprint) if span.start else genesis(fingerprint)
            # Counted anew for each run: the last span is this run's own, and only its counts are compared.
            counts = Counts(not_asked=counts.not_asked)
            provenance = Provenance(database, made.run)
            replayer = Replayer(
                database, span.chain.run, made.decomposer, made.rules, provenance, counts, on_step, earlier
            )
            replayer.along(span.chain, position, span.stop, first_snapshot=True)
            check_reviews(database, span.chain.run)
        whole = _end(run, chain, position, counts, made.decomposer)
    except (Bad, TaskFailed) as bad:
        return Verified(run.run_id, counts.steps, position.digest.hex(), False, str(bad), counts.not_asked)
    return Verified(run.run_id, counts.steps, position.digest.hex(), whole, "", counts.not_asked)


def _end(run: RunRow, root: ChainRow, position: Position, counts: Counts, decomposer: Decomposer[Any, Any]) -> bool:
    """Compare the run's row with the end of its log; returns whether the run reached its goal."""
    counted = (counts.steps, position.digest, counts.votes, counts.red_flags, counts.disputed)
    if (run.steps, run.digest, run.votes, run.red_flags, run.disputed) != counted:
        raise Bad(
            f"the run's row has {run.steps} steps, {run.votes} votes, {run.red_flags} flags, {run.disputed}"
            f" disputed and digest {run.digest.hex()}, but the log has {counts.steps}, {counts.votes},"
            f" {counts.red_flags}, {counts.disputed} and digest {position.digest.hex()}"
        )
    if (run.reused, run.saved) != (counts.reused, counts.saved):
        raise Bad(
            f"the run's row has {run.reused} steps from the memo and {run.saved} saved calls, but the log has"
            f" {counts.reused} and {counts.saved}"
        )
    if not run.sealed or not run.counted:
        what = "counts" if run.sealed else "settings, fingerprint, step classes or changes of code"
        raise Bad(f"the run's row: its {what} do not match its seal")
    move = call_user_code("the task", decomposer.next, position.state)
    if run.classes != tuple(kind.name for kind in decomposer.classes):
        raise Bad(f"the run's row names the step classes {', '.join(run.classes)}, but its task has others")
    if run.status not in STATUSES:
        raise Bad(f"the run's row has the unknown status {run.status!r}")
    if not root.sealed:
        raise Bad("chain root: the row of its chain does not match its seal")
    if run.status not in ENDED:
        if run.result is not None or root.status in ENDED:
            raise Bad(f"the run is {run.status} with {run.result!r}, but its root chain is {root.status}")
        return False
    if not isinstance(move, Done):
        raise Bad(f"the run is {run.status}, but its task asks for another step after {position.index}")
    if (run.status == "done") != move.ok or as_stored(run.result) != as_stored(move.result):
        raise Bad(f"the run is {run.status} with {run.result!r}, but its last state gives {move.result!r}")
    if root.status != run.status:
        raise Bad(f"the run is {run.status}, but its root chain is {root.status}")
    return move.ok
