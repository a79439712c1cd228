"""Watches a run's votes as they are committed: what the monitor counts and finds, and what is done about it.

The writer asks it before each transaction, and writes what it says within it: the counts, so that a resume needs no
scan, and what was found, as events. What follows from an alarm is heeded when that is committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from maker.errors import StoreFailed
from maker.stats.monitor import Alarm, Histogram, Monitor, Rule
from maker.store.entry import Entry, StoredEvent
from maker.voting.chain import Decided, Stuck
from maker.voting.tally import unpack

Policy: TypeAlias = Literal["warn", "decorrelate", "pause", "off"]
ALARM = "alarm"
DECORRELATED = "decorrelated"
_ONE_BYTE = 128


class MonitoredClass(NamedTuple):
    """A step class as it is watched.

    ``rule`` is what its steps are decided by, or why there is no statistic for them; ``varied`` the same where its
    votes are to be less alike, and ``ways`` how they are asked then: facts as JSON values.
    """

    name: str
    rule: Rule | str
    varied: Rule | str
    ways: Mapping[str, Any] = {}


class MonitorPlan(NamedTuple):
    """How a run is watched: what an alarm leads to, its step classes by number, the most steps in work at once."""

    policy: Policy
    classes: Sequence[MonitoredClass]
    in_work: int = 1


class Noted(NamedTuple):
    """What a transaction is to write: the state, None where it is as it was, and what happened."""

    state: str | None
    events: list[StoredEvent]


class VoteMonitor:
    """Counts the votes of decided steps and says what an alarm leads to. The writer's thread drives it.

    A step counts once, with its votes before a judge's: when it is decided, or when it is left undecided for good, as a
    child that its fork goes on without. One that a chain is stuck at counts when a resume has decided it; with those
    that a retry decides anew only the new votes do. Steps that a cut supersedes stay counted: they were votes. Of a
    class whose votes are to be less alike only those count that were asked for so.

    ``decorrelated`` are the numbers of these classes, ``halt`` is why the run is to pause, "" if it is not;
    ``begun_anew`` says why what was counted before could not be gone on with, "" if it could. ``due`` says that there
    is something to write before the first step.

    Args:
        plan: How the run is watched.
        state: What the run's row holds: what `note` returned last, "" at first.

    Raises:
        StoreFailed: It is none that `note` has returned.
    """

    def __init__(self, plan: MonitorPlan, state: str = "") -> None:
        self._plan = plan
        self._numbers = {one.name: number for number, one in enumerate(plan.classes)}
        held = _read(state)
        self._alarmed: set[tuple[int, str]] = {(kind, statistic) for kind, statistic in held.get("alarms", ())}
        self._ways: dict[int, Mapping[str, Any]] = dict(held.get("decorrelated", ()))
        self.decorrelated = tuple(self._ways)
        self.halt: str = held.get("halt", "") if plan.policy == "pause" else ""
        self.begun_anew = ""
        # A resume may have changed how else votes are asked.
        self._to_vary = [kind for kind, ways in self._ways.items() if ways != plan.classes[kind].ways]
        rules = [rule if isinstance(rule, Rule) else None for rule in map(self._rule, range(len(plan.classes)))]
        self._monitor = Monitor(rules, plan.in_work)
        if "counts" in held:
            try:
                self._monitor = Monitor.from_json(json.dumps(held["counts"]), rules, plan.in_work)
            except ValueError as error:
                self.begun_anew = str(error)
                self._alarmed.clear()
        if plan.policy == "decorrelate":
            self._to_vary += sorted({kind for kind, _ in self._alarmed} - set(self.decorrelated))
        self.due = bool(self._to_vary)
        self._seeing = plan.policy != "off" and any(rules)
        self._head = self._but_counts()
        self._written = state

    def note(self, entries: Sequence[Entry]) -> Noted:
        """Take in what is about to be committed; returns what is to be written with it. Not to be repeated for a retry.

        It is called once for each transaction, in the order of commits, however often one is tried.
        """
        if self._seeing:
            for entry in entries:
                self._count(entry.decided)
                self._count(entry.rows)
                for stuck in entry.left:
                    self._count_undecided(stuck)
        events = [told for alarm in self._monitor.look() for told in self._raised(alarm)]
        events += [self._vary(kind) for kind in self._to_vary]
        self._to_vary.clear()
        if self._heed(entries) or events:
            self._head = self._but_counts()
        state = f"{self._head}{self._monitor.to_json()}}}"
        if state == self._written:
            return Noted(None, events)
        self._written = state
        return Noted(state, events)

    def _rule(self, kind: int) -> Rule | str:
        one = self._plan.classes[kind]
        return one.varied if kind in self.decorrelated else one.rule

    def _heed(self, entries: Sequence[Entry]) -> bool:
        """Forget why the run is to pause, once it does; returns whether it does."""
        paused = bool(self.halt) and any(entry.ending and entry.ending.reason == self.halt for entry in entries)
        if paused:
            self.halt = ""
        return paused

    def _count(self, steps: Sequence[Decided]) -> None:
        observe, varied = self._monitor.observe, self.decorrelated
        for step in steps:
            if not step.votes:
                # A join.
                continue
            tally = step.tally
            if not step.disputed and (kind := tally[0]) < _ONE_BYTE:
                # A clean step, as most are: without a rival nothing of its tally but the class need be read.
                winner = rival = 0
            else:
                count = unpack(tally)
                kind = count.kind
                rival, winner = sorted((0, sum(count.votes), *map(sum, count.rivals.values())))[-2:]
            if not varied or (kind in varied) == step.decorrelated:
                observe(kind, winner, rival)

    def _count_undecided(self, stuck: Stuck) -> None:
        kind = self._numbers[stuck.kind]
        counts: dict[str, int] = {}
        for sample in stuck.heard.samples[: len(stuck.heard.samples) - stuck.judged]:
            if isinstance(sample.outcome, str):
                counts[sample.outcome] = counts.get(sample.outcome, 0) + 1
        if counts and (kind in self.decorrelated) == stuck.decorrelated:
            rival, winner = sorted((0, *counts.values()))[-2:]
            self._monitor.observe(kind, winner, rival)

    def _raised(self, alarm: Alarm) -> list[StoredEvent]:
        """Return an alarm as an event, unless the class has had its like, and see to what it leads to."""
        key = (alarm.kind, str(alarm.statistic))
        if key in self._alarmed:
            return []
        self._alarmed.add(key)
        name, policy = self._plan.classes[alarm.kind].name, self._plan.policy
        facts = {"step_class": name} | alarm._asdict() | {"statistic": str(alarm.statistic)}
        del facts["kind"]
        if policy == "pause" and not self.halt:
            self.halt = (
                f"monitor: steps of class {name} do not vote as they should ({alarm.statistic}): {alarm.text}."
                " `maker steps --disputed` shows such steps; a resume goes on as it is, or with"
                " monitor.policy=decorrelate, and `maker fork` with another k or model"
            )
        if policy == "decorrelate" and alarm.kind not in (*self.decorrelated, *self._to_vary):
            self._to_vary.append(alarm.kind)
        return [StoredEvent(ALARM, facts)]

    def _vary(self, kind: int) -> StoredEvent:
        """Have the votes of a class be less alike, and begin to count them anew: they follow another law."""
        one = self._plan.classes[kind]
        self._ways[kind] = one.ways
        self.decorrelated = tuple(self._ways)
        self._monitor.restart(kind, one.varied if isinstance(one.varied, Rule) else None)
        self._alarmed = {(of, statistic) for of, statistic in self._alarmed if of != kind}
        return StoredEvent(DECORRELATED, {"step_class": one.name, **one.ways})

    def _but_counts(self) -> str:
        """Return what of the state changes with events alone."""
        rules = ((one.name, self._rule(kind)) for kind, one in enumerate(self._plan.classes))
        blind = {name: rule for name, rule in rules if isinstance(rule, str)}
        held = {
            "alarms": sorted(self._alarmed),
            "decorrelated": list(self._ways.items()),
            "halt": self.halt,
            "blind": blind,
        }
        return f'{json.dumps(held, separators=(",", ":"))[:-1]},"counts":'


def monitored_classes(state: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the monitor has counted of each step class, or why it counts nothing of it; [] before its first word.

    ``steps`` are those counted, ``contested`` those of them with losing votes, ``losing_votes`` all of these. Raises
    `StoreFailed`.
    """
    held = _read(state)
    if not held:
        return []
    counts: dict[str, Any] = held["counts"]["classes"]
    varied = [kind for kind, _ in held["decorrelated"]]
    found = []
    for kind, name in enumerate(names):
        _, before, since = counts.get(str(kind), (1, (), ()))
        seen = Histogram(tuple(before)).merged(Histogram(tuple(since)))
        facts = {"steps": seen.steps, "contested": seen.contested, "losing_votes": seen.losing}
        told = {"decorrelated": kind in varied, "unwatched": held["blind"].get(name, "")}
        found.append({"class": name, **facts, **told})
    return found


def _read(state: str) -> dict[str, Any]:
    try:
        held: dict[str, Any] = json.loads(state) if state else {}
    except ValueError as error:
        raise StoreFailed(
            f"column monitor of maker_run cannot be read: {error}", fix="restore the database from a backup"
        ) from error
    return held
