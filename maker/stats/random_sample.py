"""Test whether the numbers of labelled rows could be those of a random sample, drawn without replacement. Pure.

A bound from a random sample holds for the rows that were not drawn. Labels of the first rows, of a block, or of one
part of the file show nothing of the others. Each such choice leaves its mark on the numbers: they lie in a short span,
in few unbroken runs, or too many of them on one side of some row. Of a random sample the chance of each mark is known
exactly, as all sets of n of N rows are as likely. Evenly spaced rows, every tenth for example, are let pass: they
stand for a file as well as random ones do. Which rows were chosen by what they hold, the numbers do not tell.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from maker.stats.dispersion import heaped, log_choose

LEVEL = 1e-4
"""The chance that a random sample is taken for another, at most."""
CUTS = 8
"""The rows before and after each of so many equal parts of the file are counted."""


class Mark(NamedTuple):
    """A mark of rows that stand together: what was seen, in words, and the chance of it in a random sample."""

    seen: str
    chance: float


def stand_together(rows: Collection[int], of: int) -> str:
    """Say how the labelled rows stand together, as no random sample would; "" where one could.

    Rows 1 to 300 of 1,000 do; 300 rows of 1,000 that were drawn at random do with a chance of at most `LEVEL`.

    Args:
        rows: Their numbers, 0-based; one that stands there twice counts once.
        of: How many rows there are.
    """
    numbers = sorted(set(rows))
    if not 1 < len(numbers) < of:
        return ""
    # Both tails at all cuts are looked at, and the least likely of them counts so often.
    sides = list(_sides(numbers, of))
    side = min(sides, key=lambda one: one.chance)
    marks = (_span(numbers, of), _runs(numbers, of), side._replace(chance=len(sides) * side.chance))
    return next((one.seen for one in marks if len(marks) * one.chance < LEVEL), "")


def _span(numbers: Sequence[int], of: int) -> Mark:
    """Return how long the span is from the first to the last row."""
    n, first, last = len(numbers), numbers[0], numbers[-1]
    seen = f"your {n:,} labels are rows {first + 1:,} to {last + 1:,} of {of:,}"
    if last - first + 1 > n:
        seen = f"your {n:,} labels are all among rows {first + 1:,} to {last + 1:,} of {of:,}"
    return Mark(seen, span_chance(last - first + 1, n, of))


def span_chance(span: int, n: int, of: int) -> float:
    """Return the chance that n rows of N have a span of at most s rows: ((N - s) C(s-1, n-1) + C(s, n)) / C(N, n).

    Either the first of them is one of the first N - s rows, and the others are among the s - 1 after it, or all are
    among the last s. Two rows of ten side by side: (8 + 1) / 45 = 1/5.
    """
    whole = log_choose(of, n)
    inside = (of - span) * math.exp(log_choose(span - 1, n - 1) - whole)
    return min(1.0, inside + math.exp(log_choose(span, n) - whole))


def _runs(numbers: Sequence[int], of: int) -> Mark:
    """Return in how many runs of neighbours the rows stand."""
    n = len(numbers)
    runs = 1 + sum(after > before + 1 for before, after in pairwise(numbers))
    blocks = "one block" if runs == 1 else f"{runs:,} blocks"
    return Mark(f"your {n:,} labels stand in {blocks} of neighbouring rows, of {of:,}", runs_chance(runs, n, of))


def runs_chance(runs: int, n: int, of: int) -> float:
    """Return the chance that n rows of N stand in so many runs or fewer: sum C(n-1, r-1) C(N-n+1, r) / C(N, n).

    Wald and Wolfowitz 1940 (Ann. Math. Statist. 11, 147-162). Two rows of ten in one run: 9/45 = 1/5.
    """
    if runs >= n * (of - n + 1) / of:
        # At the mean or above it.
        return 1.0
    whole = log_choose(of, n)
    ways = (log_choose(n - 1, r - 1) + log_choose(of - n + 1, r) - whole for r in range(1, runs + 1))
    return min(1.0, math.fsum(map(math.exp, ways)))


def _sides(numbers: Sequence[int], of: int) -> Iterator[Mark]:
    """Yield how many of the rows are in the first parts of the file, and in the last: Kolmogorov's, at some places."""
    n = len(numbers)
    for cut in sorted({of * part // CUTS for part in range(1, CUTS)} - {0}):
        before = bisect_left(numbers, cut)
        first = f"{before:,} of your {n:,} labels are among the first {cut:,} of {of:,} rows"
        last = f"{n - before:,} of your {n:,} labels are among the last {of - cut:,} of {of:,} rows"
        yield Mark(first, most_chance(before, cut, n, of))
        yield Mark(last, most_chance(n - before, of - cut, n, of))


def most_chance(found: int, part: int, n: int, of: int) -> float:
    """Return the chance that ``found`` or more of n random rows of N are among ``part`` given ones: hypergeometric.

    Both of two among five given ones of ten: 10/45.
    """
    if found <= n * part / of:
        # At the mean or below it.
        return 1.0
    return heaped((part, found), (of - part, n - found))
