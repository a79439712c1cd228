"""The share of steps that reach their most votes before any answer has won. Pure."""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, logit

from maker.stats.difficulty import Difficulty
from maker.stats.mixture import ALIKE, Array

CELLS = 400
"""How many equal cells from 0 to 1 represent a distribution of p."""


def unsettled(p: Array, k: int, votes: int) -> Array:
    """Return the probability that a race to a lead of k between two answers is not over after ``votes`` votes.

    A race to 2 of p = 1/2 goes on at even odds after every second vote: .5 after two votes, .25 after four.
    """
    if votes < k:
        return np.ones_like(p)
    return _walked(p, k, votes) if votes < k * k / 16 else _summed(p, k, votes)


def _walked(p: Array, k: int, votes: int) -> Array:
    """Compute `unsettled` by stepping through the votes with the chances of all leads, for each p."""
    at = np.zeros((len(p), 2 * k - 1))
    at[:, k - 1] = 1.0
    for _ in range(votes):
        after = np.zeros_like(at)
        after[:, 1:] = at[:, :-1] * p[:, None]
        after[:, :-1] += at[:, 1:] * (1 - p)[:, None]
        at = after
    found: Array = at.sum(axis=1)
    return found


def _summed(p: Array, k: int, votes: int) -> Array:
    """Compute `unsettled` by the Fourier sum of a walk that is absorbed at both ends (Feller 1968, I, XIV.5).

    Its terms are as large as e^(k^2 / (2 votes)), and cancel: with few votes the sum loses all its digits.
    """
    # Clip p so near 1 that a power would overflow: the result is 0 in all digits anyway.
    x = np.clip(logit(np.clip(p, 1e-300, 1 - 1e-16)), -600 / k, 600 / k)
    turns = np.arange(1, 2 * k, 2) * np.pi / (2 * k)
    places = np.arange(1, 2 * k)
    drift = np.exp(0.5 * np.outer(x, places - k))
    with np.errstate(divide="ignore"):
        sizes = np.exp(votes * (np.log(np.abs(np.cos(turns))) - np.log(np.cosh(x / 2))[:, None]))
    signs = np.sign(np.cos(turns)) ** votes * np.sin(turns * k)
    found: Array = np.sum(sizes * signs * (drift @ np.sin(np.outer(places, turns))), axis=1) / k
    return np.clip(found, 0.0, 1.0)


def share_unsettled(difficulty: Difficulty, k: int, votes: int) -> float:
    """Return the share of a class's steps whose race is not over after ``votes`` votes, under the likeliest Beta."""
    mean, rho = difficulty.p.estimate, difficulty.correlation.estimate
    if not ALIKE < rho < 1 or not 0 < mean < 1:
        return float(unsettled(np.array([mean]), k, votes)[0])
    edges = np.linspace(0, 1, CELLS + 1)
    mass = np.diff(betainc(mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1), edges))
    return float(mass @ unsettled((edges[1:] + edges[:-1]) / 2, k, votes))
