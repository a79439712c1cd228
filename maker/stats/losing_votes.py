"""Counts of losing votes: by how many a step has, by where in the run it stands, by its neighbours. Pure, and small."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

from maker.stats.close_pairs import REACH, pairs_of

MOST_LOSING = 63
"""Losing votes of one step are counted up to here: fewer are no evidence of anything."""
PARTS = 32
"""In at most so many parts of equal length contested steps are counted by place."""
AT_ONCE = 1024
"""Steps of so many places are put in order at once."""


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

    def add(self, places: Sequence[int], contested: Sequence[int]) -> None:
        """Count steps by their places, in order, and those that are contested: that have losing votes, however many."""
        if not places:
            return
        if self._origin is None:
            self._origin = places[0]
        self._make_room(places[0])
        last = self._make_room(places[-1])
        if (first := places[0] - self._origin >> self._shift) == last:
            self._steps[last] += len(places)
            self._contested[last] += len(contested)
            return
        for part in range(first, last + 1):
            start = self._origin + (part << self._shift)
            end = start + (1 << self._shift)
            self._steps[part] += bisect_left(places, end) - bisect_left(places, start)
            self._contested[part] += bisect_left(contested, end) - bisect_left(contested, start)

    def copied(self) -> Stretches:
        """Return the same counts, which others do not change."""
        return Stretches((self._origin, self._shift, self._steps, self._contested))

    def to_json(self) -> str:
        """Return the state: read, it is what `Stretches` takes."""
        return f"[{'null' if self._origin is None else self._origin},{self._shift},{self._steps},{self._contested}]"

    def whole(self) -> Stretch:
        """Return all that was counted as one stretch."""
        return self._between(0, len(self._steps))

    def by_length(self) -> list[list[Stretch]]:
        """Return all parts, their pairs, the pairs of these, and so on, but not the whole: 63 stretches at most."""
        used, found, length = len(self._steps), [], 1
        while length < used:
            found.append([self._between(start, min(used, start + length)) for start in range(0, used, length)])
            length *= 2
        return found

    def _between(self, start: int, end: int) -> Stretch:
        first, width = self._origin or 0, 1 << self._shift
        steps, contested = sum(self._steps[start:end]), sum(self._contested[start:end])
        return Stretch(first + start * width, first + end * width, steps, contested)

    def _make_room(self, place: int) -> int:
        """Return the part of a step, for which room is made if it stands before or behind all parts so far."""
        origin = self._origin or 0
        if 0 <= (part := place - origin >> self._shift) < len(self._steps):
            return part
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


_REACHED = (1 << REACH) - 1
_NONE_IN_ORDER = (None, 0, 0, 0, 0, 0, 0, REACH)


class Neighbours:
    """Close pairs of contested steps, in the order in which steps stand.

    Steps end out of order: those of the newest ``window`` places wait until none of theirs can come any more, or so it
    is taken. A step that comes later still is left out. With a window of 0 nothing is counted.

    ``steps`` are in order so far, ``contested`` of them; so many ``pairs`` of these are close (`close_pairs`).
    """

    __slots__ = ("_last", "_marked", "_start", "_waiting", "_window", "contested", "pairs", "steps")

    def __init__(self, window: int, held: Sequence[Any] = ()) -> None:
        if len(held) != len(_NONE_IN_ORDER):
            # Earlier versions counted other things of neighbours: these begin anew.
            held = _NONE_IN_ORDER
        self._window = window
        # Bit i is the place i behind the start: a step is there, and it is contested. Last: of the steps in order those
        # that later ones may be close to, a bit for each, the newest lowest.
        start, self._waiting, self._marked, self.steps, self.contested, self.pairs, self._last, _ = held
        self._start: int | None = start

    def add(self, places: Sequence[int], contested: Sequence[int]) -> None:
        """Count steps by their places, in order, and those of them that are contested."""
        if not places or not self._window:
            return
        if self._start is None:
            self._start = places[0] - self._window + 1
        done = hot_done = 0
        while done < len(places):
            # The numbers stay small, however far apart the places are.
            self._pass_by(places[done] - self._start - self._window + 1)
            end = self._start + self._window + AT_ONCE
            upto, hot_upto = bisect_left(places, end), bisect_left(contested, end)
            self._waiting |= self._bits(places[done:upto])
            if hot_upto > hot_done:
                self._marked |= self._bits(contested[hot_done:hot_upto])
            self._pass_by(places[upto - 1] - self._start - self._window + 1)
            done, hot_done = upto, hot_upto

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

    def _held(self) -> tuple[int | None, int, int, int, int, int, int, int]:
        counts = self.steps, self.contested, self.pairs
        return self._start, self._waiting, self._marked, *counts, self._last, REACH

    def _bits(self, places: Sequence[int]) -> int:
        start, bits = self._start or 0, 0
        for place in places:
            if place >= start:
                bits |= 1 << place - start
        return bits

    def _pass_by(self, places: int) -> None:
        """Take the steps of so many places as being in order, and wait for none of these any more."""
        if places <= 0:
            return
        due, marked = self._waiting, self._marked
        if places < due.bit_length():
            due &= (1 << places) - 1
            marked &= due
        self._waiting >>= places
        self._marked >>= places
        self._start = (self._start or 0) + places
        if not marked:
            self.steps += (passed := due.bit_count())
            self._last = self._last << min(passed, REACH) & _REACHED
            return
        # In hexadecimal a digit for each place: 1 is a step, 2 is a contested one.
        digits = f"{int(f'{due:b}', 16) + int(f'{marked:b}', 16):x}"[::-1].replace("0", "")
        passed_hot = int(digits.replace("1", "0").replace("2", "1"), 2)
        line = self._last << len(digits) | passed_hot
        self.steps += len(digits)
        self.contested += passed_hot.bit_count()
        self.pairs += pairs_of(line) - pairs_of(self._last)
        self._last = line & _REACHED
