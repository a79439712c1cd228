"""In how many requests a race to a lead of k is asked for. Pure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maker.stats.race import votes_per_step

HALVINGS = 50
"""So often the interval is halved in which a chance is looked for."""


def requests_per_step(votes: float, k: int, valid: float, requests_for: Callable[[int], int]) -> float:
    """Return how many requests a step takes whose race to ``k`` takes so many valid votes on average.

    Each round asks for as many samples as could settle the step, in ``requests_for`` so many requests; ``valid`` of
    them are votes.
    """
    right = valid * _chance(votes, k)
    one = np.array([valid - right, 1 - valid, right])
    leads = np.arange(1 - k, k)
    goes = np.zeros((2 * k - 1, 2 * k - 1))
    told = {0: np.array([1.0])}
    for n in range(1, k + 1):
        told[n] = np.convolve(told[n - 1], one)
    for row, lead in enumerate(leads):
        n = k - abs(int(lead))
        for change, chance in enumerate(told[n], -n):
            if abs(lead + change) < k:
                goes[row, lead + change + k - 1] += chance
    made = np.array([float(requests_for(k - abs(int(lead)))) for lead in leads])
    return float(np.linalg.solve(np.eye(2 * k - 1) - goes, made)[k - 1])


def _chance(votes: float, k: int) -> float:
    """Return how often a vote is right in a race to ``k`` that takes so many: from 1, for k votes, to 1/2, for k²."""
    low, high = 0.5, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if votes_per_step(middle, k) > votes else (low, middle)
    return low
