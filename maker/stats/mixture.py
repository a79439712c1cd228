"""Mixing distributions: how p varies over the steps of a class, and what voting makes of it. Pure.

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

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, expit, xlogy

Array: TypeAlias = NDArray[np.float64]
VoteTable: TypeAlias = Mapping[tuple[int, int], int]
"""(votes for the right answer, votes for others) → number of distinct steps with these votes."""

NODES = 64
"""Points of an integral over x of a log-concave integrand, which is cut off at e^-30 of its peak."""
TRAPEZOID = np.linspace(-1, 1, NODES), np.full(NODES, 2 / (NODES - 1))
"""Points and weights on (-1, 1) for an integrand that has fallen off at both ends: nothing is more precise there."""
GAUSS = np.polynomial.legendre.leggauss(NODES)
"""The same for one that is cut off at its peak."""
DROP = 30.0
ALIKE = 1e-9
"""Below this correlation all steps count as equally hard."""


def not_led(table: VoteTable) -> VoteTable:
    """Return the part of a pilot in which the right answer does not lead: it has no more votes than the others."""
    return {cell: steps for cell, steps in table.items() if cell[0] <= cell[1]}


def log_chances(right: Array, wrong: Array, p: float, rho: float) -> Array:
    """Return the log-chances of votes in a given order, on a step of a Beta of mean ``p`` and correlation ``rho``."""
    if rho > ALIKE and 0 < p < 1:
        a, b = p * (1 / rho - 1), (1 - p) * (1 / rho - 1)
        found: Array = betaln(a + right, b + wrong) - betaln(a, b)
    else:
        found = xlogy(right, p) + xlogy(wrong, 1 - p)
    return found


class Counts(NamedTuple):
    """A pilot's votes for the likelihood: how many steps have more than i right, wrong, and any votes, by i."""

    right: Array
    wrong: Array
    any: Array


def counts_of(table: Mapping[tuple[int, int], float]) -> Counts:
    """Return a pilot's votes in the form of `Counts`; a step may count in part."""
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


def beta_losses(x: Array, rho: Array, k: Array | int) -> Array:
    """Return E[q^k / (p^k + q^k); p > 1/2]: the share of steps that votes would decide rightly, and k decides wrongly.

    It falls to 0 with k, as `beta_failure` does not: that falls to the share of steps with p < 1/2. Broadcasts.
    """
    x, rho, k = np.broadcast_arrays(x, rho, k)
    found: Array = np.where(x > 0, expit(-k * x), 0.0)
    if (spread := rho > ALIKE).any():
        margin = k[spread].astype(float)
        nodes, weights = _nodes(x[spread], rho[spread], margin, least=0.0)
        found[spread] = np.sum(weights * expit(-margin[:, None] * nodes), axis=1)
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


def _nodes(mean: Array, rho: Array, k: Array, least: float = -np.inf) -> tuple[Array, Array]:
    """Return points and weights (means × NODES) to integrate functions that fall like e^(-kx) over Beta distributions.

    The density of x is p^a q^b / B(a, b). Its logarithm is concave, and so is that of 1 / (1 + e^kx): the product has
    one peak, and falls at least exponentially on both sides. Points are densest at the peak: x = peak + d sinh(u). All
    are above ``least``.
    """
    a, b = expit(mean) * (1 / rho - 1), expit(-mean) * (1 / rho - 1)

    def log_integrand(x: Array) -> Array:
        found: Array = -(a + b) * _softplus(-x) - b * x - _softplus(k * x)
        return found

    def slope(x: Array) -> Array:
        right = expit(x)
        found: Array = a * (1 - right) - b * right - k * expit(k * x)
        return found

    peak = np.maximum(_crossing(slope, np.minimum(0.0, mean) - 60.0, np.maximum(0.0, mean) + 1.0), least)
    curve = (a + b) * expit(peak) * expit(-peak) + k * k * expit(k * peak) * expit(-k * peak)
    scale = 3 / np.sqrt(curve)
    floor = log_integrand(peak) - DROP
    far = 10 * DROP / np.minimum(1.0, np.minimum(a, b + k)) + 10 * scale
    below = np.minimum(peak - least, _crossing(lambda d: log_integrand(peak - d) - floor, np.zeros_like(far), far))
    above = _crossing(lambda d: log_integrand(peak + d) - floor, np.zeros_like(far), far)
    left, right = np.arcsinh(below / scale), np.arcsinh(above / scale)
    half, (points, weights) = (left + right)[:, None] / 2, TRAPEZOID if least == -np.inf else GAUSS
    u = (right - left)[:, None] / 2 + half * points
    x = peak[:, None] + scale[:, None] * np.sinh(u)
    step = half * weights * scale[:, None] * np.cosh(u)
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
