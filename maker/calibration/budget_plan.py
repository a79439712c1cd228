"""What a budget of votes is expected to buy for the rows of a map, by its pilot's mixture of difficulties."""

from __future__ import annotations

from typing import NamedTuple

from maker.calibration.observations import ClassFound
from maker.calibration.readings import cells_of
from maker.engine.vote_budget import BudgetTerms
from maker.stats.budget_forecast import Bought, alike, likeliest_mixture, spread
from maker.stats.risk import RiskBudget


class BudgetPlan(NamedTuple):
    """What a budget buys: ``spread`` where votes decide most, and ``alike``, as many for every row that is open.

    ``votes`` are samples, flagged ones included; those of ``spread`` and ``alike`` are valid ones.
    """

    votes: float
    rows: int
    spread: Bought
    alike: Bought


def plan_budget(terms: BudgetTerms, load: RiskBudget, one: ClassFound, call_cost: float | None) -> BudgetPlan | None:
    """Return what a budget buys; None where it is money, and the pilot says nothing of what a call costs.

    Args:
        terms: The budget.
        load: The rows, as the pilot heard them.
        one: What the pilot has heard.
        call_cost: What a call costs.
    """
    if terms.votes is None and not call_cost:
        return None
    votes = float(terms.votes) if terms.votes is not None else (terms.cost or 0.0) / (call_cost or 1.0)
    mixture = likeliest_mixture(cells_of(one.heard))
    valid, most = votes / load.calls_per_vote, max(terms.k, int(terms.max_votes / load.calls_per_vote))
    bought, same = (way(mixture, terms.k, load.steps, valid, max_votes=most) for way in (spread, alike))
    return BudgetPlan(votes, load.steps, bought, same)
