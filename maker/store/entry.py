"""Entries: what the driver gives to the journal to commit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import chain
from operator import add
from typing import Any, NamedTuple

from maker.store.outside import OutsideRow, State
from maker.store.referrals import ReferralRow, StepKey
from maker.store.seals import Place
from maker.types import NOTHING, Account, Allowance, Usage
from maker.voting.messages import Decided, Stuck


class Ending(NamedTuple):
    """The run's status at the end of this process's work; written with its last steps."""

    status: str
    reason: str
    result: Any


class NewChain(NamedTuple):
    """A new child chain: its keys, its location under its parent, and the digest that its first step links to."""

    key: int
    parent: int
    at: int
    fork_epoch: int
    number: int
    digest: bytes


class NewFork(NamedTuple):
    """A new fork: the parent's location, and its state there, which is stored as a snapshot.

    ``before`` is the parent's last digest.
    """

    chain: int
    idx: int
    epoch: int
    children: int
    single: bool
    state: str
    before: bytes


class Folded(NamedTuple):
    """How far a fork's children are joined: ``joined`` of them are folded into ``state`` and ``digest``."""

    chain: int
    idx: int
    epoch: int
    children: int
    single: bool
    joined: int
    state: str
    digest: bytes


class Closed(NamedTuple):
    """A child chain that has stopped: ``done``, ``failed``, ``paused``, or ``rejected`` by its parent's join."""

    chain: int
    place: Place
    status: str
    reason: str
    result: Any


class Missed(NamedTuple):
    """A child of a fork of single steps without a good decision: the value of an `Outcome`, and why."""

    chain: int
    idx: int
    epoch: int
    outcome: str
    reason: str


class Settled(NamedTuple):
    """How far a fork of single steps is settled: every child of its ``chain`` before this one is."""

    chain: int
    before: int


class UndecidedStep(NamedTuple):
    """The step that a chain is stuck at."""

    chain: int
    stuck: Stuck


class StepCounts(NamedTuple):
    """What steps come to together.

    ``voted`` of them were voted on, with so many ``votes`` and flagged samples; ``disputed`` of these had votes for
    several candidates. ``reused`` were taken from the memo, which saved so many samples. ``answered`` were decided by
    people: their votes count where they settled nothing. Joins count nowhere.
    """

    voted: int = 0
    votes: int = 0
    flags: int = 0
    disputed: int = 0
    reused: int = 0
    saved: int = 0
    answered: int = 0

    @property
    def decided(self) -> int:
        """All steps but joins."""
        return self.voted + self.reused + self.answered

    def plus(self, other: StepCounts) -> StepCounts:
        """Return the sum of both."""
        return StepCounts(*map(add, self, other))


def count_steps(steps: Iterable[Decided]) -> StepCounts:
    """Return what steps come to, in one pass: each pass over a run's steps shows in what a step costs."""
    voted = votes = flags = disputed = reused = saved = answered = 0
    for step in steps:
        if step.votes:
            voted += 1
            votes += step.votes
            flags += step.flags
            disputed += step.disputed
        elif step.calls:
            reused += 1
            saved += step.calls
        elif step.answered:
            answered += 1
    return StepCounts(voted, votes, flags, disputed, reused, saved, answered)


def sum_counts(counts: Iterable[StepCounts]) -> StepCounts:
    """Return what all of them come to together."""
    return reduce(StepCounts.plus, counts, StepCounts())


class OutsideState(NamedTuple):
    """How an effect or a wait stands now, by the key of the chain that holds its record."""

    chain: int
    state: State


class StoredEvent(NamedTuple):
    """An event of a run: its kind, and its facts as JSON values."""

    kind: str
    facts: Mapping[str, Any]

    def values(self, run: int, at: float) -> dict[str, Any]:
        """Return it as values of the table's columns; ``at`` is in seconds since 1970."""
        return {"run": run, "at": at, "kind": self.kind, "facts": json.dumps(self.facts)}


@dataclass(frozen=True)
class Entry:
    """What one worker's report adds to the log, and what it cost.

    ``decided`` holds steps and joins of chains, in order within each chain. ``rows`` holds steps of children of forks
    of single steps, in any order; ``settled`` gives, for such a fork's chain, the first child that is still open.
    ``undecided`` are steps that chains are stuck at, whose samples are kept; ``forgotten`` are older ones whose samples
    are deleted, because they are voted on again; ``unresolved`` are undecided steps that no one votes on again.
    ``deferred`` are steps that the run's budget of votes puts off, whose samples are kept; ``ruled`` takes the place of
    the outcomes that such steps have (an empty reason leaves theirs), and ``closing`` are those that no one votes on
    again.
    ``dropped`` counts, by account, flagged samples of steps that were let go undecided. ``worker`` sent the report from
    ``place``; ``gone`` says why it was lost. ``spent`` is drawn from the reservation ``grant``, and so is
    ``abandoned``: what requests cut off or cancelled in flight may have cost. ``freed`` gives back the rest of the
    grant. ``outside`` are effects and waits that begin, ``stands`` how others stand now. ``referred`` are
    undecided steps that people are asked about from now on, ``answered`` those that are decided now. ``events`` are
    committed with it. ``waiting`` is how many requests are open where nothing has come for a while: it is passed on to
    who watches, and not stored.
    """

    decided: Sequence[Decided] = ()
    rows: Sequence[Decided] = ()
    settled: Sequence[Settled] = ()
    chains: Sequence[NewChain] = ()
    forks: Sequence[NewFork] = ()
    folded: Sequence[Folded] = ()
    closed: Sequence[Closed] = ()
    missed: Sequence[Missed] = ()
    undecided: Sequence[UndecidedStep] = ()
    forgotten: Sequence[StepKey] = ()
    unresolved: Sequence[Stuck] = ()
    deferred: Sequence[UndecidedStep] = ()
    ruled: Sequence[Missed] = ()
    closing: Sequence[Stuck] = ()
    dropped: Mapping[Account, int] = field(default_factory=dict)
    worker: int | None = None
    place: str = ""
    gone: str = ""
    spent: Mapping[Account, Usage] = field(default_factory=dict)
    cost: float = 0.0
    grant: int | None = None
    abandoned: Allowance = NOTHING
    freed: bool = False
    outside: Sequence[OutsideRow] = ()
    stands: Sequence[OutsideState] = ()
    referred: Sequence[ReferralRow] = ()
    answered: Sequence[StepKey] = ()
    events: Sequence[StoredEvent] = ()
    heard: Sequence[int] = ()
    waiting: int = 0
    ending: Ending | None = None

    @property
    def steps(self) -> Iterator[Decided]:
        """All steps: of chains first, then children of forks of single steps."""
        return chain(self.decided, self.rows)

    # Not a slotted class for its sake: the writer asks several times.
    @cached_property
    def counts(self) -> StepCounts:
        """What its steps come to."""
        return count_steps(self.steps)
