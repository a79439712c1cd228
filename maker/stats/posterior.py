"""The risk of steps that the pilot itself has asked, given their own votes. Pure.

For any other step only the distribution of p over steps is known. A step that the pilot asked has votes of its own: its
p follows the distribution of steps with such votes (empirical Bayes, Robbins 1956: the distribution over steps is the
prior). If the pilot asked all steps of a task, no unknown steps remain, and many votes on the few hard ones settle what
a distribution fitted to all steps would leave open.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from maker.stats.mixture import Array, VoteTable
from maker.stats.region import Region

GRID = np.concatenate([np.arange(-6.0, 6.0, 0.05), np.arange(6.0, 16.1, 0.5)])
"""Log-odds at which distributions are evaluated."""
NARROW = 0.2
"""Distributions whose log-odds vary by less than this are used as they are: a step's own votes would add little."""


class Posterior:
    """The steps that a pilot asked, under each distribution that it does not rule out.

    Args:
        region: The distributions.
        table: (votes for the right answer, votes for others) → number of steps.
    """

    def __init__(self, region: Region, table: VoteTable) -> None:
        cells = np.array(list(table), dtype=float)
        self._steps = np.array(list(table.values()), dtype=float)
        self._region = region
        self._narrow = np.sqrt(region.rho / np.maximum(region.p * (1 - region.p), 1e-12)) < NARROW
        log_chance = cells[:, :1] * -np.logaddexp(0, -GRID) + cells[:, 1:] * -np.logaddexp(0, GRID)
        self._chance = np.exp(log_chance - log_chance.max(axis=1, keepdims=True)).T
        self._masses = region.masses(GRID)
        self._whole = np.maximum(self._masses @ self._chance, 1e-300)

    def load(self, k: int) -> Array:
        """Return sum (-ln(1 - f)) over the steps, f the chance that a race to k decides a step wrongly."""
        wrong = (self._masses * expit(-k * GRID)) @ self._chance / self._whole
        own: Array = -np.log1p(-np.minimum(wrong, 1 - 1e-12)) @ self._steps
        alike = -np.log1p(-np.minimum(self._region.failure(k), 1 - 1e-12)) * self._steps.sum()
        return np.where(self._narrow, alike, own)
