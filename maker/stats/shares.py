"""How the wrong votes on a step are split among its rivals: the laws that a pilot does not rule out. Pure.

A step has K rivals, and its wrong votes go to them by shares that are drawn from the symmetric Dirichlet distribution
with concentration 1 / c: c = 0 is K equal rivals, a large c one strong rival and many that hardly count. The share of
the rival that any one wrong vote is for (a size-biased pick) is then Beta(1 + 1/c, (K-1) / c). Its mean, the agreement
(c + 1) / (K + c), is the chance that two wrong votes on a step are for one answer: Simpson's index (1949, Nature 163,
688).

Of w wrong votes, n_1, n_2, … are for one rival each, in a given order, with a chance of the product of K - j over the
rivals j = 0, 1, … that have votes and of 1 + i c over i < n for each of them, divided by that of K + i c over i < w
(Pitman 1995, Probab. Theory Relat. Fields 102, 145-158, with alpha = -1/c and theta = K/c).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.special import betainc, chdtrc, stdtrit

from maker.stats.mixture import Array

Splits: TypeAlias = Mapping[tuple[int, tuple[int, ...]], int]
"""(votes for the right answer, votes for each of the others) → number of distinct steps with these."""

RIVALS = np.concatenate([np.arange(1.0, 13.0), np.round(np.geomspace(13, 10_000, 14))])
"""Numbers of rivals that are considered; the last stands for any number."""
MOST_SPREAD = 0.7
"""The largest root of the correlation c / (K + 2c) of shares that is considered; a half is the largest correlation."""
ROOTS, ENOUGH, ROUNDS = 17, 0.1, 10
"""The grid of roots shrinks until this share of its points is likely enough, so many times at most."""
NEAR = 10.83
"""The peak of a likelihood is searched among laws up to this deviance."""
FEWEST = 2
"""With fewer steps no variance is known."""


class ShareLaws:
    """The laws of shares that a pilot does not rule out, the likeliest first.

    Attributes:
        rivals: K of each.
        spread: c of each.
        deviance: Twice the difference in log-likelihood from the likeliest one.
        step: Of the grid of roots of the correlation.
        weight: The posterior probability of each. The prior is even in ln K and in the root of the correlation.
    """

    def __init__(self, rivals: Array, spread: Array, deviance: Array, step: float) -> None:
        self.step = step
        order = np.argsort(deviance, kind="stable")
        self.rivals, self.spread, self.deviance = rivals[order], spread[order], deviance[order]
        gaps = np.diff(np.log(np.append(RIVALS, RIVALS[-1] ** 2 / RIVALS[-2])))
        weight = np.exp(-self.deviance / 2) * gaps[np.searchsorted(RIVALS, self.rivals)]
        self.weight: Array = weight / weight.sum()

    @property
    def correlation(self) -> Array:
        """The correlation of whether two wrong votes are for the rival of a third, c / (K + 2c), of each."""
        found: Array = self.spread / (self.rivals + 2 * self.spread)
        return found

    @property
    def agreement(self) -> Array:
        """The chance that two wrong votes on a step are for one answer, of each."""
        found: Array = (self.spread + 1) / (self.rivals + self.spread)
        return found

    def masses(self, points: Array) -> Array:
        """Return the mass of the share of a wrong vote's rival at ``points``, logs of shares in ascending order to 0.

        Shape laws × points.
        """
        edges = np.concatenate([[0.0], np.exp((points[1:] + points[:-1]) / 2), [1.0]])
        inverse = 1 / np.maximum(self.spread, 1e-6)[:, None]
        found: Array = np.diff(betainc(1 + inverse, np.maximum((self.rivals[:, None] - 1) * inverse, 1e-12), edges))
        mean = self.agreement
        deviation = np.sqrt(self.correlation * mean * (1 - mean))
        narrow = deviation / mean < points[1] - points[0]
        found[narrow] = at_points(np.log(mean[narrow]), points)
        return found


def at_points(values: Array, points: Array) -> Array:
    """Return unit masses at ``values`` as masses at the two of ``points`` beside each. Shape values × points.

    The mean of a convex function is then overestimated, never underestimated.
    """
    place = np.interp(values, points, np.arange(len(points), dtype=float))
    low = np.minimum(place.astype(int), len(points) - 2)
    rows, found = np.arange(len(values)), np.zeros((len(values), len(points)))
    found[rows, low], found[rows, low + 1] = 1 - (place - low), place - low
    return found


class _Counts(NamedTuple):
    """Steps with more than j rivals that have votes, rivals and steps with more than i wrong votes, by j and i."""

    kinds: Array
    parts: Array
    wrong: Array


def _counts(splits: Splits) -> _Counts:
    most = max((sum(parts) for _, parts in splits), default=0)
    found = np.zeros((3, most + 1))
    for (_, parts), steps in splits.items():
        found[0, : len(parts)] += steps
        found[2, : sum(parts)] += steps
        for votes in parts:
            found[1, :votes] += steps
    return _Counts(*found)


def _log_likelihood(counts: _Counts, rivals: Array, spread: Array) -> Array:
    """Return the log-likelihood of laws, up to a constant; -inf where a step has votes for more rivals than K."""
    total = np.zeros(len(rivals))
    for place, (kinds, parts, wrong) in enumerate(zip(*counts, strict=True)):
        if kinds:
            with np.errstate(divide="ignore"):
                total += kinds * np.log(np.maximum(rivals - place, 0.0))
        total += parts * np.log1p(place * spread) - wrong * np.log(rivals + place * spread)
    return total


def share_laws(splits: Splits, widest: float) -> ShareLaws:
    """Return the laws whose deviance from the likeliest one is at most ``widest``.

    300 steps whose six wrong votes are for six equal rivals leave an agreement between .157 and .18 or so; without two
    wrong votes on any step all laws are left.
    """
    grid = _searched(_counts(splits), widest)
    deviance = 2 * (grid.top - grid.likelihood)
    kept = deviance <= widest
    return ShareLaws(grid.rivals[kept], _spread(grid.rivals, grid.root)[kept], deviance[kept], grid.step)


class _Grid(NamedTuple):
    """Laws by K and the root of the correlation, with their log-likelihoods and the largest of these."""

    rivals: Array
    root: Array
    likelihood: Array
    top: float
    step: float


def _searched(counts: _Counts, widest: float) -> _Grid:
    """Return a grid of laws that has those whose deviance is at most ``widest``."""
    rivals, root = RIVALS, np.linspace(0.0, MOST_SPREAD, ROOTS)
    for _ in range(ROUNDS):
        both = np.meshgrid(rivals, root, indexing="ij")
        number, roots = both[0].ravel(), both[1].ravel()
        lik = _log_likelihood(counts, number, _spread(number, roots))
        top = float(lik.max())
        near = (2 * (top - lik) <= widest).reshape(both[0].shape)
        used = np.flatnonzero(near.any(axis=0))
        low, high = root[max(0, used[0] - 1)], root[min(ROOTS - 1, used[-1] + 1)]
        if near.mean() >= ENOUGH or (low, high) == (root[0], root[-1]):
            break
        rivals, root = rivals[near.any(axis=1)], np.linspace(low, high, ROOTS)
    return _Grid(number, roots, lik, top, float(root[1] - root[0]))


def _spread(rivals: Array, root: Array) -> Array:
    """Return c, of which the root of c / (K + 2c) is given."""
    found: Array = rivals * root**2 / (1 - 2 * root**2)
    return found


def split_alike(splits: Splits) -> float:
    """Return the p-value of one law for all steps; 1 where wrong votes agree no more on harder steps.

    Harder steps are those with fewer right votes. By the likelihood ratio of a law for them and one for the others,
    wherever the two are parted; the smallest p-value counts, times the number of places (Bonferroni).
    """
    levels = sorted({right for right, _ in splits})[1:]
    whole = _searched(_counts(splits), NEAR).top
    chance = 1.0
    for edge in levels:
        hard = {cell: steps for cell, steps in splits.items() if cell[0] < edge}
        easy = {cell: steps for cell, steps in splits.items() if cell[0] >= edge}
        if agreeing(hard).share > agreeing(easy).share:
            two = sum(_searched(_counts(part), NEAR).top for part in (hard, easy))
            chance = min(chance, len(levels) * float(chdtrc(2, max(0.0, 2 * (two - whole)))))
    return chance


class Agreeing(NamedTuple):
    """Pairs of wrong votes on one step, and the share of them that are for one answer."""

    pairs: int
    share: float


def agreeing(splits: Splits) -> Agreeing:
    """Return how many pairs of wrong votes on one step there are, and which share agrees: unbiased for shares alike.

    Four wrong votes that are for three answers, two of them for one, are six pairs of which one agrees.
    """
    pairs = sum(steps * sum(parts) * (sum(parts) - 1) // 2 for (_, parts), steps in splits.items())
    same = sum(steps * sum(n * (n - 1) for n in parts) // 2 for (_, parts), steps in splits.items())
    return Agreeing(pairs, same / pairs if pairs else 0.0)


def most_against_rivals(splits: Splits, confidence: float) -> float:
    """Return p / (p + r) at most, r the chance of a vote for a step's strongest rival, one-sided; 1 if not known.

    Pairs of votes on one step are of a right and a wrong vote with a chance of 2 p q, and of two wrong ones for one
    answer with the sum of r^2 over the rivals, which is at most q times the largest r. So p / (p + r) of the strongest
    rival is at most p q / (p q + sum r^2), and pairs estimate that without favour for a rival that had luck. Steps are
    what varies: the bound is Student's, of a ratio (Cochran 1977, Sampling Techniques, 6.3).

    p = .3 against four rivals of .175 has .21 / (.21 + .1225) = .632.
    """
    cells = [(right, parts, steps) for (right, parts), steps in splits.items() if right + sum(parts) > 1]
    number = sum(steps for *_, steps in cells)
    if number < FEWEST:
        return 1.0
    weights = np.array([steps for *_, steps in cells], dtype=float)
    pairs = np.array([(right + sum(parts)) * (right + sum(parts) - 1) for right, parts, _ in cells], dtype=float)
    mixed = np.array([right * sum(parts) for right, parts, _ in cells]) / pairs
    same = np.array([sum(n * (n - 1) for n in parts) for _, parts, _ in cells]) / pairs
    total = float(weights @ (mixed + same))
    if not total:
        return 1.0
    share = float(weights @ mixed) / total
    error = np.sqrt(weights @ (mixed - share * (mixed + same)) ** 2 * number / (number - 1)) / total
    return min(1.0, share + float(stdtrit(number - 1, confidence) * error))
