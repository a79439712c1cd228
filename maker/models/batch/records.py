"""What a batch model has to keep: it is committed before a batch is submitted, and as soon as its id is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from maker.types import Allowance, BatchState, SentBatch


class BatchRecords(Protocol):
    """Where a run's batches are kept. What it writes is committed when it returns."""

    def known(self) -> Sequence[SentBatch]:
        """Return the run's batches, oldest first, but for those that are void."""
        ...

    def last(self) -> int:
        """Return the highest number that a batch of the run has had, void ones too; 0 where there is none."""
        ...

    def left(self) -> Allowance:
        """Return what may still be spent; batches that are out count with the most that they may cost."""
        ...

    def spent_out(self, need: Allowance) -> Exception:
        """Return the error that says which limit does not cover ``need``."""
        ...

    def begin(self, batch: SentBatch) -> None:
        """Keep a batch that is about to be submitted, and reserve what it may cost."""
        ...

    def note(self, number: int, state: BatchState, *, batch_id: str = "", look_at: float = 0.0) -> None:
        """Keep how a batch stands, its id, and when to look at it next; one that is void costs nothing."""
        ...
