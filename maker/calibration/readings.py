"""How the votes of a step class are read: who the wrong ones are for, and what flags hide. Pure.

All wrong votes may be one rival's: that is the worst case. Where they are split among several, a race with the
strongest alone is won more easily. A race with each of them is told by all pairs of wrong votes, which say more than
the few votes for the strongest. All readings are on the safe side, so that a plan may take the one that asks for the
fewest votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from maker.calibration.observations import Calibration, Cell, ClassFound
from maker.stats.difficulty import Difficulty, Mode, fit
from maker.stats.flagged import worse_reading
from maker.stats.mixture import VoteTable
from maker.stats.risk import RiskBudget
from maker.stats.several_rivals import SeveralRivals
from maker.stats.shares import Splits, agreeing, most_against_rivals, split_alike

SEVERAL = 1.2
"""There is more than one rival where all wrong votes are by this more than the strongest rival's. What is known of that
one rests on two thirds of the votes: with fewer votes for others, all votes against one rival tell more."""
PAIRS = 100
"""With fewer pairs of wrong votes nothing is said of how they are split."""
UNLIKE = 0.01
"""Wrong votes agree more on harder steps if the p-value of one law for all is smaller than this."""


class Reading(StrEnum):
    """Who the wrong votes of a step are for."""

    ONE = "one"
    """All for one rival."""
    NAMED = "named"
    """For the strongest one, which a part of the votes names and the others count; see `Rivalry`."""
    COUNTED = "counted"
    """For the strongest one, counted by the votes that find it: it looks too strong, and all votes tell of it."""
    EACH = "each"
    """For each of several, whose shares are told by how wrong votes of a step agree."""


class Read(NamedTuple):
    """How hard the steps of a class are, and how many rivals a step may be lost to, to each as often as that says."""

    difficulty: Difficulty
    rivals: float


def read(one: ClassFound, confidence: float, reading: Reading | None = None) -> Read:
    """Return how hard the steps of a class are, by the usual reading unless one of `other_readings` is given.

    With one rival a race is between the right answer and all others. Where there are clearly more, it is lost to each
    of them no more often than a race with the strongest alone, which is won more easily; they are as many as would have
    all wrong votes if each had the strongest one's. Calibrations of older versions have no `Rivalry`: their strongest
    rival looks too strong, and is of no Beta-binomial count.
    """
    if silenced := _silenced(one):
        return Read(fit(silenced, confidence), 1.0)
    reading = reading or _usual(one)
    if reading is Reading.EACH:
        return Read(SeveralRivals(_splits(one), confidence), 1.0)
    if reading is Reading.NAMED and one.rivalry is not None:
        return Read(_as_far_as_shown(fit(cells_of(one.rivalry.duel), confidence), one), one.rivalry.rivals)
    if reading is Reading.COUNTED:
        return Read(fit(cells_of(one.duel), confidence, tested=cells_of(one.heard)), one.wrong / one.rival)
    return Read(fit(cells_of(one.heard), confidence, cells_of(one.closer)), 1.0)


def read_through(one: ClassFound, flag: str, confidence: float) -> Read:
    """Return the same as if samples with that flag had voted."""
    return Read(fit(cells_of(one.through[flag]), confidence), 1.0)


def _usual(one: ClassFound) -> Reading:
    if one.rivalry is None:
        return Reading.COUNTED if one.wrong > SEVERAL * one.rival > 0 else Reading.ONE
    # Where less than half of the votes are right, it is the strongest rival that says whether votes help.
    return Reading.NAMED if one.rivalry.rivals > SEVERAL or one.right < one.wrong else Reading.ONE


def other_readings(one: ClassFound) -> tuple[Reading, ...]:
    """Return what else the votes of a class with several rivals may be read as, as far as the pilot supports it.

    Each rival is counted for itself where there are enough pairs of wrong votes, and these agree no more on the steps
    that are harder.
    """
    if one.rivalry is None:
        return ()
    found = [Reading.ONE] if one.right > one.wrong else []
    if one.wrong > SEVERAL * one.rival > 0:
        found.append(Reading.COUNTED)
    splits = _splits(one)
    if agreeing(splits).pairs >= PAIRS and split_alike(splits) >= UNLIKE:
        found.append(Reading.EACH)
    return tuple(found)


def _as_far_as_shown(difficulty: Difficulty, one: ClassFound) -> Difficulty:
    """Widen the interval of p against the strongest rival by what pairs of votes leave open; return the difficulty.

    Where no vote names a rival, all wrong votes count as its: it looks too strong. That votes make a step worse is said
    only where it is so in truth.
    """
    if one.splits:
        most = most_against_rivals(_splits(one), (1 + difficulty.confidence) / 2)
        difficulty.p = difficulty.p._replace(high=max(difficulty.p.high, most))
    several = one.rivalry is not None and one.rivalry.rivals > SEVERAL
    if difficulty.mode is Mode.RIVAL and (difficulty.p.high >= 0.5 or (several and not one.splits)):
        difficulty.mode = Mode.OPEN
    return difficulty


def reading_words(loads: Sequence[RiskBudget]) -> str:
    """Return how a plan counts the wrong votes of classes with several rivals, and by what; "" where there are none."""
    told = []
    for load in loads:
        difficulty = load.difficulty
        if isinstance(difficulty, SeveralRivals):
            low, share, high = difficulty.agreement
            told.append(
                f"each rival of a step of {load.name} for itself, by {difficulty.pairs:,} pairs of wrong votes on one"
                f" step, of which {share:.1%} agree [{low:.1%} to {high:.1%}], alike on steps that are right more often"
                " and less often"
            )
        elif load.several:
            told.append(f"{load.rivals:.2g} rivals of a step of {load.name}, each as strong as its strongest")
    return f", counting {'; and '.join(told)}" if told else ""


def _silenced(one: ClassFound) -> VoteTable | None:
    """Return the votes of a class with flagged samples as votes against where flags silence steps; else None.

    A second look has asked steps that were mostly flagged so often that only those without any vote are silenced.
    """
    if not one.closer:
        table = {(cell.right, cell.against, cell.flagged): cell.steps for cell in one.flagged}
        return worse_reading(table) if table else None
    heard = Counter(cells_of(one.closer))
    silenced = heard.pop((0, 0), 0)
    heard[0, max(2, one.samples // one.steps)] += silenced
    return heard if silenced else None


def silenced_words(calibration: Calibration) -> str:
    """Return how a plan counts steps that flags silence; "" where there are none."""
    names = ", ".join(name for name, one in calibration.classes.items() if _silenced(one))
    against = ", counting flagged samples as votes against on steps that have hardly any valid ones"
    return f"{against} ({names})" if names else ""


def cells_of(table: Iterable[Cell]) -> dict[tuple[int, int], int]:
    """Return a table as the statistics take it: votes → steps."""
    return {cell.votes: cell.steps for cell in table}


def _splits(one: ClassFound) -> Splits:
    return {(right, others): steps for right, others, steps in one.splits}
