"""Test whether a pilot shows steps whose right answer is not the most frequent one, beside a Beta of the others. Pure.

No margin decides such a hard step rightly. A Beta explains a few of them by a wide distribution of all steps: two rows
with 77 right of 210 votes and 83 of 210 are no surprise to the Beta that is fitted to them too, so that a test of what
is extreme under it passes them. Here the Beta is fitted to the other steps: of what steps are, the likeliest mixture is
found with a share h of hard ones, their p uniform below 1/2, and compared with the likeliest Beta (h = 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import betainc, betaln, expit

from maker.stats.mixture import Array, VoteTable, log_chances
from maker.stats.region import likeliest_beta

SURPRISE = 9.0
"""From this deviance on hard steps are shown. As h = 0 is the edge of the mixtures, a Beta that is true exceeds it
about half as often as chi-square with one degree of freedom does: in .13 % of the pilots."""
CLIMBS, GAIN = 25, 0.01
"""The climb ends after so many steps, or with a gain of the log-likelihood below this."""
NONE = 1e-3
"""Fewer hard steps than this are none."""


class HardSteps(NamedTuple):
    """The likeliest share of hard steps, and the deviance of having none."""

    share: float
    deviance: float

    @property
    def shown(self) -> bool:
        """Whether the pilot shows hard steps."""
        return self.deviance >= SURPRISE


def hard_steps(table: VoteTable) -> HardSteps:
    """Return what a pilot shows of hard steps, by an EM climb (Dempster, Laird and Rubin 1977, J. R. Statist. Soc. B).

    That some steps have more votes, chosen by their first ones, does not bias a likelihood (Rubin 1976, Biometrika 63,
    581-592).

    271 steps of 10:0, 27 of 9:1, one of 8:2 and one of 4:6 give a share of .0034 and a deviance of 10.8: hard steps are
    shown. 6:4 instead has 1.1.
    """
    cells, steps = np.array(list(table)), np.array(list(table.values()), dtype=float)
    right, wrong = cells.T
    if not (suspect := wrong >= right).any():
        return HardSteps(0.0, 0.0)
    of_hard = np.log(2) + betaln(right + 1, wrong + 1) + np.log(betainc(right + 1, wrong + 1, 0.5))
    of_beta = _of_beta(right, wrong, table)
    none = float(of_beta @ steps)
    chance, found, share, whole = np.where(suspect, 0.9, 0.0), -np.inf, 0.0, float(steps.sum())
    for _ in range(CLIMBS):
        met, before = float(chance @ steps), found
        if not NONE < met < whole - NONE:
            return HardSteps(0.0, 0.0)
        share = met / whole
        rest = {(int(r), int(w)): n for (r, w), n in zip(cells, (1 - chance) * steps, strict=True) if n > 0}
        other = np.log1p(-share) + _of_beta(right, wrong, rest)
        both = np.logaddexp(other, np.log(share) + of_hard)
        chance, found = np.exp(np.log(share) + of_hard - both), float(both @ steps)
        if found - before < GAIN:
            break
    return HardSteps(share, max(0.0, 2 * (found - none)))


def _of_beta(right: Array, wrong: Array, table: Mapping[tuple[int, int], float]) -> Array:
    """Return the log-chances of votes under the likeliest Beta of a table."""
    x, rho = likeliest_beta(table)
    return log_chances(right, wrong, float(expit(x)), rho)
