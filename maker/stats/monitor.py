"""Watches whether a run's steps vote as voting needs it: independent votes, steps alike. Pure; its state is small.

What is counted of a decided step is the votes for the loser: the lesser of the winner's votes and those of its
strongest rival. In a race to a lead of k (`Voter.race_margin`) their law is known whatever p is
(`maker.stats.dispersion`), the stopping rule with it. A class of steps is looked at when it has 64, 128, 256, … steps,
at exactly these counts, whoever asks when; each look makes four tests, and the nominal rate of false alarms of all of
them together, over a run of any length that may be stopped at any time, is at most `ALPHA`: it is divided evenly over
the classes, a class's over its looks with 1/(j(j+1)), a look's evenly over its tests. Each test is exact or a bound,
none is an approximation.

- dispersion: given all losing votes, too few steps have them. Votes that copy one another, hard steps among easy ones.
- longest: given all losing votes, one step has too many.
- drift: since the last look, losing votes have become more or fewer than before.
- hard: there are too many of them for steps of which voting fails in `TOLERATED` or less. It is blind to which answer
  is right: where the likeliest one is wrong, it tells only that votes settle nothing, and nothing at all where the
  model is sure of it.

The first three take steps of a class to be alike, with independent votes, and leave room: they test by the law of a
race to a smaller margin (`Rule.allowed`), of which losing votes are spread more unevenly. That covers a first vote at
temperature 0, even one that never errs, and two or three models that take turns, however unlike they are. Red flags
leave the law as it is, or shift whose turn it is; several rivals make it more even, as do elections that are cut off
at ``max_votes``. A judge's votes are not counted. Steps are counted in the order in which they end, those with many
votes late: without ``in_work`` that would be taken for drift where many are in work at once. Without a statistic are
voters other than first-to-ahead-by-k and sprt, a margin of 1, and rotations longer than three or than k.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from maker.plugin import Voter
from maker.stats import dispersion

ALPHA = 0.002
"""How often, at most, a run in which nothing is the matter raises an alarm."""
FIRST_LOOK = 64
"""Steps of a class at its first look; each look has twice those of the one before."""
TOLERATED = 0.05
"""The share of wrong steps of a class that is no alarm yet."""
MOST_LOSING = 63
"""Losing votes of one step are counted up to here: fewer are no evidence of anything."""
WIDEST = {2: 2, 3: 1}
"""By the length of a pool's rotation, the greatest margin whose law is wide enough for it."""


class Statistic(StrEnum):
    """What an alarm rests on."""

    DISPERSION = "dispersion"
    LONGEST = "longest"
    DRIFT = "drift"
    HARD = "hard"


class Rule(NamedTuple):
    """How steps of a class are decided: by a lead of k votes, asked of models in a rotation of ``turns``."""

    k: int
    turns: int = 1

    @property
    def allowed(self) -> int:
        """The margin whose law is at least as uneven as that of any steps that are alike and vote independently."""
        return min(self.k - 1, WIDEST.get(self.turns, self.k))


def rule_of(voter: Voter, turns: int = 1, *, by_parts: bool = False) -> Rule | str:
    """Return the rule to watch a voter's steps by, or why there is no statistic for them.

    ``turns`` is the length of the rotation in which models are asked. ``by_parts`` says that each part of an answer is
    decided by itself.
    """
    if by_parts:
        return "the monitor has no statistic for votes on parts of answers: those of one reply are not independent"
    k = voter.race_margin
    if k is None:
        return f"the monitor has no statistic for the voter {voter.name}, only for races to a lead of k"
    if k == 1:
        return "the monitor has no statistic for k = 1: the first vote decides, and no vote loses"
    if turns > (most := min(k, max(WIDEST))):
        return f"the monitor has no statistic for k = {k} in a rotation of {turns} models, only for up to {most}"
    return Rule(k, turns)


class Histogram(NamedTuple):
    """How many steps have 0, 1, 2, … losing votes."""

    counts: tuple[int, ...] = ()

    @property
    def steps(self) -> int:
        """All steps."""
        return sum(self.counts)

    @property
    def losing(self) -> int:
        """All losing votes."""
        return sum(votes * steps for votes, steps in enumerate(self.counts))

    @property
    def contested(self) -> int:
        """Steps with losing votes."""
        return sum(self.counts[1:])

    @property
    def longest(self) -> int:
        """The losing votes of the step that has most."""
        return max((votes for votes, steps in enumerate(self.counts) if steps), default=0)

    def merged(self, other: Histogram) -> Histogram:
        """Return the histogram of both."""
        short, long = sorted((self.counts, other.counts), key=len)
        return Histogram(tuple(map(sum, zip(short, long, strict=False))) + long[len(short) :])


class Alarm(NamedTuple):
    """Steps of a class that do not vote as they should.

    Args:
        kind: The number of the step class.
        statistic: Which test found it.
        steps: Steps of the class so far.
        found: Steps with losing votes (dispersion), the most of one step (longest), of all steps (hard) or of those
            since the last look (drift).
        expected: How many of these there should be; of ``longest``, how many such steps.
        p: How likely it is, at most, that steps which are alike and vote independently show this or worse.
        level: The p below which this test alarms.
        text: One sentence.
    """

    kind: int
    statistic: Statistic
    steps: int
    found: int
    expected: float
    p: float
    level: float
    text: str


class _Due(NamedTuple):
    """A look at a class: its number from 1 on, the steps before the last look and those since."""

    kind: int
    look: int
    before: Histogram
    since: Histogram


class _Class:
    __slots__ = ("before", "head", "left", "look", "since", "top")

    def __init__(self, look: int, before: Histogram, since: Histogram) -> None:
        self.look = look
        self.before = before
        self.since = list(since.counts) + [0] * (MOST_LOSING + 1 - len(since.counts))
        self.left = (FIRST_LOOK << (look - 1)) - before.steps - since.steps
        # The state is written with each commit, in a strict run with each step: what stays as it is, is kept as text.
        self.head = f"[{look},{list(before.counts)},"
        self.top = max(len(since.counts) - 1, 0)


class Monitor:
    """Counts losing votes by step class, and tests them at fixed counts of steps.

    Args:
        rules: How each step class is decided, in the order of the classes' numbers; None for one without a statistic.
        in_work: The most steps that are in work at once. Those that were at the last look had more losing votes than
            others, and are counted after it: that is no drift.
    """

    def __init__(self, rules: Sequence[Rule | None], in_work: int = 1) -> None:
        self.rules = tuple(rules)
        self._in_work = in_work
        self._classes = [rule and _Class(1, Histogram(), Histogram()) for rule in self.rules]
        self._due: list[_Due] = []
        self._head = self._rules_told()

    def observe(self, kind: int, winner_votes: int, rival_votes: int) -> None:
        """Count a step: its winner's votes and its strongest rival's, a judge's not among them.

        One that is left undecided counts with the votes of the two foremost candidates.
        """
        one = self._classes[kind]
        if one is None:
            return
        losing = rival_votes if rival_votes < winner_votes else winner_votes
        if losing > one.top:
            losing = losing if losing < MOST_LOSING else MOST_LOSING
            one.top = losing
        one.since[losing] += 1
        one.left -= 1
        if not one.left:
            self._turn(kind, one)

    def look(self) -> list[Alarm]:
        """Return what the looks that have come due since the last call found. At other times it costs nothing."""
        due, self._due = self._due, []
        return [alarm for one in due for alarm in self._test(one)]

    def restart(self, kind: int, rule: Rule | None) -> None:
        """Begin with a class anew: its steps are decided by another rule now, and what was counted of it is dropped."""
        self.rules = (*self.rules[:kind], rule, *self.rules[kind + 1 :])
        self._classes[kind] = rule and _Class(1, Histogram(), Histogram())
        self._due = [due for due in self._due if due.kind != kind]
        self._head = self._rules_told()

    def histogram(self, kind: int) -> Histogram:
        """Return the losing votes of all steps of a class so far; empty for a class without a statistic."""
        one = self._classes[kind]
        return Histogram() if one is None else one.before.merged(_trimmed(one.since))

    def to_json(self) -> str:
        """Return the state: some hundred bytes a class, whatever the number of steps."""
        classes = ",".join(
            f'"{kind}":{one.head}{one.since[: one.top + 1]}]'
            for kind, one in enumerate(self._classes)
            if one is not None and (one.look > 1 or one.top or one.since[0])
        )
        due = [(kind, look, before.counts, since.counts) for kind, look, before, since in self._due]
        return f'{self._head}"classes":{{{classes}}},"due":{json.dumps(due) if due else "[]"}}}'

    @classmethod
    def from_json(cls, text: str, rules: Sequence[Rule | None], in_work: int = 1) -> Monitor:
        """Return the monitor that wrote a state.

        Raises:
            ValueError: The state is of other rules: what they left cannot be tested by these.
        """
        state: dict[str, Any] = json.loads(text)
        of = tuple(rule and Rule(*rule) for rule in state["rules"])
        monitor = cls(rules, in_work)
        if of != monitor.rules:
            raise ValueError(
                f"the monitor's state is of steps decided by {of}, not by {monitor.rules}; start a new monitor"
            )
        for kind, (look, before, since) in state["classes"].items():
            monitor._classes[int(kind)] = _Class(look, Histogram(tuple(before)), Histogram(tuple(since)))
        for kind, look, before, since in state["due"]:
            monitor._due.append(_Due(kind, look, Histogram(tuple(before)), Histogram(tuple(since))))
        return monitor

    def _rules_told(self) -> str:
        return f'{{"rules":{json.dumps(self.rules)},'

    def _turn(self, kind: int, one: _Class) -> None:
        since = _trimmed(one.since)
        self._due.append(_Due(kind, one.look, one.before, since))
        self._classes[kind] = _Class(one.look + 1, one.before.merged(since), Histogram())

    def _test(self, due: _Due) -> list[Alarm]:
        rule = self.rules[due.kind]
        assert rule is not None  # noqa: S101 - nothing comes due of a class without a rule
        watched_classes = sum(one is not None for one in self.rules)
        level = ALPHA / watched_classes / (due.look * (due.look + 1)) / len(Statistic)
        found = (_dispersion(due, rule), _longest(due, rule), _drift(due, rule, self._in_work), _hard(due, rule))
        steps = due.before.steps + due.since.steps
        return [
            Alarm(due.kind, one.statistic, steps, one.found, one.expected, one.p, level, one.text)
            for one in found
            if one.p <= level
        ]


class _Finding(NamedTuple):
    statistic: Statistic
    found: int
    expected: float
    p: float
    text: str


def _dispersion(due: _Due, rule: Rule) -> _Finding:
    seen = due.before.merged(due.since)
    steps, losing, found = seen.steps, seen.losing, seen.contested
    expected = dispersion.contested(steps, losing, rule.allowed)
    text = (
        f"the {losing:,} losing votes of {steps:,} steps fall on only {found:,} of them; {expected:,.0f} or more were"
        " expected. Votes of a step are not independent, or some steps are much harder than others"
    )
    p = dispersion.few_contested(steps, losing, found, rule.allowed)
    return _Finding(Statistic.DISPERSION, found, expected, p, text)


def _longest(due: _Due, rule: Rule) -> _Finding:
    seen = due.before.merged(due.since)
    found = seen.longest
    expected = dispersion.longest(seen.steps, seen.losing, found, rule.allowed)
    text = (
        f"a step has {found} losing votes; with {seen.losing:,} losing votes on {seen.steps:,} steps, {expected:.2g}"
        " steps with so many were expected. It is much harder than others, or its votes are not independent"
    )
    return _Finding(Statistic.LONGEST, found, expected, min(1.0, expected), text)


def _drift(due: _Due, rule: Rule, in_work: int) -> _Finding:
    before, since = due.before, due.since
    older, newer = before.losing, since.losing
    # A step is in work at a given time in proportion to its rounds: one, and one for each losing vote at the most.
    counts = before.merged(since).counts
    rounds = sum((votes + 1) * steps for votes, steps in enumerate(counts))
    votes_in_work = -(-in_work * sum(votes * (votes + 1) * steps for votes, steps in enumerate(counts)) // rounds)
    more = newer * before.steps > older * since.steps
    late = votes_in_work if in_work > 1 else 0
    older, newer = (older + late, newer - late) if more else (older - late, newer + late)
    p = 1.0
    if (newer * before.steps > older * since.steps) == more:
        p = dispersion.halves((before.steps, older), (since.steps, newer), rule.allowed)
    expected = (older + newer) * since.steps / (before.steps + since.steps)
    text = (
        f"the newest {since.steps:,} steps have {since.losing:,} losing votes, the {before.steps:,} before them"
        f" {before.losing:,}; {expected:,.0f} were expected in the newest"
        f"{f', and {late:,} may have come late' if late else ''}. The steps or the model have changed"
    )
    return _Finding(Statistic.DRIFT, since.losing, expected, p, text)


def _hard(due: _Due, rule: Rule) -> _Finding:
    seen = due.before.merged(due.since)
    expected = dispersion.losing_votes(seen.steps, rule.k, TOLERATED)
    text = (
        f"{seen.steps:,} steps have {seen.losing:,} losing votes; {expected:,.0f} are expected if voting fails on"
        f" {TOLERATED:.0%} of them. It fails on more, and a larger k may make it worse"
    )
    p = dispersion.hard(seen.steps, seen.losing, rule.k, TOLERATED)
    return _Finding(Statistic.HARD, seen.losing, expected, p, text)


def _trimmed(counts: Sequence[int]) -> Histogram:
    used = max((votes + 1 for votes, steps in enumerate(counts) if steps), default=0)
    return Histogram(tuple(counts[:used]))
