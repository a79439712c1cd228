"""Find steps whose likeliest answer is wrong, as far as a fitted distribution of p does not explain their votes. Pure.

A labelled step that has as many votes against its right answer as for it may be a hard step of the fitted kind, or one
that the model is wrong on: more votes make such a step worse, and no margin mends it.
"""

from __future__ import annotations

from scipy.special import bdtr, bdtrc, expit

from maker.stats.difficulty import Difficulty
from maker.stats.mixture import Array, not_led
from maker.stats.posterior import GRID

RISK = 0.05
"""A fitted distribution explains what it brings about at least so often."""


def unexplained(difficulty: Difficulty, *, first: int | None = None) -> int:
    """Return how many steps have their right answer not ahead of the others, if the fit does not explain it; else 0.

    The fit is the likeliest distribution. If it seldom makes so many such steps, all of them count; else those count
    whose own votes are seldom among so many steps.

    Args:
        difficulty: The class's, of steps with a right answer.
        first: As for `maker.stats.shown.doubt`.
    """
    table = difficulty.closer
    steps = sum(table.values())
    behind = not_led(table)
    found = sum(behind.values())
    if not found:
        return 0
    mass, p = difficulty.region.masses(GRID)[0], expit(GRID)
    totals = {right + wrong for right, wrong in table}
    looked = [votes for votes in totals if first is not None and votes > first]
    # A step that was looked at again is behind with a chance of at most that of one which had all those votes at once.
    share = (
        _behind(mass, p, min(looked))
        if looked
        else sum(n * _behind(mass, p, right + wrong) for (right, wrong), n in table.items()) / steps
    )
    if bdtrc(found - 1, steps, min(1.0, share)) < RISK:
        return found
    return sum(n for (right, wrong), n in behind.items() if steps * float(mass @ bdtr(right, right + wrong, p)) < RISK)


def _behind(mass: Array, p: Array, votes: int) -> float:
    """Return the share of steps with so many votes whose right answer is not ahead."""
    return float(mass @ bdtr(votes // 2, votes, p))
