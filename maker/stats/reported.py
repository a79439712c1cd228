"""Whether votes agree more often than the probabilities that their replies report allow. Pure; its state is small.

A voter whose weights are log-odds (`Voter.weighs_odds`) takes a reply that reports the probability c to be right with
probability c: on every step, and whatever the step's other replies say. Then n votes on a step that report c_1, ...,
c_n, each over one half, all name one answer with probability at most

    h = c_1 * ... * c_n + (1-c_1) * ... * (1-c_n):

all are right, or all are wrong and for the same rival, the worst that rivals can do. Replies that report one half or
less weigh nothing and are left out. Three replies of .9 agree with h = .73.

A step whose votes agree counts 1/h, one whose votes differ 0. As votes come in, that is at most a martingale that
begins at 1: its mean is at most 1 wherever the voter stops, if it goes by the votes that weigh. Of a wager w, a step
multiplies the stake by 1 - w + w/h or by 1 - w. The mean stake over `WAGERS` ever reaches 1/level with a chance of at
most ``level``, however often one looks (Ville 1939; betting as in Waudby-Smith & Ramdas, arXiv 2010.09686).

Steps whose votes differ take longer, so the first ones to end are no fair sample. A step in work counts as 1 - w, the
least that it can come to. With many in work the alarm therefore comes late, or when the run ends.

This finds replies that are calibrated on average and not step by step: right on most steps and wrong on some, and
always the same. It also finds replies that are right more often than they report on every step. Votes alone cannot
tell one from the other, and a voter keeps its promise only in the second case.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from maker.stats.vote_tests import Finding, Statistic

WAGERS = (0.05, 0.2, 0.8)
"""Shares of the stake that are wagered on each step. Small ones find weak effects, and can bear many steps in work; the
large one needs the fewest steps where votes never differ."""
DIFFER = -math.inf
"""Stands for the surprise at a step whose votes differ."""
HALF = math.log(0.5)


class Odds(NamedTuple):
    """How a class is watched whose votes weigh the log-odds of what they report; a state holds for its wagers only."""

    wagers: tuple[float, ...] = WAGERS


def surprise(votes: Iterable[tuple[str, float]]) -> float:
    """Return -ln h of a step whose votes agree, `DIFFER` of another; 0 where fewer than two votes report over one half.

    Args:
        votes: The answer and the log-probability of each, in any order. Three of .9 for one answer give .3147.
    """
    answer, right, wrong = None, 0.0, 0.0
    for key, logprob in votes:
        if logprob <= HALF:
            continue
        if answer not in (None, key):
            return DIFFER
        answer = key
        # A sum of rounded logarithms may come out above 0: such a reply cannot be wrong.
        right += min(logprob, 0.0)
        wrong += math.log(-math.expm1(logprob)) if logprob < 0 else -math.inf
    return max(0.0, -right - math.log1p(math.exp(wrong - right)))


class Agreement:
    """Counts the steps of a class, and those whose votes differ, and keeps the stake of each wager.

    ``expected`` is how many steps with votes that differ there should be at the least.

    Args:
        held: A state, as read from `to_json`.
    """

    __slots__ = ("_logs", "differ", "expected", "steps")

    def __init__(self, held: Sequence[Any] = (0, 0, 0.0, (0.0,) * len(WAGERS))) -> None:
        self.steps: int = held[0]
        self.differ: int = held[1]
        self.expected: float = held[2]
        self._logs: list[float] = list(held[3])

    def add(self, surprise: float) -> None:
        """Count a step by the `surprise` at its votes."""
        self.steps += 1
        if surprise == DIFFER:
            self.differ += 1
        else:
            # Steps whose votes differ would add to it, by an amount that hangs on when their votes would have ended.
            self.expected -= math.expm1(-surprise)
        for number, wager in enumerate(WAGERS):
            self._logs[number] += _gain(wager, surprise)

    def finding(self, in_work: int) -> Finding:
        """Return what the steps so far show, while so many others may be in work."""
        text = (
            f"votes that weigh differ on {self.differ:,} of {self.steps:,} steps; by the probabilities that replies"
            f" report, they should differ on {self.expected:,.0f} or more. Votes agree more than these allow: they say"
            " little of a single step, so do not rely on the bound `error`"
        )
        p = math.exp(-max(0.0, self._stake(in_work)))
        return Finding(Statistic.CONFIDENCE, self.differ, self.expected, p, text)

    def to_json(self) -> str:
        """Return the state: under a hundred bytes, whatever the number of steps."""
        return f"[{self.steps},{self.differ},{self.expected!r},{self._logs}]"

    def _stake(self, in_work: int) -> float:
        """Return the logarithm of the mean stake, each step in work counted at the least that it can come to."""
        logs = [log + in_work * math.log1p(-wager) for wager, log in zip(WAGERS, self._logs, strict=True)]
        most = max(logs)
        return most + math.log(math.fsum(math.exp(log - most) for log in logs) / len(logs))


def _gain(wager: float, surprise: float) -> float:
    """Return ln(1 - w + w e^s), the logarithm of what a step multiplies a stake by."""
    if surprise == DIFFER:
        return math.log1p(-wager)
    # So written that e^s, with s in the thousands after as many votes, is not needed.
    return surprise + math.log(wager + (1 - wager) * math.exp(-surprise))
