"""Keeps a run's batches in the store, and its limits with them: each reserves what it may cost until it is heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maker.engine.budget import Budget, Exhausted, Limits
from maker.models.batch.records import BatchRecords
from maker.store.backend.database import Database
from maker.store.lease import Lease
from maker.store.sent_batches import begin_batch, last_batch, note_batch, read_batches
from maker.types import Allowance, BatchState, SentBatch


class StoredBatches(BatchRecords):
    """The batches of a run that this process holds.

    Args:
        database: The store.
        lease: The right to write to the run.
        limits: The run's limits.
        budget: Returns them with what is spent and reserved by now: it reads the run.
    """

    def __init__(self, database: Database, lease: Lease, limits: Limits, budget: Callable[[], Budget]) -> None:
        self._database = database
        self._lease = lease
        self._limits = limits
        self._budget = budget

    def known(self) -> Sequence[SentBatch]:
        """Return the run's batches, oldest first, but for those that are void."""
        return read_batches(self._database, self._lease.run)

    def last(self) -> int:
        """Return the highest number that a batch of the run has had, 0 where there is none."""
        return last_batch(self._database, self._lease.run)

    def left(self) -> Allowance:
        """Return what may still be spent; batches that are out count with the most that they may cost."""
        return self._budget().left()

    def spent_out(self, need: Allowance) -> Exception:
        """Return the error that says which limit does not cover ``need``."""
        try:
            self._budget().check(need)
        except Exhausted as error:
            return error
        return Exhausted("the next batch is not covered")

    def begin(self, batch: SentBatch) -> None:
        """Keep a batch that is about to be submitted, and reserve what it may cost."""
        begin_batch(self._database, self._lease, batch, self._limits.reserved(batch.worst))

    def note(self, number: int, state: BatchState, *, batch_id: str = "", look_at: float = 0.0) -> None:
        """Keep how a batch stands, its id, and when to look at it next."""
        note_batch(self._database, self._lease, number, state, batch_id=batch_id, look_at=look_at)
