"""The mixing distributions that a pilot does not rule out (`maker.stats.mixture` has the families). Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import betainc, expit, logit

from maker.stats.mixture import (
    ALIKE,
    Array,
    Counts,
    VoteTable,
    beta_losses,
    beta_votes,
    counts_of,
    log_likelihood,
    race_votes,
)

WIDEST = 0.99
"""The largest correlation that is considered."""
ODDS = -16.0, 16.0
"""Log-odds of means: 1 - 1e-7 at the end."""
DOUBT = 9.0
"""Of the prior of the correlation: its density falls as (1 - rho)^9, to .63 at a correlation of .05 and .13 at .2."""
ATOMS = np.concatenate([np.arange(-5.0, 6.0, 0.2), np.arange(6.0, 16.1, 0.5)])
"""Possible log-odds of a step in the free form: p from .7 % to 1 - 1e-7."""


def seen_hard(table: VoteTable, x: Array, rho: Array) -> Array:
    """Return the share of the pilot's steps with p < 1/2, by their own votes, under each Beta distribution.

    A step of r right and w wrong votes has such a p with the chance of a Beta(a + r, b + w) below 1/2. The share is 0
    unless the pilot has met such a step: one is expected among all of them, or some step is more likely hard than not.
    """
    a, b = (shape[:, None] for shape in _shapes(x, rho))
    cells, steps = np.array(list(table)), np.array(list(table.values()), dtype=float)
    chance = betainc(a + cells[:, 0], b + cells[:, 1], 0.5)
    met = chance @ steps
    found: Array = np.where((met >= 1) | (chance > 0.5).any(axis=1), met / steps.sum(), 0.0)
    return found


class Region(ABC):
    """The distributions of p that a pilot does not rule out, each with its deviance from the likeliest one.

    The deviance is twice the difference in log-likelihood. Row 0 is the likeliest distribution. Results by k are
    cached.

    Attributes:
        p: The mean of each.
        rho: The correlation of each.
        deviance: Of each.
        penalised: The deviance that a plan goes by.
        weight: The posterior probability of each.
    """

    p: Array
    rho: Array
    deviance: Array
    penalised: Array
    weight: Array

    def __init__(self) -> None:
        self._failures: dict[int, Array] = {}
        self._votes: dict[int, Array] = {}

    def failure(self, k: int) -> Array:
        """Return the share of steps that a race to k decides wrongly under each distribution."""
        if k not in self._failures:
            self.prepare([k])
        return self._failures[k]

    def prepare(self, ks: Sequence[int]) -> None:
        """Compute `failure` for several margins at once, which is faster than one by one."""
        if missing := [k for k in ks if k not in self._failures]:
            self._failures |= dict(zip(missing, self._failing(missing), strict=True))

    def votes(self, k: int) -> Array:
        """Return the expected valid votes of a step under each distribution."""
        if k not in self._votes:
            self._votes[k] = self._voting(k)
        return self._votes[k]

    @abstractmethod
    def masses(self, points: Array) -> Array:
        """Return the mass of each distribution that is nearest to each of ``points``, log-odds in ascending order."""

    @abstractmethod
    def _failing(self, ks: Sequence[int]) -> Iterable[Array]: ...

    @abstractmethod
    def _voting(self, k: int) -> Array: ...


class BetaRegion(Region):
    """Beta distributions.

    Steps with p < 1/2, which no k decides rightly, count as often as the pilot has met them (`seen_hard`), not as often
    as a Beta has them far from all that was seen: the class's failure is that of steps like the seen ones.

    The prior is Jeffreys' for the mean, and rho^(-1/2) (1 - rho)^`DOUBT` for the correlation. Votes that are nearly all
    right need the last factor: they do not tell steps that are alike from a class with a few steps that are all wrong.
    ``penalised`` is the deviance with that factor.

    Args:
        x: Log-odds of the means: the likeliest first, then a grid in x and the root of rho that does not include it.
        rho: Their correlations.
        deviance: Their deviances.
        hard: The share of steps with p < 1/2 that counts.
    """

    def __init__(self, x: Array, rho: Array, deviance: Array, hard: Array) -> None:
        super().__init__()
        # Among equally likely distributions the one with the smallest correlation is the estimate.
        order = np.lexsort((rho, np.round(deviance, 3)))
        self._x, self.rho, self.deviance, self._hard = x[order], rho[order], deviance[order], hard[order]
        self.p = expit(self._x)
        penalised = self.deviance - 2 * DOUBT * np.log1p(-self.rho)
        self.penalised = penalised - penalised.min()
        weight = np.exp(-self.penalised / 2) * np.sqrt(self.p * expit(-self._x))
        if len(weight) > 1:
            weight[order == 0] = 0.0
        self.weight = weight / weight.sum()

    def masses(self, points: Array) -> Array:
        """Return the mass of each distribution that is nearest to each of ``points``, log-odds in ascending order."""
        edges = np.concatenate([[-np.inf], (points[1:] + points[:-1]) / 2, [np.inf]])
        a, b = (shape[:, None] for shape in _shapes(self._x, self.rho))
        found: Array = np.diff(betainc(a, b, expit(edges)), axis=1)
        return found

    def _failing(self, ks: Sequence[int]) -> Iterable[Array]:
        found: Array = np.minimum(beta_losses(self._x, self.rho, np.array(ks)[:, None]) + self._hard, 1.0)
        return found

    def _voting(self, k: int) -> Array:
        return beta_votes(self._x, self.rho, k)


class FreeRegion(Region):
    """Distributions over `ATOMS`, one a row of ``weights``; the posterior is the likeliest alone."""

    def __init__(self, weights: Array, deviance: Array) -> None:
        super().__init__()
        self._weights, self.deviance, self.penalised = weights, deviance, deviance
        chance = expit(ATOMS)
        self.p = weights @ chance
        self.rho = (weights @ chance**2 - self.p**2) / np.maximum(self.p * (1 - self.p), 1e-300)
        self.weight = np.zeros(len(deviance))
        self.weight[0] = 1.0

    def masses(self, points: Array) -> Array:
        """Return the mass of each distribution that is nearest to each of ``points``, log-odds in ascending order."""
        found = np.zeros((len(self._weights), len(points)))
        np.add.at(found.T, np.searchsorted((points[1:] + points[:-1]) / 2, ATOMS), self._weights.T)
        return found

    def _failing(self, ks: Sequence[int]) -> Iterable[Array]:
        return [self._weights @ expit(-k * ATOMS) for k in ks]

    def _voting(self, k: int) -> Array:
        found: Array = self._weights @ race_votes(ATOMS, k)
        return found


def _shapes(x: Array, rho: Array) -> tuple[Array, Array]:
    """Return a and b of Beta distributions, above 0 even where the mean is 0 or 1."""
    whole = 1 / np.maximum(rho, ALIKE) - 1
    return np.maximum(expit(x) * whole, 1e-12), np.maximum(expit(-x) * whole, 1e-12)


WIDE, FINE, ROUNDS = 33, (25, 21), 60


GRAIN = 0.13
"""Half a step of the grid, in standard deviations of the fit."""


def within(deviance: float) -> float:
    """Return the deviance up to which grid points represent a region: half a grid step beyond its edge."""
    return float((np.sqrt(deviance) + GRAIN) ** 2)


def beta_region(table: VoteTable, widest: float) -> BetaRegion:
    """Return the Beta distributions whose deviance from the likeliest one is at most ``widest``.

    A box in log-odds and the root of rho shrinks around them, and moves if they reach its edge; then it is filled with
    a grid of `FINE` points.
    """
    counts = counts_of(table)
    # If all votes are right (or wrong), the likeliest p is 1 (or 0): end the box where the likelihood is flat.
    right, votes = counts.right.sum(), counts.any.sum()
    end = float(np.log(1e4 * (votes + 1)))
    ends = ((-end, end), (0.0, float(np.sqrt(WIDEST))))
    middle = float(np.log((right + 0.5) / (votes - right + 0.5)))
    low, high = ends[1]
    for _ in range(ROUNDS):
        root = np.linspace(low, high, WIDE)
        lik = log_likelihood(counts, expit(middle), root**2)
        near = 2 * (lik.max() - lik) <= 2 * widest
        low, high = _reach(root, near, ends[1])
        if near.sum() > WIDE // 4:
            break
    error = np.sqrt((1 / (right + 0.5) + 1 / (votes - right + 0.5)) * (1 + (len(counts.any) - 1) * high**2))
    axes = [(max(-end, middle - 5 * error), min(end, middle + 5 * error)), (low, high)]
    best = -np.inf
    for _ in range(ROUNDS):
        x, root = (np.linspace(*axis, WIDE) for axis in axes)
        lik = log_likelihood(counts, expit(x)[:, None], (root**2)[None, :])
        best = max(best, float(lik.max()))
        near = 2 * (best - lik) <= widest
        near[np.unravel_index(np.argmax(lik), lik.shape)] = True
        before = axes
        axes = [_reach(x, near.any(axis=1), ends[0]), _reach(root, near.any(axis=0), ends[1])]
        if all(_close(new, old) for new, old in zip(axes, before, strict=True)):
            break
    top = _peak(counts, axes)
    x, root = (np.linspace(*axis, points) for axis, points in zip(axes, FINE, strict=True))
    xs, roots = (grid.ravel() for grid in np.meshgrid(x, root, indexing="ij"))
    xs, rhos = np.append(top[0], xs), np.append(top[1], roots) ** 2
    lik = log_likelihood(counts, expit(xs), rhos)
    deviance = 2 * (lik.max() - lik)
    kept = deviance <= widest
    return BetaRegion(xs[kept], rhos[kept], deviance[kept], seen_hard(table, xs[kept], rhos[kept]))


def correlations(counts: Counts, region: Region, widest: float) -> tuple[float, float]:
    """Return the range of rho within which the deviance at the best mean is at most ``widest``, on a fine grid."""
    low, high = (float(logit(min(1 - 1e-16, max(1e-300, p)))) for p in (region.p.min(), region.p.max()))
    x = np.linspace(low, high, WIDE)
    root = np.linspace(float(np.sqrt(region.rho.min())), float(np.sqrt(region.rho.max())), 10 * WIDE)
    lik = log_likelihood(counts, expit(x)[:, None], (root**2)[None, :]).max(axis=0)
    near = np.flatnonzero(2 * (lik.max() - lik) <= widest)
    return float(root[near[0]] ** 2), float(root[near[-1]] ** 2)


def _close(new: tuple[float, float], old: tuple[float, float]) -> bool:
    """Say whether an axis has neither moved nor shrunk by much."""
    return new[0] >= old[0] and new[1] <= old[1] and new[1] - new[0] > 0.7 * (old[1] - old[0])


def _reach(values: Array, near: Any, ends: tuple[float, float]) -> tuple[float, float]:
    """Return the interval where ``near`` holds, one point wider on each side; at an edge, wider by its whole length."""
    found = np.flatnonzero(near)
    more = len(values)
    step = float(values[1] - values[0])
    low = float(values[found[0]]) - step * (1 if found[0] else more)
    high = float(values[found[-1]]) + step * (1 if found[-1] < len(values) - 1 else more)
    return max(ends[0], low), min(ends[1], high)


def likeliest_beta(table: Mapping[tuple[int, int], float]) -> tuple[float, float]:
    """Return the log-odds of the mean and the correlation of the likeliest Beta; a step may count in part."""
    x, root = _peak(counts_of(table), (ODDS, (0.0, float(np.sqrt(WIDEST)))), precision=1e-3)
    return x, root**2


def _peak(counts: Counts, axes: Sequence[tuple[float, float]], precision: float = 1e-7) -> tuple[float, float]:
    """Return the log-odds and the root of rho at which the likelihood is largest."""
    bounds = list(axes)
    while True:
        x, root = (np.linspace(*axis, 9) for axis in bounds)
        lik = log_likelihood(counts, expit(x)[:, None], (root**2)[None, :])
        i, j = np.unravel_index(np.argmax(lik), lik.shape)
        bounds = [_reach(values, np.arange(9) == at, axis)
                  for values, at, axis in zip((x, root), (i, j), axes, strict=True)]  # fmt: skip
        if all(high - low < precision for low, high in bounds):
            return float(x[i]), float(root[j])


def free_region(table: VoteTable, widest: float) -> FreeRegion:
    """Return distributions over `ATOMS` whose deviance from the likeliest one is at most ``widest``.

    The likeliest one (the nonparametric maximum likelihood estimate: Laird 1978, J. Amer. Statist. Assoc. 73, 805-811)
    is found by EM. The others have, for several margins, the largest or smallest share of wrong steps that their
    likelihood allows: each maximises log-likelihood + mu E[f_k], by the same EM steps.
    """
    cells = np.array(list(table))
    steps = np.array(list(table.values()), dtype=float)
    log_chance = cells[:, :1] * -np.logaddexp(0, -ATOMS) + cells[:, 1:] * -np.logaddexp(0, ATOMS)
    chance = np.exp(log_chance - log_chance.max(axis=1, keepdims=True))
    best = _climb(chance, steps, np.zeros((1, len(ATOMS))), np.full(len(ATOMS), 1 / len(ATOMS)))
    top = np.log(best[0] @ chance.T) @ steps
    failure = expit(-np.array(FREE_MARGINS)[:, None] * ATOMS)
    ways = np.concatenate([failure, -failure])
    found, deviances = [best], [np.zeros(1)]
    low, high = np.full(len(ways), 1e-3), np.full(len(ways), 1e12)
    for _ in range(HALVINGS):
        pull = np.sqrt(low * high)
        weights = _climb(chance, steps, pull[:, None] * ways, best[0])
        deviance = 2 * (top - np.log(np.maximum(weights @ chance.T, 1e-300)) @ steps)
        near = deviance <= widest
        low, high = np.where(near, pull, low), np.where(near, high, pull)
        found.append(weights[near])
        deviances.append(np.maximum(0.0, deviance[near]))
    return FreeRegion(np.concatenate(found), np.concatenate(deviances))


FREE_MARGINS = (2, 4, 8, 16, 64)
HALVINGS, CLIMBS = 8, 400


def _climb(chance: Array, steps: Array, pulls: Array, start: Array) -> Array:
    """Return the weights that maximise sum steps log(chance weights) + pull weights, for each row of pulls, by EM."""
    weights = np.tile(0.99 * start + 0.01 / len(start), (len(pulls), 1))
    pulls = pulls - pulls.min(axis=1, keepdims=True)
    for _ in range(CLIMBS):
        weights *= (steps / (weights @ chance.T)) @ chance + pulls
        weights /= weights.sum(axis=1, keepdims=True)
    return weights
