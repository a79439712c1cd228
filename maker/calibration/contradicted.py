"""Labels and oracles against votes: steps on which the likeliest answer is wrong, and labels that fit nowhere. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from maker.calibration.observations import CONFIDENCE, By, Calibration
from maker.calibration.shown import first_votes
from maker.errors import OutOfReach
from maker.stats.difficulty import Interval, clopper_pearson
from maker.stats.mixture import not_led
from maker.stats.risk import RiskBudget
from maker.stats.several_rivals import SeveralRivals
from maker.stats.unexplained import unexplained

STRANGE, UNITED = 0.1, 0.5
"""Labels may be of other steps where less than the one share of the votes says what they say, while at least the other
share of the wrong votes on a step is for one answer."""
MEND = "change the prompt for these steps, have the task check answers, or use another model"
BOUND = "; or set vote.k, and bound the wrong rows of a map after the run with `maker audit`"


class Contradicted(NamedTuple):
    """Pilot steps of a class whose right answer is not the likeliest one, as far as no fit explains their votes.

    Args:
        name: The class's.
        steps: How many there are.
        heard: Of so many pilot steps.
        of: Steps of the run.
    """

    name: str
    steps: int
    heard: int
    of: int

    @property
    def right(self) -> Interval:
        """The probability that no step of the run is such a one."""
        low, high = clopper_pearson(self.steps / self.heard, self.heard, CONFIDENCE)
        return Interval(*(math.exp(self.of * math.log1p(-min(share, 1 - 1e-12))) for share in
                          (high, self.steps / self.heard, low)))  # fmt: skip


def contradicted(calibration: Calibration, loads: Sequence[RiskBudget]) -> tuple[Contradicted, ...]:
    """Return the classes in which steps contradict what voting needs; () without right answers."""
    if not calibration.labelled:
        return ()
    found = []
    for load in loads:
        if steps := _unexplained(calibration, load):
            found.append(Contradicted(load.name, steps, load.difficulty.steps, load.steps))
    return tuple(found)


def _unexplained(calibration: Calibration, load: RiskBudget) -> int:
    one = calibration.classes[load.name]
    if isinstance(load.difficulty, SeveralRivals):
        found = load.difficulty.unexplained()
    else:
        # The table of a race with the strongest of several rivals has no second look.
        found = unexplained(load.difficulty, first=None if load.several else first_votes(calibration, one))
    # Ten votes may go against a step of p = .9; where forty more say so, its right answer is the likeliest one.
    return min(found, one.doubted - one.cleared) if one.cleared else found


def carried(right: Interval, found: Sequence[Contradicted]) -> Interval:
    """Return the probability that a run is right, with the share of contradicted steps carried into it."""
    for one in found:
        right = Interval(*(before * part for before, part in zip(right, one.right, strict=True)))
    return right


def within_reach(found: Sequence[Contradicted], target: float) -> bool:
    """Return whether the share of contradicted steps leaves a target within reach."""
    return carried(Interval(1.0, 1.0, 1.0), found).estimate >= target


def refuse_contradicted(found: Sequence[Contradicted], target: float, key: int) -> None:
    """Refuse a target that the share of contradicted steps alone puts out of reach. Raises `OutOfReach`."""
    if within_reach(found, target):
        return
    raise OutOfReach(
        f"calibration {key}: {contradicted_line(found)}; more votes make such steps worse, so no margin k reaches"
        f" {target:g}",
        fix=MEND + BOUND,
    )


def contradicted_line(found: Sequence[Contradicted]) -> str:
    """Say which steps contradict, and how many of the run's that would be."""
    return f"{'; '.join(map(_line, found))}, and the other steps do not explain it"


def behind_line(calibration: Calibration, loads: Sequence[RiskBudget]) -> str:
    """Say on how many pilot steps the right answer is not ahead, explained or not; "" where there are none.

    Steps that had a second look count by all their votes, as `maker calibrate` tells of them. Where there are several
    rivals, a few votes on a step do not tell which answer is ahead of all others.
    """
    found = []
    for load in loads:
        cells, one = load.difficulty.closer, calibration.classes[load.name]
        behind = one.behind if one.doubted else sum(not_led(cells).values())
        if not load.several and behind:
            found.append(_line(Contradicted(load.name, behind, sum(cells.values()), load.steps)))
    return "; ".join(found)


def _line(one: Contradicted) -> str:
    share = one.steps / one.heard
    of_run = f", about {share * one.of:,.2g} of the run's {one.of:,}" if one.of > 1 else ""
    return (
        f"on {one.steps:,} of {one.heard:,} pilot steps of {one.name} the right answer does not lead the votes"
        f" ({share:.2%}{of_run})"
    )


def refuse_strange_labels(calibration: Calibration, key: int) -> None:
    """Refuse labels that hardly any vote agrees with, while votes agree with each other. Raises `OutOfReach`."""
    classes = calibration.classes.values()
    right, wrong = (sum(getattr(one, name) for one in classes) for name in ("right", "wrong"))
    rival = sum(one.rival for one in classes)
    if calibration.by != By.LABELS or right >= STRANGE * (right + wrong) or rival < UNITED * wrong:
        return
    raise OutOfReach(
        f"calibration {key}: {right / (right + wrong):.1%} of the votes say what your labels say, while votes on a step"
        " agree with each other: the labels look like those of other steps, or of another file",
        fix="check that each label stands at its own step, and calibrate again; if they do, change the prompt or the"
        " model",
    )
