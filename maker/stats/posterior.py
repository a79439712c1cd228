"""Steps of a run that a pilot has asked itself: how many of them a race decides wrongly, given their own votes. Pure.

Of a step that was drawn from elsewhere nothing is known but the distribution of p over steps. One that the pilot asked
has votes of its own: its p is distributed as steps are that got such votes (Bayes' rule, the distribution over steps
in place of a prior: empirical Bayes, Robbins 1956). A pilot of all steps of a task leaves no step open that it saw
none of, and many votes on the few hard ones settle what a distribution fitted to all would leave open.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from maker.stats.mixture import Array, Heard, Region

GRID = np.concatenate([np.arange(-6.0, 6.0, 0.05), np.arange(6.0, 16.1, 0.5)])
"""Log-odds at which distributions are taken."""
NARROW = 0.2
"""Distributions whose log-odds spread by less than this are taken as they are: votes say little of steps so alike."""


class Posterior:
    """The steps that a pilot asked, under each of the distributions that it does not rule out.

    Args:
        region: The distributions.
        heard: (votes for the right answer, votes for others) → number of steps.
    """

    def __init__(self, region: Region, heard: Heard) -> None:
        cells = np.array(list(heard), dtype=float)
        self._steps = np.array(list(heard.values()), dtype=float)
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
