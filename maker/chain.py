"""One chain's walk: next, election, apply, and the step after. Pure; a worker drives it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from maker.election import Elected, Election, Heard
from maker.errors import NotYet, TaskFailed
from maker.owned import own
from maker.plugin import Decomposer, Voter
from maker.seeds import ChainSeeds
from maker.tally import link, pack
from maker.types import Done, Finished, More, Request, Step, Undecidable

S = TypeVar("S")
A = TypeVar("A")


class Rules(NamedTuple):
    """What holds for every step of a run.

    ``samples`` says of which steps the raw samples are kept: ``none``, ``disputed`` (any rival or flag) or ``all``.
    """

    seed: int
    voter: Voter
    max_votes: int
    samples: str


class ChainAt(NamedTuple):
    """Where a chain stands: its key in the store, its path from the root, its next index, its state as text."""

    chain: int
    path: tuple[int, ...]
    idx: int
    epoch: int
    digest: bytes
    state: str


class Decided(NamedTuple):
    """One decided step, ready to be written: the first seven fields are its row.

    ``state`` is the state after it where a snapshot is due, else empty.
    """

    chain: int
    idx: int
    epoch: int
    action: str
    tally: bytes
    tokens: int
    digest: bytes
    votes: int
    flags: int
    disputed: bool
    heard: tuple[Heard, ...]
    state: str


class Ended(NamedTuple):
    """The chain is done; the fields are those of `Done`, and its last state as text."""

    result: Any
    ok: bool
    reason: str
    state: str


class Stuck(NamedTuple):
    """The chain cannot go on by itself: which step, of which class, why, and the samples it has heard."""

    idx: int
    epoch: int
    kind: str
    reason: str
    heard: tuple[Heard, ...]


Emit: TypeAlias = Request | Ended | Stuck
SNAPSHOT_STEPS = 1000
"""A snapshot is taken at every multiple of this index: a resume re-applies fewer actions than this."""


class ChainRunner(Generic[S, A]):
    """Walks one chain.

    `ask` says what the chain needs next; `hear` brings the replies to a request and returns the step if that decided
    it. Whoever drives it may stop between any two calls: a runner started again at the last decided step asks for the
    same samples with the same seeds.

    Args:
        decomposer: The task.
        rules: Seed, voter and limits.
        at: Where to start.
        tickets: Gives each request an id that is unique in the worker.
    """

    def __init__(self, decomposer: Decomposer[S, A], rules: Rules, at: ChainAt, tickets: Iterator[int]) -> None:
        self.chain = at.chain
        self.index = at.idx
        self._decomposer = decomposer
        self._rules = rules
        self._epoch = at.epoch
        self._digest = at.digest
        self._seeds = ChainSeeds(rules.seed, at.path)
        self._tickets = tickets
        self._kinds = {kind.name: number for number, kind in enumerate(decomposer.classes)}
        self._election: Election[S, A] | None = None
        self._verdict: More | Undecidable | None = None
        self._tokens = 0
        self._state: S = self._own("state.read", decomposer.state.read, at.state)

    def ask(self) -> Emit:
        """Return the request that the current step needs, or say that the chain has ended or is stuck."""
        if self._election is None:
            move = self._own("next", self._decomposer.next, self._state)
            if not isinstance(move, Step):
                return self._no_step(move)
            self._open(move)
        assert self._election is not None  # noqa: S101 - for the type checker; _open has just set it
        kind = self._election.step.kind
        if isinstance(self._verdict, Undecidable):
            return Stuck(self.index, self._epoch, kind.name, self._verdict.reason, tuple(self._election.heard))
        assert self._verdict is not None  # noqa: S101 - for the type checker
        asked = self._election.asked
        return Request(
            next(self._tickets),
            kind.system,
            self._election.step.prompt,
            self._verdict.n,
            self._seeds.at(self.index, self._epoch, 0, asked),
            kind.max_tokens,
            kind.stop,
            kind.name,
        )

    def hear(self, reply: Finished) -> Decided | None:
        """Count a request's samples; return the step if they decided it. The chain then stands at the next one."""
        election, verdict = self._election, self._verdict
        if election is None or not isinstance(verdict, More):
            raise TaskFailed(f"step {self.index}: a reply came in for a step that asks for none", step=self.index)
        self._tokens += reply.prompt_tokens + reply.completion_tokens
        self._own("parse or check", election.hear, verdict.n, reply.samples)
        outcome = self._own("decide", election.verdict)
        if not isinstance(outcome, Elected):
            self._verdict = outcome
            return None
        return self._decide(election, outcome)

    def state_text(self) -> str:
        """Return the current state as the decomposer writes it."""
        text: str = self._own("state.write", self._decomposer.state.write, self._state)
        return text

    def _open(self, step: Step[S, A]) -> None:
        if step.kind.name not in self._kinds:
            raise TaskFailed(
                f"step {self.index}: {self._decomposer.name} asked for step class {step.kind.name!r}",
                fix=f"list it in the decomposer's `classes`, which holds {', '.join(self._kinds) or 'none'}",
                step=self.index,
            )
        self._election = Election(step, self._state, self._decomposer.action, self._rules.voter, self._rules.max_votes)
        verdict = self._own("decide", self._election.verdict)
        if isinstance(verdict, Elected):
            raise TaskFailed(f"step {self.index}: the voter named a winner before the first vote", step=self.index)
        self._verdict = verdict
        self._tokens = 0

    def _decide(self, election: Election[S, A], elected: Elected[A]) -> Decided:
        tally = election.tally(self._kinds[election.step.kind.name], elected.key)
        packed = pack(tally)
        digest = link(self._digest, self.index, self._epoch, elected.key, packed)
        votes, flags = sum(election.counts.values()), sum(tally.flags.values())
        level = self._rules.samples
        keep = level == "all" or (level == "disputed" and (tally.disputed or flags > 0))
        self._state = self._own("apply", self._decomposer.apply, self._state, elected.action)
        decided = Decided(
            self.chain, self.index, self._epoch, elected.key, packed, self._tokens, digest, votes, flags,
            tally.disputed, tuple(election.heard) if keep else (),
            "" if (self.index + 1) % SNAPSHOT_STEPS else self.state_text(),
        )  # fmt: skip
        self._digest = digest
        self.index += 1
        self._election = self._verdict = None
        return decided

    def _no_step(self, move: Any) -> Ended | Stuck:
        if isinstance(move, Done):
            self._own("next, writing its result as JSON,", json.dumps, move.result)
            return Ended(move.result, move.ok, move.reason, self.state_text())
        what = type(move).__name__
        if what in ("Fork", "Effect", "Wait"):
            raise NotYet(f"step {self.index}: {self._decomposer.name} returned {what}, which this version does not run")
        raise TaskFailed(
            f"step {self.index}: {self._decomposer.name}.next returned {what}",
            fix="return Step, Done, Fork, Effect or Wait",
            step=self.index,
        )

    def _own(self, what: str, call: Any, *args: Any) -> Any:
        return own(f"step {self.index}: {self._decomposer.name}: {what}", call, *args, step=self.index)
