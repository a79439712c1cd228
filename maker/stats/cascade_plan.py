"""Forecast what one model alone, and a cascade, accept and take at one stated error, by labelled rows of a pilot. Pure.

Each labelled row stands for as many rows of the table as there are to one label. What a stage keeps is chosen as
`maker.stats.cascade` does it, by labels that are drawn for it: a few times over, as the pilot's answers are not those
that the run will have.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from maker.stats.acceptance import Score, estimated_wrong, expected_rows, order_of
from maker.stats.bounds import Labelled
from maker.stats.cascade import NOTHING, TUNING, composite, hand_off, kept_with, start_of


class PilotRow(NamedTuple):
    """A labelled row that a model was asked: how unsure it is, None without an answer; if it is right; what it took."""

    score: Score | None
    right: bool
    calls: int
    tokens: int


class Terms(NamedTuple):
    """What is to be shown of a table of so many rows."""

    rows: int
    error: float
    confidence: float


class Taken(NamedTuple):
    """How many rows a stage is asked and keeps, and what it takes; about so many, in all the table's rows."""

    asked: float
    kept: float
    calls: float
    tokens: float


class CascadeForecast(NamedTuple):
    """About how many rows are accepted, on average over draws of as many labels; and what each stage takes."""

    accepted: float
    stages: tuple[Taken, ...]


SPLITS = 20
"""So many draws of tuning labels are averaged."""


def forecast(pilots: Sequence[Sequence[PilotRow]], terms: Terms) -> CascadeForecast:
    """Return what stages accept and take on average; of a single one, which tunes nothing, all labels test.

    Args:
        pilots: The labelled rows as each stage answers them, in one order.
        terms: The table, the error and the confidence.
    """
    labels = len(pilots[0])
    if len(pilots) == 1:
        return _forecast(pilots, frozenset(), terms)
    draws = [frozenset(random.Random(seed).sample(range(labels), int(labels * TUNING))) for seed in range(SPLITS)]
    found = [_forecast(pilots, tuning, terms) for tuning in draws]
    stages = (
        Taken(*(fmean(one) for one in zip(*taken, strict=True)))
        for taken in zip(*(one.stages for one in found), strict=True)
    )
    return CascadeForecast(fmean(one.accepted for one in found), tuple(stages))


def _forecast(pilots: Sequence[Sequence[PilotRow]], tuning: frozenset[int], terms: Terms) -> CascadeForecast:
    """Return what stages accept and take where the labels of these rows tune hand-offs."""
    of = len(pilots[0])
    scale = terms.rows / of
    here, kept, taken = list(range(of)), NOTHING, list[Taken]()
    last_of = [len(pilots) - 1] * of
    for number, pilot in enumerate(pilots):
        left = here if number == len(pilots) - 1 else []
        if number < len(pilots) - 1:
            decided = [(row, score) for row in here if (score := pilot[row].score) is not None]
            sizes = {one: max(1, round(scale * n)) for one, n in Counter(score for _, score in decided).items()}
            sample = [(score, pilot[row].right) for row, score in decided if row in tuning]
            order = order_of(sizes, sample)
            rule = hand_off(order, terms.error, kept) if decided else None
            stays = {row for row, score in decided if rule is not None and order.rank[score] <= rule}
            kept = kept_with(kept, order, rule) if decided else kept
            for row in stays:
                last_of[row] = number
            left = [row for row in here if row not in stays]
        taken.append(_taken(pilot, here, left if number < len(pilots) - 1 else [], scale))
        here = left
    return CascadeForecast(_accepted(pilots, last_of, terms), tuple(taken))


def _taken(pilot: Sequence[PilotRow], here: Sequence[int], left: Sequence[int], scale: float) -> Taken:
    calls, tokens = sum(pilot[row].calls for row in here), sum(pilot[row].tokens for row in here)
    return Taken(scale * len(here), scale * (len(here) - len(left)), scale * calls, scale * tokens)


def _accepted(pilots: Sequence[Sequence[PilotRow]], last_of: Sequence[int], terms: Terms) -> float:
    last, scale = len(pilots) - 1, terms.rows / len(last_of)
    finals = [(pilots[number][row], number) for row, number in enumerate(last_of)]
    later = Counter(one.score for one, number in finals if number == last and one.score is not None)
    start = (start_of(later) if later else ()) if any(number < last for number in last_of) else None
    scored = [
        (one.score if start is None else composite(start, one.score if number == last else None), one.right)
        for one, number in finals
        if one.score is not None
    ]
    if not scored:
        return 0.0
    order = order_of({one: max(1, round(scale * n)) for one, n in Counter(one for one, _ in scored).items()}, scored)
    rows = order.rules[-1].rows
    labels = len(scored) if last == 0 else len(scored) - round(TUNING * len(scored))
    strata = [Labelled(rows, min(rows, labels), 0)]
    wrong = estimated_wrong(order.rules, order.sampled)
    return expected_rows([one.rows for one in order.rules], wrong, strata, terms.error, terms.confidence)
