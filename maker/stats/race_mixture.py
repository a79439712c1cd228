"""What the losing votes of races to a lead of k say of p where steps differ: p and its correlation. Pure.

Step i has its own p_i, Beta-distributed with mean p and intra-class correlation rho (`maker.stats.mixture`); with
rho = 0 all steps are alike. Against one rival a race ends with l losing votes with probability M(k, l) E[p^(k+l) q^l +
p^l q^(k+l)] (of one step: Feller 1968, An Introduction to Probability Theory I, XIV): the stopping rule is part of the
law, and M does not depend on p. The moments are Pólya's urn: E[p^r q^w] is the product of p(1-rho) + i rho over i < r
and of q(1-rho) + i rho over i < w, divided by that of 1-rho + i rho over i < r+w.

Votes cannot tell a p_i from 1 - p_i. The likelier answer of a step is taken for the right one, so the chance that votes
elected the other one is the share of E[min(p,q)^k (pq)^l] in that law. Steps with many losing votes are the likelier
to be decided wrongly: they are the hard ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, expit

Array: TypeAlias = NDArray[np.float64]

POINTS = (33, 25)
"""Of the grid over the log-odds of p and the root of rho."""
ROUNDS, FILLED = 40, 0.1
"""A grid's box shrinks so many times at most, until this share of its points is likely enough."""
FINE = 1e-3
"""A box that is no wider than this in log-odds is a point."""
WIDEST = 0.99
"""The largest correlation that is considered."""
ALIKE = 1e-9
"""Below this correlation all steps count as alike."""
MOST = 255
"""A race with more losing votes than these counts as one that was cut off at them."""


class Races(NamedTuple):
    """Races to a lead of ``k``: losing votes → steps, of those that were decided, and of those that were cut off.

    Of a race that was cut off the lead is not known: it is taken for 0, which fits a small p best.
    """

    k: int
    decided: Mapping[int, int]
    cut: Mapping[int, int]


class Estimate(NamedTuple):
    """A figure at the likeliest p and rho, and its range over all whose likelihood is near enough."""

    low: float
    value: float
    high: float


class Fitted(NamedTuple):
    """What races say.

    ``p`` is that of a step's likelier answer, ``rho`` the correlation, ``log_right`` log P(all steps are decided for
    it), ``wrong`` how many are expected not to be; ``mean`` is the likeliest Beta distribution's own.
    """

    p: Estimate
    rho: Estimate
    log_right: Estimate
    wrong: Estimate
    mean: float


def fit_races(races: Races, deviance: float) -> Fitted:
    """Return the likeliest Beta distribution's figures, and their ranges within a deviance from it.

    The deviance is twice the difference in log-likelihood. The profile of each figure lies within it: its range over
    all distributions whose likelihood is near enough.
    """
    table = _table(races)
    # Its deviance being 0, the first grid shrinks to the peak; the second holds all that is near enough to it.
    parts = zip(_grid(table, 0.0), _grid(table, deviance), strict=True)
    grid = _Grid(*(np.concatenate([peak, region]) for peak, region in parts))
    # Among equally likely distributions the one with the smallest correlation is the estimate.
    best = int(np.lexsort((grid.root, -np.round(grid.likelihood, 4)))[0])
    kept = 2 * (grid.likelihood[best] - grid.likelihood) <= deviance
    xs = np.append(grid.x[best], grid.x[kept])
    rhos = np.append(grid.root[best], grid.root[kept]) ** 2
    p = expit(xs)
    wrong = _wrong(races.k, table.losing, p, rhos)
    return Fitted(
        _range(_likelier(p, rhos)),
        _range(rhos),
        _range(np.log1p(-wrong) @ table.decided),
        _range(wrong @ table.decided),
        float(p[0]),
    )


def law(k: int, p: float, rho: float, courses: Sequence[float]) -> list[float]:
    """Return the probabilities of 0, 1, 2, … losing votes; ``courses`` are the log M(k, l)."""
    right, other = _sides(k, np.arange(len(courses)), np.array([p]), np.array([rho]))
    return [float(chance) for chance in np.exp(np.array(courses) + np.logaddexp(right, other)[0])]


class _Table(NamedTuple):
    """Races by their losing votes, in ascending order: how many were decided, how many cut off."""

    k: int
    losing: NDArray[np.int64]
    decided: Array
    cut: Array


def _table(races: Races) -> _Table:
    decided = {losing: steps for losing, steps in races.decided.items() if losing <= MOST}
    cut = {losing: steps for losing, steps in races.cut.items() if losing <= MOST}
    if beyond := sum(steps for by in (races.decided, races.cut) for losing, steps in by.items() if losing > MOST):
        cut[MOST] = cut.get(MOST, 0) + beyond
    losing = sorted(decided.keys() | cut.keys())
    counts = (np.array([by.get(one, 0) for one in losing], dtype=float) for by in (decided, cut))
    return _Table(races.k, np.array(losing, dtype=np.int64), *counts)


class _Grid(NamedTuple):
    """Log-odds of the mean and roots of rho, and the log-likelihood of each pair."""

    x: Array
    root: Array
    likelihood: Array


def _grid(table: _Table, deviance: float) -> _Grid:
    """Return a grid over the pairs within a deviance of the likeliest one, or around that one if they are few."""
    votes = float((table.decided + table.cut) @ (table.k + 2 * table.losing))
    ends = ((0.0, float(np.log(1e5 * (votes + 1)))), (0.0, float(np.sqrt(WIDEST))))
    axes = ends
    for _ in range(ROUNDS):
        x, root = (np.linspace(*axis, n) for axis, n in zip(axes, POINTS, strict=True))
        xs, roots = (grid.ravel() for grid in np.meshgrid(x, root, indexing="ij"))
        found = _Grid(xs, roots, _likelihood(table, expit(xs), roots**2))
        kept = 2 * (found.likelihood.max() - found.likelihood) <= deviance
        if kept.mean() >= FILLED or axes[0][1] - axes[0][0] < FINE:
            break
        # The likelihood is a narrow ridge, which a coarse grid may miss: the box shrinks around the best of its points.
        best = found.likelihood >= np.quantile(found.likelihood, 1 - FILLED)
        near: NDArray[np.bool_] = (kept | best).reshape(POINTS)
        axes = (_around(x, np.any(near, axis=1), ends[0]), _around(root, np.any(near, axis=0), ends[1]))
    return found


def _likelihood(table: _Table, p: Array, rho: Array) -> Array:
    right, other = _sides(table.k, table.losing, p, rho)
    found: Array = np.logaddexp(right, other) @ table.decided
    if table.cut.any():
        found = found + _moments(table.losing, table.losing, p, rho) @ table.cut
    return found


def _sides(k: int, losing: NDArray[np.int64], p: Array, rho: Array) -> tuple[Array, Array]:
    """Return log E[p^(k+l) q^l] and log E[p^l q^(k+l)], distributions × losing votes."""
    return _moments(losing + k, losing, p, rho), _moments(losing, losing + k, p, rho)


def _moments(right: NDArray[np.int64], wrong: NDArray[np.int64], p: Array, rho: Array) -> Array:
    found: Array = _urn(p, rho, right) + _urn(1 - p, rho, wrong) - _urn(np.ones_like(p), rho, right + wrong)
    return found


def _urn(share: Array, rho: Array, draws: NDArray[np.int64]) -> Array:
    """Return the log of the product of share (1-rho) + i rho over i < n, for each n of ``draws``."""
    i = np.arange(int(draws.max(initial=0)))
    with np.errstate(divide="ignore"):
        steps = np.log((share * (1 - rho))[:, None] + rho[:, None] * i)
    sums = np.concatenate([np.zeros((len(share), 1)), np.cumsum(steps, axis=1)], axis=1)
    found: Array = sums[:, draws]
    return found


def _wrong(k: int, losing: NDArray[np.int64], p: Array, rho: Array) -> Array:
    """Return the chance that a race with so many losing votes elected the less likely answer."""
    right, other = _sides(k, losing, p, rho)
    both = np.logaddexp(right, other)
    a, b = _parameters(p, rho)
    a, b, votes = a[:, None], b[:, None], losing.astype(float)
    # In a step with p < 1/2 the right answer is the other one, and "right" votes for the wrong one have elected it.
    small = np.exp(other - both) * (1 - betainc(a + votes, b + k + votes, 0.5))
    small += np.exp(right - both) * betainc(a + k + votes, b + votes, 0.5)
    same = (rho <= ALIKE)[:, None]
    found: Array = np.where(same, np.exp(np.minimum(right, other) - both), small)
    return found


def _likelier(p: Array, rho: Array) -> Array:
    """Return the mean of max(p_i, 1 - p_i)."""
    a, b = _parameters(p, rho)
    found: Array = np.where(
        rho <= ALIKE, np.maximum(p, 1 - p), p * (1 - betainc(a + 1, b, 0.5)) + (1 - p) * betainc(a, b + 1, 0.5)
    )
    return found


def _parameters(p: Array, rho: Array) -> tuple[Array, Array]:
    whole = 1 / np.maximum(rho, ALIKE) - 1
    return np.maximum(p * whole, 1e-300), np.maximum((1 - p) * whole, 1e-300)


def _range(values: Array) -> Estimate:
    return Estimate(float(values.min()), float(values[0]), float(values.max()))


def _around(values: Array, near: NDArray[np.bool_], ends: tuple[float, float]) -> tuple[float, float]:
    """Return the interval where ``near`` holds, one point wider on each side."""
    found, step = np.flatnonzero(near), float(values[1] - values[0])
    return max(ends[0], float(values[found[0]]) - step), min(ends[1], float(values[found[-1]]) + step)
