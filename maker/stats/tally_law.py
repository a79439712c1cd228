"""The law of a step's votes for the right answer and for the strongest of several rivals. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import expit, gammaln, xlog1py, xlogy

from maker.stats.mixture import Array

ODDS = np.concatenate([np.arange(-6.0, 6.0, 0.04), np.arange(6.0, 16.1, 0.25)])
"""Log-odds of p at which laws are evaluated."""


class Likeliest(NamedTuple):
    """The likeliest laws: the masses of p at `ODDS`; K and c of the shares."""

    mass: Array
    rivals: float
    spread: float


class TallyLaw:
    """The law of a step's votes for the right answer and for the rival that has most, under one law of p and of shares.

    Args:
        laws: Of p and of the shares.
        most: Steps have so many votes at most.
    """

    def __init__(self, laws: Likeliest, most: int) -> None:
        self._mass, self._rivals, self._spread = laws
        self._most = most
        # Votes are counted in parts of this, so that the terms of a series of many stay near 1.
        self._unit = (self._rivals + self._spread * most) / max(1, most)
        self._found: dict[int, Array] = {}

    def behind(self, votes: int) -> float:
        """Return the chance that the right answer has no more of so many votes than some rival."""
        law = self._right(votes)
        return float(sum(law[right] * (1 - self._below(right)[votes - right]) for right in range(votes + 1)))

    def at_least(self, right: int, parts: Sequence[int]) -> float:
        """Return the chance of no more right votes than these, and a rival with as many votes or more."""
        votes, rival = right + sum(parts), max(parts)
        law, below = self._right(votes), self._below(rival)
        return float(sum(law[fewer] * (1 - below[votes - fewer]) for fewer in range(right + 1)))

    def _right(self, votes: int) -> Array:
        """Return the chances of 0, 1, … right votes."""
        right, p = np.arange(votes + 1.0)[:, None], expit(ODDS)
        orders = gammaln(votes + 1) - gammaln(right + 1) - gammaln(votes - right + 1)
        found: Array = np.exp(orders + xlogy(right, p) + xlog1py(votes - right, -p)) @ self._mass
        return found

    def _below(self, limit: int) -> Array:
        """Return the chance that every rival has fewer votes than the limit, by the number of wrong votes.

        It is a coefficient of the generating function of one rival's votes to the power of K.
        """
        if limit not in self._found:
            place = np.arange(self._most)
            steps = (1 + place * self._spread) / (place + 1) / self._unit
            one = np.where(np.arange(self._most + 1) < limit, np.append(1.0, np.cumprod(steps)), 0.0)
            all_votes = np.append(1.0, np.cumprod((self._rivals + place * self._spread) / (place + 1) / self._unit))
            self._found[limit] = np.clip(_power(one, int(self._rivals)) / all_votes, 0.0, 1.0)
        return self._found[limit]


def _power(series: Array, exponent: int) -> Array:
    """Return a power of a series, up to as many terms as it has."""
    found: Array = np.append(1.0, np.zeros(len(series) - 1))
    while exponent:
        if exponent & 1:
            found = _product(found, series)
        series, exponent = _product(series, series), exponent >> 1
    return found


def _product(one: Array, other: Array) -> Array:
    found: Array = np.asarray(np.convolve(one, other)[: len(one)], dtype=np.float64)
    return found
