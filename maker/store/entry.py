"""Entries: what the driver gives to the journal to commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from maker.types import NOTHING, Account, Allowance, Usage
from maker.voting.chain import Decided, Stuck


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
    """A new fork: the parent's location, and its state there, which is stored as a snapshot."""

    chain: int
    idx: int
    epoch: int
    children: int
    single: bool
    state: str


class Folded(NamedTuple):
    """How far a fork's children are joined: ``joined`` of them are folded into ``state`` and ``digest``."""

    chain: int
    idx: int
    epoch: int
    joined: int
    state: str
    digest: bytes


class Closed(NamedTuple):
    """A child chain that has stopped: ``done``, ``failed``, ``paused``, or ``rejected`` by its parent's join."""

    chain: int
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


class StoredEvent(NamedTuple):
    """An event of a run: its kind, and its facts as JSON values."""

    kind: str
    facts: Mapping[str, Any]


class Entry(NamedTuple):
    """What one worker's report adds to the log, and what it cost.

    ``decided`` holds steps and joins of chains, in order within each chain. ``rows`` holds steps of children of forks
    of single steps, in any order; ``settled`` gives, for such a fork's chain, the first child that is still open.
    ``undecided`` are steps that chains are stuck at, whose samples are kept; ``forgotten`` (chain, step, epoch) are
    older ones whose samples are deleted, because they are voted on again; ``left`` are undecided steps that no one
    votes on again. ``worker`` sent the report from ``place``; ``gone`` says why it was lost. ``spent`` is drawn from
    the reservation ``grant``, and so is ``abandoned``: what requests cut off or cancelled in flight may have cost.
    ``freed`` gives back the rest of the grant. ``events`` are committed with it.
    """

    decided: Sequence[Decided] = ()
    rows: Sequence[Decided] = ()
    settled: Sequence[tuple[int, int]] = ()
    chains: Sequence[NewChain] = ()
    forks: Sequence[NewFork] = ()
    folded: Sequence[Folded] = ()
    closed: Sequence[Closed] = ()
    missed: Sequence[Missed] = ()
    undecided: Sequence[tuple[int, Stuck]] = ()
    forgotten: Sequence[tuple[int, int, int]] = ()
    left: Sequence[Stuck] = ()
    worker: int | None = None
    place: str = ""
    gone: str = ""
    spent: Mapping[Account, Usage] = {}
    cost: float = 0.0
    grant: int | None = None
    abandoned: Allowance = NOTHING
    freed: bool = False
    events: Sequence[StoredEvent] = ()
    ending: Ending | None = None
