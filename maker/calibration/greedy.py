"""One greedy sample a step in place of votes: what a pilot says of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from maker.calibration.observations import CONFIDENCE, Calibration
from maker.stats.difficulty import Interval, clopper_pearson
from maker.stats.risk import RiskBudget


class GreedyClass(NamedTuple):
    """One greedy sample for each step of a class, beside what votes are expected to bring.

    Args:
        name: The class's.
        right: Of the pilot's ``asked`` greedy samples, those that were right.
        asked: All of them, flagged ones too.
        share: The share of steps that one is right on, with its interval.
        voted: The share that votes are expected to be right on, by the same pilot.
        calls: Samples a step that the votes take.
    """

    name: str
    right: int
    asked: int
    share: Interval
    voted: Interval
    calls: float

    @property
    def as_good(self) -> bool:
        """Whether the pilot leaves it open that one sample does as well as the votes."""
        return self.share.high >= self.voted.estimate


class Greedy(NamedTuple):
    """One greedy sample a step in place of votes: the probability that the whole run is right, and the samples."""

    right: Interval
    calls: float
    classes: tuple[GreedyClass, ...] = ()


def greedy_of(
    calibration: Calibration, loads: Sequence[RiskBudget], k: Mapping[str, int], failures: Mapping[str, Interval]
) -> Greedy | None:
    """Return what one greedy sample a step would come to, None where none was asked; a flagged one decides no step.

    ``k`` and ``failures`` are the planned margins, and how many steps they decide wrongly, by class.
    """
    right, classes = Interval(1.0, 1.0, 1.0), []
    for load in loads:
        asked = calibration.classes[load.name].greedy
        if asked is None:
            return None
        share = asked.right / sum(asked)
        low, high = clopper_pearson(share, sum(asked), 1 - (1 - CONFIDENCE) / len(loads))
        voted = Interval(*(1 - wrong / load.steps for wrong in reversed(failures[load.name])))
        calls = load.difficulty.votes_per_step(k[load.name]).estimate * load.calls_per_vote
        classes.append(GreedyClass(load.name, asked.right, sum(asked), Interval(low, share, high), voted, calls))
        steps = (end**load.steps for end in (low, share, high))
        right = Interval(*(before * step for before, step in zip(right, steps, strict=True)))
    return Greedy(right, sum(load.steps for load in loads), tuple(classes))


def greedy_would_do(calibration: Calibration) -> str:
    """Say that one greedy call a step was right on every pilot step; "" where it was not, or no one knows."""
    asked = [(name, one.greedy) for name, one in calibration.classes.items() if one.steps]
    if not calibration.labelled or not asked or any(one is None or one.right < sum(one) for _, one in asked):
        return ""
    told = ", ".join(
        f"all {one.right:,} pilot steps of {name} (at least {clopper_pearson(1, one.right, CONFIDENCE)[0]:.2%} of such"
        f" steps, with {CONFIDENCE:.0%} confidence)"
        for name, one in asked
        if one is not None and one.right
    )
    return (
        f"one greedy call a step would do as far as this pilot shows: at temperature 0 it was right on {told}; set"
        " model.temperature = 0 and vote.k = 1 for that"
    )
