"""Find the margins k that a run needs: the cheapest k per class with which the pilot shows that the run is right.

The pilot's uncertainty is bounded for all classes together (`maker.stats.risk`): for a price lambda of the deviance the
bound is a sum over the classes, so the cheapest margins are an exact choice of one k per class within one budget
(`maker.stats.knapsack`). The best lambda is taken from `PRICES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from scipy.special import chdtri

from maker.stats.difficulty import Interval, Mode
from maker.stats.knapsack import Option, cheapest_choice
from maker.stats.risk import RiskBudget, RiskProfile, between, largest_risk, least_possible, smallest_risk

SHOWN = 10.83
"""A target is called out of reach only if no distribution up to this deviance reaches it: .999 confidence."""
LARGEST = 1000
"""The largest margin that a voter takes."""
PRICES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Prices of the deviance, as shares of the allowed load divided by D; a larger one would leave no load at all."""


class Margins(NamedTuple):
    """Margins by class, and the forecast for a run with them.

    ``right`` is the probability that the whole run is right; each end of its interval holds with the given confidence
    by itself. ``alike`` is the same if all steps of a class are equally hard. ``votes``, ``calls`` and ``tokens`` are
    the run's expected totals. ``favourable`` are the margins that would be enough under the most favourable truth that
    the pilot allows. ``sharp`` says that they are at most one smaller than ``k``; if not, a pilot of about ``needed``
    steps by class would make it so.
    """

    k: Mapping[str, int]
    right: Interval
    alike: Interval
    votes: Interval
    calls: Interval
    tokens: Interval
    favourable: Mapping[str, int]
    sharp: bool
    needed: Mapping[str, int]


class Reason(StrEnum):
    """Why there are no margins."""

    RIVAL = "rival"
    """Shown: in a class the right answer is not the most frequent one, and more votes make it worse."""
    FLOOR = "floor"
    """Shown: on so many steps a vote is right less than half the time that no margin reaches the target."""
    HARD = "hard"
    """The pilot has met steps whose right answer is not the most frequent one: no margin and no larger pilot helps."""
    PILOT = "pilot"
    """Not shown: the pilot leaves open whether any margin reaches the target."""


class Refusal(NamedTuple):
    """No margins reach the target, or the pilot cannot show that any do.

    ``shown`` says which of the two. ``classes`` are the classes at fault. ``right`` is the probability that the run is
    right at the best margins, ``k``. ``needed`` are the steps by class of a pilot that would settle it with the same
    shares; empty if none would.
    """

    kind: Reason
    reason: str
    fix: str
    classes: tuple[str, ...]
    k: Mapping[str, int]
    right: Interval
    needed: Mapping[str, int]

    @property
    def shown(self) -> bool:
        """Whether the target is shown to be out of reach, not merely not shown to be reachable."""
        return self.kind is not Reason.PILOT


class Allowed(NamedTuple):
    """Limits for margins: the target's load, the bound's load, and whether the mean must reach the target."""

    load: float
    bound: float
    mean: bool


def cheapest(
    loads: Sequence[RiskBudget], target: float, confidence: float = 0.95, most: int = LARGEST, *, sure: bool = False
) -> Margins | Refusal:
    """Return the margins that cost the fewest tokens among those that the pilot shows to reach the target.

    Shown is that P(run right) is at least the target on average over the pilot's uncertainty, and at least
    1 - 2 (1 - target) with ``confidence``; with ``sure``, that it is at least the target with ``confidence``. A target
    of .95 allows -ln(.95) = .0513 for the sum of consequence s (-ln(1 - f(k))) over the classes.

    Args:
        loads: The classes of the run.
        target: Wanted probability that the whole run is right.
        confidence: Of the bound: one-sided.
        most: The largest margin.
        sure: Show the target itself with ``confidence``. This needs larger pilots, or margins about one larger.

    Raises:
        ValueError: There are no loads, two have one name, the target is not in (0, 1), or a class was fitted with too
            low a confidence.
    """
    widest = _widest(loads, target, confidence)
    allowed = Allowed(-math.log(target), -math.log(target if sure else max(target / 2, 2 * target - 1)), not sure)
    classes = [RiskProfile(load, widest) for load in loads]
    ladders = [one.ladder(allowed.load, most) for one in classes]
    rough = _cheapest_shown(classes, ladders, allowed, widest)
    if rough is None:
        return _refused(classes, ladders, allowed, widest)
    choices = [between(ladder, k, most) for ladder, k in zip(ladders, rough, strict=True)]
    found = _cheapest_shown(classes, choices, allowed, widest) or rough
    lower = [sorted({*ladder, *fine}) for ladder, fine in zip(ladders, choices, strict=True)]
    return _described(classes, lower, found, allowed, widest)


def _widest(loads: Sequence[RiskBudget], target: float, confidence: float) -> float:
    if not loads or len({load.name for load in loads}) < len(loads):
        raise ValueError("a plan needs at least one class, and each a name of its own")
    if not 0 < target < 1 or not 0.5 < confidence < 1:
        raise ValueError(f"target = {target}, confidence = {confidence}: must lie in (0, 1) and (.5, 1)")
    least = min(load.difficulty.confidence for load in loads)
    if least < 2 * confidence - 1 - 1e-12:
        raise ValueError(f"a class was fitted with confidence {least}: too low for bounds of {confidence}")
    return float(chdtri(1, 2 * (1 - confidence)))


def _cheapest_shown(
    classes: Sequence[RiskProfile], choices: Sequence[Sequence[int]], allowed: Allowed, widest: float
) -> list[int] | None:
    """Return the cheapest margins whose largest load is allowed, None if there are none."""
    best: tuple[float, list[int]] | None = None
    for one, ks in zip(classes, choices, strict=True):
        one.prepare(ks)
    costs = [[one.tokens(k) for k in ks] for one, ks in zip(classes, choices, strict=True)]
    means = [[one.mean(k) / allowed.load if allowed.mean else 0.0 for k in ks]
             for one, ks in zip(classes, choices, strict=True)]  # fmt: skip
    for part in PRICES if len(classes) > 1 else (0.0,):
        price = part * allowed.bound / widest
        left = allowed.bound - price * widest
        groups = [
            [
                Option(cost, max(mean, one.most(k, price) / left))
                for cost, mean, k in zip(cost_of, mean_of, ks, strict=True)
            ]
            for one, ks, cost_of, mean_of in zip(classes, choices, costs, means, strict=True)
        ]  # fmt: skip
        chosen = cheapest_choice(groups, 1.0)
        if chosen is not None:
            cost = sum(group[number].cost for group, number in zip(groups, chosen, strict=True))
            if best is None or cost < best[0]:
                best = cost, [ks[number] for ks, number in zip(choices, chosen, strict=True)]
    return None if best is None else best[1]


def _right(classes: Sequence[RiskProfile], ks: Sequence[int], widest: float) -> Interval:
    """Return the probability that a run is right, without weights."""
    plain = [RiskProfile(one.load, widest, weighed=False) for one in classes]
    estimate = sum(float(one.at(k)[0]) for one, k in zip(plain, ks, strict=True))
    low, high = math.exp(-largest_risk(plain, ks, widest)), math.exp(-max(0.0, smallest_risk(plain, ks, widest)[0]))
    estimate = math.exp(-estimate)
    return Interval(min(low, estimate), estimate, max(high, estimate))


def _described(
    classes: Sequence[RiskProfile], choices: Sequence[Sequence[int]], ks: Sequence[int], allowed: Allowed, widest: float
) -> Margins:
    loads = [one.load for one in classes]
    kind = _favourable(classes, choices, ks, allowed, widest)
    gaps = [k - other for k, other in zip(ks, kind, strict=True)]
    sharp = max(gaps) <= 1
    near = [[k for k in margins if k <= other + 1] for margins, other in zip(choices, kind, strict=True)]
    needed = {load.name: load.difficulty.steps for load in loads}
    if not sharp:
        needed = _settling(classes, near, allowed, widest) or needed
    favourable = {load.name: k for load, k in zip(loads, kind, strict=True)}
    return _expected(classes, ks, widest)._replace(favourable=favourable, sharp=sharp, needed=needed)


def _expected(classes: Sequence[RiskProfile], ks: Sequence[int], widest: float) -> Margins:
    """Return the forecast for margins, with ``favourable`` and ``needed`` as if no smaller margin were enough."""
    loads = [one.load for one in classes]
    k = {load.name: k for load, k in zip(loads, ks, strict=True)}
    return Margins(
        k=k,
        right=_right(classes, ks, widest),
        alike=_alike(loads, ks),
        votes=_taken(loads, ks, lambda load: 1.0),
        calls=_taken(loads, ks, lambda load: load.calls_per_vote),
        tokens=_taken(loads, ks, lambda load: load.calls_per_vote * load.tokens_per_call),
        favourable=k,
        sharp=True,
        needed={load.name: load.difficulty.steps for load in loads},
    )


def _alike(loads: Sequence[RiskBudget], ks: Sequence[int]) -> Interval:
    found = [load.difficulty.independent(k) for load, k in zip(loads, ks, strict=True)]
    low, estimate, high = (
        math.exp(
            -sum(load.steps * -math.log1p(-min(one[end], 1 - 1e-12)) for load, one in zip(loads, found, strict=True))
        )
        for end in (2, 1, 0)
    )
    return Interval(low, estimate, high)


def _taken(loads: Sequence[RiskBudget], ks: Sequence[int], each: Callable[[RiskBudget], float]) -> Interval:
    found = [load.difficulty.votes_per_step(k) for load, k in zip(loads, ks, strict=True)]
    low, estimate, high = (
        sum(load.steps * each(load) * one[end] for load, one in zip(loads, found, strict=True)) for end in range(3)
    )
    return Interval(low, estimate, high)


def _favourable(
    classes: Sequence[RiskProfile], choices: Sequence[Sequence[int]], ks: Sequence[int], allowed: Allowed, widest: float
) -> list[int]:
    """Return the cheapest margins under the most favourable truth that the pilot allows for all classes together."""
    _, price = smallest_risk(classes, ks, widest)
    groups = []
    for one, k, margins in zip(classes, ks, choices, strict=True):
        kindest = int(np.argmin(one.at(k) + price * one.deviance))
        groups.append([Option(one.tokens(other), float(one.at(other)[kindest])) for other in margins])
    chosen = cheapest_choice(groups, allowed.load)
    return list(ks) if chosen is None else [margins[number] for margins, number in zip(choices, chosen, strict=True)]


def _refused(
    classes: Sequence[RiskProfile], choices: Sequence[Sequence[int]], allowed: Allowed, widest: float
) -> Refusal:
    loads = [one.load for one in classes]
    ks = [_best(margins, [one.most(k, 0.0) for k in margins]) for one, margins in zip(classes, choices, strict=True)]
    k = {load.name: k for load, k in zip(loads, ks, strict=True)}
    right = _right(classes, ks, widest)
    target = math.exp(-allowed.load)
    if rivals := tuple(load.name for load in loads if load.difficulty.mode is Mode.RIVAL):
        shares = ", ".join(
            f"p is at most {load.difficulty.p.high:.3g} in {load.name}" for load in loads if load.name in rivals
        )
        return Refusal(
            Reason.RIVAL,
            "the right answer is not the most frequent one: against its strongest rival"
            f" {shares}, so more votes make it worse",
            "change the prompt or the model, or treat the answers that it confuses as one",
            rivals, k, right, {},
        )  # fmt: skip
    kindest = [
        _best(margins, [one.least(k, 0.0) for k in margins]) for one, margins in zip(classes, choices, strict=True)
    ]
    # A pilot that grows is looked at again and again: that no margin will do is said only with much confidence.
    farthest = [RiskProfile(load, SHOWN) for load in loads]
    # A race with several rivals is bounded, so that it may be won where the bound says nothing.
    several = [load.name for load in loads if load.several]
    if not several and least_possible(farthest, choices, SHOWN) > allowed.load:
        blamed = tuple(
            one.load.name
            for one, k in zip(classes, kindest, strict=True)
            if one.least(k, 0.0) > allowed.load / len(classes)
        )
        return Refusal(
            Reason.FLOOR,
            f"no margin k reaches {target:g}: at best a run is right with probability {right.estimate:.3g} by the"
            f" estimate, {right.high:.3g} at most; on too many steps of {', '.join(blamed)} a vote is right half the"
            " time or less",
            "make these steps easier: ask less at a time, use a better model, or check the answers",
            blamed, k, right, {},
        )  # fmt: skip
    blamed = tuple(
        one.load.name for one, k in zip(classes, ks, strict=True) if one.most(k, 0.0) > allowed.load / len(classes)
    )
    met = tuple(load.name for load in loads if load.difficulty.hard.shown)
    if met and right.estimate < target:
        return Refusal(
            Reason.HARD,
            f"no margin k reaches {target:g}: at best a run is right with probability {right.estimate:.3g}; the pilot"
            f" has met steps of {', '.join(met)} whose right answer is not the most frequent one, and votes decide"
            " these wrongly whatever k is",
            "make these steps easier: ask less at a time, use a better model, or check the answers",
            met, k, right, {},
        )  # fmt: skip
    needed = _settling(classes, choices, allowed, widest)
    unpaired = [load.name for load in loads if not load.difficulty.paired]
    if unpaired:
        fix = (
            "calibrate with 2 or more --votes: one vote per step does not show how the steps of"
            f" {', '.join(unpaired)} differ"
        )
    elif needed:
        fix = "calibrate with more steps: " + ", ".join(f"{name} about {steps:,}" for name, steps in needed.items())
    else:
        fix = "calibrate with more steps to be sure, or make the steps easier: the estimate reaches it at no margin"
    if several and not unpaired:
        fix += f"; or with more --votes, which tell of {', '.join(several)} how wrong votes are split among rivals"
    return Refusal(
        Reason.PILOT,
        f"{not_shown(target)} the run is right with probability {with_ends(right, bounded=bool(several))}",
        fix, blamed, k, right, needed,
    )  # fmt: skip


def not_shown(target: float) -> str:
    """Return how a refusal begins that leaves open whether any margin reaches the target."""
    return f"the pilot does not show that any margin k reaches {target:g}: at best"


def with_ends(right: Interval, *, bounded: bool = False) -> str:
    """Return a probability with its interval, in words; a ``bounded`` one may be higher."""
    by = "by the estimate, a lower bound," if bounded else "by the estimate,"
    return f"{right.estimate:.3g} {by} and anything from {right.low:.3g} to {right.high:.3g} is left open"


def _best(margins: Sequence[int], loads: Sequence[float]) -> int:
    """Return the smallest margin that is within a hundredth of the least load."""
    enough = min(loads) * 1.01 + 1e-12
    return next(k for k, load in zip(margins, loads, strict=True) if load <= enough)


def _settling(
    classes: Sequence[RiskProfile], choices: Sequence[Sequence[int]], allowed: Allowed, widest: float
) -> dict[str, int]:
    """Return the steps of a pilot that would show that some margins are enough, with the same shares."""
    # The posterior of a larger pilot is not at hand. That the bound itself reaches the target is more than enough.
    bound = Allowed(allowed.load, allowed.load, mean=False)
    for factor in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        sharper = [RiskProfile(one.load, widest / factor) for one in classes]
        for one in sharper:
            one.deviance = one.deviance * factor
        if _cheapest_shown(sharper, choices, bound, widest) is not None:
            return {one.load.name: one.load.difficulty.steps * factor for one in classes}
    return {}


def given(loads: Sequence[RiskBudget], k: Mapping[str, int], confidence: float = 0.95) -> Margins:
    """Return what is to be expected of a run with margins that somebody gave. Raises as `cheapest` does."""
    widest = _widest(loads, 0.5, confidence)
    return _expected([RiskProfile(load, widest) for load in loads], [k[load.name] for load in loads], widest)


def budget(loads: Sequence[RiskBudget], votes: float, most: int = 200) -> dict[str, int]:
    """Return the margins with the best estimated P(run right) whose expected votes are at most so many.

    900 steps of p = .99 and 100 of p = .7 at 5,010 votes give 3 and 9: .9515, where k = 4 for all has .036 with 4,608.

    Raises:
        ValueError: There are not votes enough for k = 1.
    """
    if votes < sum(load.steps for load in loads):
        raise ValueError(f"{votes:g} votes are fewer than one a step")
    classes = [RiskProfile(load, 0.0) for load in loads]
    groups = []
    for one in classes:
        options: list[Option] = []
        for k in range(1, most + 1):
            taken = one.load.steps * float(one.load.difficulty.region.votes(k)[0])
            options.append(Option(float(one.at(k)[0]), taken))
            if taken > votes or options[-1].cost < 1e-12:
                break
        groups.append(options)
    chosen = cheapest_choice(groups, votes)
    assert chosen is not None  # noqa: S101 - k = 1 takes a vote a step
    return {load.name: number + 1 for load, number in zip(loads, chosen, strict=True)}
