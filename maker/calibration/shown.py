"""What a pilot shows of a plan, whatever kinds of steps it has not met. Pure; the bounds are `maker.stats.shown`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from maker.calibration.observations import CONFIDENCE, Calibration, ClassFound
from maker.job.settings import ShownFound
from maker.stats.mixture import VoteTable, not_led
from maker.stats.risk import RiskBudget
from maker.stats.shown import doubt, own_loss, sample_loss

LARGE = 0.5
"""From this share of the run's steps on, a bound for finite populations is taken too: below some .35 it tells less."""


class ClassShown(NamedTuple):
    """What is shown of one class.

    Args:
        name: The class's.
        steps: Of the run.
        heard: Pilot steps with a right answer.
        doubtful: Those of them whose votes the right answer does not lead, or that have none.
        wrong: How many steps of the run are decided wrongly at most, on average.
        failure: The chance that one is, at most.
        needed: A pilot of about so many steps, none of them doubtful, would show the target; None where the pilot has
            asked all steps of the run, or there is no target.
    """

    name: str
    steps: int
    heard: int
    doubtful: int
    wrong: float
    failure: float
    needed: int | None


class Shown(NamedTuple):
    """What a pilot shows at `CONFIDENCE`, whatever the distribution of p over the steps.

    Args:
        right: The probability that all steps are right, at least; never above what it is for steps like the pilot's.
        wrong: How many steps are decided wrongly at most, on average.
        steps: Of the run.
        classes: The same by class.
        confidence: `CONFIDENCE`.
    """

    right: float
    wrong: float
    steps: int
    classes: tuple[ClassShown, ...]
    confidence: float = CONFIDENCE

    def found(self) -> ShownFound:
        """Return what is stored with a run."""
        return ShownFound(right=self.right, wrong=self.wrong, steps=self.steps, confidence=self.confidence)


def shown_of(
    calibration: Calibration, loads: Sequence[RiskBudget], k: Mapping[str, int], target: float | None, like_seen: float
) -> Shown | None:
    """Return what a pilot shows of a run with margins k; None where no one has checked an answer.

    ``like_seen`` is the least probability of a right run for steps like the pilot's: no more than that is shown.
    """
    if not calibration.labelled:
        return None
    classes = tuple(_class_shown(calibration, load, k[load.name], target, len(loads)) for load in loads)
    return Shown(
        right=max(0.0, min(like_seen, 1 - sum(one.failure for one in classes))),
        wrong=sum(one.wrong for one in classes),
        steps=sum(one.steps for one in classes),
        classes=classes,
    )


def first_votes(calibration: Calibration, one: ClassFound) -> int | None:
    """Return the votes that steps were asked at first, where some were looked at again; else None."""
    return calibration.votes if one.closer else None


def _class_shown(calibration: Calibration, load: RiskBudget, k: int, target: float | None, classes: int) -> ClassShown:
    one = calibration.classes[load.name]
    # With several rivals the right answer is to lead the strongest one, as a plan's own fit takes it.
    cells, first = (one.duel, None) if load.several else (one.closer or one.heard, first_votes(calibration, one))
    table = {(cell.right, cell.against): cell.steps for cell in cells}
    risk = (1 - CONFIDENCE) / classes
    whole = one.whole and load.steps <= max(one.of or 0, one.steps)
    # Where steps are a large sample of the run's own, or all, there are two bounds, each with half of the risk. It must
    # not hang on what was heard whether there are.
    share = 0.0 if one.of is None else min(1.0, (one.steps + one.repeats) / one.of)
    finite = whole or (one.drawn and share >= LARGE)
    found = doubt(table, k, 1 - risk / (1 + finite), first=first)
    wrong = failure = min(float(load.steps), load.steps * found.share)
    if finite and (hidden := _own_wrong(one, table, k, 1 - risk / 2, first)) is not None:
        own = hidden * load.steps / max(one.of or 0, found.heard)
        wrong, failure = min(wrong, own), min(failure, -math.expm1(-own) if whole else own)
    needed = None
    if target is not None and not whole:
        needed = math.ceil(load.steps * found.factor * -math.log(risk) * classes / (1 - target))
    doubtful = sum(not_led(table).values())
    return ClassShown(load.name, load.steps, found.heard, doubtful, wrong, min(1.0, failure), needed)


def _own_wrong(one: ClassFound, table: VoteTable, k: int, confidence: float, first: int | None) -> float | None:
    """Return how many of the run's own steps are decided wrongly, at most, by the votes on those that were drawn.

    None where steps that repeat others were drawn, and not all of them: how often the others repeat is not known.
    """
    if one.whole:
        # One step may be the one that all the others repeat.
        return (1 + one.repeats) * own_loss(table, k, confidence, first=first)
    if one.repeats or one.of is None:
        return None
    return sample_loss(table, k, confidence, of=one.of, first=first)
