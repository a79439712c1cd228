"""Watch a run's votes as they are committed, raise alarms, and carry out the monitor's policy.

The writer calls it before each transaction, and stores its state and events in it: the counts, so that a resume needs
no scan, and the alarms. The policy takes effect when the alarm is committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from maker.errors import StoreFailed
from maker.stats.losing_votes import Histogram
from maker.stats.monitor import Alarm, Monitor, Undecided, agreements, counted
from maker.stats.reported import Odds, surprise
from maker.stats.vote_tests import PilotSteps, Rule
from maker.store.chains import CHAIN_BITS
from maker.store.entry import Entry, StoredEvent
from maker.store.runs import CANCELLED, OVER
from maker.voting.election import HeardSample, reported
from maker.voting.messages import Decided, Stuck
from maker.voting.tally import unpack

Policy: TypeAlias = Literal["warn", "decorrelate", "pause", "off"]
ALARM = "alarm"
DECORRELATED = "decorrelated"
UNMADE = "test_not_made"
_ONE_BYTE = 128
_CHAIN_OF_RUN = (1 << CHAIN_BITS) - 1


class MonitoredClass(NamedTuple):
    """How a step class is watched.

    ``rule`` is its decision rule, or why there is no statistic for it; ``varied`` is the same once its votes are
    decorrelated, and ``ways`` how they are asked then, as JSON values. ``pilot`` are the steps of the pilot that its
    margin rests on, None without one.
    """

    name: str
    rule: Rule | Odds | str
    varied: Rule | Odds | str
    ways: Mapping[str, Any] = {}
    pilot: PilotSteps | None = None


class MonitorPlan(NamedTuple):
    """How a run is watched: the policy for alarms, its step classes by number, the most steps in work at once.

    ``budgeted`` says that the run has a budget of votes: steps ask once, and may be put off then.
    """

    policy: Policy
    classes: Sequence[MonitoredClass]
    in_work: int = 1
    budgeted: bool = False


class Noted(NamedTuple):
    """What a transaction must write: the new state, None if it has not changed, and events."""

    state: str | None
    events: list[StoredEvent]


class VoteMonitor:
    """Counts the votes of steps, raises alarms and carries out the policy. The writer's thread drives it.

    A step counts once, with its votes before a judge's: when it is decided, when its fork goes on without it, or when a
    person is asked about it. A step
    that a chain is stuck at is looked at when the run rests, and counts when a resume has decided it; if a retry votes
    again, only the new votes count. Steps that a cut supersedes stay counted: their votes were real. Of a decorrelated
    class only votes asked for after the change count.

    An alarm that is found because the run rests does not pause it again; votes are decorrelated by the next resume.

    ``decorrelated`` are the numbers of the decorrelated classes. ``halt`` is why the run must pause, "" if it need not.
    ``begun_anew`` says why the earlier counts could not be continued, "" if they could. ``due`` says that there is
    something to write before the first step.

    Args:
        plan: How the run is watched.
        state: The state in the run's row, as `note` returned it last; "" at first.

    Raises:
        StoreFailed: ``state`` cannot be read.
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
        # A resume may have changed how decorrelated votes are asked.
        self._to_vary = [kind for kind, ways in self._ways.items() if ways != plan.classes[kind].ways]
        rules = [None if isinstance(rule, str) else rule for rule in map(self._rule, range(len(plan.classes)))]
        pilot = {
            kind: one.pilot for kind, one in enumerate(plan.classes) if one.pilot and kind not in self.decorrelated
        }
        self._monitor = Monitor(rules, plan.in_work, pilot)
        # Where chains are stuck in this session: a resume votes on these steps again.
        self._stuck: list[Undecided] = []
        if "counts" in held:
            try:
                self._monitor = Monitor.from_json(json.dumps(held["counts"]), rules, plan.in_work, pilot)
            except ValueError as error:
                self.begun_anew = str(error)
                self._alarmed.clear()
        if plan.policy == "decorrelate":
            self._to_vary += sorted({kind for kind, _ in self._alarmed} - set(self.decorrelated))
        self.due = bool(self._to_vary)
        self._told_unmade: set[tuple[int, str]] = set()
        self._seeing = plan.policy != "off" and any(rules)
        self._hearing = self._seeing and any(isinstance(rule, Odds) for rule in rules)
        self._head = self._but_counts()
        self._written = state

    def note(self, entries: Sequence[Entry]) -> Noted:
        """Count entries that are about to be committed; returns what to write with them.

        Call it once for each transaction, in the order of commits; do not call it again when a transaction is repeated.
        """
        if self._seeing:
            for entry in entries:
                self._count_chains(entry.decided)
                if self._plan.budgeted:
                    self._count_budgeted(entry)
                else:
                    self._count_rows(entry.rows)
                for stuck in entry.unresolved:
                    if seen := self._undecided(stuck, stuck.idx):
                        self._monitor.observe(*seen)
                self._keep_stuck(entry)
                if self._hearing:
                    self._count_reported(entry)
        events = [event for alarm in self._monitor.look() for event in self._raised(alarm)]
        events += [self._vary(kind) for kind in self._to_vary]
        self._to_vary.clear()
        ending = next((entry.ending for entry in entries if entry.ending), None)
        if ending is not None and self._seeing:
            # A run that is cancelled lets go of its steps in work, those that take longest among them.
            ended = ending.status in OVER and ending.status != CANCELLED
            found = self._monitor.rest(self._stuck, ended=ended)
            events += [told for alarm in found if (told := self._new(alarm))]
        events += self._unmade()
        if self._heed(entries) or events:
            self._head = self._but_counts()
        state = f"{self._head}{self._monitor.to_json()}}}"
        if state == self._written:
            return Noted(None, events)
        self._written = state
        return Noted(state, events)

    def _rule(self, kind: int) -> Rule | Odds | str:
        one = self._plan.classes[kind]
        return one.varied if kind in self.decorrelated else one.rule

    def _heed(self, entries: Sequence[Entry]) -> bool:
        """Clear ``halt`` once the run pauses for it; returns whether it does."""
        paused = bool(self.halt) and any(entry.ending and entry.ending.reason == self.halt for entry in entries)
        if paused:
            self.halt = ""
        return paused

    def _count_chains(self, steps: Sequence[Decided]) -> None:
        for step in steps:
            # A join has no votes.
            if step.votes:
                self._count(step, (step.chain & _CHAIN_OF_RUN) + step.idx)

    def _count_rows(self, steps: Sequence[Decided]) -> None:
        for step in steps:
            if step.votes:
                self._count(step, step.idx)

    def _count_budgeted(self, entry: Entry) -> None:
        """Count rows where they stand when they have asked once, and by their votes when no one votes on them any more.

        Those that are put off end late, in an order that their votes decide.
        """
        for step in entry.rows:
            if step.votes and (tally := unpack(step.tally)).rounds == 1:
                self._monitor.observe_place(tally.kind, step.idx, contested=step.disputed)
        for _, stuck in entry.deferred:
            seen = self._undecided(stuck, stuck.idx)
            if seen is not None and stuck.deferred is not None and stuck.deferred.rounds == 1:
                self._monitor.observe_place(seen.kind, seen.place, contested=seen.rival_votes > 0)
        for step in entry.rows:
            if step.votes:
                self._count(step, None)
        for stuck in entry.closing:
            if seen := self._undecided(stuck, stuck.idx):
                self._monitor.observe(seen.kind, seen.winner_votes, seen.rival_votes, None)

    def _count(self, step: Decided, place: int | None) -> None:
        tally, varied = step.tally, self.decorrelated
        if not step.disputed and (kind := tally[0]) < _ONE_BYTE:
            # Most steps are undisputed: then only the class byte of the tally must be read.
            winner = rival = 0
        else:
            count = unpack(tally)
            kind = count.kind
            rival, winner = sorted((0, sum(count.votes), *map(sum, count.rivals.values())))[-2:]
        if not varied or (kind in varied) == step.decorrelated:
            self._monitor.observe(kind, winner, rival, place)

    def _count_reported(self, entry: Entry) -> None:
        """Count steps by what their replies report, where these weigh log-odds."""
        for step in entry.steps:
            if step.reported is not None:
                kind = unpack(step.tally).kind
                if (kind in self.decorrelated) == step.decorrelated:
                    self._monitor.observe_reported(kind, surprise(step.reported))
        for stuck in entry.unresolved:
            if seen := self._undecided(stuck, stuck.idx):
                self._monitor.observe_reported(seen.kind, surprise(reported(_voted(stuck))))

    def _undecided(self, stuck: Stuck, place: int) -> Undecided | None:
        """Return the votes of an undecided step, None where there are none that count."""
        kind = self._numbers[stuck.kind]
        counts: dict[str, int] = {}
        for sample in _voted(stuck):
            if isinstance(sample.outcome, str):
                counts[sample.outcome] = counts.get(sample.outcome, 0) + 1
        if not counts or (kind in self.decorrelated) != stuck.decorrelated:
            return None
        rival, winner = sorted((0, *counts.values()))[-2:]
        return Undecided(kind, winner, rival, place)

    def _keep_stuck(self, entry: Entry) -> None:
        counted = {id(stuck) for stuck in entry.unresolved}
        for chain, stuck in entry.undecided:
            if id(stuck) not in counted and (seen := self._undecided(stuck, (chain & _CHAIN_OF_RUN) + stuck.idx)):
                self._stuck.append(seen)

    def _raised(self, alarm: Alarm) -> list[StoredEvent]:
        """Return an alarm as an event and apply the policy; [] if the class has had this alarm before."""
        told = self._new(alarm)
        if told is None:
            return []
        name, policy = self._plan.classes[alarm.kind].name, self._plan.policy
        if policy == "pause" and not self.halt:
            self.halt = (
                f"alarm of the vote monitor on steps of class {name} ({alarm.statistic}): {alarm.text}."
                " See them with `maker steps --disputed`; then resume as it is or with monitor.policy=decorrelate, or"
                " change k or the model with `maker fork`"
            )
        if policy == "decorrelate" and alarm.kind not in (*self.decorrelated, *self._to_vary):
            self._to_vary.append(alarm.kind)
        return [told]

    def _new(self, alarm: Alarm) -> StoredEvent | None:
        """Return an alarm as an event, None if the class has had it before."""
        key = (alarm.kind, str(alarm.statistic))
        if key in self._alarmed:
            return None
        self._alarmed.add(key)
        facts = {"step_class": self._plan.classes[alarm.kind].name} | alarm._asdict()
        facts["statistic"] = str(alarm.statistic)
        del facts["kind"]
        return StoredEvent(ALARM, facts)

    def _unmade(self) -> list[StoredEvent]:
        """Return, once a session, an event for each test that was due and could not be made."""
        new = {of: why for of, why in self._monitor.unmade.items() if of not in self._told_unmade}
        self._told_unmade |= new.keys()
        return [
            StoredEvent(UNMADE, {"step_class": self._plan.classes[kind].name, "statistic": str(statistic), "text": why})
            for (kind, statistic), why in new.items()
        ]

    def _vary(self, kind: int) -> StoredEvent:
        """Decorrelate the votes of a class, and restart its counts: such votes follow another distribution."""
        one = self._plan.classes[kind]
        self._ways[kind] = one.ways
        self.decorrelated = tuple(self._ways)
        self._monitor.restart(kind, None if isinstance(one.varied, str) else one.varied)
        self._alarmed = {(of, statistic) for of, statistic in self._alarmed if of != kind}
        return StoredEvent(DECORRELATED, {"step_class": one.name, **one.ways})

    def _but_counts(self) -> str:
        """Return the part of the state that changes only with events."""
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
    """Return the monitor's counts of each step class, or why it does not watch the class; [] if it has no state yet.

    ``steps`` were counted, ``contested`` of them have losing votes, ``losing_votes`` is their total. Where votes weigh
    log-odds, those count that weigh, and ``losing_votes`` is None: they are not added up. Raises `StoreFailed`.
    """
    held = _read(state)
    if not held:
        return []
    counts, agreed = counted(held["counts"]), agreements(held["counts"])
    varied = [kind for kind, _ in held["decorrelated"]]
    found: list[dict[str, Any]] = []
    for kind, name in enumerate(names):
        facts: dict[str, Any]
        if kind in agreed:
            facts = {"steps": agreed[kind].steps, "contested": agreed[kind].differ, "losing_votes": None}
        else:
            seen = counts.get(kind, Histogram())
            facts = {"steps": seen.steps, "contested": seen.contested, "losing_votes": seen.losing}
        watched = {"decorrelated": kind in varied, "unwatched": held["blind"].get(name, "")}
        found.append({"class": name, **facts, **watched})
    return found


def _voted(stuck: Stuck) -> Sequence[HeardSample]:
    """Return what an undecided step has heard, but for a judge."""
    return stuck.heard.samples[: len(stuck.heard.samples) - stuck.judged]


def _read(state: str) -> dict[str, Any]:
    try:
        held: dict[str, Any] = json.loads(state) if state else {}
    except ValueError as error:
        raise StoreFailed(
            f"column monitor of maker_run cannot be read: {error}", fix="restore the database from a backup"
        ) from error
    return held
