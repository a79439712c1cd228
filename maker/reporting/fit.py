"""Estimate p, the probability that a vote is right, from the losing votes of steps decided by a lead of k. Pure.

The steps of a class are taken to be equally hard, their votes to be independent, and the most frequent answer to be
right. A step then ends with l losing votes with probability M(k, l) x^l (p^k + q^k), x = pq (`maker.stats.dispersion`).
The sum t of losing votes over n steps is sufficient for p, stopping rule included, and its mean grows with x. The
generating function of M is the product of 1 / (1 - a_i x), so l is a sum of geometric counts with shares a_i x.

Losing votes are those for the strongest rival, as the monitor counts them. With one rival the law is exact. With
several rivals, the strongest gets fewer votes than one rival with all their mass would, and steps are decided wrongly
more seldom still: the estimate of p errs on the careful side, as long as it is above one half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from maker.stats.bounds import share_at_most

HALVINGS = 100
FAR = 4096
"""Most losing votes of one step that are computed. At k = 100, p = .5 the mean is 4,950, but such votes are useless."""
THIN = 1e-12


class Range(NamedTuple):
    """An estimate with its confidence interval."""

    low: float
    value: float
    high: float


class Fit(NamedTuple):
    """The estimate of p from steps of first-to-ahead-by-k.

    Args:
        k: The margin.
        steps: How many steps.
        losing: Votes for the strongest rivals, of all steps together.
        p: The probability that a vote is right: maximum likelihood, and the interval.
        failure: The probability that a step is decided wrongly, 1 / (1 + (p/q)^k).
        confidence: Of the intervals, at least.
        exact: Whether the interval is Clopper and Pearson's, else that of the likelihood.
    """

    k: int
    steps: int
    losing: int
    p: Range
    failure: Range
    confidence: float
    exact: bool


def fit(steps: int, losing: int, k: int, confidence: float) -> Fit | None:
    """Return the estimate of p from stopped races; None for k = 1, where the first vote decides and shows nothing.

    For k = 2 and 3 the sum of losing votes is a negative binomial count of share a x, a = 2 and 3: P(T <= t) =
    P(B(n + t, a x) <= t), so that the interval is that of Clopper and Pearson (1934, Biometrika 26, 404-413). For a
    greater k it holds every x whose likelihood is at least (1 - confidence) / 2 of the largest: by Chernoff's bound
    P(T <= t) and P(T >= t) are at most that ratio, so it covers the true x no less often than it says.

    For steps that were cut off before any answer led by k, you may add the losing votes to ``losing`` without adding
    the steps to ``steps``: such a race has the likelihood x^l (p^d + q^d) with its lead d < k, whose last factor is
    constant up to d = 1 and favours a small x above. So x is not underestimated, but the interval is no longer exact.

    1,000 steps, 370 losing votes, k = 3 give p = .9000, .8897 to .9095 at .95.

    Raises:
        ValueError: ``steps`` or ``k`` is below 1, or ``losing`` below 0.
    """
    if steps < 1 or losing < 0 or k < 1:
        raise ValueError(f"steps = {steps}, losing = {losing}, k = {k}: there is nothing to fit")
    shares = _shares(k)
    if not shares:
        return None
    best = _root(lambda x: _mean(shares, x) - losing / steps, 0.0, 1 / shares[0]) if losing else 0.0
    one_side = 1 - (1 - confidence) / 2
    if len(shares) == 1:
        low = (1 - share_at_most(steps - 1, steps + losing - 1, one_side)) / shares[0] if losing else 0.0
        high = share_at_most(losing, steps + losing, one_side) / shares[0]
    else:
        low, high = _likely(shares, steps, losing, best, math.log(1 / (1 - one_side)))
    # x is at most one quarter: there p is one half.
    p = Range(*(_p(min(x, 0.25)) for x in (high, best, low)))
    failure = Range(*(_failure(min(x, 0.25), k) for x in (low, best, high)))
    return Fit(k, steps, losing, p, failure, confidence, len(shares) == 1)


def all_right(fits: Sequence[Fit]) -> Range:
    """Return the probability that all steps are decided rightly: the product of (1 - failure)^steps over classes.

    The intervals hold together where each has its part of the risk. Two classes of 500 steps, failure .0001 and .0002,
    give .8607.
    """

    def product(at: str) -> float:
        return math.exp(math.fsum(one.steps * math.log1p(-getattr(one.failure, at)) for one in fits))

    return Range(product("high"), product("value"), product("low"))


def wrong(fits: Sequence[Fit]) -> Range:
    """Return how many steps are expected to be decided wrongly."""
    return Range(*(math.fsum(one.steps * getattr(one.failure, at) for one in fits) for at in Range._fields))


def losing_law(k: int, p: float) -> list[float]:
    """Return the probabilities of 0, 1, 2, … losing votes of a step, until less than `THIN` is left.

    k = 3, p = .9: .73, .1971, .0532, …
    """
    x = p * (1 - p)
    ratios = [share * x for share in _shares(k)]
    # (l + 1) f(l + 1) = sum of g_i(l), g_i(l) = a_i x (f(l) + g_i(l - 1)): all terms are positive.
    law = [math.prod(1 - ratio for ratio in ratios)]
    parts = [0.0] * len(ratios)
    left = 1 - law[0]
    while left > THIN and law[-1] > 0 and len(law) < FAR:
        parts = [ratio * (law[-1] + part) for ratio, part in zip(ratios, parts, strict=True)]
        law.append(math.fsum(parts) / len(law))
        left -= law[-1]
    return law


def tails(law: Sequence[float]) -> list[float]:
    """Return the probabilities of at least 0, 1, 2 and so on."""
    found, tail = [], 0.0
    for chance in reversed(law):
        tail += chance
        found.append(tail)
    return found[::-1]


def _shares(k: int) -> list[float]:
    """Return a_i = 4 cos^2((2i-1) pi / 2k), i <= k/2, the largest first."""
    return [4 * math.cos((2 * i - 1) * math.pi / (2 * k)) ** 2 for i in range(1, k // 2 + 1)]


def _mean(shares: Sequence[float], x: float) -> float:
    if shares[0] * x >= 1:
        return math.inf
    return math.fsum(a * x / (1 - a * x) for a in shares)


def _likely(shares: Sequence[float], steps: int, losing: int, best: float, most: float) -> tuple[float, float]:
    """Return the interval of x whose likelihood is within a factor e^``most`` of the largest."""

    def lost(x: float) -> float:
        if x <= 0 or shares[0] * x >= 1:
            return math.inf if losing or x > 0 else 0.0
        log = losing * math.log(best / x) if losing else 0.0
        return log + steps * math.fsum(math.log1p(-a * best) - math.log1p(-a * x) for a in shares)

    low = _root(lambda x: most - lost(x), 0.0, best) if losing else 0.0
    return low, _root(lambda x: lost(x) - most, best, 1 / shares[0])


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Return the zero of an increasing function between two numbers."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high


def _p(x: float) -> float:
    return (1 + math.sqrt(1 - 4 * x)) / 2


def _failure(x: float, k: int) -> float:
    # q = x / p: computing 1 - p would lose the digits of a small q.
    odds: float = (x / _p(x) ** 2) ** k
    return odds / (1 + odds)
