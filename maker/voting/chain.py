"""One chain's walk: next, election, apply, and the step after. Pure; a worker drives it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from maker.core.user_code import (
    FIX,
    FIX_PARSE,
    call_for_text,
    ends_the_program,
    not_text,
    not_unicode,
    shown,
    unfit,
    user_code_failure,
)
from maker.errors import MakerError, TaskFailed
from maker.inputs.nesting import too_deep
from maker.plugin import Decomposer
from maker.types import Done, Effect, Finished, Fork, RedFlag, Request, Step, StepClass, Wait
from maker.voting.collector import JUDGED, VOTES, Ask, VoteCollector
from maker.voting.election import Election, reported
from maker.voting.judge import appeal
from maker.voting.memo import Known, Memo, question
from maker.voting.messages import (
    ChainAt,
    Decided,
    Ended,
    Follows,
    Forked,
    KeptVotes,
    OpenStep,
    Proposal,
    Referred,
    Stuck,
)
from maker.voting.paths import chain_name
from maker.voting.policy import Shared
from maker.voting.red_flags import Candidate, proposed
from maker.voting.seeds import ChainSeeds, QuestionSeeds, Seeds
from maker.voting.tally import Tally, link, pack, pack_clean, taken

S = TypeVar("S")
A = TypeVar("A")


Emit: TypeAlias = Ask | Ended | Stuck | Forked | Decided | Follows
SNAPSHOT_STEPS = 1000
"""A snapshot is taken at multiples of this index, once the actions since the last one are longer than the state.

So a resume re-applies fewer actions than this, or no more text of them than the state has."""


MOST_CHILDREN = 2**31 - 1
"""The most children that a fork may have."""

DEEPEST = 100
"""How many forks may stand within one another. A chain's path grows by three numbers a fork."""

UNREAD: Any = object()
"""Stands for a state that is still to be read from its text: any value may be a state, None too."""


class ChainRunner(Generic[S, A]):
    """Walks one chain.

    `ask` says what the chain needs next; `hear` brings the replies to a request and returns the step if that decided
    it. Whoever drives it may stop between any two calls: a runner started again at the last decided step asks for the
    same samples with the same seeds. ``leftover`` holds the ids of requests that were under way when the votes they
    were for ended: `take_leftover` hands them over, to be cancelled. Where decisions are taken again, ``question`` is
    what the chain is voting on if the answer is to be remembered, else b"".

    Args:
        shared: The task and its rules.
        at: Where to start.
        seeds: The seeds of the chain, else made from its path.
        state: The state to start in, where it is at hand; else it is read from ``at``.
    """

    def __init__(self, shared: Shared, at: ChainAt, *, seeds: ChainSeeds | None = None, state: Any = UNREAD) -> None:
        self.ref = at.ref
        self.path = at.path
        self.index = at.idx
        self._shared = shared
        self._samples = shared.rules.samples
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
        self.leftover: Sequence[int] = ()
        self._state: S = self._own("state.read", self._decomposer.state.read, at.state) if state is UNREAD else state

    @property
    def where(self) -> str:
        """The step that the chain stands at, in words."""
        if self.ref.child is not None:
            return f"chain {chain_name(self.path, self.ref.child)}"
        return f"chain {chain_name(self.path)}, step {self.index}" if self.path else f"step {self.index}"

    @property
    def deciding(self) -> bool:
        """Whether the votes of a step are being collected."""
        return self._collector is not None

    @property
    def outcomes(self) -> Sequence[Candidate[A] | RedFlag]:
        """What became of the samples of the step that is being voted on, in order."""
        return () if self._collector is None else self._collector.election.outcomes

    @property
    def heard(self) -> tuple[str, KeptVotes | None]:
        """The class of the step that is being voted on, and what it has heard so far; "" and None before anything."""
        voted = self._voted or self._collector
        if voted is None or not voted.election.asked:
            return "", None
        return voted.election.step.kind.name, _heard(voted, None if self._voted is None else self._collector)

    def open_step(self, awaited: int) -> OpenStep | None:
        """Return the step that is being voted on, which waits for so many replies; None between two steps."""
        collector = self._collector
        if collector is None:
            return None
        voted, judge = self._voted or collector, None if self._voted is None else collector
        before = 0 if judge is None else len(voted.election.heard)
        early = {before + vote: sample for vote, sample in collector.early.items()}
        return OpenStep(self.index, voted.election.step.kind.name, _heard(voted, judge), early, awaited)

    def ask(self) -> Emit:
        """Return the requests that the current step needs, or say that the chain has ended, forks, or is stuck.

        Where decisions are taken again, a step may be decided at once: the chain then stands at the next one.
        """
        collector = self._collector
        if collector is None:
            move = self._own("next", self._decomposer.next, self._state)
            if not isinstance(move, Step):
                return self._no_step(move)
            prompt = move.prompt
            # Looked at here, and not in a function: nearly every step's prompt is plain.
            if not (prompt.__class__ is str and prompt.isascii() and move.kind.__class__ is StepClass):
                self._refuse_unfit(move)
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
        elected = self._own("parse, check or decide", collector.hear, reply, fix=FIX_PARSE)
        return None if elected is None else self._decide(collector, elected)

    def pass_on(self, request: Request) -> Ask:
        """Return the requests that ask other models of the pool for a request's votes: its own stays away."""
        assert self._collector is not None  # noqa: S101 - the request is of its votes
        return self._collector.pass_on(request)

    def can_pass(self, model: int) -> bool:
        """Say whether votes of a model that stays away could pass on: another one that has a turn is there."""
        return self._collector is not None and self._collector.can_pass(model)

    def take_leftover(self) -> Sequence[int]:
        """Return the ids of requests that were under way when their votes ended, and forget them."""
        leftover, self.leftover = self.leftover, ()
        return leftover

    def let_go(self) -> Sequence[int]:
        """Return the ids of all requests that are under way, and forget them: the chain is given up or stands still."""
        leftover = self.take_leftover()
        return leftover if self._collector is None else [*leftover, *self._collector.let_go()]

    def _refuse_unfit(self, step: Step[S, A]) -> None:
        """Raise `TaskFailed` for a step that no model can be asked."""
        kind, prompt = step
        if not isinstance(kind, StepClass):
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name} asked for {shown(kind)}, which is no step class",
                fix="give Step one of the decomposer's `classes`, and the prompt after it",
                step=self.index,
            )
        if problem := not_text(prompt) or not_unicode(prompt):
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name}: the prompt of step class {kind.name}, {shown(prompt)}, cannot"
                f" be sent: {problem}",
                fix="make `next` return Step with valid text; what a reply brings in, `parse` may refuse by ValueError",
                step=self.index,
            )

    def _open(self, step: Step[S, A]) -> VoteCollector[S, A]:
        kind = self._shared.kinds.get(step.kind.name)
        if kind is None:
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name} asked for step class {step.kind.name!r}",
                fix=f"list it in the decomposer's `classes`, which holds {', '.join(self._shared.kinds) or 'none'}",
                step=self.index,
            )
        if self.ref.child not in (None, self.index):
            raise TaskFailed(
                f"{self.where}: a child of a fork of single steps asks for a second step",
                fix="leave out Fork(single=True): its children are chains",
            )
        role, rules = kind.role, self._shared.rules
        election = Election(
            step, self._state, self._decomposer.action, role.voter, role.max_votes, rules.models, rules.thinking
        )
        verdict = kind.begins or self._own("decide", election.ruled, kind.opening)
        if isinstance(verdict, Candidate):
            raise TaskFailed(f"{self.where}: the voter named a winner before the first vote", step=self.index)
        self._collector = collector = VoteCollector(self._shared, election, kind, verdict, self._seed)
        return collector

    def _seed(self, vote: int) -> int:
        return self._seeds.at(self.index, self._epoch, VOTES, vote)

    def _judge_seed(self, vote: int) -> int:
        return self._seeds.at(self.index, self._epoch, JUDGED, vote)

    def _remembered(self, step: Step[S, A], memo: Memo) -> Decided | Follows | None:
        """Return a step that need not be voted on, or that another chain is voting on; None where this one is to vote.

        A decision that the rules forbid in this state is of no use here: two states may share a prompt.
        """
        if step.kind.name not in self._shared.kinds or self.ref.child not in (None, self.index):
            # It is refused. What was voted on here stays the question: others wait until it is given up.
            return None
        self.question, self._seeds = b"", self._place_seeds
        if not step.kind.memo:
            return None
        asked = self._own("its step class", question, step)
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
        return self._append(known.action, action, packed, calls=known.source.calls)

    def take_answer(self, text: str, tally: Tally, tokens: int) -> Decided:
        """Decide the step by what a person has answered; the chain then stands at the next one.

        Args:
            text: The action, as its task writes it.
            tally: The count, which says who that was.
            tokens: What the votes took.

        Raises:
            TaskFailed: The rules forbid the action, or the task's code raises.
        """
        move = self._own("next", self._decomposer.next, self._state)
        action = self._own("action.read", self._decomposer.action.read, text)
        found = self._own("check", proposed, move.kind, self._state, action, self._decomposer.action)
        if isinstance(found, RedFlag):
            raise TaskFailed(
                f"{self.where}: the answer {shown(text)} is against the rules of {self._decomposer.name}:"
                f" {found.detail}",
                fix="give another answer",
                step=self.index,
            )
        return self._append(text, action, pack(tally), tokens=tokens, answered=True)

    def _append(
        self, text: str, action: A, packed: bytes, *, tokens: int = 0, calls: int = 0, answered: bool = False
    ) -> Decided:
        """Decide the step by something else than its votes."""
        digest = link(self._digest, self.index, self._epoch, text, packed)
        self._state = self._own("apply", self._decomposer.apply, self._state, action)
        self._weight += len(text)
        decided = Decided(
            self.ref.chain, self.index, self._epoch, text, packed, tokens, digest,
            state=self._due(), path=self.path, calls=calls, answered=answered,
        )  # fmt: skip
        self._digest = digest
        self.index += 1
        return decided

    def standing(self) -> ChainAt:
        """Return where the chain stands, between two steps."""
        text = self._state_text()
        return ChainAt(self.ref.chain, self.path, self.index, self._epoch, self._digest, text, self._weight)

    def _appeal(self, collector: VoteCollector[S, A], reason: str) -> Ask | Stuck:
        """Ask the judge about what votes could not settle, or say that the chain is stuck."""
        judge, election = self._shared.rules.judge, collector.election
        if self._voted is not None:
            return self._stuck(f"{self._unsettled}; the judge: {reason}", self._voted, collector)
        if judge is None or len(election.counts) < 2:
            return self._stuck(reason, collector)
        put = self._own("decide", appeal, election, judge, self._shared.rules.models)
        self._voted, self._unsettled, self.leftover = collector, reason, collector.let_go()
        kind = collector.kind._replace(role=judge.role, plain=False, ways=())
        self._collector = VoteCollector(
            self._shared, put.election, kind, put.verdict, self._judge_seed, listed=put.listed
        )  # fmt: skip
        return self.ask()  # type: ignore[return-value]

    def _stuck(self, reason: str, voted: VoteCollector[S, A], judge: VoteCollector[S, A] | None = None) -> Stuck:
        kind, judged = voted.election.step.kind, 0 if judge is None else len(judge.election.heard)
        heard, decorrelated = _heard(voted, judge), voted.kind.decorrelated
        referred = _referred(voted, judge) if self._shared.rules.ask and voted.election.counts else None
        return Stuck(self.index, self._epoch, kind.name, reason, heard, kind.role, judged, decorrelated, referred)

    def _decide(self, collector: VoteCollector[S, A], elected: Candidate[A]) -> Decided:
        self.leftover = collector.let_go()
        index, epoch, kind, voted = self.index, self._epoch, collector.kind, self._voted or collector
        tokens, votes, flags, disputed = collector.tokens, sum(voted.election.counts.values()), 0, False
        told: Sequence[tuple[str, float]] | None = None
        if voted is collector and collector.election.clean:
            # As nearly always. A `Tally` would only be made to be packed.
            packed, samples = pack_clean(kind.number, collector.election.rounds, votes), votes
        else:
            tally = collector.election.tally(kind.number, elected.key)
            if voted is not collector:
                # A judge has elected one of the candidates that were voted on.
                tokens += voted.tokens
                elected = voted.election.candidate(elected.key)
                tally = voted.election.tally(kind.number, elected.key)._replace(judge=tally)
            packed, samples, disputed = pack(tally), tally.samples, tally.disputed
            flags = sum(tally.flagged)
            if voted.kind.role.voter.weighs_odds:
                told = reported(voted.election.heard)
        text, heard = elected.text, None
        if self._samples == "all" or (self._samples == "disputed" and (disputed or flags)):
            heard = _heard(voted, None if voted is collector else collector)
        digest = link(self._digest, index, epoch, text, packed)
        self._state = self._own("apply", self._decomposer.apply, self._state, elected.action)
        self._weight += len(text)
        state, memo = None if (index + 1) % SNAPSHOT_STEPS else self._due(), self.question
        decided = Decided(
            self.ref.chain, index, epoch, text, packed, tokens, digest, votes, flags, disputed, heard, state,
            self.path, kind.decorrelated, memo, samples if memo else 0, told,
        )  # fmt: skip
        self._digest = digest
        self.index = index + 1
        self._collector = self._voted = None
        return decided

    def _due(self) -> str | None:
        """Return the state after the step that is decided now, where a snapshot is due."""
        if (self.index + 1) % SNAPSHOT_STEPS or self.ref.child is not None:
            return None
        text = self._state_text()
        if not snapshot_due(self._weight, text):
            return None
        self._weight = 0
        return text

    def _no_step(self, move: Any) -> Ended | Forked:
        if isinstance(move, Done):
            if self.ref.child == self.index:
                raise TaskFailed(
                    f"{self.where}: a child of a fork of single steps is done before its step",
                    fix="leave it out, or leave out Fork(single=True): its children are chains",
                )
            self._own("next, writing its result as JSON,", json.dumps, move.result)
            if deep := too_deep(move.result):
                raise TaskFailed(
                    f"{self.where}: {self._decomposer.name} is done with a result {deep}",
                    fix="give Done a flatter result",
                    step=self.index,
                )
            if problem := not_text(move.reason):
                raise TaskFailed(
                    f"{self.where}: {self._decomposer.name} is done with the reason {shown(move.reason)}: {problem}",
                    fix='give Done a text as its reason, "" where there is none',
                    step=self.index,
                )
            if not isinstance(move.ok, bool):
                raise TaskFailed(
                    f"{self.where}: {self._decomposer.name} is done with ok={shown(move.ok)}, neither True nor False",
                    fix="give Done a bool as its ok, and the reason after it: Done(result, False, reason)",
                    step=self.index,
                )
            return Ended(move.result, move.ok, move.reason)
        if isinstance(move, Fork) and self.ref.child is None:
            return self._fork(move)
        if isinstance(move, Effect | Wait) and self.ref.child is None:
            return self._outside(move)
        raise TaskFailed(
            f"{self.where}: {self._decomposer.name}.next returned {type(move).__name__}",
            fix="return Step, Done, Fork, Effect or Wait; a child of a fork of single steps Step, then Done",
            step=self.index,
        )

    def _outside(self, move: Effect[S] | Wait[S]) -> Forked:
        self._refuse_deep()
        if problem := not_text(move.name) or unfit(move.name):
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name}: an effect or wait has the name {shown(move.name)}: {problem}",
                fix="give it a short text",
                step=self.index,
            )
        at = ChainAt(self.ref.chain, self.path, self.index, self._epoch, self._digest, self._state_text())
        return Forked(at, 1, single=False, outside=True)

    def _refuse_deep(self) -> None:
        if len(self.path) >= 3 * DEEPEST:
            raise TaskFailed(
                f"{self._decomposer.name} nested more than {DEEPEST} forks",
                fix="let a chain continue with steps, or fork into more children at a time",
                step=self.index,
            )

    def _fork(self, fork: Fork[S]) -> Forked:
        if not isinstance(fork.count, int) or isinstance(fork.count, bool) or fork.count < 0:
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name} forked into {shown(fork.count)} children",
                fix="give Fork a whole number, 0 or more",
                step=self.index,
            )
        if fork.count > MOST_CHILDREN:
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name} forked into {shown(fork.count)} children, and"
                f" {MOST_CHILDREN:,} are the most allowed",
                fix="fork into fewer children; each of them may fork again",
                step=self.index,
            )
        if not isinstance(fork.single, bool):
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name} forked with single={shown(fork.single)}",
                fix="set it to True or False",
                step=self.index,
            )
        if fork.join is None and fork.then is None and fork.missed is None:
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name} forked with neither join nor then: it would stay in the same"
                " state and fork forever",
                fix="give the fork a join, or a then that returns the next state",
            )
        self._refuse_deep()
        if fork.missed is not None and not fork.single:
            raise TaskFailed(
                f"{self.where}: {self._decomposer.name} forked with missed, but without single=True",
                fix="leave missed out; only a fork of single steps can go on without some of its children",
                step=self.index,
            )
        text = self._state_text()
        at = ChainAt(self.ref.chain, self.path, self.index, self._epoch, self._digest, text)
        return Forked(at, int(fork.count), fork.single, fork.missed is not None)

    def _own(self, what: str, call: Any, *args: Any, fix: str = FIX) -> Any:
        # As `call_user_code`, which would have the place written out at every call.
        try:
            return call(*args)
        except MakerError:
            raise
        except BaseException as error:
            if ends_the_program(error):
                raise
            place = f"{self.where}: {self._decomposer.name}: {what}"
            raise user_code_failure(place, error, fix, step=self.index) from error

    def _state_text(self) -> str:
        what = f"{self.where}: {self._decomposer.name}: state.write"
        return call_for_text(what, self._decomposer.state.write, self._state, step=self.index)


def snapshot_due(weight: int, state: str) -> bool:
    """Say whether a snapshot is taken at a multiple of `SNAPSHOT_STEPS`, from what came since the last one."""
    return weight >= len(state)


def _heard(voted: VoteCollector[Any, Any], judge: VoteCollector[Any, Any] | None) -> KeptVotes:
    """Return what was asked and heard in a step's votes, and of its judge where there was one."""
    step, samples = voted.election.step, voted.election.heard
    if judge is not None:
        samples += tuple(one._replace(vote=one.vote + len(samples)) for one in judge.election.heard)
    return KeptVotes(step.kind.system, step.prompt, samples, voted.kind.ways)


def _referred(voted: VoteCollector[Any, Any], judge: VoteCollector[Any, Any] | None) -> Referred:
    """Return what a person is to decide, of votes that elected nobody, and of their judge's where there was one."""
    election, number, tokens = voted.election, voted.kind.number, voted.tokens
    tally = election.tally(number, None)
    if judge is not None:
        tally, tokens = tally._replace(judge=judge.election.tally(number, None)), tokens + judge.tokens
    leading = sorted(election.counts.items(), key=lambda item: -item[1])
    return Referred(tuple(Proposal(key, election.candidate(key).text, n) for key, n in leading), pack(tally), tokens)
