"""What must go with the steps of a chain: its snapshots, and in a fork of single steps what became of each child."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from maker.errors import MakerError
from maker.paths import chain_name
from maker.store.chains import ChainRow
from maker.store.database import Database
from maker.store.log import CutRow, SnapshotRow, StepRow, read_cuts, read_outcomes
from maker.types import Outcome


class Bad(MakerError):
    """Something in the log is wrong."""


class Snapshots:
    """The live snapshots of a chain, in order; each must be where one is due."""

    def __init__(self, found: Iterator[SnapshotRow], cuts: list[CutRow], start: int, *, old: bool) -> None:
        self._old = old
        self._found = (
            row
            for row in found
            if row.idx >= start and not any(cut.epoch > row.epoch and cut.idx < row.idx for cut in cuts)
        )
        self._next = next(self._found, None)

    def problem(self, index: int, text: str, epochs: set[int]) -> str:
        """Say what is wrong with the snapshot that is due at an index, "" if nothing is."""
        # At a cut there may be two: what was taken there before, and again after it. They hold the same state.
        if self._next is None or self._next.idx != index:
            found = "none" if self._next is None else f"the next one stands at {self._next.idx}"
            return f"the snapshot before it is missing: {found}"
        while self._next is not None and self._next.idx == index:
            if self._next.epoch not in epochs:
                return f"the snapshot before it is of epoch {self._next.epoch}, where none can be"
            if self._next.state != text:
                return f"the snapshot before it is not what the steps make: {text!r}"
            self._next = next(self._found, None)
        return ""

    def early(self, index: int) -> bool:
        """Say whether one stands at an index where schema 0001 took one, and today's rule would not."""
        return self._old and self._next is not None and self._next.idx == index

    def must_end(self) -> None:
        """Raise `Bad` where a snapshot is left over."""
        if self._next is not None:
            raise Bad(f"a snapshot stands at step {self._next.idx}, where no step leads")


class Singles:
    """The children of a fork of single steps: which are decided, which are not, and why.

    Args:
        database: The store.
        chain: The chain whose steps they are.
        children: How many there are to be.
    """

    def __init__(self, database: Database, chain: ChainRow, children: int) -> None:
        self._chain = chain
        self._children = children
        self._epochs = {cut.idx: cut.epoch for cut in read_cuts(database, chain.key)}
        self._outcomes: dict[int, Outcome] = {}
        for found in read_outcomes(database, chain.key):
            known = found.outcome in tuple(Outcome) and 0 <= found.idx < children
            if not known or found.epoch != self._epochs.get(found.idx, 0):
                raise Bad(f"{self._name(found.idx)} has an outcome that it cannot have: {found.outcome!r}")
            self._outcomes[found.idx] = Outcome(found.outcome)
        final = (Outcome.UNDECIDED, Outcome.REJECTED, Outcome.FAILED)
        self._undecided = deque(number for number, outcome in self._outcomes.items() if outcome in final)
        self._settled = 0
        self._seen = 0

    def undecided(self, stop: int | None = None) -> Iterator[tuple[int, str]]:
        """Yield the children to before ``stop`` that have no step and never will, in order, each only once."""
        while self._undecided and (stop is None or self._undecided[0] < stop):
            number = self._undecided.popleft()
            yield number, str(self._outcomes[number])

    def outcome(self, number: int) -> Outcome | None:
        """Return why a child has no good decision, None for one that has."""
        return self._outcomes.get(number)

    def stands(self, where: str, row: StepRow) -> None:
        """Check that a child's step is where it must be; raises `Bad`. Call it with each row, in order."""
        self._pass_undecided(row.idx)
        if row.idx < self._chain.cursor and row.idx != self._settled:
            raise Bad(f"{self._name(self._settled)} is missing")
        if not 0 <= row.idx < self._children or row.epoch != self._epochs.get(row.idx, 0):
            raise Bad(f"{where} is of epoch {row.epoch}, or out of range: {self._children} children were asked for")
        if row.idx == self._settled:
            self._settled += 1

    def ended(self, where: str, row: StepRow, *, ok: bool) -> None:
        """Check how a child ended against its outcome; raises `Bad`."""
        outcome = self._outcomes.get(row.idx)
        if (outcome is not None and not outcome.decided) or ok == (outcome == Outcome.WRONG):
            raise Bad(f"{where} is decided and ended {'well' if ok else 'wrong'}; its outcome says another thing")
        self._seen += outcome is not None

    def must_end(self) -> None:
        """Check that all is accounted for, as far as the chain's cursor says; raises `Bad`."""
        self._pass_undecided(self._children)
        undecided = sum(not outcome.decided for outcome in self._outcomes.values())
        if self._settled != self._chain.cursor or self._seen + undecided != len(self._outcomes):
            raise Bad(f"{self._name(self._settled)} is missing, or counted as settled and is not")

    def _pass_undecided(self, stop: int) -> None:
        while self._settled < stop and (outcome := self._outcomes.get(self._settled)) and not outcome.decided:
            self._settled += 1

    def _name(self, number: int) -> str:
        return f"chain {chain_name(self._chain.path, number)}"
