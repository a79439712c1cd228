"""Estimate how often steps decided by a lead of k are right, from their losing votes. Pure.

The steps of a class have each a p of their own, Beta-distributed (`maker.stats.race_mixture`); their votes are taken to
be independent, and the likelier answer of a step to be right. Both the mean of p and how much it varies are estimated,
by maximum likelihood; intervals hold all values with which the likelihood is near enough to the largest one.

Losing votes are those for the strongest rival, as the monitor counts them. With one rival the law is exact. With
several rivals, the strongest gets fewer votes than one rival with all their mass would, and steps are decided wrongly
more seldom still: the estimate errs on the careful side, as long as p is above one half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from maker.errors import extra

FAR = 4096
"""Most losing votes of one step that are computed. At k = 100, p = .5 the mean is 4,950, but such votes are useless."""
THIN = 1e-12


class Range(NamedTuple):
    """An estimate with its confidence interval."""

    low: float
    value: float
    high: float


class Fit(NamedTuple):
    """The estimate from steps of first-to-ahead-by-k.

    Args:
        k: The margin.
        steps: How many steps.
        losing: Votes for the strongest rivals, of all steps together.
        p: The probability that a vote is for the likelier answer of its step, over all steps.
        failure: The probability that a step is decided wrongly, over the steps as they voted.
        confidence: Of the intervals.
        exact: False; intervals of earlier versions were exact for k = 2 and 3.
        rho: The correlation of two votes on one step: 0 if all steps are alike.
        right: The probability that all steps are right.
        mean: The likeliest Beta distribution's mean.
    """

    k: int
    steps: int
    losing: int
    p: Range
    failure: Range
    confidence: float
    exact: bool
    rho: Range
    right: Range
    mean: float


def fit(decided: Mapping[int, int], cut: Mapping[int, int], k: int, confidence: float) -> Fit | None:
    """Return the estimate from stopped races; None for k = 1, where the first vote decides and shows nothing.

    ``decided`` counts steps by losing votes, ``cut`` those that were cut off before any answer led by k. The intervals
    hold every pair of p and rho whose deviance is at most the ``confidence`` quantile of chi-square with two degrees of
    freedom, -2 ln(1 - confidence): each is as wide as the pairs make it (profile likelihood).

    Raises:
        ValueError: There is no decided step, or ``k`` is below 1.
    """
    steps, lost = sum(decided.values()), sum(n * count for by in (decided, cut) for n, count in by.items())
    if steps < 1 or k < 1:
        raise ValueError(f"steps = {steps}, k = {k}: there is nothing to fit")
    if k == 1:
        return None
    # Here, as it loads numpy and scipy, which most commands do without.
    with extra("plan", "a report on votes"):
        from maker.stats.race_mixture import Races, fit_races

    found = fit_races(Races(k, decided, cut), -2 * math.log(1 - confidence))
    failure, right = Range(*(one / steps for one in found.wrong)), Range(*map(math.exp, found.log_right))
    return Fit(k, steps, lost, Range(*found.p), failure, confidence, False, Range(*found.rho), right, found.mean)


def all_right(fits: Sequence[Fit]) -> Range:
    """Return the probability that all steps are decided rightly: the product over classes.

    The intervals hold together where each has its part of the risk.
    """
    return Range(*(math.prod(getattr(one.right, at) for one in fits) for at in Range._fields))


def wrong(fits: Sequence[Fit]) -> Range:
    """Return how many steps are expected to be decided wrongly."""
    return Range(*(math.fsum(one.steps * getattr(one.failure, at) for one in fits) for at in Range._fields))


def expected_law(found: Fit) -> list[float]:
    """Return the probabilities of 0, 1, 2, … losing votes of a step by an estimate, until less than `THIN` is left."""
    from maker.stats.race_mixture import law

    # M(k, l) 4^-l is the law of p = 1/2, but for its first term: no other has longer tails.
    even = losing_law(found.k, 0.5)
    courses = [math.log(chance / even[0]) + losing * math.log(4) for losing, chance in enumerate(even)]
    chances = law(found.k, found.mean, found.rho.value, courses)
    left, ends = 1.0, len(chances)
    for losing, chance in enumerate(chances):
        left -= chance
        if left < THIN:
            ends = losing + 1
            break
    return chances[:ends]


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
