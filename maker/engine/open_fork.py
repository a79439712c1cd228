"""A fork whose children are not all joined yet: who was handed out, who is finished, how far it is joined. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from maker.engine.recovery import RecoveryPoint
from maker.swarm.messages import Child
from maker.voting.messages import ChainAt

AHEAD = 100_000
"""How far children of a fork of single steps are begun after the first that is not settled: what a resume scans."""
JOIN_EVERY = 5_000
JOIN_S = 1.0
JOIN_SHARE = 16
"""Children are joined when so many are finished, or after so many seconds, but not before a sixteenth more are than the
last time, so that the state of a fork is written a few dozen times, however wide it is; and when all are."""


class OpenFork:
    """A fork whose children are not all joined yet.

    Args:
        at: The parent's place and state.
        count: How many children there are.
        single: Whether each is a single step, all of them in one chain.
        lenient: Whether one without a good decision holds nothing up.
        rows: The key of that chain.
        outside: Whether its only child is what is recorded of an effect or a wait: no worker's.
    """

    def __init__(
        self, at: ChainAt, count: int, *, single: bool, lenient: bool = False, rows: int = 0, outside: bool = False
    ) -> None:
        self.at = at
        self.count = count
        self.single = single
        self.lenient = lenient
        self.rows = rows
        self.outside = outside
        self.next = 0
        self.finished = 0
        self.again: Iterator[RecoveryPoint] | None = None
        self.again_rows: deque[Child] = deque()
        self.settled = 0
        self.ahead: set[int] = set()
        self.missed = 0
        self.first_wrong = count
        self.wrong: dict[int, str] = {}
        self.refused: set[int] = set()
        self.joined = 0
        self.folded = at.state
        self.digest = b""
        self.broken = False
        self.looked_at = 0 if count else -1
        self.looked_s = 0.0

    @property
    def has_work(self) -> bool:
        """Whether there are children to hand out now."""
        ahead = self.next < self.settled + AHEAD if self.single else True
        return self.again is not None or bool(self.again_rows) or (self.next < self.count and ahead)

    @property
    def waiting(self) -> int:
        """How many children there are to hand out now; of chains of an earlier process, at most."""
        earlier = max(1, self.next - self.finished) if self.again is not None else 0
        stop = min(self.count, self.settled + AHEAD) if self.single else self.count
        return earlier + len(self.again_rows) + max(0, stop - self.next)

    def settle(self, number: int) -> bool:
        """Take note that a single step is settled; returns whether all before a later one are now."""
        if number < self.settled:
            return False
        self.ahead.add(number)
        before = self.settled
        while self.settled in self.ahead:
            self.ahead.remove(self.settled)
            self.settled += 1
        return self.settled > before

    def to_join(self, now_s: float) -> bool:
        """Say whether it is time to join children that are finished."""
        fresh = self.finished - self.looked_at
        if self.broken or fresh == 0:
            return False
        due = fresh >= JOIN_EVERY or now_s - self.looked_s >= JOIN_S
        return self.finished == self.count or (due and fresh * JOIN_SHARE >= self.looked_at)

    def looked_over(self, now_s: float) -> None:
        """Take note that what was finished up to now has been joined, as far as that goes."""
        self.looked_at, self.looked_s = self.finished, now_s
