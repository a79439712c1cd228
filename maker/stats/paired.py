"""Compare two ways to answer the same rows, each right or not on each of them. Pure."""

from __future__ import annotations

from typing import NamedTuple

from maker.stats.bounds import binomial, share_at_most

OF_DIRECTION = 0.9
"""This part of the risk goes to which way rows differ, which decides the sign; the rest to how many differ."""
MOST_LABELS = 10_000_000
"""So many labels are looked at before it is said that none would settle a question."""


class Difference(NamedTuple):
    """By how much more of the rows one way is right on than the other: the estimate, and its interval."""

    low: float
    estimate: float
    high: float


def mcnemar(one: int, other: int) -> float:
    """Return the two-sided p of two ways being right equally often, from the rows on which they differ.

    ``one`` and ``other`` count the rows that only one of them got right. If they are equally good, each such row falls
    to either with 1/2: P = min(1, 2 P(B(one + other, 1/2) <= min)) (McNemar 1947, Psychometrika 12, 153-157, in its
    exact form). Rows on which both are right, or both wrong, say nothing.

    13 and 2 give 242/32768 = .0074, 4 and 8 give .3877, 0 and 5 .0625, 0 and 6 .03125; without a row it is 1.
    """
    return min(1.0, 2 * binomial(min(one, other), one + other, 0.5)) if one + other else 1.0


def share_within(found: int, of: int, confidence: float) -> tuple[float, float]:
    """Return the two-sided interval of a share (Clopper and Pearson 1934): 29 of 1,023 at .95 have .0191 to .0405."""
    side = (1 + confidence) / 2
    return 1 - share_at_most(of - found, of, side), share_at_most(found, of, side)


def paired_difference(one: int, other: int, rows: int, confidence: float) -> Difference:
    """Return by how much more of the rows the first way is right on, with an interval that needs no large numbers.

    The difference is (2 t - 1) d: d is the share of rows on which only one of the two is right, t the share of these
    that are the first one's. Given how many rows differ, t has the exact interval of Clopper and Pearson; so has d. The
    interval is what the two allow together, `OF_DIRECTION` of the risk being that of t: it covers with the confidence
    at least, whatever d and t are. It leaves out 0 where `mcnemar` is at most `OF_DIRECTION` of the risk.

    35 and 41 of 600 at .95 give -.052 to .027, 30 and 5 of 300 .035 to .126.

    Args:
        one: Rows that the first way alone is right on.
        other: Rows that the second way alone is right on.
        rows: All rows.
        confidence: Of the interval, between 0 and 1.

    Raises:
        ValueError: The counts contradict one another, or the confidence will not do.
    """
    if not 0 <= one + other <= rows or min(one, other) < 0 or not rows:
        raise ValueError(f"{one} and {other} of {rows} rows: no counts of rows that differ")
    risk = 1 - confidence
    least, most = share_within(one, one + other, 1 - OF_DIRECTION * risk) if one + other else (0.0, 1.0)
    fewest, widest = share_within(one + other, rows, 1 - (1 - OF_DIRECTION) * risk)
    low, high = 2 * least - 1, 2 * most - 1
    return Difference(
        low * (widest if low < 0 else fewest), (one - other) / rows, high * (fewest if high < 0 else widest)
    )


def rows_to_settle(one: int, other: int, rows: int, *, worth: float, confidence: float) -> int | None:
    """Return about how many rows settle whether the first way is better, or better by less than ``worth``.

    That is if the two differ on all of them as on these ``rows``: the least number with which `paired_difference`
    leaves out 0 or ``worth``. None where `MOST_LABELS` would not do.

    35 and 41 of 600 rows, worth .02, at .95 take about 900.
    """

    def settles(n: int) -> bool:
        found = paired_difference(round(one * n / rows), round(other * n / rows), n, confidence)
        return found.low > 0 or found.high < worth

    low, high = 0, max(rows, 1)
    while not settles(high):
        low, high = high, 2 * high
        if high > MOST_LABELS:
            return None
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if settles(middle) else (middle, high)
    return high
