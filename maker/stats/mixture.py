"""Mixing distributions: how p varies over the steps of a class, fitted to a pilot, and what voting makes of it. Pure.

A step has its own p, the chance that a valid vote on it is right; x = ln(p / (1-p)) is its log-odds. There are two
families of distributions:

- Beta(a, b), with mean p = a / (a+b) and intra-class correlation rho = 1 / (a+b+1): two votes on one step agree with
  the chance of independent votes plus 2 rho p q. With rho = 0 all steps are equally hard.
- Any distribution on a grid of `ATOMS` values of x, for pilots that no Beta fits.

With m votes a step, a pilot shows the first m moments of p and nothing else: everything beyond comes from the assumed
family. The Beta extrapolates from common steps to rare ones. That makes long runs plannable, and is why its fit is
tested. The free form detects a separate share of hard steps, and gives wider intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, expit, logit

Array: TypeAlias = NDArray[np.float64]
VoteTable: TypeAlias = Mapping[tuple[int, int], int]
"""(votes for the right answer, votes for others) → number of distinct steps with these votes."""

NODES = 64
"""Points of an integral over x: the trapezoid rule on a log-concave integrand, cut off at e^-30 of its peak."""
DROP = 30.0
ALIKE = 1e-9
"""Below this correlation all steps count as equally hard."""
WIDEST = 0.99
"""The largest correlation that is considered."""
ATOMS = np.concatenate([np.arange(-5.0, 6.0, 0.2), np.arange(6.0, 16.1, 0.5)])
"""Possible log-odds of a step in the free form: p from .7 % to 1 - 1e-7."""


class Counts(NamedTuple):
    """A pilot's votes for the likelihood: how many steps have more than i right, wrong, and any votes, by i."""

    right: Array
    wrong: Array
    any: Array


def counts_of(table: VoteTable) -> Counts:
    """Return a pilot's votes in the form of `Counts`."""
    most = max(right + wrong for right, wrong in table)
    found = np.zeros((3, max(1, most)))
    for (right, wrong), steps in table.items():
        for row, votes in enumerate((right, wrong, right + wrong)):
            found[row, :votes] += steps
    return Counts(*found)


def log_likelihood(counts: Counts, p: Array, rho: Array) -> Array:
    """Return the log-likelihood of Beta-binomial steps, up to a constant; broadcasts p and rho.

    The chance of a step's votes in a given order is the product of p(1-rho) + i rho over its right votes i = 0, 1 …
    and of q(1-rho) + i rho over its wrong ones, divided by the product of 1-rho + i rho over all (Pólya's urn).
    """
    p, rho = np.broadcast_arrays(p, rho)
    total = np.zeros(p.shape)
    for place, (right, wrong, votes) in enumerate(zip(*counts, strict=True)):
        for steps, share in ((right, p), (wrong, 1 - p), (-votes, 1.0)):
            if steps:
                with np.errstate(divide="ignore"):
                    total += steps * np.log(share * (1 - rho) + place * rho)
    found: Array = np.where(np.isnan(total), -np.inf, total)
    return found


def beta_failure(x: Array, rho: Array, k: Array | int) -> Array:
    """Return the share of steps decided wrongly, E[q^k / (p^k + q^k)], for log-odds x of the mean and correlations rho.

    Beta(19, 1) is x = ln 19, rho = 1/21: k = 4 gives 3.12e-4; equally hard steps have 7.7e-6. Broadcasts.
    """
    x, rho, k = np.broadcast_arrays(x, rho, k)
    found: Array = expit(-k * x)
    spread = (rho > ALIKE) & (k > 1)
    if spread.any():
        # For p < 1/2 use one minus the mirror image: the integral is then small, and precise.
        margin = k[spread].astype(float)
        nodes, weights = _nodes(np.abs(x[spread]), rho[spread], margin)
        less = np.sum(weights * expit(-margin[:, None] * nodes), axis=1)
        found[spread] = np.where(x[spread] < 0, 1 - less, less)
    return found


def beta_votes(x: Array, rho: Array, k: int) -> Array:
    """Return the expected valid votes of a step, E[k tanh(kx/2) / tanh(x/2)], as (2P - 1) / (2p - 1) is that."""
    found = race_votes(x, k)
    spread = rho > ALIKE
    if k > 1 and spread.any():
        nodes, weights = _nodes(np.abs(x[spread]), rho[spread], np.ones(int(spread.sum())))
        found[spread] = k + np.sum(weights * (race_votes(nodes, k) - k), axis=1)
    return found


def race_votes(x: Array, k: int) -> Array:
    """Return the expected votes of races to a lead of k at log-odds x: k^2 at x = 0, near k for large x."""
    safe = np.where(np.abs(x) < 1e-6, 1.0, x)
    votes: Array = np.where(np.abs(x) < 1e-6, float(k * k), k * np.tanh(k * safe / 2) / np.tanh(safe / 2))
    return votes


def _nodes(mean: Array, rho: Array, k: Array) -> tuple[Array, Array]:
    """Return points and weights (means × NODES) to integrate functions that fall like e^(-kx) over Beta distributions.

    The density of x is p^a q^b / B(a, b). Its logarithm is concave, and so is that of 1 / (1 + e^kx): the product has
    one peak, and falls at least exponentially on both sides. Points are densest at the peak: x = peak + d sinh(u).
    """
    a, b = expit(mean) * (1 / rho - 1), expit(-mean) * (1 / rho - 1)

    def log_integrand(x: Array) -> Array:
        found: Array = -(a + b) * _softplus(-x) - b * x - _softplus(k * x)
        return found

    def slope(x: Array) -> Array:
        right = expit(x)
        found: Array = a * (1 - right) - b * right - k * expit(k * x)
        return found

    peak = _crossing(slope, np.minimum(0.0, mean) - 60.0, np.maximum(0.0, mean) + 1.0)
    curve = (a + b) * expit(peak) * expit(-peak) + k * k * expit(k * peak) * expit(-k * peak)
    scale = 3 / np.sqrt(curve)
    floor = log_integrand(peak) - DROP
    far = 10 * DROP / np.minimum(1.0, np.minimum(a, b + k)) + 10 * scale
    left = np.arcsinh(_crossing(lambda d: log_integrand(peak - d) - floor, np.zeros_like(far), far) / scale)
    right = np.arcsinh(_crossing(lambda d: log_integrand(peak + d) - floor, np.zeros_like(far), far) / scale)
    u = -left[:, None] + (left + right)[:, None] * (np.arange(NODES) / (NODES - 1))
    e = np.exp(u)
    x = peak[:, None] + scale[:, None] * (e - 1 / e) / 2
    step = (scale * (left + right) / (NODES - 1))[:, None] * (e + 1 / e) / 2
    log_density = -(a + b)[:, None] * _softplus(-x) - b[:, None] * x - betaln(a, b)[:, None]
    return x, np.exp(log_density) * step


def _softplus(x: Array) -> Array:
    """Return ln(1 + e^x)."""
    found: Array = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return found


def _crossing(falling: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Return the zeros of decreasing functions between low and high, by bisection."""
    for _ in range(34):
        middle = (low + high) / 2
        above = falling(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2


class Region:
    """The distributions of p that a pilot does not rule out, each with its deviance from the likeliest one.

    The deviance is twice the difference in log-likelihood. Row 0 is the likeliest distribution. ``p`` and ``rho`` are
    the mean and the correlation of each. ``weight`` is the posterior probability of each Beta distribution, for a prior
    that is uniform in the root of rho, and Jeffreys' for the mean. Results by k are cached.

    Args:
        x: Log-odds of the means of Beta distributions: the likeliest first, then a grid that does not include it.
        rho: Their correlations.
        deviance: Their deviances.
        free: Further distributions, one a row, as weights of `ATOMS`.
        free_deviance: Their deviances.
    """

    def __init__(self, x: Array, rho: Array, deviance: Array, free: Array | None = None,
                 free_deviance: Array | None = None) -> None:  # fmt: skip
        self._x, self._rho, self._own_deviance = x, rho, deviance
        self._free = np.zeros((0, len(ATOMS))) if free is None else free
        own = np.zeros(0) if free_deviance is None else free_deviance
        # If the free form is used, its likeliest distribution is the estimate: rank the Betas behind it.
        chance = expit(ATOMS)
        mean = self._free @ chance
        between = self._free @ chance**2 - mean**2
        p = np.concatenate([expit(x), mean])
        spread = np.concatenate([rho, between / np.maximum(mean * (1 - mean), 1e-300)])
        rank = np.concatenate([deviance + (10 * (free is not None)), own])
        # Among equally likely distributions the one with the smallest correlation is the estimate.
        self._order = np.lexsort((spread, np.round(rank, 3)))
        self.deviance: Array = np.concatenate([deviance, own])[self._order]
        weight = np.exp(-deviance / 2) * np.sqrt(expit(x) * expit(-x))
        if len(weight) > 1:
            weight[0] = 0.0
        self.weight: Array = np.concatenate([weight / weight.sum(), np.zeros(len(own))])[self._order]
        self.p: Array = p[self._order]
        self.rho: Array = spread[self._order]
        self._failures: dict[int, Array] = {}
        self._votes: dict[int, Array] = {}

    def with_free(self, free: Array, deviance: Array) -> Region:
        """Return this region with added distributions over `ATOMS`; the likeliest of those becomes the estimate."""
        return Region(self._x, self._rho, self._own_deviance, free, deviance)

    def masses(self, points: Array) -> Array:
        """Return the mass of each distribution that is nearest to each of ``points``, log-odds in ascending order."""
        edges = np.concatenate([[-np.inf], (points[1:] + points[:-1]) / 2, [np.inf]])
        whole = 1 / np.maximum(self._rho, ALIKE)[:, None] - 1
        a, b = expit(self._x)[:, None] * whole, expit(-self._x)[:, None] * whole
        beta = np.diff(betainc(np.maximum(a, 1e-12), np.maximum(b, 1e-12), expit(edges)[None, :]), axis=1)
        free = np.zeros((len(self._free), len(points)))
        np.add.at(free.T, np.searchsorted(edges[1:-1], ATOMS), self._free.T)
        masses: Array = np.concatenate([beta, free])[self._order]
        return masses

    def failure(self, k: int) -> Array:
        """Return the share of steps that a race to k decides wrongly under each distribution."""
        if k not in self._failures:
            self.prepare([k])
        return self._failures[k]

    def prepare(self, ks: Sequence[int]) -> None:
        """Compute `failure` for several margins at once, which is faster than one by one."""
        if missing := [k for k in ks if k not in self._failures]:
            betas = beta_failure(self._x, self._rho, np.array(missing)[:, None])
            for k, beta in zip(missing, betas, strict=True):
                self._failures[k] = np.concatenate([beta, self._free @ expit(-k * ATOMS)])[self._order]

    def votes(self, k: int) -> Array:
        """Return the expected valid votes of a step under each distribution."""
        if k not in self._votes:
            parts = [beta_votes(self._x, self._rho, k), self._free @ race_votes(ATOMS, k)]
            self._votes[k] = np.concatenate(parts)[self._order]
        return self._votes[k]


WIDE, FINE, ROUNDS = 33, (25, 21), 60


GRAIN = 0.13
"""Half a step of the grid, in standard deviations of the fit."""


def within(deviance: float) -> float:
    """Return the deviance up to which grid points represent a region: half a grid step beyond its edge."""
    return float((np.sqrt(deviance) + GRAIN) ** 2)


def beta_region(counts: Counts, widest: float) -> Region:
    """Return the Beta distributions whose deviance is at most ``widest``.

    A box in log-odds and the root of rho shrinks around them, and moves if they reach its edge; then it is filled with
    a grid of `FINE` points.
    """
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
    return Region(xs[kept], rhos[kept], deviance[kept])


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


def _peak(counts: Counts, axes: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the log-odds and the root of rho at which the likelihood is largest."""
    bounds = list(axes)
    while True:
        x, root = (np.linspace(*axis, 9) for axis in bounds)
        lik = log_likelihood(counts, expit(x)[:, None], (root**2)[None, :])
        i, j = np.unravel_index(np.argmax(lik), lik.shape)
        bounds = [_reach(values, np.arange(9) == at, axis)
                  for values, at, axis in zip((x, root), (i, j), axes, strict=True)]  # fmt: skip
        if all(high - low < 1e-7 for low, high in bounds):
            return float(x[i]), float(root[j])


def free_region(table: VoteTable, widest: float) -> tuple[Array, Array]:
    """Return distributions over `ATOMS` whose deviance is at most ``widest``, likeliest first, and their deviances.

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
    return np.concatenate(found), np.concatenate(deviances)


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
