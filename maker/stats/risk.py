"""The share of a target's risk that a class takes at each margin, under the pilot's uncertainty. Pure.

A run is right with exp(-L), L = sum over the classes of s (-ln(1 - f(k))): s steps, f(k) the share that a race to k
decides wrongly (`maker.stats.difficulty`). A pilot leaves a region of distributions of p for each class, with
deviances. The bounds on L are its largest and smallest value where the deviances of all classes together stay within
the quantile D of chi-square with one degree of freedom: L is one number, and classes err independently, so this holds
for all classes at once, and is much narrower than bounds of single classes added up.

The largest value is bounded with a price lambda >= 0 of the deviance: max L <= lambda D + sum max(L_c - lambda d_c),
for every lambda, and each is a sum over the classes; the smallest likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maker.stats.difficulty import Difficulty
from maker.stats.mixture import Array
from maker.stats.posterior import Posterior
from maker.stats.region import within
from maker.stats.several_rivals import SeveralRivals

ENOUGH = 1e-3
"""A class that takes less than this share of the allowed risk gets no larger margin."""
FLAT, FAR = 0.01, 4
"""If four steps of the ladder reduce the risk by less than this share, the floor is reached: no margin helps."""
TOGETHER = 8
LADDER = (*range(1, 13), *(round(13 * 1.15**i) for i in range(40)))
"""Margins that are tried first; then all margins around the best of them."""


class RiskBudget(NamedTuple):
    """The steps of one class in a run.

    Args:
        name: Of the class.
        steps: How many the run has.
        difficulty: Their difficulty, as a pilot showed it.
        calls_per_vote: Samples per valid vote, 1 / v.
        tokens_per_call: Prompt and completion tokens of a sample.
        consequence: The weight of a wrong step of this class.
        rivals: How many rivals a step may lose to, to each as often as ``difficulty`` says.
        asked: How many of the run's steps the pilot has asked itself: all that it asked, or none.
    """

    name: str
    steps: int
    difficulty: Difficulty
    calls_per_vote: float = 1.0
    tokens_per_call: float = 1.0
    consequence: float = 1.0
    rivals: float = 1.0
    asked: int = 0

    @property
    def several(self) -> bool:
        """Whether steps have several rivals: the right answer is then to lead the strongest of them."""
        return self.rivals > 1 or isinstance(self.difficulty, SeveralRivals)


class RiskProfile:
    """A class's risk (load) by margin, under each distribution that the pilot allows."""

    def __init__(self, load: RiskBudget, widest: float, *, weighed: bool = True) -> None:
        self.load = load
        self._region = load.difficulty.region
        self._kept = self._region.penalised <= within(widest)
        self._kept[0] = True
        self.deviance: Array = self._region.penalised[self._kept]
        self._weight = load.consequence if weighed else 1.0
        self._asked = Posterior(load.difficulty.region, load.difficulty.closer) if load.asked else None
        self._loads: dict[int, Array] = {}
        self.cost = load.steps * load.calls_per_vote * load.tokens_per_call

    def prepare(self, ks: Sequence[int]) -> None:
        """Compute the loads of several margins at once, which is faster than one by one."""
        self._region.prepare(ks)

    def at(self, k: int) -> Array:
        """Return s (-ln(1 - f(k))) under each distribution that is kept, the estimate first."""
        return self._all(k)[self._kept]

    def mean(self, k: int) -> float:
        """Return -ln of the posterior mean of exp(-L)."""
        return -float(np.log(max(1e-300, float(self._region.weight @ np.exp(-self._all(k))))))

    def _all(self, k: int) -> Array:
        """Return the load under each distribution; steps that the pilot asked count with their own votes."""
        if k not in self._loads:
            failure = np.minimum(self.load.rivals * self._region.failure(k), 1 - 1e-12)
            load = (self.load.steps - self.load.asked) * -np.log1p(-failure)
            if self._asked is not None:
                load = load + self.load.rivals * self._asked.load(k)
            self._loads[k] = self._weight * load
        return self._loads[k]

    def most(self, k: int, price: float) -> float:
        """Return max(L - price d)."""
        return float(np.max(self.at(k) - price * self.deviance))

    def least(self, k: int, price: float) -> float:
        """Return min(L + price d)."""
        return float(np.min(self.at(k) + price * self.deviance))

    def tokens(self, k: int) -> float:
        """Return the tokens that the class takes at a margin, at the estimate."""
        return self.cost * float(self._region.votes(k)[0])

    def ladder(self, allowed: float, largest: int) -> list[int]:
        """Return margins about 15 % apart, from the smallest that may be enough to where a larger one does not help."""
        rungs = [k for k in LADDER if k < largest] + [largest]
        found: list[int] = []
        for i, k in enumerate(rungs):
            if i % TOGETHER == 0:
                self._region.prepare(rungs[i : i + TOGETHER])
            load = self.at(k)
            if load.min() > allowed and k < largest:
                continue
            if not found and i:
                found.append(rungs[i - 1])
            found.append(k)
            if load.max() <= ENOUGH * allowed:
                break
            if i > FAR and found[0] <= rungs[i - FAR]:
                # The floor: risk that no margin removes. It may rise again if some steps have p < 1/2.
                before = self.at(rungs[i - FAR])
                if load.max() > (1 - FLAT) * before.max() and load[0] > (1 - FLAT) * before[0]:
                    break
        return found


def between(ladder: Sequence[int], k: int, largest: int) -> list[int]:
    """Return all margins around ``k``, from two steps of the ladder below it to two above."""
    at = ladder.index(k)
    low, high = ladder[max(0, at - 2)], ladder[min(len(ladder) - 1, at + 2)]
    return list(range(low, min(largest, high) + 1))


def largest_risk(classes: Sequence[RiskProfile], ks: Sequence[int], widest: float) -> float:
    """Return an upper bound on the load of these margins: the least over the prices."""

    def value(price: float) -> float:
        return price * widest + sum(one.most(k, price) for one, k in zip(classes, ks, strict=True))

    return min(value(price) for price in _prices(classes, ks, widest))


def smallest_risk(classes: Sequence[RiskProfile], ks: Sequence[int], widest: float) -> tuple[float, float]:
    """Return a lower bound on the load of these margins, and the price that gives it."""

    def value(price: float) -> float:
        return sum(one.least(k, price) for one, k in zip(classes, ks, strict=True)) - price * widest

    return max((value(price), price) for price in _prices(classes, ks, widest))


def _prices(classes: Sequence[RiskProfile], ks: Sequence[int], widest: float) -> list[float]:
    scale = sum(float(one.at(k)[0]) for one, k in zip(classes, ks, strict=True)) / widest
    return [0.0, *(scale * 1.6**i for i in range(-12, 7))]


def least_possible(classes: Sequence[RiskProfile], choices: Sequence[Sequence[int]], widest: float) -> float:
    """Return a lower bound on the load of any margins at all."""
    ks = [margins[-1] for margins in choices]
    return max(
        sum(min(one.least(k, price) for k in margins) for one, margins in zip(classes, choices, strict=True))
        - price * widest
        for price in _prices(classes, ks, widest)
    )
