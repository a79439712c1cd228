"""Where a whole map stands between its rounds: the rows that have no answer, as runs of such rows."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any, NamedTuple, overload


class Run(NamedTuple):
    """Rows ``first`` to before ``stop``, which all have one outcome."""

    first: int
    stop: int
    outcome: str


@dataclass(slots=True)
class Root:
    """Where the whole map stands: how many rounds are over, and how many rows they asked.

    ``missing`` names the rows that have no answer, with their outcomes; ``fresh`` those of the round that is not over.
    Both are in the order of the rows, and rows that follow one another with one outcome are one `Run`.
    """

    round: int = 0
    rows: int = 0
    missing: list[Run] = field(default_factory=list)
    fresh: list[Run] = field(default_factory=list)


class RootCodec:
    """Writes a map's root as JSON; rows' states are never written."""

    def write(self, value: Any) -> str:
        """Return the JSON text. Raises ``TypeError`` for the state of a row."""
        root = checked_root(value)
        return json.dumps([root.round, root.rows, root.missing, root.fresh], separators=(",", ":"))

    def read(self, text: str) -> Root:
        """Return the root of a text. Raises ``ValueError``."""
        round_, rows, missing, fresh = json.loads(text)
        return Root(round_, rows, _runs(missing), _runs(fresh))

    def show(self, value: Any) -> Any:
        """Return the root as JSON."""
        root = checked_root(value)
        missing, fresh = ([list(one) for one in runs] for runs in (root.missing, root.fresh))
        return {"round": root.round, "rows": root.rows, "missing": missing, "fresh": fresh}


class Ranges(Sequence[int]):
    """Numbers of several ranges, one range after the other; takes as much room as there are ranges.

    Args:
        ranges: In their order; each goes up by 1.
    """

    def __init__(self, ranges: Iterable[range]) -> None:
        self._ranges = [one for one in ranges if one]
        self._stops = list(accumulate(map(len, self._ranges)))

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._ranges)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[int]: ...
    def __getitem__(self, at: int | slice) -> int | Sequence[int]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        place = at + len(self) if at < 0 else at
        if not 0 <= place < len(self):
            raise IndexError(f"there is no number {at}: there are {len(self):,}")
        here = bisect_right(self._stops, place)
        return self._ranges[here][place - self._stops[here]]


def checked_root(state: Any) -> Root:
    """Return a state that is a root. Raises ``TypeError`` for that of a row."""
    if not isinstance(state, Root):
        raise TypeError(f"a row's state is never written, and forks into nothing: {state!r}")
    return state


def add_row(runs: list[Run], row: int, outcome: str) -> None:
    """Add a row after those of ``runs``, in place."""
    if runs and runs[-1].stop == row and runs[-1].outcome == outcome:
        runs[-1] = Run(runs[-1].first, row + 1, outcome)
    else:
        runs.append(Run(row, row + 1, outcome))


def _runs(entries: Iterable[Any]) -> list[Run]:
    return [Run(first, stop, outcome) for first, stop, outcome in entries]


def without(runs: Iterable[Run], ranges: Iterable[tuple[int, int]]) -> list[Run]:
    """Return what is left of runs in order without the rows of ranges, each from a first row to before another."""
    ordered, place = sorted(one for one in ranges if one[0] < one[1]), 0
    left: list[Run] = []
    for run in runs:
        at = run.first
        while place < len(ordered) and ordered[place][1] <= at:
            place += 1
        for number in range(place, len(ordered)):
            start, end = ordered[number]
            if start >= run.stop:
                break
            if at < start:
                left.append(Run(at, start, run.outcome))
            at = max(at, end)
        if at < run.stop:
            left.append(Run(at, run.stop, run.outcome))
    return left


def merged(*several: Iterable[Run]) -> list[Run]:
    """Return runs of different rows in order, those that follow one another with one outcome as one."""
    found: list[Run] = []
    for run in sorted(run for runs in several for run in runs):
        if found and found[-1].stop == run.first and found[-1].outcome == run.outcome:
            found[-1] = Run(found[-1].first, run.stop, run.outcome)
        else:
            found.append(run)
    return found
