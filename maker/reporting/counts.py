"""Count the live steps of a run in one pass over its log, in constant memory."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from maker.errors import StoreFailed
from maker.lifecycle.export import in_order
from maker.reporting.decision_rules import DecisionRule, decision_rule, models_of
from maker.stats.bounds import binomial
from maker.stats.monitor import Alarm, Monitor
from maker.stats.vote_tests import Rule
from maker.store.backend.database import Database
from maker.store.chains import CHAIN_BITS, ChainRow, root_chain
from maker.store.log import read_step, spans
from maker.store.runs import RunRow, run_at
from maker.store.tree import PlacedStep, walk_steps
from maker.store.unresolved import undecided_votes
from maker.types import Flag
from maker.voting.paths import chain_name, is_single
from maker.voting.tally import CLEAN_BYTES, Source, Tally, unpack

KEPT = 1000
"""How many disputed steps are kept: those with most doubt."""


class DisputedStep(NamedTuple):
    """A disputed step, and the models of the run that decided it."""

    doubt: float
    placed: PlacedStep
    models: tuple[str, ...]


@dataclass(slots=True)
class Group:
    """Counts over the steps of one class that one run decided.

    ``models`` are the run's, by number. ``votes``, ``losing``, ``margins`` and ``rounds`` map a number to how many
    steps have it; ``losing`` are the votes for the weaker of the winner and its strongest rival, ``cut_losing`` the
    same of steps whose voting was cut off. Of these ``judged`` steps were decided by a judge; ``unsettled`` steps
    stayed undecided, and nothing else is counted of them. ``flags`` counts samples by reason and model, ``valid`` and
    ``won`` count valid votes and votes for the winner by model. None of them includes a judge's votes.
    """

    ruled: DecisionRule
    models: tuple[str, ...]
    steps: int = 0
    judged: int = 0
    unsettled: int = 0
    disputed: int = 0
    votes: Counter[int] = field(default_factory=Counter)
    losing: Counter[int] = field(default_factory=Counter)
    cut_losing: Counter[int] = field(default_factory=Counter)
    margins: Counter[int] = field(default_factory=Counter)
    rounds: Counter[int] = field(default_factory=Counter)
    flags: Counter[tuple[Flag, int]] = field(default_factory=Counter)
    valid: Counter[int] = field(default_factory=Counter)
    won: Counter[int] = field(default_factory=Counter)

    def add(self, tally: Tally, steps: int = 1) -> None:
        """Count a step, or ``steps`` steps with the same tally."""
        self.steps += steps
        self.disputed += steps * tally.disputed
        self.rounds[tally.rounds] += steps
        for flag, models in tally.flags.items():
            for model, samples in enumerate(models):
                self.flags[flag, model] += samples * steps
        for model, (valid, won) in enumerate(zip(tally.valid, tally.votes, strict=True)):
            self.valid[model] += valid * steps
            self.won[model] += won * steps
        winner, rival = standing(tally)
        if tally.judge is not None:
            self.judged += steps
            self.cut_losing[min(winner, rival)] += steps
            return
        self.losing[min(winner, rival)] += steps
        self.votes[sum(tally.valid)] += steps
        self.margins[winner - rival] += steps


class ClassAlarm(NamedTuple):
    """An alarm of the vote monitor over the steps of one class that one run decided."""

    run_id: str
    kind: str
    alarm: Alarm


@dataclass(frozen=True, slots=True)
class LogCounts:
    """Counts of one pass over the log. ``groups`` are in order of run and class, ``doubted`` in order of doubt.

    ``reused`` steps were taken from the memo: from the run's own decisions, and from ``outside`` distinct decisions of
    other runs. Every decision is counted once. ``answered`` steps were decided by people: of the groups they are among
    the unsettled ones.
    """

    groups: Sequence[Group]
    doubted: Sequence[DisputedStep]
    alarms: Sequence[ClassAlarm]
    reused: int = 0
    outside: int = 0
    answered: int = 0


class _Author:
    """A run that decided a part of the log: its rules, its monitor, and counts of its steps by class."""

    def __init__(self, run: RunRow) -> None:
        self.run = run
        self.models = models_of(run)
        self.groups: dict[int, Group] = {}
        decided = [decision_rule(run, number) for number in range(len(run.classes))]
        rules = [one.rule if isinstance(one.rule, Rule) else None for one in decided]
        self.monitor = Monitor(rules, pilot={kind: one.pilot for kind, one in enumerate(decided) if one.pilot})

    def group(self, kind: int) -> Group:
        if kind not in self.groups:
            self.groups[kind] = Group(decision_rule(self.run, kind), self.models)
        return self.groups[kind]

    def observe(self, kind: int, winner: int, rival: int, place: int | None) -> None:
        """Show a step to the monitor; ``place`` is its position in the log, None of one that is not there."""
        if kind < len(self.monitor.rules):
            self.monitor.observe(kind, winner, rival, place)

    def alarms(self) -> Iterator[ClassAlarm]:
        """Yield the alarms of one look at all steps: nothing of the log is in work."""
        found = self.monitor.rest((), ended=True)
        return (ClassAlarm(self.run.run_id, self.run.classes[one.kind], one) for one in found)

    def add_undecided(self, database: Database) -> None:
        """Count the stored losing votes of undecided children.

        Only in a run with one class: the store does not say of which class an undecided child is.
        """
        if len(self.run.classes) == 1:
            for _, votes in undecided_votes(database, self.run.key):
                self.add_open(0, votes)

    def add_open(self, kind: int, votes: Sequence[int]) -> None:
        """Count the votes, by candidate, of a step that they elected nobody for."""
        rival, winner = sorted((0, *votes))[-2:]
        group = self.group(kind)
        group.unsettled += 1
        group.cut_losing[rival] += 1
        self.observe(kind, winner, rival, None)


class _Pass:
    """One pass over a run's log: counts by deciding run, and the disputed steps with most doubt so far."""

    def __init__(self, database: Database, run: RunRow, root: ChainRow) -> None:
        parts = spans(database, root)
        self.authors = [
            _Author(run if part.chain.run == run.key else run_at(database, part.chain.run)) for part in parts
        ]
        self._run = run
        self._starts = [part.start for part in parts]
        # Most steps are undisputed, and few distinct tallies cover them: count these by their bytes, and unpack each
        # kind once at the end.
        self._clean: Counter[tuple[int, bytes]] = Counter()
        self._doubted: list[tuple[float, int, DisputedStep]] = []
        self.reused = 0
        self.answered = 0
        # Distinct decisions of other runs, each with the part of the log that took it first.
        self.outside: dict[Source, int] = {}

    def take(self, number: int, placed: PlacedStep) -> None:
        """Count a step; ``number`` is its position in the log."""
        blob, at = placed.step.tally, 0
        if len(self._starts) > 1:
            at = bisect_right(self._starts, placed.path[0] if placed.path else placed.step.idx) - 1
        author = self.authors[at]
        if len(blob) == CLEAN_BYTES and blob[2] == 1 and not blob[4] and not blob[5]:
            self._clean[at, blob] += 1
            author.observe(blob[0], blob[3], 0, number)
            return
        tally = _tally(self._run, placed)
        if tally.source is not None:
            self.reused += 1
            if tally.source.chain >> CHAIN_BITS != author.run.key:
                self.outside.setdefault(tally.source, at)
            return
        if tally.person is not None:
            self.answered += 1
            author.add_open(tally.kind, [sum(votes) for votes in (tally.votes, *tally.rivals.values())])
            return
        winner, rival = standing(tally)
        author.group(tally.kind).add(tally)
        author.observe(tally.kind, winner, rival, number)
        if tally.disputed:
            self._keep(number, DisputedStep(doubt(winner, rival), placed, author.models))

    def end(self, database: Database) -> list[DisputedStep]:
        """Finish the counts; return the disputed steps with most doubt, in order.

        Decisions taken from other runs count as if they had been made here: the same rules made them.
        """
        for source, at in self.outside.items():
            row = read_step(database, source.chain, source.idx, source.epoch)
            if row is not None:
                tally = _unpacked(row.tally)
                self.authors[at].group(tally.kind).add(tally)
        for (at, blob), steps in self._clean.items():
            tally = unpack(blob)
            self.authors[at].group(tally.kind).add(tally, steps)
        return [found for _, _, found in sorted(self._doubted, reverse=True)]

    def _keep(self, number: int, found: DisputedStep) -> None:
        # The smallest entry of the heap, the first to go, has the least doubt; among equals it is the latest step.
        entry = (found.doubt, -number, found)
        if len(self._doubted) < KEPT:
            heapq.heappush(self._doubted, entry)
        elif entry > self._doubted[0]:
            heapq.heapreplace(self._doubted, entry)


def count_log(database: Database, run: RunRow) -> LogCounts:
    """Return counts of a run's live steps, with those that it shares with the run it was forked from.

    Raises:
        StoreFailed: A step cannot be read.
        MakerError: The run was retried meanwhile.
    """
    root = root_chain(database, run.key)
    counting = _Pass(database, run, root)
    for number, placed in enumerate(in_order(run.run_id, walk_steps(database, root), "reported on")):
        counting.take(number, placed)
    doubted, authors = counting.end(database), counting.authors
    for author in authors:
        author.add_undecided(database)
    return LogCounts(
        [author.groups[kind] for author in authors for kind in sorted(author.groups)],
        doubted,
        [alarmed for author in authors for alarmed in author.alarms()],
        counting.reused,
        len(counting.outside),
        counting.answered,
    )


@lru_cache(maxsize=1 << 16)
def doubt(winner: int, rival: int) -> float:
    """Return the chance that the rival is the more frequent answer of the two, under a uniform prior.

    With a prior that is uniform on the winner's share among votes for the two, the posterior is Beta(a+1, b+1): the
    chance that the share is below one half is P(B(a+b+1, 1/2) <= b) (Gelman et al., Bayesian Data Analysis, 3.4).

    3 to 0 gives 1/16, 4 to 1 gives 7/64, 10 to 7 gives .2403.
    """
    return binomial(rival, winner + rival + 1, 0.5)


def standing(tally: Tally) -> tuple[int, int]:
    """Return the votes of the winner and of its strongest rival, without a judge's."""
    winner = sum(tally.votes)
    return winner, winner - tally.margin


def _tally(run: RunRow, placed: PlacedStep) -> Tally:
    try:
        return _unpacked(placed.step.tally)
    except ValueError as error:
        chain = chain_name(placed.path, placed.step.idx if is_single(placed.path) else None)
        raise StoreFailed(
            f"run {run.run_id}, chain {chain}, step {placed.step.idx} cannot be read: {error}",
            fix="restore the database from a backup",
        ) from error


# The same tallies come again and again in disputes between the same candidates.
_unpacked = lru_cache(maxsize=4096)(unpack)
