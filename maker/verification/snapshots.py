"""Check a chain's snapshots, and the outcomes of the children in a fork of single steps."""

from __future__ import annotations

from collections.abc import Iterator

from maker.errors import MakerError
from maker.store.backend.database import Database
from maker.store.chains import ChainRow
from maker.store.log import CutRow, OutcomeRow, SnapshotRow, StepRow, read_outcomes
from maker.types import Outcome
from maker.voting.paths import chain_name


class Bad(MakerError):
    """The log contradicts itself or the task."""


class Snapshots:
    """The live snapshots of a chain, in order; there must be one wherever one is due."""

    def __init__(self, chain: int, found: Iterator[SnapshotRow], cuts: list[CutRow], start: int, *, old: bool) -> None:
        self._chain = chain
        self._old = old
        self._found = (
            row
            for row in found
            if row.idx >= start and not any(cut.epoch > row.epoch and cut.idx < row.idx for cut in cuts)
        )
        self._next = next(self._found, None)

    def problem(self, index: int, text: str, epochs: set[int], before: bytes) -> str:
        """Return what is wrong with the snapshot that is due at an index; "" if nothing is.

        ``before`` is the digest of the step before it.
        """
        # At a cut there may be two, one from before it and one from after it. They hold the same state.
        if self._next is None or self._next.idx != index:
            found = "there is none" if self._next is None else f"the next one is at {self._next.idx}"
            return f"the snapshot before it is missing; {found}"
        while self._next is not None and self._next.idx == index:
            if self._next.epoch not in epochs:
                return f"the snapshot before it has epoch {self._next.epoch}, which is impossible there"
            if self._next.state != text:
                return f"the snapshot before it differs from the state that the steps give: {text!r}"
            if not self._next.fits(self._chain, before):
                return "the snapshot before it does not match its seal"
            self._next = next(self._found, None)
        return ""

    def passed(self, index: int, epochs: set[int], before: set[bytes]) -> str | None:
        """Return the state at an index that earlier code wrote, None if there is no snapshot.

        ``before`` are the digests that it may be sealed with. Raises `Bad`.
        """
        text = None
        while self._next is not None and self._next.idx == index:
            if self._next.epoch not in epochs:
                raise Bad(f"the snapshot before step {index} has epoch {self._next.epoch}, which is impossible there")
            if not any(self._next.fits(self._chain, digest) for digest in before):
                raise Bad(f"the snapshot before step {index} does not match its seal")
            text = self._next.state
            self._next = next(self._found, None)
        return text

    def early(self, index: int) -> bool:
        """Say whether there is a snapshot at an index because schema 0001 took more of them."""
        return self._old and self._next is not None and self._next.idx == index

    def must_end(self) -> None:
        """Raise `Bad` if a snapshot is left over."""
        if self._next is not None:
            raise Bad(f"there is a snapshot at step {self._next.idx}, which the log does not reach")


class Singles:
    """The outcomes of the children in a fork of single steps, checked against their steps.

    Reads both in parallel, in constant memory.

    Args:
        database: The store.
        chain: The chain whose steps they are.
        children: How many there are to be.
        cuts: All cuts of the chain.
    """

    def __init__(self, database: Database, chain: ChainRow, children: int, cuts: list[CutRow]) -> None:
        self._chain = chain
        self._children = children
        self._epochs = {cut.idx: cut.epoch for cut in cuts}
        self._outcomes = map(self._checked, read_outcomes(database, chain.key))
        self._next = next(self._outcomes, None)
        self._here: Outcome | None = None
        self._settled = 0

    def undecided(self, stop: int | None = None) -> Iterator[tuple[int, str]]:
        """Yield the children before ``stop`` that ended without a step, in order, each once.

        Raises `Bad` for a child whose outcome needs a step.
        """
        while self._next is not None and (stop is None or self._next[0] < stop):
            number, outcome = self._next
            if outcome.decided:
                raise Bad(f"{self._name(number)} has no step, but its outcome {str(outcome)!r} needs one")
            self._next = next(self._outcomes, None)
            self._settled += number == self._settled
            if not outcome.open:
                yield number, str(outcome)

    @property
    def outcome(self) -> Outcome | None:
        """Why the child checked last has no good decision; None if it has one."""
        return self._here

    def check_row(self, where: str, row: StepRow) -> None:
        """Check that a child's step is in its place; raises `Bad`. Call it with each row, in order."""
        self._pass_undecided(row.idx)
        if row.idx < self._chain.cursor and row.idx != self._settled:
            raise Bad(f"{self._name(self._settled)} is missing")
        if not 0 <= row.idx < self._children or row.epoch != self._epochs.get(row.idx, 0):
            raise Bad(f"{where} has the wrong epoch, {row.epoch}, or is not one of the {self._children} children")
        self._settled += row.idx == self._settled
        self._here = None
        if self._next is not None and self._next[0] == row.idx:
            self._here = self._next[1]
            self._next = next(self._outcomes, None)

    def check_end(self, where: str, *, ok: bool) -> None:
        """Compare the end of the child checked last with its outcome; raises `Bad`."""
        outcome = self._here
        if (outcome is not None and not outcome.decided) or ok == (outcome == Outcome.WRONG):
            raise Bad(f"{where} is decided and ended {'right' if ok else 'wrong'}, but its outcome is {outcome}")

    def must_end(self) -> None:
        """Check that every child before the chain's cursor has a step or an outcome; raises `Bad`."""
        self._pass_undecided(None)
        if self._settled != self._chain.cursor:
            raise Bad(f"{self._name(self._settled)} is missing, or the chain's cursor is wrong")

    def _checked(self, row: OutcomeRow) -> tuple[int, Outcome]:
        known = row.outcome in tuple(Outcome) and 0 <= row.idx < self._children and row.fits(self._chain.key)
        if not known or row.epoch != self._epochs.get(row.idx, 0):
            raise Bad(f"{self._name(row.idx)} has an impossible outcome: {row.outcome!r}")
        return row.idx, Outcome(row.outcome)

    def _pass_undecided(self, stop: int | None) -> None:
        for _ in self.undecided(stop):
            pass

    def _name(self, number: int) -> str:
        return f"chain {chain_name(self._chain.path, number)}"
