"""An election being held: asks for its votes, in one request or many, and hears them in their order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from maker.types import Finished, More, Request, Undecidable
from maker.voting.election import Elected, Election
from maker.voting.in_flight import InFlightVotes
from maker.voting.policy import PromptVariant, Role, Shared
from maker.voting.seeds import Seeds

S = TypeVar("S")
A = TypeVar("A")

VOTES, JUDGED = 0, 1
"""The phases of a step: its votes, and what a judge says where they do not settle it."""


class Ask(NamedTuple):
    """Requests that a step needs; none where it waits for others that are under way."""

    requests: tuple[Request, ...]


Pending: TypeAlias = More | Undecidable
"""What an election without a winner stands at."""


class StepPlace(NamedTuple):
    """The step that an election is about: where its seeds come from, its index, its epoch and its phase."""

    seeds: Seeds
    idx: int
    epoch: int
    phase: int = VOTES


class VoteCollector(Generic[S, A]):
    """Holds an election.

    `ask` says what it needs next; `hear` brings the replies to a request and returns the winner if they named it.

    Args:
        shared: What the chains of the worker share.
        election: The election.
        role: Whose models are asked.
        verdict: What is known before the first vote.
        at: The step.
        plain: Whether a round is one request to the one model that there is.
        listed: For a judge, what it is told: one text for each order that the candidates may be listed in.
        ways: In which ways the votes are asked for, one after the other; none where all are asked alike.
    """

    __slots__ = ("_at", "_listed", "_plain", "_role", "_round", "_shared", "election", "tokens", "verdict", "ways")

    def __init__(
        self,
        shared: Shared,
        election: Election[S, A],
        role: Role,
        verdict: Pending,
        at: StepPlace,
        *,
        plain: bool,
        listed: Sequence[str] = (),
        ways: tuple[PromptVariant, ...] = (),
    ) -> None:
        self.election = election
        self.verdict = verdict
        self.tokens = 0
        self.ways = ways
        self._shared = shared
        self._role = role
        self._at = at
        self._plain = plain
        self._listed = listed
        self._round: InFlightVotes | None = None

    def ask(self) -> Ask | Undecidable:
        """Return the requests that the election needs, or why no further vote could settle it."""
        verdict = self.verdict
        if not isinstance(verdict, More):
            return verdict
        if self._round is None and self._plain and verdict.n <= self._shared.most_n(0):
            return Ask((self._request(self.election.asked, verdict.n, 0),))
        return Ask(self._more(verdict.n))

    def hear(self, reply: Finished) -> Elected[A] | None:
        """Count a request's samples; return the winner if they decided. Raises what the task's own code does.

        Samples that come in before those of votes that stand before them wait for these.
        """
        self.tokens += reply.prompt_tokens + reply.completion_tokens
        assert isinstance(self.verdict, More)  # noqa: S101 - nothing is asked for otherwise
        if self._round is not None:
            return self._hear_part(self._round, reply, self.verdict.n)
        self.election.hear(self.verdict.n, reply.samples)
        return self._ruled()

    def pass_on(self, request: Request) -> Ask:
        """Return the requests that ask other models of the pool for a request's votes: its own stays away."""
        assert self._round is not None  # noqa: S101 - there is no other model without one
        return Ask(self._parts(self._round, self._round.take_back(request.id)))

    def can_pass(self, model: int) -> bool:
        """Say whether another model than this one has a turn in the rotation, and is not away."""
        return any(other != model and other not in self._shared.unavailable for other in self._role.rotation)

    def let_go(self) -> Sequence[int]:
        """Return the ids of requests that are under way, and forget them: they can decide nothing any more."""
        if self._round is None:
            return ()
        left, self._round = self._round.under_way, None
        return left

    def _more(self, n: int) -> tuple[Request, ...]:
        """Ask for the votes that could settle the step, and some more where they are wanted, but for those asked."""
        election = self.election
        if self._round is None:
            self._round = InFlightVotes(election.asked)
        votes = self._round.extend(election.asked + n, min(self._role.extra, election.left - n))
        election.rounds += bool(votes.needed)
        return self._parts(self._round, votes.needed) + self._parts(self._round, votes.extra)

    def _parts(self, parts: InFlightVotes, votes: Sequence[int]) -> tuple[Request, ...]:
        shared, requests = self._shared, []
        for model, its in parts.split(votes, self._role.rotation, shared.unavailable, self._most_n):
            for alike in self._alike(its):
                requests.append(self._request(alike[0], len(alike), model))
                parts.send(requests[-1].id, alike, model)
        return tuple(requests)

    def _alike(self, votes: Sequence[int]) -> Iterable[Sequence[int]]:
        """Return votes by the way in which they are asked for: one request asks in one way."""
        if not self.ways:
            return (votes,)
        ordered = sorted(votes, key=lambda vote: (self._way(vote), vote))
        return [list(its) for _, its in groupby(ordered, self._way)]

    def _way(self, vote: int) -> int:
        return vote % len(self.ways) if self.ways else 0

    def _most_n(self, model: int) -> int:
        return 1 if self._listed else self._shared.most_n(model)

    def _request(self, vote: int, n: int, model: int) -> Request:
        kind, (seeds, index, epoch, phase) = self.election.step.kind, self._at
        system, temperature = self.ways[self._way(vote)] if self.ways else (None, None)
        return Request(
            next(self._shared.tickets),
            self._listed[vote % len(self._listed)] if self._listed else kind.system if system is None else system,
            self.election.step.prompt,
            n,
            seeds.at(index, epoch, phase, vote),
            kind.max_tokens,
            kind.stop,
            kind.name,
            kind.schema,
            model,
            kind.role,
            temperature,
        )

    def _hear_part(self, parts: InFlightVotes, reply: Finished, lacking: int) -> Elected[A] | None:
        election = self.election
        parts.take(reply)
        due = election.asked + lacking
        while parts.has(election.asked):
            sample, model = parts.at(election.asked)
            election.count(1, (sample,) if sample else (), model, self._way(election.asked))
            if election.asked < due:
                continue
            if (elected := self._ruled()) is not None or not isinstance(self.verdict, More):
                return elected
            due = election.asked + self.verdict.n
        self.verdict = More(due - election.asked)
        return None

    def _ruled(self) -> Elected[A] | None:
        outcome = self.election.verdict()
        if isinstance(outcome, Elected):
            return outcome
        self.verdict = outcome
        return None
