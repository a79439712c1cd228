"""How likely steps with losing votes stand as close together as these, if they stand in no order. Pure.

Of n steps in a row m are contested, each m of them as likely. A pair of contested steps is close if the later one is
among the `REACH` steps that follow the earlier one. Bad minutes make contested steps stand together: of ten in a row 30
pairs are close, though they touch one another in only nine places, so that pairs tell what runs of contested steps do
not.

F(y, z), the sum of y^pairs z^contested over all sequences, is the power of a transfer matrix whose states are the last
`REACH` steps (Stanley 2011, Enumerative Combinatorics 1, 4.7). Of the C(n, m) sequences with m contested steps, at most
y^-u [z^m] F(y, z) have u close pairs or more, for any y >= 1 (Chernoff); the coefficient is at most the mean of
F(y, z) z^-m over any evenly spaced points of a circle, as no coefficient is negative.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

REACH = 4
"""How many steps after a contested one another is close to it."""
POINTS = 64
"""Of the circle; with few the bound is wider, never wrong."""
STEEPEST = 20.0
"""The largest log y that is tried: where nearly all pairs are close the best one has no end."""

Complex: TypeAlias = NDArray[np.complex128]
_STATES = 1 << REACH
_STATE = np.arange(_STATES)
_AFTER = (_STATE << 1) % _STATES
_CLOSE = np.array([state.bit_count() for state in range(_STATES)])


def pairs_of(bits: int) -> int:
    """Return how many pairs of contested steps are close; a bit for each step, set where it is contested.

    0b1011 has 3: all of its set bits are within `REACH` of one another.
    """
    return sum((bits & bits >> apart).bit_count() for apart in range(1, REACH + 1))


def expected(steps: int, contested: int) -> float:
    """Return the mean number of close pairs. 3 contested steps of 6 have 2.8: of 15 pairs of places 14 are close."""
    if contested < 2:
        return 0.0
    places = sum(max(0, steps - apart) for apart in range(1, REACH + 1))
    return places * contested * (contested - 1) / (steps * (steps - 1))


def many(steps: int, contested: int, found: int) -> float:
    """Return a bound on P(at least ``found`` pairs are close, given how many steps are contested), 1 below the mean.

    It is about ten times the probability. 10 contested steps of 1,000 with 30 close pairs: 2.4e-19.
    """
    if found <= expected(steps, contested):
        return 1.0
    odds = math.log(contested / max(1, steps - contested))
    best = minimize(
        lambda at: _log_sum(steps, at[0], np.exp(at[1:2])) - found * at[0] - contested * at[1],
        (0.5, odds),
        method="Nelder-Mead",
        bounds=((0.0, STEEPEST), (odds - STEEPEST, odds + STEEPEST)),
        options={"xatol": 1e-3, "fatol": 1e-3, "maxiter": 200},
    ).x
    turn = np.exp(2j * np.pi * np.arange(POINTS) / POINTS)
    circle = np.exp(best[1]) * turn
    log_ways = _log_sum(steps, best[0], circle, turn ** (-contested % POINTS)) - found * best[0] - contested * best[1]
    choices = math.lgamma(steps + 1) - math.lgamma(contested + 1) - math.lgamma(steps - contested + 1)
    return min(1.0, math.exp(min(0.0, log_ways - choices)))


def _log_sum(steps: int, log_y: float, z: Complex, weights: Complex | float = 1.0) -> float:
    """Return the logarithm of the weighted mean of F(y, z) over points z, the first of which is real."""
    power = np.zeros((len(z), _STATES, _STATES), dtype=np.result_type(z, float))
    power[:, _STATE, _AFTER] = 1.0
    power[:, _STATE, _AFTER + 1] += z[:, None] * np.exp(log_y * _CLOSE)
    row = np.zeros((len(z), 1, _STATES), dtype=power.dtype)
    row[:, 0, 0] = 1.0
    scale = power_scale = 0.0
    while steps:
        if steps & 1:
            row = row @ power
            row /= (most := abs(row[0]).max())
            scale += power_scale + math.log(most)
        steps >>= 1
        power = power @ power
        power /= (most := abs(power[0]).max())
        power_scale = 2 * power_scale + math.log(most)
    mean = float((row.sum(axis=(1, 2)) * weights).real.mean())
    return scale + math.log(mean) if mean > 0 else -math.inf
