"""Counts of losing votes: by how many a step has, by where in the run it stands, by its neighbours. Pure, and small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

MOST_LOSING = 63
"""Losing votes of one step are counted up to here: fewer are no evidence of anything."""
PARTS = 32
"""In at most so many parts of equal length contested steps are counted by place."""


class Histogram(NamedTuple):
    """How many steps have 0, 1, 2, … losing votes."""

    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, counts: Sequence[int]) -> Histogram:
        """Return a histogram without the zeros behind its last step."""
        used = max((votes + 1 for votes, steps in enumerate(counts) if steps), default=0)
        return cls(tuple(counts[:used]))

    @property
    def steps(self) -> int:
        """All steps."""
        return sum(self.counts)

    @property
    def losing(self) -> int:
        """All losing votes."""
        return sum(votes * steps for votes, steps in enumerate(self.counts))

    @property
    def contested(self) -> int:
        """Steps with losing votes."""
        return sum(self.counts[1:])

    @property
    def longest(self) -> int:
        """The losing votes of the step that has most."""
        return max((votes for votes, steps in enumerate(self.counts) if steps), default=0)

    def merged(self, other: Histogram) -> Histogram:
        """Return the histogram of both."""
        short, long = sorted((self.counts, other.counts), key=len)
        return Histogram(tuple(map(sum, zip(short, long, strict=False))) + long[len(short) :])


class Stretch(NamedTuple):
    """Steps that stand side by side: places from ``first`` up to, not including, ``end``; those with losing votes."""

    first: int
    end: int
    steps: int
    contested: int


class Stretches:
    """Steps and contested ones by place, in up to `PARTS` parts, which become twice as long as the run outgrows them.

    A place is a number that does not depend on a step's votes: the row's, or that of the step in its chain.
    """

    __slots__ = ("_contested", "_origin", "_shift", "_steps")

    def __init__(self, held: Sequence[Any] = (None, 0, (), ())) -> None:
        origin, shift, steps, contested = held
        self._origin: int | None = origin
        self._shift: int = shift
        self._steps = list(steps)
        self._contested = list(contested)

    def add(self, place: int, losing: int) -> None:
        """Count a step; it is contested if it has losing votes, however many: one hard step is no hard stretch."""
        if self._origin is None:
            self._origin = place
        part = place - self._origin >> self._shift
        if not 0 <= part < len(self._steps):
            part = self._part(place)
        self._steps[part] += 1
        if losing:
            self._contested[part] += 1

    def copied(self) -> Stretches:
        """Return the same counts, which others do not change."""
        return Stretches((self._origin, self._shift, self._steps, self._contested))

    def to_json(self) -> str:
        """Return the state: read, it is what `Stretches` takes."""
        return f"[{'null' if self._origin is None else self._origin},{self._shift},{self._steps},{self._contested}]"

    def whole(self) -> Stretch:
        """Return all that was counted as one stretch."""
        return self._between(0, len(self._steps))

    def every(self) -> list[Stretch]:
        """Return all parts, their pairs, the pairs of these, and so on, but not the whole: 63 stretches at most."""
        used, found, length = len(self._steps), [], 1
        while length < used:
            found += [self._between(start, min(used, start + length)) for start in range(0, used, length)]
            length *= 2
        return found

    def _between(self, start: int, end: int) -> Stretch:
        first, width = self._origin or 0, 1 << self._shift
        steps, contested = sum(self._steps[start:end]), sum(self._contested[start:end])
        return Stretch(first + start * width, first + end * width, steps, contested)

    def _part(self, place: int) -> int:
        """Return the part of a step that stands before or behind all parts so far, for which room is made."""
        origin = self._origin or 0
        while True:
            part = place - origin >> self._shift
            before, behind = max(0, -part), max(0, part + 1 - len(self._steps))
            if before + len(self._steps) + behind <= PARTS:
                break
            self._shift += 1
            for counts in (self._steps, self._contested):
                counts[:] = [sum(counts[i : i + 2]) for i in range(0, len(counts), 2)]
        self._origin = origin - (before << self._shift)
        for counts in (self._steps, self._contested):
            counts[:] = [0] * before + counts + [0] * behind
        return part + before


class Neighbours:
    """Runs of contested steps, in the order in which steps stand.

    Steps end out of order: those of the newest ``window`` places wait until none of theirs can come any more, or so it
    is taken. A step that comes later still is left out, which says nothing of the others.

    ``steps`` are in order so far, ``contested`` of them; these make so many ``runs``.
    """

    __slots__ = ("_hot", "_marked", "_start", "_waiting", "_window", "contested", "runs", "steps")

    def __init__(self, window: int, held: Sequence[Any] = (None, 0, 0, 0, 0, 0, 0)) -> None:
        self._window = window
        # Bit i is the place i behind the start: a step is there, and it is contested. Hot: the last one in order was.
        start, self._waiting, self._marked, self.steps, self.contested, self.runs, self._hot = held
        self._start: int | None = start

    def add(self, place: int, losing: int) -> None:
        """Count a step; it is contested if it has losing votes."""
        if self._start is None:
            self._start = place - self._window + 1
        at = place - self._start
        if at >= self._window:
            self._pass_by(at - self._window + 1)
            at = self._window - 1
        elif at < 0:
            return
        bit = 1 << at
        self._waiting |= bit
        if losing:
            self._marked |= bit

    def copied(self) -> Neighbours:
        """Return the same counts, which others do not change."""
        return Neighbours(self._window, self._held())

    def all_in_order(self) -> Neighbours:
        """Return what it comes to if no step comes any more."""
        whole = self.copied()
        whole._pass_by(self._waiting.bit_length())
        return whole

    def to_json(self) -> str:
        """Return the state: read, it is what `Neighbours` takes behind the window."""
        start, *counts = self._held()
        return f"[{'null' if start is None else start},{','.join(map(str, counts))}]"

    def _held(self) -> tuple[int | None, int, int, int, int, int, int]:
        counts = self.steps, self.contested, self.runs
        return self._start, self._waiting, self._marked, *counts, self._hot

    def _pass_by(self, places: int) -> None:
        due = self._waiting
        if places < due.bit_length():
            due &= (1 << places) - 1
        while due:
            bit = due & -due
            due ^= bit
            hot = int(self._marked & bit > 0)
            self.steps += 1
            self.contested += hot
            self.runs += hot > self._hot
            self._hot = hot
        self._waiting >>= places
        self._marked >>= places
        self._start = (self._start or 0) + places
