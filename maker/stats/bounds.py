"""Upper confidence bounds: on the wrong rows of a finite population from a random sample, on chances and on means.

Pure. A stratum has N rows, W of them wrong; W is unknown. Among n rows drawn at random x are wrong: x is
hypergeometric.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

SAFE = 1e-10
"""Safety margin for rounding: a probability may come out too low by this much. Sums err by about 1e-12."""
NEGLIGIBLE = 1e-17
"""Terms below this share of the largest one are left out."""
NARROW = 1e-9
"""Precision of a share that is found by bisection."""


class Labelled(NamedTuple):
    """One stratum: its rows, how many of them were drawn and labelled, and how many of those are wrong."""

    rows: int
    labelled: int
    wrong: int


def allocate(strata: Sequence[int], sample: int) -> list[int]:
    """Return how many rows to draw from each stratum for a proportional sample, given the rows in each.

    Parts are rounded up, so that no stratum is sampled less densely than the whole; together they may exceed ``sample``
    by one row a stratum. 9,000, 900 and 50 rows, sample = 300 give 272, 28 and 2.

    Raises:
        ValueError: ``sample`` is below 1.
    """
    if sample < 1:
        raise ValueError(f"sample = {sample}: must be at least 1")
    total = sum(strata)
    return [min(rows, -(-sample * rows // total)) if rows else 0 for rows in strata]


def estimate(strata: Sequence[Labelled]) -> float | None:
    """Return the estimated share of wrong rows, sum (N / sum N) (x / n): unbiased for a stratified random sample.

    (900, 90, 0) and (100, 10, 5) give .05. None if there are no rows, or a stratum that has rows has no labelled one.
    """
    found = [one for one in strata if one.rows]
    if not found or not all(one.labelled for one in found):
        return None
    return sum(one.rows * one.wrong / one.labelled for one in found) / sum(one.rows for one in found)


def most_wrong_in(stratum: Labelled, confidence: float) -> int:
    """Return the exact upper confidence bound on the wrong rows of one stratum: the largest W with P(X <= x) >= risk.

    X is hypergeometric and risk = 1 - confidence: Clopper and Pearson's way (1934, "The use of confidence or fiducial
    limits illustrated in the case of the binomial", Biometrika 26, 404-413), for draws without replacement. Whatever W
    is, the bound is below it with a probability of at most the risk.

    (10^6, 299, 0) at .95 gives 9,967, or .9967 %; draws with replacement have 1 - .05^(1/299) = .9969 %.

    Raises:
        ValueError: The confidence is not in (0, 1), or the counts contradict one another.
    """
    _check([stratum], confidence)
    rows, labelled, wrong = stratum

    def surprises(w: int) -> bool:
        return hypergeometric(wrong, rows, w, labelled) <= 1 - confidence - SAFE

    return wrong + bisect_left(range(wrong + 1, rows - labelled + wrong + 1), True, key=surprises)


def most_wrong(strata: Sequence[Labelled], confidence: float) -> int:
    """Return an upper confidence bound on the wrong rows of all strata together; tightest if n / N is similar in all.

    Let X be the wrong rows of all samples together, m the labelled rows. A hypergeometric count is distributed as a sum
    of independent trials that need not be alike, of which min(n, W) at most can succeed (Vatutin and Mikhailov 1982,
    "Limit theorems for the number of empty cells in an equiprobable scheme for group allocation of particles", Theory
    Probab. Appl. 27, 734-743); so X is one too, of t = min(m, sum W) trials. For such a sum with mean M, P(X <= x) is
    at most that of a binomial count of t trials with probability M / t each, if x <= M - 1 (Hoeffding 1956, "On the
    distribution of the number of successes in independent trials", Ann. Math. Statist. 27, 713-721). M is
    least if the wrong rows are in the strata with the smallest n / N. The bound is the largest sum of W with which x is
    not ruled out so, whatever stratum they are in: with a probability of at most 1 - confidence it is below the truth.

    The bound is exact but conservative: it allows for wrong rows where the sample is thinnest. In a stratum without a
    labelled row, all rows may be wrong. If only one stratum has rows, `most_wrong_in` is used.

    (900,000, 270, 0) and (100,000, 30, 0) at .95 give 9,936, or .9936 %: 1 - .05^(1/300).

    Raises:
        ValueError: As `most_wrong_in` does.
    """
    _check(strata, confidence)
    found = [one for one in strata if one.rows]
    if len(found) == 1:
        return most_wrong_in(found[0], confidence)
    seen = sum(one.wrong for one in found)
    most = sum(one.rows - one.labelled + one.wrong for one in found)

    def surprises(w: int) -> bool:
        return chance_of_few(seen, w, found) <= 1 - confidence - SAFE

    return seen + bisect_left(range(seen + 1, most + 1), True, key=surprises)


def chance_of_few(seen: int, wrong: int, strata: Sequence[Labelled]) -> float:
    """Return the chance, at most, that the labelled rows of all strata hold no more than ``seen`` of ``wrong`` ones.

    That is whatever strata these are in, and whatever makes them wrong: the draw alone is random. Of one stratum the
    chance is exact, of several it is the bound of `most_wrong`, 1 where that says nothing. How many rows were found
    wrong in each stratum is not looked at.

    None of 20 wrong rows among 300 drawn from 2,000: 3.81 %.
    """
    found = [one for one in strata if one.rows]
    if len(found) == 1:
        return hypergeometric(seen, found[0].rows, wrong, found[0].labelled)
    mean = _least_mean(sorted(found, key=lambda one: one.labelled / one.rows), wrong)
    if seen > mean - 1:
        return 1.0
    trials = min(sum(one.labelled for one in found), wrong)
    return binomial(seen, trials, min(1.0, mean / trials))


def share_at_most(x: int, trials: int, confidence: float) -> float:
    """Return the upper confidence bound on the mean chance of success, given x successes in independent trials.

    It is Clopper and Pearson's bound; if the chances differ it is conservative (Hoeffding 1956, see `most_wrong`). 1.0
    without a trial.

    x = 0, trials = 300 at .95 gives .99 %: 1 - .05^(1/300).

    Raises:
        ValueError: The confidence is not in (0, 1), or x is not one of 0 to ``trials``.
    """
    _check([Labelled(trials, trials, x)], confidence)
    if x == trials:
        return 1.0
    low, high = x / trials, 1.0
    while high - low > NARROW:
        middle = (low + high) / 2
        low, high = (low, middle) if binomial(x, trials, middle) <= 1 - confidence else (middle, high)
    return high


def mean_at_most(mean: float, trials: int, confidence: float) -> float:
    """Return an upper confidence bound on the mean of values in [0, 1], given the mean of ``trials`` independent draws.

    The largest m with trials D(mean, m) <= ln(1 / risk), where D is the divergence of two coins with these chances
    (Hoeffding 1963, "Probability inequalities for sums of bounded random variables", J. Amer. Statist. Assoc. 58,
    13-30, theorem 1). It does not use the variance of the values, and is conservative if they vary little. 1.0 without
    a draw.

    mean = 0, trials = 300 at .95 gives .99 %, as `share_at_most` does; mean = .01 gives 3.11 %.

    Raises:
        ValueError: The confidence is not in (0, 1), or the mean not in [0, 1].
    """
    _check([], confidence)
    if not 0 <= mean <= 1:
        raise ValueError(f"mean = {mean}: must lie between 0 and 1")
    if not trials or mean == 1:
        return 1.0
    low, high = mean, 1.0
    while high - low > NARROW:
        middle = (low + high) / 2
        far = trials * _divergence(mean, middle) > -math.log1p(-confidence)
        low, high = (low, middle) if far else (middle, high)
    return high


def _divergence(p: float, q: float) -> float:
    """Return D(p, q) of two coins in nats, for 0 < q < 1."""
    of_heads = p * math.log(p / q) if p else 0.0
    return of_heads + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)


def binomial(x: int, trials: int, p: float) -> float:
    """Return the probability of at most x successes in ``trials`` of probability p each, to about 1e-12.

    x = 1, trials = 10, p = .3 gives .1493.
    """
    if p in (0.0, 1.0):
        return float(x >= (trials if p else 0))
    odds = p / (1 - p)
    return _below(x, 0, trials, int((trials + 1) * p), lambda i: (trials - i) / (i + 1) * odds)


def hypergeometric(x: int, rows: int, wrong: int, drawn: int) -> float:
    """Return the probability of at most x wrong rows among those drawn from ``rows``, to about 1e-12.

    x = 0, 10 rows, 3 wrong, 4 drawn gives C(7, 4) / C(10, 4) = 1/6.
    """
    good = rows - wrong
    low, high = max(0, drawn - good), min(drawn, wrong)
    mode = (drawn + 1) * (wrong + 1) // (rows + 2)
    return _below(x, low, high, mode, lambda i: (wrong - i) / (i + 1) * ((drawn - i) / (good - drawn + i + 1)))


def _below(x: int, low: int, high: int, mode: int, ratio: Callable[[int], float]) -> float:
    """Return P(X <= x) for X from low to high, if P(i + 1) / P(i) = ratio(i) decreases and is about 1 at the mode."""
    mode = min(high, max(low, mode))
    parts = {mode: 1.0}
    chance = 1.0
    for i in range(mode, high):
        chance *= ratio(i)
        if chance < NEGLIGIBLE:
            break
        parts[i + 1] = chance
    chance = 1.0
    for i in range(mode - 1, low - 1, -1):
        chance /= ratio(i)
        if chance < NEGLIGIBLE:
            break
        parts[i] = chance
    return math.fsum(part for i, part in parts.items() if i <= x) / math.fsum(parts.values())


def _least_mean(thinnest: Sequence[Labelled], wrong: int) -> float:
    """Return the least expected number of wrong rows in the samples, if all strata together have ``wrong``."""
    mean, left = 0.0, wrong
    for rows, labelled, _ in thinnest:
        here = min(left, rows)
        mean += here * labelled / rows
        left -= here
    return mean


def _check(strata: Sequence[Labelled], confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: must lie between 0 and 1")
    for rows, labelled, wrong in strata:
        if not 0 <= wrong <= labelled <= rows:
            raise ValueError(f"{wrong} wrong of {labelled} labelled of {rows} rows: none may exceed the next")
