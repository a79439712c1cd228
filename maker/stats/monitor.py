"""Watches whether a run's steps vote as voting needs it: independent votes, steps alike. Pure; its state is small.

What is counted of a decided step is the votes for the loser: the lesser of the winner's votes and those of its
strongest rival. In a race to a lead of k (`Voter.race_margin`) their law is known whatever p is
(`maker.stats.dispersion`), the stopping rule with it. Steps that stay undecided count with the losing votes they have.

A class of steps is looked at when it has 64, 128, 256, … steps, at exactly these counts, whoever asks when; and
whenever the run rests, at a pause as at its end, so that the steps that end last are seen too. Each look makes five
tests (`maker.stats.vote_tests`), and six where the margin rests on a pilot:

- dispersion: given all losing votes, too few steps have them. Votes that copy one another, hard steps among easy ones.
- longest: given all losing votes, one step has too many.
- drift: one stretch of the run has too many steps with losing votes. A model that becomes worse, or is for a while.
- bursts: steps with losing votes stand close together too often. A model that is worse for short times.
- hard: there are too many of them for steps of which voting fails in `TOLERATED` or less. It is blind to which answer
  is right: where the likeliest one is wrong, it tells only that votes settle nothing, and nothing at all where the
  model is sure of it.
- shift: more of the run's steps have losing votes than the pilot's would have. The model has become worse since, or
  the pilot's steps were no fair sample.

Votes that weigh the log-odds of what their replies report (`Voter.weighs_odds`) have a test of their own, confidence
(`maker.stats.reported`). It looks at every 64th step and when the run rests.

The nominal rate of false alarms of all of them together, over a run of any length that may be stopped at any time, is
at most `ALPHA`. It is divided evenly over the classes. Of a class's part `AT_END` goes to the look at the run's end;
`EARLIER` goes to its looks at fixed counts, and as much to those at pauses: of either look number j takes 1/(j(j+1)).
Each test of a look has the same part of that.

A judge's votes are not counted. Without a statistic are voters that neither race to a lead of k nor weigh log-odds, a
margin of 1, and rotations longer than three or than k.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from maker.plugin import Voter
from maker.stats.losing_votes import AT_ONCE, MOST_LOSING, Histogram, Neighbours, Stretches
from maker.stats.reported import Agreement, Odds
from maker.stats.vote_tests import WIDEST, Finding, PilotSteps, Rule, Seen, Statistic, findings

ALPHA = 0.005
"""How often, at most, a run in which nothing is the matter raises an alarm."""
AT_END, EARLIER = 0.5, 0.25
"""The part of this that the look at the end has, and that each kind of the earlier ones has. There is one end, and that
look sees most: the steps that end last, and all of what changes slowly or comes and goes."""
FIRST_LOOK = 64
"""Steps of a class at its first look; each look has twice those of the one before."""
ROUNDS, MOST_WAITING = 4, 4096
"""To see which steps stand close together, those that end late are waited for: so many times as many places as steps
are in work at once. Contested ones end late: with a shorter wait they would be missing at some places only. Where more
than `MOST_WAITING` places would have to wait, nobody looks for bursts: the state is to stay small."""


def rule_of(voter: Voter, turns: int = 1, *, by_parts: bool = False) -> Rule | Odds | str:
    """Return the rule to watch a voter's steps by, or why there is no statistic for them.

    ``turns`` is the length of the rotation in which models are asked. ``by_parts`` says that each part of an answer is
    decided by itself.
    """
    if by_parts:
        return "the monitor has no statistic for votes on parts of answers: those of one reply are not independent"
    k = voter.race_margin
    if k is None and voter.weighs_odds:
        return Odds()
    if k is None:
        return f"the monitor has no statistic for the voter {voter.name}, only for races to a lead of k"
    if k == 1:
        return "the monitor has no statistic for k = 1: the first vote decides, and no vote loses"
    if turns > (most := min(k, max(WIDEST))):
        return f"the monitor has no statistic for k = {k} in a rotation of {turns} models, only for up to {most}"
    return Rule(k, turns)


class Alarm(NamedTuple):
    """Steps of a class that do not vote as they should.

    Args:
        kind: The number of the step class.
        statistic: Which test found it.
        steps: Steps of the class so far.
        found: Steps with losing votes, of all (dispersion, shift) or in one stretch (drift), or how many pairs of them
            stand close together (bursts); losing votes of one step, the most (longest), or of all (hard); steps on
            which votes that weigh differ (confidence).
        expected: How many of these there should be; of ``longest``, how many such steps.
        p: How likely it is, at most, that steps which are alike and vote independently show this or worse; of
            ``confidence``, that steps do whose replies are right as often as they report.
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


class Undecided(NamedTuple):
    """A step that stays undecided for now: its class, the votes of its two foremost candidates, where it stands."""

    kind: int
    winner_votes: int
    rival_votes: int
    place: int


class _Due(NamedTuple):
    """A look at a class at a fixed count: its number from 1 on, and what was seen by then."""

    kind: int
    look: int
    seen: Seen


class _Class:
    """Counts of one class: ``look`` is its next look's number, ``rests`` how many of the run's rests looked at it."""

    __slots__ = ("contested", "counts", "left", "look", "neighbours", "places", "rested", "rests", "stretches", "top")

    def __init__(
        self,
        neighbours: Neighbours,
        stretches: Stretches,
        look: int = 1,
        rests: int = 0,
        rested: int = 0,
        counts: Sequence[int] = (),
    ) -> None:
        self.neighbours = neighbours
        self.stretches = stretches
        self.look = look
        self.rests = rests
        self.rested = rested
        self.counts = list(counts) + [0] * (MOST_LOSING + 1 - len(counts))
        self.top = max(len(counts) - 1, 0)
        # Where steps stand that are not counted by place yet.
        self.places: list[int] = []
        self.contested: list[int] = []
        self.left = (FIRST_LOOK << (look - 1)) - sum(counts)

    def add(self, winner_votes: int, rival_votes: int, place: int | None) -> None:
        losing = rival_votes if rival_votes < winner_votes else winner_votes
        if losing > self.top:
            losing = losing if losing < MOST_LOSING else MOST_LOSING
            self.top = losing
        self.counts[losing] += 1
        self.left -= 1
        if place is not None:
            self.stand(place, contested=losing > 0)

    def stand(self, place: int, *, contested: bool) -> None:
        self.places.append(place)
        if contested:
            self.contested.append(place)
        if len(self.places) >= AT_ONCE:
            self.put_in_place()

    def put_in_place(self) -> None:
        """Count the steps that came since the last call by their places: many at once cost less than one by one."""
        self.places.sort()
        self.contested.sort()
        self.stretches.add(self.places, self.contested)
        self.neighbours.add(self.places, self.contested)
        self.places.clear()
        self.contested.clear()

    def seen(self, missing: int) -> Seen:
        self.put_in_place()
        # Where others are in work, those that wait are the ones with few votes: contested ones come later.
        neighbours = self.neighbours.copied() if missing > 1 else self.neighbours.all_in_order()
        return Seen(Histogram.of(self.counts), self.stretches.copied(), neighbours, missing)

    def to_json(self) -> str:
        self.put_in_place()
        # Written with each commit, in a strict run with each step: a list's own text is JSON, and is made fast.
        counts, places = self.counts[: self.top + 1], f"{self.stretches.to_json()},{self.neighbours.to_json()}"
        return f"[{self.look},{self.rests},{self.rested},{counts},{places}]"

    @classmethod
    def of(cls, held: Sequence[Any], window: int) -> _Class:
        """Return the counts of a state. Earlier versions kept three parts: the look, and what came before and since."""
        if len(held) > 3:
            look, rests, rested, counts, stretches, neighbours = held
            return cls(Neighbours(window, neighbours), Stretches(stretches), look, rests, rested, counts)
        look, before, since = held
        counts = Histogram.of(Histogram(tuple(before)).merged(Histogram(tuple(since))).counts).counts
        return cls(Neighbours(window), Stretches(), look, counts=counts)


class Monitor:
    """Counts losing votes by step class, and tests them at fixed counts of steps and when the run rests.

    Args:
        rules: How each step class is decided, in the order of the classes' numbers; None for one without a statistic.
        in_work: The most steps that are in work at once. They have more losing votes than others, and are not counted
            yet where they stand: that is no drift.
        pilot: By class number, the steps of the pilot that the margin rests on, where there was one.
    """

    def __init__(
        self, rules: Sequence[Rule | Odds | None], in_work: int = 1, pilot: Mapping[int, PilotSteps] | None = None
    ) -> None:
        self._set_rules(rules)
        self._pilot = dict(pilot or {})
        self._in_work = in_work
        self._window = 1 if in_work == 1 else ROUNDS * in_work if ROUNDS * in_work <= MOST_WAITING else 0
        self._classes = [self._new(rule) for rule in self.rules]
        self._due: list[_Due] = []
        # By class, what was seen of those that weigh log-odds: they are counted apart, at no cost to the others.
        self._agreements = {kind: Agreement() for kind, rule in enumerate(self.rules) if isinstance(rule, Odds)}
        self._found: list[Alarm] = []
        self.unmade: dict[tuple[int, Statistic], str] = {}
        """By class and test, why a test that was due could not be made."""

    def _set_rules(self, rules: Sequence[Rule | Odds | None]) -> None:
        self.rules = tuple(rules)
        self._rules_json = json.dumps(self.rules)

    def observe(self, kind: int, winner_votes: int, rival_votes: int, place: int | None) -> None:
        """Count a step: its winner's votes and its strongest rival's, a judge's not among them, and where it stands.

        ``place`` is None where that is not known among the other steps.

        One that is left undecided counts with the votes of the two foremost candidates.
        """
        one = self._classes[kind]
        if one is None:
            return
        one.add(winner_votes, rival_votes, place)
        if not one.left:
            self._due.append(_Due(kind, one.look, one.seen(self._in_work)))
            one.left = FIRST_LOOK << (one.look - 1)
            one.look += 1

    def observe_place(self, kind: int, place: int, *, contested: bool) -> None:
        """Count where a step stands that goes on later, by its votes so far; then `observe` it without a place.

        Steps that are put off end late, and in an order that their votes decide: by their places at their end, those
        that have losing votes would seem to stand together.
        """
        if (one := self._classes[kind]) is not None:
            one.stand(place, contested=contested)

    def observe_reported(self, kind: int, surprise: float) -> None:
        """Count a step of a class that weighs log-odds, by the `maker.stats.reported.surprise` at its votes."""
        one = self._agreements.get(kind)
        if one is None:
            return
        one.add(surprise)
        if one.steps % FIRST_LOOK == 0:
            # The step that has ended now is in work no more.
            self._found += self._judge(kind, one, self._in_work - 1)

    def look(self) -> list[Alarm]:
        """Return what the looks that have come due since the last call found. At other times it costs nothing."""
        due, self._due = self._due, []
        found, self._found = self._found, []
        return [alarm for one in due for alarm in self._test(one.kind, one.seen, _level(EARLIER, one.look))] + found

    def rest(self, undecided: Sequence[Undecided], *, ended: bool) -> list[Alarm]:
        """Return what a look at all that was counted finds, now that the run rests.

        ``undecided`` steps are looked at and not counted: they will be once they are decided. ``ended`` says that no
        step is in work any more, and none will come: say so once. Classes without a step since the last pause are not
        looked at at another.
        """
        alarms = []
        for kind, one in enumerate(self._classes):
            open_steps = [step for step in undecided if step.kind == kind]
            if one is None or ((steps := sum(one.counts)) <= (0 if ended else one.rested) and not open_steps):
                continue
            one.rests += 1
            one.rested = steps
            whole = _Class.of(json.loads(one.to_json()), self._window)
            for step in open_steps:
                whole.add(step.winner_votes, step.rival_votes, step.place)
            alarms += self._test(
                kind, whole.seen(0 if ended else self._in_work), AT_END if ended else _level(EARLIER, one.rests)
            )
        for kind, agreement in self._agreements.items():
            alarms += self._judge(kind, agreement, 0 if ended else self._in_work)
        return alarms

    def restart(self, kind: int, rule: Rule | Odds | None) -> None:
        """Begin with a class anew: its steps are decided by another rule now, and what was counted of it is dropped.

        A pilot's votes were asked as those before: it says nothing of the class any more.
        """
        self._set_rules((*self.rules[:kind], rule, *self.rules[kind + 1 :]))
        self._pilot.pop(kind, None)
        self._classes[kind] = self._new(rule)
        self._due = [due for due in self._due if due.kind != kind]
        self._agreements.pop(kind, None)
        if isinstance(rule, Odds):
            self._agreements[kind] = Agreement()
        self._found = [alarm for alarm in self._found if alarm.kind != kind]

    def histogram(self, kind: int) -> Histogram:
        """Return the losing votes of all steps of a class so far; empty for a class without a statistic."""
        one = self._classes[kind]
        return Histogram() if one is None else Histogram.of(one.counts)

    def to_json(self) -> str:
        """Return the state: up to a kilobyte a class, whatever the number of steps. Call `look` before."""
        seen = [(kind, one) for kind, one in enumerate(self._classes) if one is not None and any(one.counts)]
        classes = ",".join([f'"{kind}":{one.to_json()}' for kind, one in seen])
        return f'{{"rules":{self._rules_json},"classes":{{{classes}}}{self._agreements_json()}}}'

    @classmethod
    def from_json(
        cls,
        text: str,
        rules: Sequence[Rule | Odds | None],
        in_work: int = 1,
        pilot: Mapping[int, PilotSteps] | None = None,
    ) -> Monitor:
        """Return the monitor that wrote a state. A class that it had no statistic for is begun, if it weighs log-odds.

        Raises:
            ValueError: The state is of other rules: what they left cannot be tested by these.
        """
        state: dict[str, Any] = json.loads(text)
        of = tuple(_rule(one) for one in state["rules"])
        monitor = cls(rules, in_work, pilot)
        if not _continues(of, monitor.rules):
            raise ValueError(
                f"the monitor's state is of steps decided by {of}, not by {monitor.rules}; start a new monitor"
            )
        for kind, held in state["classes"].items():
            monitor._classes[int(kind)] = _Class.of(held, monitor._window)
        for kind, held in state.get("agreements", {}).items():
            monitor._agreements[int(kind)] = Agreement(held)
        return monitor

    def _new(self, rule: Rule | Odds | None) -> _Class | None:
        return _Class(Neighbours(self._window), Stretches()) if isinstance(rule, Rule) else None

    def _agreements_json(self) -> str:
        """Return the last part of the state, "" where no class weighs log-odds."""
        if not self._agreements:
            return ""
        seen = [f'"{kind}":{one.to_json()}' for kind, one in self._agreements.items() if one.steps]
        return f',"agreements":{{{",".join(seen)}}}'

    def _part(self) -> float:
        """Return the part of `ALPHA` that each class has."""
        return ALPHA / sum(one is not None for one in self.rules)

    def _judge(self, kind: int, one: Agreement, in_work: int) -> list[Alarm]:
        found, level = one.finding(in_work), self._part()
        return [_alarm(kind, one.steps, found, level)] if found.p <= level else []

    def _test(self, kind: int, seen: Seen, part: float) -> list[Alarm]:
        """Return the alarms of a look that has so much of the class's part."""
        rule = self.rules[kind]
        assert isinstance(rule, Rule)  # noqa: S101 - nothing comes due of a class that is decided by no race
        found = findings(seen, rule, self._pilot.get(kind))
        self.unmade |= {(kind, one.statistic): one.lacks for one in found if one.lacks}
        level = self._part() * part / len(found)
        return [_alarm(kind, seen.votes.steps, one, level) for one in found if one.p <= level]


def _level(part: float, number: int) -> float:
    """Return what look number ``number`` has of a part that looks without end share."""
    return part / (number * (number + 1))


def _alarm(kind: int, steps: int, found: Finding, level: float) -> Alarm:
    return Alarm(kind, found.statistic, steps, found.found, found.expected, found.p, level, found.text)


def _rule(held: Sequence[Any] | None) -> Rule | Odds | None:
    """Return the rule that a state holds."""
    if held is None:
        return None
    return Odds(tuple(held[0])) if isinstance(held[0], list) else Rule(*held)


def _continues(of: Sequence[Rule | Odds | None], rules: Sequence[Rule | Odds | None]) -> bool:
    """Say whether what was counted by some rules can be tested by others."""
    if len(of) != len(rules):
        return False
    # Earlier versions had no statistic for log-odds, and so counted nothing of such a class.
    return all(one == now or (one is None and isinstance(now, Odds)) for one, now in zip(of, rules, strict=True))


def counted(state: Mapping[str, Any]) -> dict[int, Histogram]:
    """Return the losing votes that a monitor's state holds, by class."""
    return {int(kind): Histogram.of(_Class.of(held, 1).counts) for kind, held in state["classes"].items()}


def agreements(state: Mapping[str, Any]) -> dict[int, Agreement]:
    """Return what a monitor's state holds of classes that weigh log-odds."""
    return {int(kind): Agreement(held) for kind, held in state.get("agreements", {}).items()}
