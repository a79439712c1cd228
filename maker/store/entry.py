"""What the driver hands to the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from maker.types import NOTHING, Account, Allowance, Usage
from maker.voting.messages import Decided, Stuck


class Ending(NamedTuple):
    """How a run stands at the end of this process's work; written with its last steps."""

    status: str
    reason: str
    result: Any


class NewChain(NamedTuple):
    """A child chain that begins: its keys, its place under its parent, the digest that its first step links to."""

    key: int
    parent: int
    at: int
    fork_epoch: int
    number: int
    digest: bytes


class NewFork(NamedTuple):
    """A step that forked: the parent's place and its state there, which is kept as a snapshot."""

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
    """A child chain that rests: ``done``, ``failed``, ``paused``, or ``rejected`` by its parent's join."""

    chain: int
    status: str
    reason: str
    result: Any


class Missed(NamedTuple):
    """A child of a fork of single steps that has no good decision: the value of an `Outcome`, and why."""

    chain: int
    idx: int
    epoch: int
    outcome: str
    reason: str


class StoredEvent(NamedTuple):
    """Something that happened to a run, apart from its steps: what kind of thing, and its facts as JSON values."""

    kind: str
    facts: Mapping[str, Any]


class Entry(NamedTuple):
    """What one report adds to the log, and what it cost.

    ``decided`` holds the steps and joins of chains, each chain's in order; ``rows`` those of children of forks of
    single steps, in any order; ``settled`` says for such a fork's chain before which child all are settled now.
    ``undecided`` are steps that chains are stuck at: their samples are kept, and those ``forgotten`` (chain, step,
    epoch) make room, which is voted on again; ``left`` are those of them that nothing votes on again. ``worker`` is who
    reports it, from ``place``, and ``gone`` says why it will not again. ``spent`` is drawn from the reservation
    ``grant``, and so is ``abandoned``, which requests that were cut off or cancelled in flight may cost beside it;
    ``freed`` gives back what is left of it. ``events`` are told with it.
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
