"""Choose one option per group at the least cost within a budget, exactly. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

SLACK = 1e-12
MANY = 300
"""How many partial choices are kept at most: those with the smallest bounds."""


class Option(NamedTuple):
    """An option: its cost, and its load on the budget."""

    cost: float
    load: float


class _Choice(NamedTuple):
    """A partial choice: options of the first groups; ``above`` is its distance from the lower bound."""

    load: float
    cost: float
    above: float
    numbers: tuple[int, ...]


def cheapest_choice(groups: Sequence[Sequence[Option]], budget: float) -> list[int] | None:
    """Return the number of the option to take in each group, so that the total cost within the budget is least.

    None if no choice is within the budget. For a price mu >= 0 of the budget, a choice costs at least
    sum min(cost + mu load) - mu budget, plus the distances of its options from their groups' minima. Partial choices
    whose bound exceeds a known choice's cost are dropped, and so are those that another one beats in cost and load.
    Exact as long as at most `MANY` remain at a time. More were never seen with six groups; with twenty groups the
    result is close.

    Options (0, .04), (1, .02), (2, .01) in each of two groups and budget .05 give [0, 2] or [2, 0]: 2.
    """
    lightest = [min(option.load for option in group) for group in groups]
    if sum(lightest) > (most := budget * (1 + SLACK)):
        return None
    price = _price(groups, budget)
    known = _improved(groups, _within(groups, _at(groups, price), most), most)
    value = _cost(groups, known)
    least = [min(option.cost + price * option.load for option in group) for group in groups]
    gap = value - (sum(least) - price * budget)
    rest = sum(lightest)
    choices = [_Choice(0.0, 0.0, 0.0, ())]
    for group, low, light in zip(groups, least, lightest, strict=True):
        rest -= light
        options = [(number, *option, option.cost + price * option.load - low) for number, option in enumerate(group)]
        further = [
            _Choice(choice.load + load, choice.cost + cost, choice.above + above, (*choice.numbers, number))
            for number, cost, load, above in options
            if above < gap
            for choice in choices
            if choice.above + above < gap and choice.load + load + rest <= most
        ]
        choices = _unbeaten(further)
        if len(choices) > MANY:
            choices = sorted(choices, key=lambda choice: choice.above)[:MANY]
    best = min(choices, key=lambda choice: choice.cost, default=None)
    return list(best.numbers) if best is not None and best.cost < value else known


def _unbeaten(choices: list[_Choice]) -> list[_Choice]:
    """Return the choices that no other beats in both cost and load."""
    found: list[_Choice] = []
    for choice in sorted(choices):
        if not found or choice.cost < found[-1].cost:
            found.append(choice)
    return found


def _at(groups: Sequence[Sequence[Option]], price: float) -> list[int]:
    """Return the cheapest options if a unit of the budget costs ``price``."""
    totals = ([option.cost + price * option.load for option in group] for group in groups)
    return [total.index(min(total)) for total in totals]


def _price(groups: Sequence[Sequence[Option]], budget: float) -> float:
    """Return the price of the budget at which the cheapest options just fit into it."""
    low, high = 0.0, 1.0
    while _load(groups, _at(groups, high)) > budget and high < 1e30:
        low, high = high, high * 8
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _load(groups, _at(groups, middle)) > budget else (low, middle)
    return high


def _within(groups: Sequence[Sequence[Option]], chosen: list[int], most: float) -> list[int]:
    """Return a choice within the budget: ``chosen`` if it fits, else the lightest option of each group."""
    if _load(groups, chosen) <= most:
        return chosen
    loads = ([option.load for option in group] for group in groups)
    return [load.index(min(load)) for load in loads]


def _improved(groups: Sequence[Sequence[Option]], chosen: list[int], most: float) -> list[int]:
    """Return a choice in which no single option can be replaced by a cheaper one within the budget."""
    load, chosen = _load(groups, chosen), list(chosen)
    while True:
        best: tuple[float, int, int] | None = None
        for place, group in enumerate(groups):
            now = group[chosen[place]]
            for number, option in enumerate(group):
                saved = now.cost - option.cost
                if saved > 0 and load - now.load + option.load <= most and (best is None or saved > best[0]):
                    best = (saved, place, number)
        if best is None:
            return chosen
        chosen[best[1]] = best[2]
        load = _load(groups, chosen)


def _load(groups: Sequence[Sequence[Option]], chosen: Sequence[int]) -> float:
    return sum(group[number].load for group, number in zip(groups, chosen, strict=True))


def _cost(groups: Sequence[Sequence[Option]], chosen: Sequence[int]) -> float:
    return sum(group[number].cost for group, number in zip(groups, chosen, strict=True))
