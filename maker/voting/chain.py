"""One chain's walk: next, election, apply, and the step after. Pure; a worker drives it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from maker.core.user_code import call_user_code, user_code_failure
from maker.errors import MakerError, NotYet, TaskFailed
from maker.plugin import Decomposer
from maker.types import Done, Finished, Fork, Request, Step
from maker.voting.collector import JUDGED, Ask, StepPlace, VoteCollector
from maker.voting.election import Elected, Election, HeardSample
from maker.voting.judge import appeal
from maker.voting.memo import Known, Memo, question
from maker.voting.paths import Path, chain_name
from maker.voting.policy import SOLVER, PromptVariant, Shared
from maker.voting.seeds import ChainSeeds, QuestionSeeds, Seeds
from maker.voting.tally import forked, link, pack, taken

S = TypeVar("S")
A = TypeVar("A")


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


class Place(NamedTuple):
    """A chain in work: its key, and for a child of a fork of single steps its number."""

    chain: int
    child: int | None = None


class KeptVotes(NamedTuple):
    """What is kept of a step's election: the prompt, shared part first, and every sample with what became of it.

    ``ways`` are those that the samples number, where there were several to ask in.
    """

    system: str
    prompt: str
    samples: tuple[HeardSample, ...]
    ways: tuple[PromptVariant, ...] = ()


class Decided(NamedTuple):
    """One decided step, ready to be written: the first seven fields are its row.

    ``heard`` is None where the step's samples are not kept. ``state`` is the state after it where a snapshot is due,
    else empty. A join is written as a step too: it has no votes, and its tally is empty. ``decorrelated`` says that its
    votes were asked for as of a class whose votes are to be less alike. Where decisions are taken again, ``memo`` is
    the question of a step that was voted on, and ``calls`` is how many samples it took; one that was taken from the
    memo has no votes, and ``calls`` is what its source took.
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

    @property
    def taken(self) -> bool:
        """Whether the decision was taken from the memo, not voted on."""
        return self.calls > 0 and not self.memo


class Ended(NamedTuple):
    """The chain is done; the fields are those of `Done`."""

    result: Any
    ok: bool
    reason: str


class Stuck(NamedTuple):
    """The chain cannot go on by itself: which step, of which class and role, why, and what it has heard.

    The last ``judged`` of the samples are a judge's. ``decorrelated`` is as in `Decided`.
    """

    idx: int
    epoch: int
    kind: str
    reason: str
    heard: KeptVotes
    role: str = SOLVER
    judged: int = 0
    decorrelated: bool = False


class Forked(NamedTuple):
    """The chain waits for children: where it stands, how many there are, and whether each is a single step.

    ``lenient`` says that a child without a good decision holds nothing up.
    """

    at: ChainAt
    children: int
    single: bool
    lenient: bool = False


class Follows(NamedTuple):
    """The chain asks what another one is voting on: it goes on when that is decided, or given up."""

    question: bytes


Emit: TypeAlias = Ask | Ended | Stuck | Forked | Decided | Follows
SNAPSHOT_STEPS = 1000
"""A snapshot is taken at multiples of this index, once the actions since the last one are longer than the state.

So a resume re-applies fewer actions than this, or no more text of them than the state has."""


DEEPEST = 100
"""How many forks may stand within one another. A chain's path grows by three numbers a fork."""

UNREAD: Any = object()
"""Stands for a state that is still to be read from its text: any value may be a state, None too."""


class ChainRunner(Generic[S, A]):
    """Walks one chain.

    `ask` says what the chain needs next; `hear` brings the replies to a request and returns the step if that decided
    it. Whoever drives it may stop between any two calls: a runner started again at the last decided step asks for the
    same samples with the same seeds. ``leftover`` holds the ids of requests that were under way when the votes they
    were for ended: `left` hands them over, to be cancelled. Where decisions are taken again, ``question`` is what the
    chain is voting on if the answer is to be remembered, else b"".

    Args:
        shared: The task and its rules.
        at: Where to start.
        seeds: The seeds of the chain, else made from its path.
        state: The state to start in, where it is at hand; else it is read from ``at``.
    """

    def __init__(self, shared: Shared, at: ChainAt, *, seeds: ChainSeeds | None = None, state: Any = UNREAD) -> None:
        self.place = Place(at.chain, at.idx if at.single else None)
        self.path = at.path
        self.index = at.idx
        self._shared = shared
        self._decomposer: Decomposer[S, A] = shared.decomposer
        self._epoch = at.epoch
        self._digest = at.digest
        self._weight = at.weight
        self._place_seeds = seeds or ChainSeeds(shared.rules.seed, at.path)
        self._seeds: Seeds = self._place_seeds
        self._memo = shared.memo
        self.question = b""
        self._collector: VoteCollector[S, A] | None = None
        # Where a judge is asked: the votes that settled nothing.
        self._voted: VoteCollector[S, A] | None = None
        self._unsettled = ""
        self._decorrelated = False
        self.leftover: Sequence[int] = ()
        self._state: S = self._own("state.read", self._decomposer.state.read, at.state) if state is UNREAD else state

    @property
    def where(self) -> str:
        """The step that the chain stands at, in words."""
        if self.place.child is not None:
            return f"chain {chain_name(self.path, self.place.child)}"
        return f"chain {chain_name(self.path)}, step {self.index}" if self.path else f"step {self.index}"

    @property
    def deciding(self) -> bool:
        """Whether the votes of a step are being collected."""
        return self._collector is not None

    def ask(self) -> Emit:
        """Return the requests that the current step needs, or say that the chain has ended, forks, or is stuck.

        Where decisions are taken again, a step may be decided at once: the chain then stands at the next one.
        """
        collector = self._collector
        if collector is None:
            move = self._own("next", self._decomposer.next, self._state)
            if not isinstance(move, Step):
                return self._no_step(move)
            if self._memo is not None and (found := self._remembered(move, self._memo)) is not None:
                return found
            collector = self._open(move)
        needed = collector.ask()
        return needed if isinstance(needed, Ask) else self._appeal(collector, needed.reason)

    def hear(self, reply: Finished) -> Decided | None:
        """Count a request's samples; return the step if they decided it. The chain then stands at the next one.

        Samples that come in before those of votes that stand before them wait for these.
        """
        collector = self._collector
        if collector is None:
            raise TaskFailed(f"{self.where}: a reply came in for a step that asks for none", step=self.index)
        elected = self._own("parse, check or decide", collector.hear, reply)
        return None if elected is None else self._decide(collector, elected)

    def pass_on(self, request: Request) -> Ask:
        """Return the requests that ask other models of the pool for a request's votes: its own stays away."""
        assert self._collector is not None  # noqa: S101 - the request is of its votes
        return self._collector.pass_on(request)

    def can_pass(self, model: int) -> bool:
        """Say whether votes of a model that stays away could pass on: another one that has a turn is there."""
        return self._collector is not None and self._collector.can_pass(model)

    def left(self) -> Sequence[int]:
        """Return the ids of requests that were under way when their votes ended, and forget them."""
        left, self.leftover = self.leftover, ()
        return left

    def let_go(self) -> Sequence[int]:
        """Return the ids of all requests that are under way, and forget them: the chain is given up or stands still."""
        left = self.left()
        return [*left, *self._collector.let_go()] if self._collector is not None else left

    def _open(self, step: Step[S, A]) -> VoteCollector[S, A]:
        kind = self._shared.kinds.get(step.kind.name)
        if kind is None:
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name} asked for step class {step.kind.name!r}",
                fix=f"list it in the decomposer's `classes`, which holds {', '.join(self._shared.kinds) or 'none'}",
                step=self.index,
            )
        if self.place.child not in (None, self.index):
            raise TaskFailed(
                f"{self.where}: a child of a fork of single steps asks for a second step",
                fix="leave out Fork(single=True): its children are chains",
            )
        role, models = kind.role, self._shared.rules.models
        election = Election(step, self._state, self._decomposer.action, role.voter, role.max_votes, models)
        verdict = self._own("decide", election.ruled, kind.opening)
        if isinstance(verdict, Elected):
            raise TaskFailed(f"{self.where}: the voter named a winner before the first vote", step=self.index)
        at = StepPlace(self._seeds, self.index, self._epoch)
        self._decorrelated = kind.decorrelated
        self._collector = collector = VoteCollector(
            self._shared, election, role, verdict, at, plain=kind.plain, ways=kind.ways
        )  # fmt: skip
        return collector

    def _remembered(self, step: Step[S, A], memo: Memo) -> Decided | Follows | None:
        """Return a step that need not be voted on, or that another chain is voting on; None where this one is to vote.

        A decision that the rules forbid in this state is of no use here: two states may share a prompt.
        """
        if step.kind.name not in self._shared.kinds or self.place.child not in (None, self.index):
            # It is refused. What was voted on here stays the question: others wait until it is given up.
            return None
        self.question, self._seeds = b"", self._place_seeds
        if not step.kind.memo:
            return None
        asked = question(step)
        self._seeds = QuestionSeeds(self._shared.rules.seed, asked)
        if (known := memo.get(asked)) is not None:
            action = self._own("action.read", self._decomposer.action.read, known.action)
            forbidden = self._own("check", step.kind.check, self._state, action)
            return self._take(step, known, action) if forbidden is None else None
        if asked in memo.asked:
            return Follows(asked)
        self.question = asked
        return None

    def _take(self, step: Step[S, A], known: Known, action: A) -> Decided:
        """Take a decision that was made before; the chain then stands at the next step."""
        packed = pack(taken(self._shared.kinds[step.kind.name].number, known.source))
        digest = link(self._digest, self.index, self._epoch, known.action, packed)
        self._state = self._own("apply", self._decomposer.apply, self._state, action)
        self._weight += len(known.action)
        decided = Decided(
            self.place.chain, self.index, self._epoch, known.action, packed, 0, digest,
            state=self._due(), path=self.path, calls=known.source.calls,
        )  # fmt: skip
        self._digest = digest
        self.index += 1
        return decided

    def _appeal(self, collector: VoteCollector[S, A], reason: str) -> Ask | Stuck:
        """Ask the judge about what votes could not settle, or say that the chain is stuck."""
        judge, election, voted = self._shared.rules.judge, collector.election, self._voted
        if voted is not None:
            reason = f"{self._unsettled}; the judge: {reason}"
            kind, heard, judged = voted.election.step.kind, _heard(voted, collector), len(election.heard)
            return Stuck(self.index, self._epoch, kind.name, reason, heard, kind.role, judged, self._decorrelated)
        if judge is None or len(election.counts) < 2:
            kind = election.step.kind
            heard = _heard(collector)
            return Stuck(self.index, self._epoch, kind.name, reason, heard, kind.role, 0, self._decorrelated)
        put = self._own("decide", appeal, election, judge, self._shared.rules.models)
        self._voted, self._unsettled, self.leftover = collector, reason, collector.let_go()
        at = StepPlace(self._seeds, self.index, self._epoch, JUDGED)
        self._collector = VoteCollector(
            self._shared, put.election, judge.role, put.verdict, at, plain=False, listed=put.listed
        )  # fmt: skip
        return self.ask()  # type: ignore[return-value]

    def _decide(self, collector: VoteCollector[S, A], elected: Elected[A]) -> Decided:
        self.leftover = collector.let_go()
        election, tokens, voted = collector.election, collector.tokens, self._voted
        tally = election.tally(self._shared.kinds[election.step.kind.name].number, elected.key)
        if voted is not None:
            tokens += voted.tokens
            elected = voted.election.candidate(elected.key)
            tally = voted.election.tally(tally.kind, elected.key)._replace(judge=tally)
        packed = pack(tally)
        digest = link(self._digest, self.index, self._epoch, elected.text, packed)
        votes, disputed = sum((voted or collector).election.counts.values()), tally.disputed
        flags = sum(tally.flagged) if tally.flags else 0
        level = self._shared.rules.samples
        keep = level == "all" or (level == "disputed" and (disputed or flags > 0))
        self._state = self._own("apply", self._decomposer.apply, self._state, elected.action)
        self._weight += len(elected.text)
        decided = Decided(
            self.place.chain, self.index, self._epoch, elected.text, packed, tokens, digest, votes, flags,
            disputed, _heard(*([voted] if voted else []), collector) if keep else None,
            self._due() if (self.index + 1) % SNAPSHOT_STEPS == 0 else None, self.path, self._decorrelated,
            *((self.question, tally.samples) if self.question else ()),
        )  # fmt: skip
        self._digest = digest
        self.index += 1
        self._collector = self._voted = None
        return decided

    def _due(self) -> str | None:
        """Return the state after the step that is decided now, where a snapshot is due."""
        if (self.index + 1) % SNAPSHOT_STEPS or self.place.child is not None:
            return None
        text: str = self._own("state.write", self._decomposer.state.write, self._state)
        if not snapshot_due(self._weight, text):
            return None
        self._weight = 0
        return text

    def _no_step(self, move: Any) -> Ended | Forked:
        if isinstance(move, Done):
            if self.place.child == self.index:
                raise TaskFailed(
                    f"{self.where}: a child of a fork of single steps is done before its step",
                    fix="leave it out, or leave out Fork(single=True): its children are chains",
                )
            self._own("next, writing its result as JSON,", json.dumps, move.result)
            return Ended(move.result, move.ok, move.reason)
        if isinstance(move, Fork) and self.place.child is None:
            return self._fork(move)
        what = type(move).__name__
        if what in ("Effect", "Wait"):
            raise NotYet(f"{self.where}: {self._decomposer.name} returned {what}, which this version does not run")
        raise TaskFailed(
            f"{self.where}: {self._decomposer.name}.next returned {what}",
            fix="return Step, Done or Fork; a child of a fork of single steps Step, then Done",
            step=self.index,
        )

    def _fork(self, fork: Fork[S]) -> Forked:
        if not isinstance(fork.count, int) or fork.count < 0:
            raise TaskFailed(f"{self.where}: {self._decomposer.name} forked into {fork.count} children")
        if fork.join is None and fork.then is None and fork.missed is None:
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name} forked with neither join nor then: it would stay in the same"
                " state and fork forever",
                fix="give the fork a join, or a then that returns the next state",
            )
        if len(self.path) >= 3 * DEEPEST:
            raise TaskFailed(
                f"{self._decomposer.name} nested more than {DEEPEST} forks",
                fix="let a chain continue with steps, or fork into more children at a time",
                step=self.index,
            )
        if fork.missed is not None and not fork.single:
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name} forked with missed, but without single=True",
                fix="leave missed out; only a fork of single steps can go on without some of its children",
                step=self.index,
            )
        text = self._own("state.write", self._decomposer.state.write, self._state)
        at = ChainAt(self.place.chain, self.path, self.index, self._epoch, self._digest, text)
        return Forked(at, fork.count, fork.single, fork.missed is not None)

    def _own(self, what: str, call: Any, *args: Any) -> Any:
        # As `call_user_code`, which would have the place written out at every call.
        try:
            return call(*args)
        except MakerError:
            raise
        except Exception as error:
            raise user_code_failure(f"{self.where}: {self._decomposer.name}: {what}", error, step=self.index) from error


def snapshot_due(weight: int, state: str) -> bool:
    """Say whether a snapshot is taken at a multiple of `SNAPSHOT_STEPS`, from what came since the last one."""
    return weight >= len(state)


def child_at(fork: ChainAt, number: int, chain: int, epoch: int, *, single: bool) -> ChainAt:
    """Return where a fork's child begins; its state is the fork's to make. ``fork`` is the parent's place."""
    here = (*fork.path, fork.idx, fork.epoch)
    if single:
        return ChainAt(chain, here, number, epoch, forked(fork.digest, fork.idx, fork.epoch), "", single=True)
    return ChainAt(chain, (*here, number), 0, epoch, forked(fork.digest, fork.idx, fork.epoch, number), "")


def opened(decomposer: Decomposer[Any, Any], parent: ChainAt) -> tuple[Fork[Any], Any]:
    """Return the fork that a parent's state asks for, and that state. Raises `TaskFailed`."""
    where = f"chain {chain_name(parent.path)}, step {parent.idx}: {decomposer.name}"
    state = call_user_code(f"{where}: state.read", decomposer.state.read, parent.state)
    fork = call_user_code(f"{where}: next", decomposer.next, state)
    if not isinstance(fork, Fork):
        raise TaskFailed(
            f"{where}.next returned Fork before, and for the same state now {type(fork).__name__}",
            fix="make next() depend on the state only",
        )
    return fork, state


def join_step(fork: ChainAt, count: int, fold: bytes, state: str) -> Decided:
    """Return the row that ends a fork: ``fold`` has taken in the children's last digests, ``state`` is what follows."""
    digest = link(fork.digest, fork.idx, fork.epoch, str(count), fold)
    return Decided(fork.chain, fork.idx, fork.epoch, str(count), b"", 0, digest, state=state, path=fork.path)


def _heard(*collectors: VoteCollector[Any, Any]) -> KeptVotes:
    step = collectors[0].election.step
    samples = [sample for collector in collectors for sample in collector.election.heard]
    numbered = tuple(sample._replace(vote=vote) for vote, sample in enumerate(samples))
    return KeptVotes(step.kind.system, step.prompt, numbered, collectors[0].ways)
