"""What a pilot with right answers shows of the steps that a run decides wrongly, however steps differ. Pure.

A plan's own figure holds if steps that the pilot has not heard are like those that it has. The bounds here need no such
law: they hold for every distribution of p over the steps, a few steps with a wrong likeliest answer included.

**Steps like the pilot's.** Each pilot step gets a mark: the chance that its own votes, in a random order, lose a race
to k, or leave the right answer not ahead at their end. A step without votes has mark 1. With v < 2k votes a mark is 1
if the right answer does not lead the votes, else 0. A step's expected mark, times a constant c between 1 and 2, is at
least the chance f that a race to k decides it wrongly: a race with the same votes is lost with the marked ones, and
what is open at their end is lost from d votes ahead with a chance that is paid for by the paths that end d votes
behind. For p >= 1/2, c = 1 is enough:

    P(d ahead) ruin(d) + P(d behind) ruin(-d) = P(d behind) (r^k + r^(k-d)) / (1 + r^k) <= P(d behind).

For p < 1/2 the same is at most twice that; `doubt` takes the least c that is enough. With more than one rival, votes
for the strongest one mark enough steps too (simulated, up to nine rivals). So the mean of f is at most c times the
upper bound of the mean mark. The count of marked steps is a sum of independent trials even if the pilot drew from the
run's own steps without replacement (its generating function is an elementary symmetric polynomial of linear functions,
which has real zeros only), so Clopper and Pearson's bound holds for it. The hypergeometric bound would not: a mark is
no lasting property of a step, and other votes mark other steps.

**Steps that the pilot asked itself,** all of the run's, have chances p of their own and no law at all. The statistic is
the weakest step: the lower bound of p by its own votes. Let kappa(p) = -ln P(a step of chance p is no weaker). Chances
of all steps with a sum of kappa above ln(1 / risk) are ruled out together, so `own_loss` takes the largest sum of
-ln(1 - f) that the others have.

**Steps that are a random sample of the run's own.** The others of the run are not heard, but none of them has a law
either: they are steps that the sample left out. If a share s of the run's steps is drawn without replacement, a step
whose votes would pass with a chance of x, had it been drawn, lets the pilot pass with 1 - s + s x. Draws without
replacement are negatively associated (Joag-Dev and Proschan 1983, Ann. Statist. 11, 286-295), so the pilot passes with
no more than the product of these over all steps of the run: kappa is -ln(1 - s + s x) in place of -ln x, and the rest
is the same. At s = 1 it is what is said above. For steps that are wrong for sure, x = 0, it comes to the hypergeometric
bound and less than one step more, but for a few steps in all: with 500 of 1,000 drawn and nothing found,
ln(1 / risk) / ln 2 may be left, 4.3 at .95, where 4 may.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import bdtrc, betaincinv, expit, gammaln, xlog1py, xlogy

from maker.stats.bounds import mean_at_most, share_at_most
from maker.stats.mixture import Array, VoteTable

GRID = np.concatenate([np.arange(-16.0, 0.0, 0.04), [0.0], np.arange(0.04, 16.0, 0.04)])
"""Log-odds at which chances are compared, for margins up to `COARSE`; denser for larger ones."""
COARSE = 8


class Doubt(NamedTuple):
    """What a pilot shows of one class.

    Args:
        heard: Steps that it asked.
        marked: The sum of their marks: with fewer than 2k votes a step, the steps whose votes the right answer does not
            lead.
        factor: The constant c.
        share: The mean chance that a step like these is decided wrongly, at most.
    """

    heard: int
    marked: float
    factor: float
    share: float


def doubt(table: VoteTable, k: int, confidence: float, *, first: int | None = None) -> Doubt:
    """Return the share of steps that races to k decide wrongly, at most, whatever the distribution of p.

    300 steps with 10 votes, all for the right answer, give c u = 1.065 x .00994 at k = 5 and .95: u is Clopper and
    Pearson's bound of 0 in 300.

    Args:
        table: (votes for the right answer, votes against it) → number of steps; those without a vote too.
        k: The margin.
        confidence: Of the bound: one-sided.
        first: Where steps were looked at again: the votes that were asked at first. Steps with that many votes for the
            right answer alone, or fewer, were not.

    Raises:
        ValueError: No step was asked, or the confidence is not in (0, 1).
    """
    heard = sum(table.values())
    if not heard:
        raise ValueError("the pilot has asked no step")
    marks = race_marks(k, {right + wrong for right, wrong in table})
    marked = sum(steps * float(marks[right + wrong][right]) for (right, wrong), steps in table.items())
    factor, rest = _factor(marks, k, first)
    # Marks of steps with fewer than 2k votes are 0 or 1.
    counted = max(marks) < 2 * k
    mean = share_at_most(round(marked), heard, confidence) if counted else mean_at_most(
        min(1.0, marked / heard), heard, confidence
    )  # fmt: skip
    return Doubt(heard, marked, factor, min(1.0, factor * mean + rest))


def own_loss(table: VoteTable, k: int, confidence: float, *, first: int | None = None) -> float:
    """Return the sum of -ln(1 - f) over all steps of a run that a pilot has asked, at most; f as in `doubt`.

    300 steps with 10 votes each, all right, give .0055 at k = 5 and .95: one step of p = .74 could show such votes with
    a chance of .05, and loses its race with .0053. With 6 right ones of 10 on one of them it is 4.3: that step may be
    lost, whatever k is. ``inf`` where a step has no vote.

    Arguments as for `doubt`.
    """
    steps, budget = sum(table.values()), -math.log1p(-confidence)
    x = GRID / max(1.0, k / COARSE)
    kappa = _kappa(table, expit(x), confidence, first)
    if kappa[0] <= budget:
        return math.inf
    # Between two points of the grid both fall: take the loss at the lower one, and kappa at the upper one.
    loss = np.append(np.inf, np.logaddexp(0, -k * x)[:-1])
    return _largest_loss(loss, kappa, budget, steps)


def sample_loss(table: VoteTable, k: int, confidence: float, *, of: int, first: int | None = None) -> float:
    """Return how many of ``of`` steps a run decides wrongly, at most, where the pilot asked a random sample of them.

    500 of 1,000 steps with 10 votes each, all right, give 4.3 at k = 5 and .95, where `doubt` has 6.4: so many may be
    left out that are wrong for sure. 999 of them give .005. Infinite where a step has no vote.

    Args:
        table: As for `doubt`, of steps that were drawn without replacement.
        k: The margin.
        confidence: Of the bound: one-sided.
        of: Steps of the run, no fewer than those that were asked.
        first: As for `doubt`.
    """
    budget, share = -math.log1p(-confidence), sum(table.values()) / of
    x = GRID / max(1.0, k / COARSE)
    passing = np.exp(-_kappa(table, expit(x), confidence, first))
    kappa = -np.log(np.clip(1 - share * (1 - passing), 1e-300, 1.0))
    # As above.
    loss = np.append(1.0, expit(-k * x)[:-1])
    return _largest_loss(loss, kappa, budget, of)


def _largest_loss(loss: Array, kappa: Array, budget: float, steps: int) -> float:
    """Return the largest sum of losses of so many steps whose kappas add up to no more than the budget ln(1 / risk).

    ``loss`` and ``kappa`` are those of a step, by p in rising order. At most one step takes more than half of the
    budget. The others take no more of the loss than the largest ratio of loss to kappa times their budget; but steps
    above some p, which have next to no kappa, take at most the loss at this p each. The p with the least sum is taken.
    """
    small = kappa <= budget / 2
    with np.errstate(divide="ignore"):
        ratio = np.maximum.accumulate(np.where(small, loss / kappa, 0.0))
    most = budget * ratio
    for one in np.flatnonzero(~small & (kappa <= budget)):
        most = np.maximum(most, loss[one] + (budget - kappa[one]) * ratio)
    return float(np.min(most + steps * loss))


def _kappa(table: VoteTable, chance: Array, confidence: float, first: int | None) -> Array:
    """Return -ln P(a step of chance p is no weaker than the weakest of the table), by p.

    A step is as weak as the lower bound of its p is low. One that was looked at again had its chance twice.
    """
    weakest = min(_at_least(right, right + wrong, confidence) for right, wrong in table)
    totals = {right + wrong for right, wrong in table}
    looked = {votes for votes in totals if first is not None and votes > first}
    doubted = {right + wrong for right, wrong in table if wrong}
    passing = np.zeros(len(chance))
    for group in (looked, totals - looked):
        chances = [np.zeros(len(chance))]
        for votes in group:
            least = next(right for right in range(votes + 1) if _at_least(right, votes, confidence) >= weakest)
            # Where others were looked at again, a step that was not had right votes alone.
            least = votes if looked and group is not looked and votes not in doubted else least
            chances.append(bdtrc(least - 1, votes, chance) if least else np.ones(len(chance)))
        passing += np.max(chances, axis=0)
    found: Array = -np.log(np.clip(passing, 1e-300, 1.0))
    return found


def _at_least(right: int, votes: int, confidence: float) -> float:
    """Return Clopper and Pearson's lower bound of p, one-sided."""
    return float(betaincinv(right, votes - right + 1, 1 - confidence)) if right else 0.0


def race_marks(k: int, totals: Collection[int]) -> dict[int, Array]:
    """Return the marks of steps with so many votes, by the number of votes for the right answer.

    k = 5 and 10 votes give 1 for 0 to 4 right ones, 251 / 252 for 5, and 0 for more. Counts orders of the votes by the
    last one: of v votes, r are right, the last one is with a chance of r / v.
    """
    found: dict[int, Array] = {}
    lost, open_ = np.zeros(1), np.ones(1)
    for votes in range(max(totals) + 1):
        right = np.arange(votes + 1)
        lead = 2 * right - votes
        if votes:
            lost, open_ = (
                right / votes * np.append(0.0, before) + (votes - right) / votes * np.append(before, 0.0)
                for before in (lost, open_)
            )
            lost = lost + np.where(lead == -k, open_, 0.0)
            open_ = np.where(abs(lead) == k, 0.0, open_)
        if votes in totals:
            found[votes] = lost + np.where(lead <= 0, open_, 0.0)
    return found


def _factor(marks: Mapping[int, Array], k: int, first: int | None) -> tuple[float, float]:
    """Return the least c >= 1 with f <= c E[mark] for p < 1/2, and how much f may exceed that for any p.

    The second is 0 but for steps that were looked at again: those whose first votes were all right were not, and have
    no mark. c falls as votes grow by two, so it is computed for the fewest votes, odd and even.
    """
    x = GRID / max(1.0, k / COARSE)
    failure, chance = expit(-k * x), expit(x)
    if first is None:
        looked = set[int]()
        fewest = _fewest(marks)
    else:
        looked = _fewest([votes for votes in marks if votes > first])
        fewest = looked or _fewest(marks)
    means = [_mean_mark(marks, votes, chance, first if votes in looked else None) for votes in fewest]
    below = x < 0
    factor = max(1.0, *(float(np.max(failure[below] / mean[below])) for mean in means))
    rest = max(float(np.max(failure - factor * mean)) for mean in means) if looked else 0.0
    return factor, max(0.0, rest)


def _fewest(totals: Collection[int]) -> set[int]:
    """Return the smallest odd and the smallest even number."""
    return {min(of) for parity in (0, 1) if (of := [votes for votes in totals if votes % 2 == parity])}


def _mean_mark(marks: Mapping[int, Array], votes: int, chance: Array, first: int | None) -> Array:
    """Return the expected mark of a step with so many votes, by p; with ``first``, none if its first are all right."""
    mean = _chances(votes, chance) @ marks[votes]
    if first is None:
        return mean
    more = votes - first
    unmarked: Array = chance**first * (_chances(more, chance) @ marks[votes][first:])
    return np.maximum(0.0, mean - unmarked)


def _chances(votes: int, chance: Array) -> Array:
    """Return the binomial chances of 0, 1, … right votes (columns), for each p (rows)."""
    right = np.arange(votes + 1)
    orders = gammaln(votes + 1) - gammaln(right + 1) - gammaln(votes - right + 1)
    p = chance[:, None]
    found: Array = np.exp(orders + xlogy(right, p) + xlog1py(votes - right, -p))
    return found
