"""What each worker may spend: one grant a worker at a time, written in the store before it is used."""

from __future__ import annotations

import time

from maker.engine.budget import Budget, Exhausted, shared_money
from maker.store.backend.database import Database
from maker.store.entry import Entry
from maker.store.journal import Journal
from maker.store.lease import Lease
from maker.store.ledger import reserve, reserve_shared
from maker.store.shared_limits import SharedLimit
from maker.types import NOTHING, Allowance, Grant, Starved

LEAST = Allowance(1, 1, 0.0)
AGAIN_S = 1.0
"""After a shared limit had no money left, in seconds, it is asked again: not at every turn of the driver."""


class Grants:
    """Gives workers grants, takes them back, and says when there are none left to give.

    Args:
        budget: The run's limits and what it has spent.
        database: The store.
        lease: The right to write to the run.
        journal: What is spent and settled goes there.
        shared: The key of the shared limit whose money the run spends too, "" for none.
    """

    def __init__(self, budget: Budget, database: Database, lease: Lease, journal: Journal, shared: str = "") -> None:
        self._budget = budget
        self._database = database
        self._lease = lease
        self._journal = journal
        self._keys: dict[int, int] = {}
        self._starving: dict[int, Allowance] = {}
        self._shared = shared
        self._again_s = 0.0

    def check(self) -> None:
        """Raise `Exhausted` where nothing may be spent any more."""
        self._budget.check(LEAST)

    def key(self, worker: int) -> int | None:
        """Return the key of a worker's grant."""
        return self._keys.get(worker)

    def spend(self, worker: int, used: Allowance) -> None:
        """Count what a worker has spent, or may have."""
        self._budget.spend(worker, used)

    def join(self, worker: int) -> None:
        """Take a new worker in, which has no grant yet."""
        self._starving[worker] = LEAST

    def starve(self, worker: int, starved: Starved) -> None:
        """Take back the grant of a worker that has run out of it; a report from before it had this one asks nothing."""
        if starved.grant == self._keys.get(worker):
            self.settle(worker)
            self._starving[worker] = starved.need

    def settle(self, worker: int) -> None:
        """Take a worker's grant back."""
        key = self._keys.pop(worker, None)
        self._starving.pop(worker, None)
        self._budget.settle(worker)
        if key is not None:
            self._journal.put(Entry(grant=key, freed=True))

    def lose(self, worker: int) -> None:
        """Count a lost worker's grant as spent: nobody can say what was in flight."""
        self._keys.pop(worker, None)
        self._starving.pop(worker, None)
        self._budget.lose(worker)

    def give(self, idle: list[int]) -> dict[int, Grant]:
        """Return grants for workers that have none, as far as there is something to give.

        What is left of the grants of ``idle`` workers, which hold no chain, is taken back where it is needed: they get
        one of nothing.

        Raises:
            Exhausted: Nobody has any left, and there is nothing to give.
        """
        given: dict[int, Grant] = {}
        if self._starving and time.monotonic() < self._again_s:
            return given
        for worker, need in list(self._starving.items()):
            try:
                given[worker] = self._reserve(worker, self._granted(worker, need, idle, given), need)
            except Exhausted:
                if self._keys:
                    continue
                raise
            self._keys[worker] = given[worker].key
            del self._starving[worker]
        return given

    def _granted(self, worker: int, need: Allowance, idle: list[int], given: dict[int, Grant]) -> Allowance:
        taken = [other for other in idle if other in self._keys and other not in given]
        try:
            return self._budget.grant(worker, need)
        except Exhausted:
            if not taken:
                raise
        for other in taken:
            self.settle(other)
            self._starving[other] = LEAST
            given[other] = Grant(0, NOTHING)
        return self._budget.grant(worker, need)

    def _reserve(self, worker: int, allowance: Allowance, need: Allowance) -> Grant:
        # What was settled is to be free in the store before it is given away again.
        self._journal.flush()
        reserved = self._budget.limits.reserved(allowance)
        if not self._shared:
            return Grant(reserve(self._database, self._lease, reserved), allowance)
        found = reserve_shared(
            self._database, self._lease, reserved, need=need.cost, most=allowance.cost, key=self._shared
        )
        if isinstance(found, SharedLimit):
            self._budget.settle(worker)
            # Another worker of the run may go on, and give back what it does not need.
            self._again_s = time.monotonic() + AGAIN_S
            raise Exhausted(shared_money(found, need.cost))
        key, cost = found
        return Grant(key, self._budget.cap(worker, cost))
