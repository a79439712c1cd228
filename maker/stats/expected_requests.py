"""Expected number of requests for a step that is decided by a lead of k. Pure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maker.stats.race import votes_per_step

HALVINGS = 50
"""Steps of the bisection that finds a chance."""


def requests_per_step(votes: float, k: int, valid: float, requests_for: Callable[[int], int]) -> float:
    """Return the expected number of requests of a step that needs a lead of ``k`` and on average ``votes`` valid votes.

    Each round asks for as many samples as could settle the step, in ``requests_for(samples)`` requests; a share
    ``valid`` of the samples are votes.
    """
    right = valid * _chance(votes, k)
    one = np.array([valid - right, 1 - valid, right])
    leads = np.arange(1 - k, k)
    goes = np.zeros((2 * k - 1, 2 * k - 1))
    changes = {0: np.array([1.0])}
    for n in range(1, k + 1):
        changes[n] = np.convolve(changes[n - 1], one)
    for row, lead in enumerate(leads):
        n = k - abs(int(lead))
        for change, chance in enumerate(changes[n], -n):
            if abs(lead + change) < k:
                goes[row, lead + change + k - 1] += chance
    made = np.array([float(requests_for(k - abs(int(lead)))) for lead in leads])
    return float(np.linalg.solve(np.eye(2 * k - 1) - goes, made)[k - 1])


def _chance(votes: float, k: int) -> float:
    """Return the chance that a vote is right, if a lead of ``k`` takes ``votes`` votes: 1 for k votes, 1/2 for k²."""
    low, high = 0.5, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if votes_per_step(middle, k) > votes else (low, middle)
    return low
