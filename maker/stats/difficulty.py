"""Estimate how hard the steps of a class are from a pilot: p, how difficulty varies, and what voting makes of it. Pure.

A pilot asks for m votes on each of n distinct steps and compares them with the right answer. What matters for a plan is
not the mean p but E[q^k / (p^k + q^k)] over the steps: the share of steps that a race to k decides wrongly if all
wrong votes are for one rival (the worst case: more rivals of the same mass only make a step safer).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, chdtrc, chdtri, gammaln

from maker.stats.hard_steps import HardSteps, hard_steps
from maker.stats.mixture import Array, VoteTable, counts_of, log_chances
from maker.stats.race import step_right, votes_per_step
from maker.stats.region import Region, beta_region, correlations, free_region, within

MISFIT = 0.002
"""If the test of the Beta's fit has a smaller p-value than this, the free form is used."""
EXPECTED = 5.0
"""Expected steps that a cell of the test of fit needs; smaller cells are merged."""
TINY = 1e-9
WIDEST_DEVIANCE = 10.83
"""Distributions up to at least this deviance are kept: .999 for one degree of freedom."""


class Interval(NamedTuple):
    """An estimate between two bounds."""

    low: float
    estimate: float
    high: float


class Mode(StrEnum):
    """Whether the pilot shows that the right answer is the most frequent one."""

    RIGHT = "right"
    """p is above one half, with the given confidence: votes help."""
    RIVAL = "rival"
    """p is below one half, with the given confidence: against one rival, more votes make it worse."""
    OPEN = "open"
    """The interval of p contains one half."""


class Difficulty:
    """The difficulty of a class's steps, as a pilot shows it. Made by `fit`; intervals are two-sided at ``confidence``.

    The intervals of `failure`, `votes_per_step` and ``correlation`` span the distributions that the pilot does not rule
    out: those whose deviance is at most the quantile of chi-square with one degree of freedom (profile likelihood:
    Wilks 1938, Ann. Math. Statist. 9, 60-62).
    `benchmarks/stats/coverage.py` measures how often they hold.

    Attributes:
        table: The pilot's votes, as given to `fit`, without steps that have no valid vote.
        confidence: Of the intervals.
        steps: Distinct steps with a valid vote.
        votes: Valid votes.
        p: Mean over the steps of the chance that a valid vote is right. The interval is exact (Clopper and Pearson) if
            each step has one vote. Else it is Clopper and Pearson's for as many independent votes as would vary as much
            as these (Korn and Graubard 1998, Survey Methodology 24, 193-201), or the range of the likely distributions
            if that is wider.
        correlation: The intra-class correlation rho: how much more two votes on the same step agree than votes on
            different steps. From 0 to 1 if no step has two votes.
        paired: Whether some step has two votes; else the pilot does not show how steps differ.
        fits: The p-value of the Beta-binomial, by Pearson's chi-square; 1 if there are too few cells to test.
        hard: Steps whose right answer is not the most frequent one, beside those that a Beta fits.
        mode: Whether the right answer is shown to be the most frequent one.
        hard_share: Exact upper bound on the share of any kind of steps that the pilot never met, 1 -
            (1 - confidence)^(1/n): 3/n at .95. No fit rules out that this many steps differ from all others.
        region: The distributions that are not ruled out: Betas, or free ones where a Beta does not fit or ``hard``
            steps are shown.
        closer: The votes that ``region`` is fitted to: ``table``, with the extra votes on some steps if there are any.
        tested: The votes that ``fits`` tests.
    """

    def __init__(
        self, table: VoteTable, confidence: float, closer: VoteTable | None = None, tested: VoteTable | None = None
    ) -> None:
        _check(table, confidence)
        self.table: VoteTable = {cell: steps for cell, steps in table.items() if steps and sum(cell)}
        self.closer = self.table
        if closer:
            _check(closer, confidence)
            self.closer = {cell: steps for cell, steps in closer.items() if steps and sum(cell)}
        self.confidence = confidence
        self.steps = sum(self.table.values())
        self.votes = sum(sum(cell) * steps for cell, steps in self.table.items())
        self.paired = any(sum(cell) > 1 for cell in self.table)
        self.hard_share: float = -float(np.expm1(np.log1p(-confidence) / self.steps))
        self._allowed = within(float(chdtri(1, 1 - confidence)))
        widest = max(self._allowed, WIDEST_DEVIANCE)
        beta = beta_region(self.closer, widest)
        self.tested = tested or self.table
        shape = beta if tested is None else beta_region(tested, widest)
        self.fits = _fit(self.tested, float(shape.p[0]), float(shape.rho[0])) if self.paired else 1.0
        self.hard = hard_steps(self.closer) if self.paired else HardSteps(0.0, 0.0)
        bends = self.fits < MISFIT or self.hard.shown
        self.region: Region = free_region(self.closer, widest) if bends else beta
        self.p = self._share()
        self.correlation = Interval(0.0, 0.0, 1.0)
        if self.paired:
            low, high = correlations(counts_of(self.closer), beta, float(chdtri(1, 1 - confidence)))
            estimate = float(self.region.rho[0])
            self.correlation = Interval(min(low, estimate), estimate, max(high, estimate))
        low, _, high = self.p
        # The strongest of several rivals, counted in the votes that name it, looks stronger than it is.
        self.mode = Mode.RIGHT if low > 0.5 else Mode.RIVAL if high < 0.5 and tested is None else Mode.OPEN

    def failure(self, k: int) -> Interval:
        """Return the share of steps that a race to k decides wrongly, E[q^k / (p^k + q^k)].

        Steps with p < 1/2 count as often as the pilot has met them: how often they may be without having been met is
        `hard_share`. Raises ``ValueError`` for k below 1.
        """
        return self._over(self.region.failure(_margin(k)))

    def votes_per_step(self, k: int) -> Interval:
        """Return the expected valid votes of a step, E[k (2P - 1) / (2p - 1)]."""
        return self._over(self.region.votes(_margin(k)))

    def independent(self, k: int) -> Interval:
        """Return the share of steps that a race to k decides wrongly if all are equally hard, q^k / (p^k + q^k)."""
        low, estimate, high = (1 - step_right(max(p, TINY), _margin(k)) for p in self.p[::-1])
        return Interval(low, estimate, high)

    def independent_votes(self, k: int) -> Interval:
        """Return the expected valid votes of a step if all are equally hard."""
        found = sorted(votes_per_step(max(p, TINY), _margin(k)) for p in (self.p.low, self.p.high))
        return Interval(found[0], votes_per_step(max(self.p.estimate, TINY), k), found[1])

    def grown(self, factor: int) -> Difficulty:
        """Return the difficulty that a pilot of ``factor`` times as many steps would show with the same shares."""
        table, closer = ({cell: n * factor for cell, n in cells.items()} for cells in (self.table, self.closer))
        return Difficulty(table, self.confidence, closer, self.tested)

    def _over(self, values: Array) -> Interval:
        likely = values[self.region.deviance <= self._allowed]
        return Interval(float(likely.min()), float(values[0]), float(likely.max()))

    def _share(self) -> Interval:
        right = sum(cell[0] * steps for cell, steps in self.table.items())
        estimate = right / self.votes
        likely = self.region.p[self.region.deviance <= self._allowed]
        low, high = clopper_pearson(estimate, self._independent_votes(estimate), self.confidence)
        if self.paired:
            low, high = min(low, float(likely.min())), max(high, float(likely.max()))
        return Interval(low, estimate, 1.0 if right == self.votes else high)

    def _independent_votes(self, estimate: float) -> float:
        """Return how many independent votes would vary as these do, by the variance between steps."""
        if not self.paired:
            return float(self.votes)
        variation = sum(steps * (cell[0] - estimate * sum(cell)) ** 2 for cell, steps in self.table.items())
        if self.steps == 1 or variation == 0:
            return float(self.steps)
        effect = variation * self.steps / (self.steps - 1) / (self.votes * estimate * (1 - estimate))
        return self.votes / max(1.0, effect)


def fit(
    table: VoteTable, confidence: float = 0.95, closer: VoteTable | None = None, tested: VoteTable | None = None
) -> Difficulty:
    """Return the difficulty of a class's steps, as a pilot shows it.

    Args:
        table: (votes for the right answer, votes for others) → number of distinct steps with these votes. Flagged
            samples are not counted; steps without a valid vote are ignored.
        confidence: Of the two-sided intervals. For intervals that hold for c classes at once, use 1 - .05 / c.
        closer: The same, with extra votes on some steps that were chosen by their votes. p and the test of fit use
            ``table`` alone, because such a choice would bias them. It does not bias the likelihood (Rubin 1976,
            Biometrika 63, 581-592), by which hard steps are looked for.
        tested: The votes for the test of fit, if ``table`` counts only the strongest of several rivals: the largest of
            several counts follows no Beta-binomial.

    Raises:
        ValueError: There is no valid vote, a count is negative, or the confidence is not in (0, 1).
    """
    return Difficulty(table, confidence, closer, tested)


def clopper_pearson(share: float, votes: float, confidence: float) -> tuple[float, float]:
    """Return the exact two-sided interval of a chance, given the share of ``votes`` that had it.

    0 of 300 at .95 gives (0, .0122): 1 - .025^(1/300).
    """
    risk, right = (1 - confidence) / 2, share * votes
    low = 0.0 if right <= 0 else float(betaincinv(right, votes - right + 1, risk))
    high = 1.0 if right >= votes else float(betaincinv(right + 1, votes - right, 1 - risk))
    return low, high


def _margin(k: int) -> int:
    if k < 1:
        raise ValueError(f"k = {k}: must be at least 1")
    return k


def _check(table: VoteTable, confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: must lie between 0 and 1")
    if any(min(*cell, steps) < 0 for cell, steps in table.items()):
        raise ValueError("a pilot's counts are below 0")
    if not any(steps and sum(cell) for cell, steps in table.items()):
        raise ValueError("the pilot has no valid vote")


def _fit(table: VoteTable, p: float, rho: float) -> float:
    """Return the p-value of Pearson's chi-square, given how many votes each step has.

    Cells are merged, starting with the hardest steps, until each expects `EXPECTED` steps; the two parameters take two
    degrees of freedom.
    """
    by_votes: dict[int, dict[int, int]] = {}
    for (right, wrong), steps in table.items():
        by_votes.setdefault(right + wrong, {})[right] = steps
    surprise, degrees = 0.0, -2
    for votes, found in by_votes.items():
        steps = sum(found.values())
        chances = _chances(votes, p, rho)
        cells = _pooled([(steps * float(chance), found.get(right, 0)) for right, chance in enumerate(chances)])
        surprise += sum((seen - expected) ** 2 / expected for expected, seen in cells)
        degrees += len(cells) - 1
    return float(chdtrc(degrees, surprise)) if degrees > 0 else 1.0


def _chances(votes: int, p: float, rho: float) -> Array:
    """Return the chances of 0, 1, … right votes among ``votes``, on a step of Beta-binomial difficulty."""
    right = np.arange(votes + 1, dtype=float)
    orders = gammaln(votes + 1) - gammaln(right + 1) - gammaln(votes - right + 1)
    chances: Array = np.exp(orders + log_chances(right, votes - right, p, rho))
    return chances


def _pooled(cells: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return cells, hardest steps first, merged until each expects enough steps."""
    found: list[tuple[float, int]] = []
    expected, seen = 0.0, 0
    for one, steps in cells:
        expected, seen = expected + one, seen + steps
        if expected >= EXPECTED:
            found.append((expected, seen))
            expected, seen = 0.0, 0
    if not found:
        return [(max(expected, 1e-300), seen)]
    found[-1] = (found[-1][0] + expected, found[-1][1] + seen)
    return found
