"""Compare two ways to answer the same rows, each right or not on each of them. Pure."""

from __future__ import annotations

from maker.stats.bounds import binomial


def mcnemar(one: int, other: int) -> float:
    """Return the two-sided p of two ways being right equally often, from the rows on which they differ.

    ``one`` and ``other`` count the rows that only one of them got right. If they are equally good, each such row falls
    to either with 1/2: P = min(1, 2 P(B(one + other, 1/2) <= min)) (McNemar 1947, Psychometrika 12, 153-157, in its
    exact form). Rows on which both are right, or both wrong, say nothing.

    13 and 2 give 242/32768 = .0074, 4 and 8 give .3877, 0 and 5 .0625, 0 and 6 .03125; without a row it is 1.
    """
    return min(1.0, 2 * binomial(min(one, other), one + other, 0.5)) if one + other else 1.0
