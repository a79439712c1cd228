"""Where a chain stands, and what its walk brings. These values cross to a worker and back, and go to the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from maker.types import Sample
from maker.voting.election import HeardSample
from maker.voting.paths import Path
from maker.voting.policy import SOLVER, PromptVariant


class ChainRef(NamedTuple):
    """A chain in work: its key, and for a child of a fork of single steps its number."""

    chain: int
    child: int | None = None


class ChainAt(NamedTuple):
    """Where a chain stands: its key in the store, its path from the root, its next index, its state as text.

    ``weight`` counts the characters of its actions since its last snapshot. ``single`` marks one child of a fork of
    single steps: ``idx`` is its number, and it ends after one step.
    """

    chain: int
    path: Path
    idx: int
    epoch: int
    digest: bytes
    state: str
    weight: int = 0
    single: bool = False

    @property
    def ref(self) -> ChainRef:
        """How the chain is referred to while it is in work."""
        return ChainRef(self.chain, self.idx if self.single else None)


class KeptVotes(NamedTuple):
    """What is kept of a step's election: the prompt, shared part first, and every sample with what became of it.

    ``ways`` are those that the samples number, where there were several to ask in.
    """

    system: str
    prompt: str
    samples: tuple[HeardSample, ...]
    ways: tuple[PromptVariant, ...] = ()


class OpenStep(NamedTuple):
    """A step that is being voted on: its number, or its child's in a fork of single steps, and what it has heard.

    ``kind`` is its class. ``early`` are replies that are not counted yet, by the number of their vote: those of votes
    before them are still to come. ``awaited`` is how many replies are to come.
    """

    idx: int
    kind: str
    heard: KeptVotes
    early: Mapping[int, Sample]
    awaited: int


class Decided(NamedTuple):
    """One decided step, ready to be written: the first seven fields are its row.

    ``heard`` is None where the step's samples are not kept. ``state`` is the state after it where a snapshot is due,
    else empty. A join is written as a step too: it has no votes, and its tally is empty. ``decorrelated`` says that its
    votes were asked for as of a class whose votes are to be less alike. Where decisions are taken again, ``memo`` is
    the question of a step that was voted on, and ``calls`` is how many samples it took; one that was taken from the
    memo has no votes, and ``calls`` is what its source took. ``reported`` says of valid votes, but for a judge's, what
    each is for and what log-probability it reports; it is None where weights are not log-odds (`Voter.weighs_odds`).
    ``answered`` says that a person has decided it: its votes were counted when they left it undecided.
    """

    chain: int
    idx: int
    epoch: int
    action: str
    tally: bytes
    tokens: int
    digest: bytes
    votes: int = 0
    flags: int = 0
    disputed: bool = False
    heard: KeptVotes | None = None
    state: str | None = None
    path: Path = ()
    decorrelated: bool = False
    memo: bytes = b""
    calls: int = 0
    reported: Sequence[tuple[str, float]] | None = None
    answered: bool = False

    @property
    def taken(self) -> bool:
        """Whether the decision was taken from the memo, not voted on."""
        return self.calls > 0 and not self.memo


class Ended(NamedTuple):
    """The chain is done; the fields are those of `Done`."""

    result: Any
    ok: bool
    reason: str


class Proposal(NamedTuple):
    """A candidate that a person may choose: its key, the action as its task writes it, and its votes."""

    key: str
    text: str
    votes: int


class Referred(NamedTuple):
    """What a person is to decide: the candidates, those with most votes first; the packed count, without a winner.

    ``tokens`` is what the votes took.
    """

    proposals: tuple[Proposal, ...]
    tally: bytes
    tokens: int


class Deferral(NamedTuple):
    """An election that waits for further votes of its run's budget: what it has taken so far.

    ``asked`` votes were asked for, in so many ``rounds``; ``tokens`` is what they took.
    """

    asked: int
    rounds: int
    tokens: int


class EarlierVotes(NamedTuple):
    """What a deferred election goes on from: how it stood, and every sample with what became of it."""

    deferral: Deferral
    samples: tuple[HeardSample, ...]


class Stuck(NamedTuple):
    """The chain cannot go on by itself: which step, of which class and role, why, and what it has heard.

    The last ``judged`` of the samples are a judge's. ``decorrelated`` is as in `Decided`. ``referred`` is there where a
    person is to decide, ``deferred`` where further votes could still settle the step.
    """

    idx: int
    epoch: int
    kind: str
    reason: str
    heard: KeptVotes
    role: str = SOLVER
    judged: int = 0
    decorrelated: bool = False
    referred: Referred | None = None
    deferred: Deferral | None = None


class Forked(NamedTuple):
    """The chain waits for children: where it stands, how many there are, and whether each is a single step.

    ``lenient`` says that a child without a good decision holds nothing up. ``outside`` says that the chain waits for an
    effect, or for an answer: its only child is what is recorded of that, and no worker's.
    """

    at: ChainAt
    children: int
    single: bool
    lenient: bool = False
    outside: bool = False


class Follows(NamedTuple):
    """The chain asks what another one is voting on: it goes on when that is decided, or given up."""

    question: bytes
