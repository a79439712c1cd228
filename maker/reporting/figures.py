"""Turn counts into figures: shares with their intervals, fits by step class, and one number for the run. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from maker.reporting.counts import Group
from maker.reporting.decision_rules import DecisionRule
from maker.reporting.fit import Fit, Range, all_right, expected_law, fit, tails, wrong
from maker.stats.bounds import share_at_most
from maker.stats.vote_tests import Rule

CONFIDENCE = 0.95
"""Confidence of every interval of a report; for the whole run, the risk is divided evenly over the step classes."""
LEAST_EXPECTED = 0.02
"""A table ends at the row where no steps were found and fewer than this are expected."""
INDEPENDENT = "the votes of a step are independent"
VARIED = (
    "how often a vote is for the step's most frequent answer varies over the steps of a class as a Beta distribution,"
    " fitted to their losing votes"
)
TURNS = "the models that take turns give that answer equally often"


class Tail(NamedTuple):
    """Steps with at least ``losing`` losing votes: found, and expected by the class's fit (None without one)."""

    losing: int
    found: int
    expected: float | None


class Bar(NamedTuple):
    """Steps whose count is ``number``: found, and expected by the class's fit (None without one)."""

    number: int
    steps: int
    expected: float | None


class Share(NamedTuple):
    """A share of steps or samples, with the interval of Clopper and Pearson."""

    found: int
    of: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """What was measured on the steps of one class that one run decided.

    ``votes`` are valid votes a step, found and expected with one rival. ``tails`` shows at a glance whether steps are
    equally hard. ``judged`` steps were decided by a judge. ``cut`` steps stayed undecided by votes, and some went to a
    judge: their losing votes count in the fit and in ``tails``. ``unfitted`` says why there is no ``fit``. ``looks``
    counts the monitor's looks, ``unwatched`` says why there can be none.
    """

    ruled: DecisionRule
    steps: int
    judged: int
    cut: int
    valid_votes: int
    disputed: Share
    votes: tuple[Bar, ...]
    tails: tuple[Tail, ...]
    margins: tuple[tuple[int, int], ...]
    rounds: tuple[tuple[int, int], ...]
    fit: Fit | None
    unfitted: str
    looks: int
    unwatched: str


class FlagCount(NamedTuple):
    """Flagged samples of live steps, by reason, class and model."""

    reason: str
    kind: str
    model: str
    samples: int


class ModelShare(NamedTuple):
    """Valid votes by a model in live steps, and how many of them were for the winner: agreement, not accuracy."""

    model: str
    votes: int
    won: int


@dataclass(frozen=True, slots=True)
class Whole:
    """One number for the whole run, and its assumptions.

    ``right`` is the probability that all ``steps`` that votes decided got the model's most frequent answer, ``wrong``
    how many of them are expected not to; whether that answer is right, votes cannot show. Both hold only under the
    assumptions ``given``. They are None where votes cannot show it, or an alarm says that an assumption is broken, and
    ``missing`` says why. ``outside`` names what the number does not cover. ``against`` names evidence against it; if
    there is any, do not rely on the number. ``stated`` is what follows from the voters' promises.
    """

    steps: int
    right: Range | None
    wrong: Range | None
    confidence: float
    given: tuple[str, ...]
    outside: tuple[str, ...]
    against: tuple[str, ...]
    missing: str
    stated: str


def class_figures(group: Group, confidence: float) -> ClassFigures:
    """Return the figures of one class; ``confidence`` is that of its fit."""
    ruled, voted = group.ruled, group.steps - group.judged
    cut = group.judged + group.unsettled
    found, why = None, _unfitted(ruled, voted)
    if not why and ruled.k is not None:
        found = fit(group.losing, group.cut_losing, ruled.k, confidence)
    law = expected_law(found) if found else []
    looks = int(isinstance(ruled.rule, Rule) and group.steps > 0)
    return ClassFigures(
        ruled=ruled, steps=group.steps, judged=group.judged, cut=cut, valid_votes=sum(group.valid.values()),
        disputed=share(group.disputed, group.steps), votes=_votes(group, law, voted + cut),
        tails=_tails(group, law, voted + cut),
        margins=tuple(sorted(group.margins.items())), rounds=tuple(sorted(group.rounds.items())),
        fit=found, unfitted=why, looks=looks, unwatched="" if isinstance(ruled.rule, Rule) else ruled.rule,
    )  # fmt: skip


def share(found: int, of: int) -> Share:
    """Return a share with its two-sided interval (Clopper and Pearson 1934): 29 of 1,023 have .0191 to .0405."""
    side = 1 - (1 - CONFIDENCE) / 2
    if not of:
        return Share(found, of, 0.0, 1.0)
    return Share(found, of, 1 - share_at_most(of - found, of, side), share_at_most(found, of, side))


def whole(classes: Sequence[ClassFigures], outside: Sequence[str], against: Sequence[str], alarmed: str = "") -> Whole:
    """Return the number for the whole run; ``outside`` and ``against`` as there.

    ``alarmed`` says which alarms speak against what the number assumes: then it is not shown. "" if there are none.
    """
    fits = [one.fit for one in classes if one.fit is not None]
    voted = [one for one in classes if one.steps > one.judged]
    steps = sum(one.steps - one.judged for one in voted)
    unfitted = sorted({one.unfitted for one in voted if one.unfitted})
    given = (INDEPENDENT, VARIED, *([TURNS] if any(one.ruled.turns > 1 for one in voted) else []))
    missing = "; ".join(unfitted) if voted else "no step is decided by votes"
    if not missing and any(one.p.low <= 0.5 for one in fits):
        missing = "so many votes lost that p may be one half, and then votes settle nothing"
    missing = "; ".join(why for why in (alarmed, missing) if why)
    right, errors = (None, None) if missing else (all_right(fits), wrong(fits))
    judged = sum(one.judged for one in classes)
    beside = [f"{judged:,} step{'s' * (judged > 1)} that a judge decided"] if judged else []
    return Whole(
        steps=steps, right=right, wrong=errors, confidence=CONFIDENCE, given=given, outside=(*beside, *outside),
        against=tuple(against), missing=missing, stated=_stated(voted),
    )  # fmt: skip


def flags(groups: Sequence[Group]) -> list[FlagCount]:
    """Return flagged samples by reason, class and model."""
    found: Counter[tuple[str, str, str]] = Counter()
    for group in groups:
        for (reason, model), samples in group.flags.items():
            found[str(reason), group.ruled.kind, group.models[model]] += samples
    return [FlagCount(*place, samples) for place, samples in sorted(found.items()) if samples]


def agreement(groups: Sequence[Group]) -> list[ModelShare]:
    """Return valid votes by model, and those for the winner."""
    found: dict[str, list[int]] = {}
    for group in groups:
        for model, votes in group.valid.items():
            counts = found.setdefault(group.models[model], [0, 0])
            counts[0] += votes
            counts[1] += group.won[model]
    return [ModelShare(model, votes, won) for model, (votes, won) in found.items()]


def _unfitted(ruled: DecisionRule, voted: int) -> str:
    """Say why p cannot be estimated from the votes of a class; "" if it can."""
    if not voted:
        return f"no step {ruled.kind} is decided by votes"
    if ruled.lost:
        return ruled.lost
    if ruled.by_parts:
        return f"steps {ruled.kind} are voted on part by part, and maker estimates p only of votes on whole answers"
    if ruled.k is None:
        return f"maker estimates p only for voters that need a lead of k, and {ruled.voter} does not"
    if ruled.k == 1:
        return "with k = 1 the first vote decides, so the votes do not show how often a vote is right"
    return ""


def _votes(group: Group, law: Sequence[float], races: int) -> tuple[Bar, ...]:
    """Return the steps by valid votes. Against one rival k + 2l votes are l losing ones."""
    k = group.ruled.k or 0
    expected = {k + 2 * losing: races * chance for losing, chance in enumerate(law)}
    numbers = group.votes.keys() | {at for at, steps in expected.items() if steps >= LEAST_EXPECTED}
    return tuple(Bar(at, group.votes[at], expected.get(at, 0.0) if law else None) for at in sorted(numbers))


def _tails(group: Group, law: Sequence[float], races: int) -> tuple[Tail, ...]:
    expected, losing_votes = [races * chance for chance in tails(law)], group.losing + group.cut_losing
    found: list[Tail] = []
    steps = races
    for losing in range(max(losing_votes, default=0) + 2 + len(expected)):
        here = expected[losing] if losing < len(expected) else 0.0
        if not steps and here < LEAST_EXPECTED:
            break
        found.append(Tail(losing, steps, here if law else None))
        steps -= losing_votes[losing]
    return tuple(found)


def _stated(voted: Sequence[ClassFigures]) -> str:
    """Return what the voters' promises for each step mean for all steps; "" if one of them promises nothing."""
    promises = [one.ruled.promise for one in voted if one.ruled.promise is not None]
    if not voted or len(promises) < len(voted) or len({one.ruled.voter for one in voted}) > 1:
        return ""
    if any(one.ruled.by_parts for one in voted):
        # Nobody knows of how many parts it would be the sum.
        return ""
    most = math.fsum(promise.error * (one.steps - one.judged) for promise, one in zip(promises, voted, strict=True))
    steps = sum(one.steps - one.judged for one in voted)
    return f"on average at most {most:,.3g} of {steps:,} steps {promises[0].all}"
