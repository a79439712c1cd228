"""The difficulty of steps whose wrong votes are split among several rivals. Pure.

A race to a lead of k elects rival i only if that rival is ever k ahead of the right answer. Of the votes for these two
alone this is the gambler's ruin, with a chance of at most (r_i / p)^k, where r_i < p is the chance of a vote for the
rival. So a step is decided wrongly with a chance of at most the sum over its rivals, a union bound (`split_failure`):
p = .4 against six rivals of .1 each gives 6 / 4^k, 2.3e-5 at k = 9. All wrong votes as one rival's would outvote the
right answer.

p varies over the steps by a law that is fitted to the right votes, the shares of the rivals by one that is fitted to
how wrong votes agree (`maker.stats.shares`); what a step's p is tells nothing of its shares. As long as the pilot does
not contradict it, both are one Dirichlet law of the chances of a step's answers. The sum over the rivals is the mean,
over the share S of the rival that any one wrong vote is for, of (q S / p)^k / S. Steps on which some rival is likelier
than the right answer count if the law brings about one in the pilot: as a fit of p to one rival takes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, expit, log_ndtr, logit, ndtr, ndtri

from maker.stats.difficulty import WIDEST_DEVIANCE, Difficulty, Interval, Mode
from maker.stats.hard_steps import HardSteps
from maker.stats.mixture import ALIKE, Array
from maker.stats.region import BetaRegion, Region
from maker.stats.shares import ShareLaws, Splits, agreeing, at_points, share_laws
from maker.stats.tally_law import ODDS, Likeliest, TallyLaw
from maker.stats.unexplained import RISK

STEP = 0.04
"""Laws that are narrower than this are taken for one point."""
SHARES = np.linspace(-9.2, 0.0, 185)
"""Logs of shares at which laws are evaluated."""
LEAD = ODDS[:, None] - SHARES
"""ln(p / r), by log-odds and share: r = q S."""
AHEAD = LEAD > 1e-9
"""Where the right answer is likelier than the rival."""
CONTRADICTED = 3.84
"""With a deviance above this, p and the shares vary each for itself: .95 of chi-square with one degree of freedom."""
STRANGE = 0.01
"""As `RISK`, of the votes of one step in two counts at once: among all steps less often than this is a surprise."""


def split_failure(p: float, rivals: Sequence[float], k: int) -> float:
    """Return the chance, at most, that a race to k is lost by ``p`` to any of ``rivals``: the sum of (r / p)^k.

    p = .4 against six rivals of .1: .094 at k = 3, where it is .038, and 2.3e-5 at k = 9.
    """
    return min(1.0, sum(min(1.0, rival / p) ** k for rival in rivals))


def split_votes(p: Array, rivals: Array, k: int) -> Array:
    """Return about how many valid votes a race to k takes, of ``p`` against so many equal rivals. Broadcasts.

    After n votes the right answer is n (p - r) ahead of each, and the luckiest rival has the largest of so many normal
    variables with a variance of n r more than its mean (Blom 1958: its mean is near a normal quantile). p = .4 against
    six of .1 takes 38 votes at k = 9.
    """
    each = (1 - p) / rivals
    gap, luck = np.maximum(p - each, 1e-9), _luck(rivals) * np.sqrt(each)
    root = (luck + np.sqrt(luck**2 + 4 * k * gap)) / (2 * gap)
    found: Array = np.clip(root**2, k, np.maximum(k, k * k / (p + each)))
    return found


def _luck(rivals: Array) -> Array:
    found: Array = ndtri((rivals - 0.375) / (rivals + 0.25))
    return found


class SplitRegion(Region):
    """Pairs of a law of p and one of shares, each with the sum of their deviances.

    The pairs of one concentration are taken, unless their likelihood is too low: see `_one_law`.

    Attributes:
        likeliest: The first pair.

    Args:
        right: The laws of p.
        shares: Those of shares.
        steps: Of the pilot: steps lost for good count where a law brings about one among so many.
        widest: Pairs with a larger deviance are left out.
    """

    def __init__(self, right: Region, shares: ShareLaws, steps: int, widest: float) -> None:
        super().__init__()
        self._shares, self._laws = shares, right
        self._of_p, self._of_shares = _masses(right), shares.masses(SHARES).T
        deviance = right.deviance[:, None] + shares.deviance
        one_law = _one_law(right, shares)
        if (least := float(np.min(deviance, where=one_law, initial=np.inf))) <= CONTRADICTED:
            deviance = np.where(one_law, deviance - least, np.inf)
        rows, columns = np.nonzero(deviance <= widest)
        order = np.argsort(deviance[rows, columns], kind="stable")
        self._at = rows, columns = rows[order], columns[order]
        self.p, self.rho, self.deviance = right.p[rows], right.rho[rows], deviance[rows, columns]
        penalised = right.penalised[rows] + shares.deviance[columns]
        self.penalised = penalised - penalised.min()
        weight = right.weight[rows] * shares.weight[columns]
        self.weight = weight / weight.sum()
        first = columns[0]
        self.likeliest = Likeliest(self._of_p[rows[0]], float(shares.rivals[first]), float(shares.spread[first]))
        lost = self._mean(np.where(AHEAD, 0.0, np.exp(-SHARES)))
        self._lost = np.where(steps * lost >= 1, lost, 0.0)

    def masses(self, points: Array) -> Array:
        """Return the mass of each law of p that is nearest to each of ``points``, log-odds in ascending order."""
        found: Array = self._laws.masses(points)[self._at[0]]
        return found

    def _failing(self, ks: Sequence[int]) -> Iterable[Array]:
        for k in ks:
            won = self._mean(np.where(AHEAD, np.exp(-k * np.maximum(LEAD, 0.0) - SHARES), 0.0))
            yield np.minimum(won + self._lost, 1.0)

    def _voting(self, k: int) -> Array:
        votes = split_votes(expit(ODDS)[:, None], 1 / self._shares.agreement, k)
        found: Array = (self._of_p @ votes)[self._at]
        return found

    def _mean(self, of_rival: Array) -> Array:
        """Return the mean over steps of a sum over their rivals, which is a chance: at most 1 on a step."""
        found: Array = (self._of_p @ np.minimum(of_rival @ self._of_shares, 1.0))[self._at]
        return found


def _one_law(right: Region, shares: ShareLaws) -> NDArray[np.bool_]:
    """Return which pairs are one Dirichlet law of a step's chances: laws of p × laws of shares.

    Its concentration t makes p Beta(t p, t q), and gives the rivals t q in all: the shares then have the correlation
    1 / (2 + t q), and are independent of p. Right and wrong votes both tell of t.
    """
    if not isinstance(right, BetaRegion):
        return np.zeros((len(right.p), len(shares.rivals)), dtype=bool)
    whole = 1 / np.maximum(right.rho, ALIKE) - 1
    root = np.sqrt(1 / (2 + whole * (1 - right.p)))
    found: NDArray[np.bool_] = abs(root[:, None] - np.sqrt(shares.correlation)) <= shares.step / 2
    return found


def _masses(region: Region) -> Array:
    """Return the masses of laws of p at `ODDS`."""
    found = region.masses(ODDS)
    p = np.clip(region.p, 1e-12, 1 - 1e-16)
    narrow = np.sqrt(region.rho / (p * (1 - p))) < STEP
    found[narrow] = at_points(logit(p[narrow]), ODDS)
    return found


class SeveralRivals(Difficulty):
    """The difficulty of a class's steps where a race is lost to each of several rivals.

    ``p`` and what else concerns right votes is as of a `Difficulty`. That p is below one half says nothing here.

    Attributes:
        splits: The pilot's votes, without steps that have no valid vote.
        likeliest: The likeliest laws.
        shares: The laws of shares that are not ruled out.
        agreement: The share of pairs of wrong votes on a step that are for one answer; 0 to 1 without such pairs.
        pairs: How many such pairs there are.
    """

    def __init__(self, splits: Splits, confidence: float) -> None:
        table = Counter[tuple[int, int]]()
        for (right, parts), steps in splits.items():
            table[right, sum(parts)] += steps
        super().__init__(table, confidence)
        self.splits = {cell: steps for cell, steps in splits.items() if steps and (cell[0] or cell[1])}
        self.mode = Mode.RIGHT if self.mode is Mode.RIGHT else Mode.OPEN
        self.hard = HardSteps(0.0, 0.0)
        widest = max(self._allowed, WIDEST_DEVIANCE)
        self.shares = share_laws(self.splits, widest)
        region = SplitRegion(self.region, self.shares, self.steps, widest)
        self.region, self.likeliest = region, region.likeliest
        self.pairs, same = agreeing(self.splits)
        likely = self.shares.agreement[self.shares.deviance <= self._allowed]
        self.agreement = Interval(0.0, same, 1.0)
        if self.pairs:
            self.agreement = Interval(min(same, float(likely.min())), same, max(same, float(likely.max())))

    @property
    def behind(self) -> Splits:
        """The steps on which the right answer has no more votes than some rival."""
        return {cell: steps for cell, steps in self.splits.items() if max(cell[1], default=0) >= cell[0]}

    def independent(self, k: int) -> Interval:
        """Return the share of steps that a race to k decides wrongly, at most, if all are alike, with equal rivals."""
        ends = zip(self.p[::-1], self.agreement, strict=True)
        return Interval(*(self._alike(p, max(agreement, 1e-9), k) for p, agreement in ends))

    def independent_votes(self, k: int) -> Interval:
        """Return the expected valid votes of a step if all are alike, with equal rivals."""
        ends = zip(self.p[::-1], self.agreement, strict=True)
        found = [float(split_votes(np.array(p), np.array(1 / max(of, 1e-9)), k)) for p, of in ends]
        return Interval(min(found), found[1], max(found))

    def _alike(self, p: float, agreement: float, k: int) -> float:
        return min(1.0, split_failure(max(p, 1e-9), [(1 - p) * agreement], k) / agreement)

    def unsettled(self, k: int, votes: int) -> float:
        """Return about the share of steps whose race is not over after so many votes, under the likeliest laws.

        The lead over the luckiest rival is taken for a Brownian motion with drift, which has not been at k before
        (inverse Gaussian law: Chhikara and Folks 1989).
        """
        if votes < k:
            return 1.0
        mass, number, spread = self.likeliest
        p, rivals = expit(ODDS), (number + spread) / (1 + spread)
        each = (1 - p) / rivals
        drift = np.maximum(np.abs(p - each), 1e-9)
        variance, level = p + each - drift**2, k + float(_luck(np.array(rivals))) * np.sqrt(votes * each)
        scale = np.sqrt(np.maximum(variance, 1e-12) * votes)
        turned = 2 * drift * level / np.maximum(variance, 1e-12)
        back = np.minimum(0.0, turned + log_ndtr((-level - drift * votes) / scale))
        open_ = ndtr((level - drift * votes) / scale) - np.exp(back)
        return float(mass @ np.clip(open_, 0.0, 1.0))

    def unexplained(self) -> int:
        """Return how many steps have their right answer not ahead of some rival, if the laws do not explain it; else 0.

        As `maker.stats.unexplained.unexplained`, with the likeliest laws of p and of shares: if they seldom make so
        many such steps, all of them count; else those whose own votes are seldom among so many steps.
        """
        if not self.behind:
            return 0
        law = TallyLaw(self.likeliest, max(right + sum(parts) for right, parts in self.splits))
        totals = Counter[int]()
        for (right, parts), steps in self.splits.items():
            totals[right + sum(parts)] += steps
        share = sum(steps * law.behind(votes) for votes, steps in totals.items()) / self.steps
        found = sum(self.behind.values())
        if bdtrc(found - 1, self.steps, min(1.0, share)) < RISK:
            return found
        seldom = STRANGE / self.steps
        return sum(n for (right, parts), n in self.behind.items() if law.at_least(right, parts) < seldom)
