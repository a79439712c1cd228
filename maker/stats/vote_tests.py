"""Tests of losing votes: whether the steps of a class are alike and their votes independent. Pure.

Each test is exact or a bound, none is an approximation. All but `hard` are conditional on the number of losing votes,
or of contested steps, so that none has to know p. Dispersion and longest take steps of a class to be alike, with
independent votes, and leave room: they test by the law of a race to a smaller margin (`Rule.allowed`), of which losing
votes are spread more unevenly. That covers a first vote at temperature 0, even one that never errs, and two or three
models that take turns, however unlike they are. Red flags leave the law as it is, or shift whose turn it is; several
rivals make it more even, as do elections that are cut off at ``max_votes``. Drift and bursts take no more for granted
than that steps differ in no order: hard steps here and there do not raise them. Shift takes for granted that the
pilot's steps are a fair sample of the run's: so that it is not, or is no longer, is what it tells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from maker.errors import ExtraMissing
from maker.stats import close_pairs, dispersion
from maker.stats.losing_votes import Histogram, Neighbours, Stretches

TOLERATED = 0.05
"""The share of wrong steps of a class that is no alarm yet."""
WIDEST = {2: 2, 3: 1}
"""By the length of a pool's rotation, the greatest margin whose law is wide enough for it."""
WORTH = 2.0
"""A stretch with fewer contested steps than so many standard deviations above its share is not worth its tail."""


class Statistic(StrEnum):
    """What an alarm rests on."""

    DISPERSION = "dispersion"
    LONGEST = "longest"
    DRIFT = "drift"
    BURSTS = "bursts"
    HARD = "hard"
    SHIFT = "shift"
    CONFIDENCE = "confidence"


class Rule(NamedTuple):
    """How steps of a class are decided: by a lead of k votes, asked of models in a rotation of ``turns``."""

    k: int
    turns: int = 1

    @property
    def allowed(self) -> int:
        """The margin whose law is at least as uneven as that of any steps that are alike and vote independently."""
        return min(self.k - 1, WIDEST.get(self.turns, self.k))


class PilotSteps(NamedTuple):
    """The steps of a pilot at a margin of k: how many, and on how many of these the first k valid votes differ.

    Such a step is contested: a race to a lead of k has losing votes there.
    """

    steps: int
    contested: int

    @classmethod
    def of(cls, alike: Mapping[int, int], k: int) -> PilotSteps | None:
        """Return them, from how many steps have so many valid votes until one differs from the first.

        A step with fewer than k valid votes counts as contested: that the run's are so more often is not found too
        soon. None where all count so, or there are none: nothing can be more.
        """
        steps, contested = sum(alike.values()), sum(n for votes, n in alike.items() if votes < k)
        return cls(steps, contested) if contested < steps else None


class Seen(NamedTuple):
    """The steps of a class: how many losing votes they have, where contested ones stand, how many close together.

    ``missing`` steps may be in work still: those that take longest.
    """

    votes: Histogram
    stretches: Stretches
    neighbours: Neighbours
    missing: int = 0


class Finding(NamedTuple):
    """What a test found: the fields of an `Alarm` that are the test's own. ``lacks`` is why it could not be made."""

    statistic: Statistic
    found: int
    expected: float
    p: float
    text: str
    lacks: str = ""


def findings(seen: Seen, rule: Rule, pilot: PilotSteps | None = None) -> tuple[Finding, ...]:
    """Return what each test says of the steps of a class; shift is made where there was a ``pilot``."""
    votes = seen.votes
    alone = _dispersion(votes, rule), _longest(votes, rule), _drift(seen), _bursts(seen.neighbours), _hard(votes, rule)
    return alone if pilot is None else (*alone, _shift(votes, pilot))


def _dispersion(seen: Histogram, rule: Rule) -> Finding:
    steps, losing, found = seen.steps, seen.losing, seen.contested
    expected = dispersion.contested(steps, losing, rule.allowed)
    text = (
        f"the {losing:,} losing votes of {steps:,} steps fall on only {found:,} of them; {expected:,.0f} or more were"
        " expected. Votes of a step are not independent, or some steps are much harder than others"
    )
    p = dispersion.few_contested(steps, losing, found, rule.allowed)
    return Finding(Statistic.DISPERSION, found, expected, p, text)


def _longest(seen: Histogram, rule: Rule) -> Finding:
    found = seen.longest
    expected = dispersion.longest(seen.steps, seen.losing, found, rule.allowed)
    text = (
        f"a step has {found} losing votes; with {seen.losing:,} losing votes on {seen.steps:,} steps, {expected:.2g}"
        " steps with so many were expected. It is much harder than others, or its votes are not independent"
    )
    return Finding(Statistic.LONGEST, found, expected, min(1.0, expected), text)


def _drift(seen: Seen) -> Finding:
    """Look for the stretch of the run with far too many contested steps; p is that of all stretches together.

    Each length counts alike, however many stretches have it: a change for good shows in few long ones.
    """
    whole, lengths, late = seen.stretches.whole(), seen.stretches.by_length(), _late(seen)
    worst, best = whole, 1.0
    for stretches in lengths:
        for one in stretches:
            share = whole.contested * one.steps / whole.steps
            if one.contested <= share + WORTH * math.sqrt(share):
                continue
            elsewhere = (whole.steps - one.steps + late, whole.contested - one.contested + late)
            p = dispersion.heaped((one.steps, one.contested), elsewhere) * len(stretches) * len(lengths)
            if p < best:
                worst, best = one, p
    expected = whole.contested * worst.steps / max(1, whole.steps)
    # The first part may begin before the run's first step, and the last one reach beyond its last.
    where = f"from {max(0, worst.first):,} " + ("on" if worst.end >= whole.end else f"to {worst.end - 1:,}")
    missing = f", and {late:,} may be missing elsewhere" if late else ""
    text = (
        f"{worst.contested:,} of the {worst.steps:,} steps {where} have losing votes; {expected:,.0f} were expected, as"
        f" {whole.contested:,} of all {whole.steps:,} have{missing}. The steps or the model have changed, or the model"
        " was worse for a while"
    )
    return Finding(Statistic.DRIFT, worst.contested, expected, best, text)


def _bursts(seen: Neighbours) -> Finding:
    steps, contested, pairs = seen.steps, seen.contested, seen.pairs
    expected = close_pairs.expected(steps, contested)
    text = (
        f"the {contested:,} of {steps:,} steps that have losing votes make {pairs:,} pairs within {close_pairs.REACH}"
        f" steps of one another; {expected:,.0f} were expected. The model was worse for short times, or steps that are"
        " alike stand together"
    )
    try:
        p, lacks = close_pairs.many(steps, contested, pairs), ""
    except ExtraMissing as missing:
        # The run does not stop for one test of six.
        p, lacks = 1.0, f"{missing.message}; {missing.fix}"
    return Finding(Statistic.BURSTS, pairs, expected, p, text, lacks)


def _late(seen: Seen) -> int:
    """Return how many contested steps may be in work: they are missing where they stand."""
    if seen.missing < 2:
        return 0
    # A step is in work at a given time in proportion to its rounds: one, and one for each losing vote at the most.
    rounds = [(votes + 1) * steps for votes, steps in enumerate(seen.votes.counts)]
    return -(-seen.missing * sum(rounds[1:]) // max(1, sum(rounds)))


def _hard(seen: Histogram, rule: Rule) -> Finding:
    expected = dispersion.losing_votes(seen.steps, rule.k, TOLERATED)
    text = (
        f"{seen.steps:,} steps have {seen.losing:,} losing votes; {expected:,.0f} are expected if voting fails on"
        f" {TOLERATED:.0%} of them. It fails on more, and a larger k may make it worse"
    )
    p = dispersion.hard(seen.steps, seen.losing, rule.k, TOLERATED)
    return Finding(Statistic.HARD, seen.losing, expected, p, text)


def _shift(seen: Histogram, pilot: PilotSteps) -> Finding:
    """Ask whether the run's steps are contested more often than its pilot's: Fisher's exact test, one-sided.

    If both are drawn from the same steps, and the model is the same, each of all steps is as likely contested as any
    other: those of the run are a random part of all, whatever the steps are like. p is larger than it need be, and
    never smaller, where the pilot's steps are steps of the run, which are the same ones twice; where contested steps
    are still in work; where a step of the pilot had fewer than k valid votes; and where the pilot asked more of a rare
    kind that is harder. A pilot that asked more of an easier kind is no fair sample: what rests on it does not hold.
    That a run is easier than its pilot harms nobody: there is no test for it.
    """
    steps, found = seen.steps, seen.contested
    expected = steps * pilot.contested / pilot.steps
    text = (
        f"{found:,} of {steps:,} steps have losing votes; {expected:,.0f} were expected, as {pilot.contested:,} of the"
        f" pilot's {pilot.steps:,} steps would have. The model is worse than it was at the time of the pilot, or the"
        " pilot's steps were easier than the run's: do not rely on what was found by the pilot"
    )
    p = dispersion.heaped((steps, found), (pilot.steps, pilot.contested))
    return Finding(Statistic.SHIFT, found, expected, p, text)
