"""The law of how many pairs of contested steps are close (`maker.stats.close_pairs`). Pure.

F(y, z), the sum of y^pairs z^contested over all sequences, is a power of a transfer matrix whose states are the last
steps that a later one may be close to (Stanley 2011, Enumerative Combinatorics 1, 4.7). What is asked for, the number
of sequences with m contested steps and u close pairs or more, is the mean of F(y, z) y^-u z^-m / (1 - 1/y) over the
circles through any y > 1 and z > 0. Evenly spaced points of them give an upper bound, however few: no coefficient of
F is negative, so what such a mean takes in besides is not either.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from maker.stats.dispersion import log_choose

POINTS = 32
"""Of each circle; with few the bound is wider, never wrong."""
STEEPEST = 20.0
"""The largest log y that is tried: where nearly all pairs are close the best one has no end."""
CERTAIN = 1e-8
"""A bound below this, which one point gives, is not made narrower: it is below every level that is looked for."""

Floats: TypeAlias = NDArray[np.float64]
Points: TypeAlias = NDArray[np.inexact[Any]]
"""Real, or complex."""


def tail(steps: int, contested: int, found: int, reach: int) -> float:
    """Return a bound on P(at least ``found`` pairs are close, given how many steps are contested).

    Those are close that are among ``reach`` steps after one another. ``found`` is above the mean. For runs of some
    thousand steps it is the probability where that is between 1e-8 and 1e-3, to three digits; for a million steps ten
    times that. Below `CERTAIN` it is a wider bound.
    """
    odds = math.log(contested / max(1, steps - contested))
    choices = log_choose(steps, contested)

    def log_bound(at: Floats, y: Points, z: Points, weights: Points | float = 1.0) -> float:
        """Return the logarithm of what the points give, which lie on circles through exp(at)."""
        return _log_mean(steps, reach, y, z, weights) - float(at @ (found, contested)) - choices

    best = minimize(
        lambda at: log_bound(at, np.exp(at[:1]), np.exp(at[1:])),
        (0.5, odds),
        method="Nelder-Mead",
        bounds=((0.0, STEEPEST), (odds - STEEPEST, odds + STEEPEST)),
        options={"xatol": 1e-3, "fatol": 1e-3, "maxiter": 200},
    )
    if not math.log(CERTAIN) < best.fun < 0.0:
        return min(1.0, math.exp(min(0.0, best.fun)))
    turn = np.exp(2j * np.pi * np.arange(POINTS) / POINTS)
    y, z = (one.ravel() for one in np.meshgrid(np.exp(best.x[0]) * turn, np.exp(best.x[1]) * turn))
    phases = np.outer(turn ** (-contested % POINTS), turn ** (-found % POINTS)).ravel()
    return math.exp(min(best.fun, log_bound(best.x, y, z, phases / (1 - 1 / y))))


def _log_mean(steps: int, reach: int, y: Points, z: Points, weights: Points | float = 1.0) -> float:
    """Return the logarithm of the weighted mean of F over points (y, z), the first of which is real."""
    states = np.arange(1 << reach)
    after, close = (states << 1) % len(states), np.array([state.bit_count() for state in range(len(states))])
    power: Points = np.zeros((len(z), len(states), len(states)), dtype=z.dtype)
    power[:, states, after] = 1.0
    power[:, states, after + 1] = z[:, None] * y[:, None] ** close
    row: Points = np.zeros((len(z), 1, len(states)), dtype=z.dtype)
    row[:, 0, 0] = 1.0
    scale = power_scale = 0.0
    while True:
        if steps & 1:
            row = row @ power
            row = row / (most := abs(row[0]).max())
            scale += power_scale + math.log(most)
        steps >>= 1
        if not steps:
            break
        power = power @ power
        power = power / (most := abs(power[0]).max())
        power_scale = 2 * power_scale + math.log(most)
    mean = float((row.sum(axis=(1, 2)) * weights).real.mean())
    return scale + math.log(mean) if mean > 0 else -math.inf
