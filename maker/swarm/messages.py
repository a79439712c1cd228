"""What crosses to a worker and back: what it is built from, what it is told, what it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from maker.errors import MakerError
from maker.models.interface import Model
from maker.plugin import Decomposer
from maker.types import (
    NOTHING,
    Account,
    Allowance,
    BatchNews,
    Grant,
    Prices,
    RedFlag,
    ServerChange,
    SharedClaim,
    SharedGrant,
    Starved,
    Usage,
)
from maker.voting.memo import Memory
from maker.voting.messages import ChainAt, ChainRef, Decided, EarlierVotes, Ended, Forked, KeptVotes, Stuck
from maker.voting.policy import Rules

DOUBTS = 16
"""So many prompts that a server refuses before it has answered any are the settings' fault, not the prompts'."""


class WorkerSpec(NamedTuple):
    """All that a worker is built from; crosses process borders.

    ``open_model`` opens the model in the worker's process, or all models of a pool; ``prices`` are theirs, by number.
    ``limited`` says that the worker may spend only what its grants cover, ``strict`` that a chain's next step begins
    when the last one is committed. ``chains`` is how many steps may be in work at a time; what else the worker is given
    waits. ``memo`` says that decisions are taken again. ``worked`` are the numbers of the models that have answered in
    this run before: their settings are right. ``quota`` says that servers get only the requests that its grants of a
    shared limit cover. ``budgeted`` says that the run has a budget of votes: a step asks once, and may be put off then.
    """

    decomposer: Decomposer[Any, Any]
    rules: Rules
    open_model: Callable[[], Model]
    prices: tuple[Prices, ...] = (Prices(),)
    limited: bool = False
    strict: bool = False
    chains: int = 256
    memo: bool = False
    worked: frozenset[int] = frozenset()
    quota: bool = False
    budgeted: bool = False


class Child(NamedTuple):
    """A child to begin with: its number, its chain's key (one for all of a fork of single steps), its epoch."""

    number: int
    chain: int
    epoch: int


class Children(NamedTuple):
    """New children of a fork: ``fork`` is the parent's place and state, from which the worker makes theirs.

    ``earlier`` holds, by the number of a child, the votes that it goes on from: its run's budget has put it off.
    """

    fork: ChainAt
    single: bool
    born: tuple[Child, ...]
    earlier: Mapping[int, EarlierVotes] = {}

    def ref(self, child: Child) -> ChainRef:
        """Return how one of these children is referred to."""
        return ChainRef(child.chain, child.number if self.single else None)


class Orders(NamedTuple):
    """What the engine tells a worker.

    ``chains`` are to be walked on, ``children`` to be begun. ``recall`` calls every chain back. ``grant`` takes the
    place of the grant before. ``steps``, where given, is how many more steps may be begun. ``mark`` is the newest
    report that is committed: where every step is to be durable before the next, it lets the chains go on.
    ``give_back`` is how many chains that are not begun with yet are wanted back, for another worker, at most.
    ``decorrelated`` numbers step classes whose votes are to be less alike, in steps that begin from now on. ``known``
    are decisions that may be taken again: all of them are committed. ``quota`` is the worker's next part of a shared
    limit.
    """

    chains: tuple[ChainAt, ...] = ()
    children: tuple[Children, ...] = ()
    recall: bool = False
    grant: Grant | None = None
    steps: int | None = None
    mark: int = 0
    give_back: int = 0
    decorrelated: tuple[int, ...] = ()
    known: Memory = ()
    quota: SharedGrant | None = None


class ChainEnded(NamedTuple):
    """A chain that is done, and with what."""

    ref: ChainRef
    ended: Ended


class ChainStuck(NamedTuple):
    """A chain that no vote could take further, and at which step."""

    ref: ChainRef
    stuck: Stuck


class ChainFailed(NamedTuple):
    """A chain that an error stopped; ``heard`` is what its step had heard by then, of class ``kind``."""

    ref: ChainRef
    error: MakerError
    kind: str = ""
    heard: KeptVotes | None = None


class UnavailableModel(NamedTuple):
    """A model of the pool that gives no replies any more, by its number, and why."""

    model: int
    reason: str


@dataclass(slots=True)
class Report:
    """What a worker did in one slice; ``number`` counts its reports, from 1.

    ``decided`` is in chain order. ``held`` names chains that may begin no further step, ``errors`` those that an error
    stopped, ``returned`` those that were wanted back, ``recalled`` says that all were called back. ``spent`` is what
    was spent by whom, ``abandoned`` what requests that were cut off or cancelled under way may cost beside it. Until
    the worker has heard a valid vote, ``flagged`` holds what its replies were flagged for; ``voted`` says that the
    first one has come. ``dropped`` counts, by account, the flagged samples of steps that were called back before it.
    ``unavailable`` names models whose votes pass on to others from now on, ``changes`` tells of servers that get fewer
    requests at once, or more again, or that answer in another's place. ``starved`` says what a worker needs that
    has nothing in flight and no allowance left. ``took_s`` is how long the slice took. ``place`` says where the worker
    is, as HOST:PID, and ``opened_s`` how long it took to open its model, in its first report. ``requests`` is how many
    the model has not answered yet. ``claim`` is how it stands to a shared limit, None without one. ``batches`` tells
    what became of batches, whose cost is in ``spent``; ``rests`` says what is waited for if nobody need wait for it.
    """

    number: int
    decided: list[Decided] = field(default_factory=list)
    forked: list[Forked] = field(default_factory=list)
    ended: list[ChainEnded] = field(default_factory=list)
    stuck: list[ChainStuck] = field(default_factory=list)
    held: list[ChainRef] = field(default_factory=list)
    errors: list[ChainFailed] = field(default_factory=list)
    returned: list[ChainRef] = field(default_factory=list)
    recalled: bool = False
    spent: dict[Account, Usage] = field(default_factory=dict)
    flagged: list[RedFlag] = field(default_factory=list)
    voted: bool = False
    dropped: dict[Account, int] = field(default_factory=dict)
    unavailable: list[UnavailableModel] = field(default_factory=list)
    changes: Sequence[ServerChange] = ()
    abandoned: Allowance = NOTHING
    starved: Starved | None = None
    took_s: float = 0.0
    place: str = ""
    opened_s: float = 0.0
    requests: int = 0
    claim: SharedClaim | None = None
    batches: Sequence[BatchNews] = ()
    rests: str = ""
