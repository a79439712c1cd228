"""An election being held: asks for its votes, in one request or many, and hears them in their order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from maker.types import Finished, More, Request, Sample, Undecidable
from maker.voting.election import Election
from maker.voting.in_flight import InFlightVotes
from maker.voting.policy import Kind, Shared
from maker.voting.red_flags import Candidate

S = TypeVar("S")
A = TypeVar("A")

VOTES, JUDGED = 0, 1
"""The phases of a step: its votes, and what a judge says where they do not settle it."""


class Ask(NamedTuple):
    """Requests that a step needs; none where it waits for others that are under way."""

    requests: tuple[Request, ...]


Pending: TypeAlias = More | Undecidable
"""What an election without a winner stands at."""


class VoteCollector(Generic[S, A]):
    """Holds an election.

    `ask` says what it needs next; `hear` brings the replies to a request and returns the winner if they named it.

    Args:
        shared: What the chains of the worker share.
        election: The election.
        kind: The step's class: whose models are asked, and in which ways.
        verdict: What is known before the first vote.
        seed: Returns a vote's seed, by the vote's number within the step.
        listed: For a judge, what it is told: one text for each order that the candidates may be listed in.
    """

    __slots__ = ("_in_flight", "_listed", "_seed", "_shared", "election", "kind", "tokens", "verdict")

    def __init__(
        self,
        shared: Shared,
        election: Election[S, A],
        kind: Kind,
        verdict: Pending,
        seed: Callable[[int], int],
        *,
        listed: Sequence[str] = (),
    ) -> None:
        self.election = election
        self.verdict = verdict
        self.tokens = 0
        self.kind = kind
        self._shared = shared
        self._seed = seed
        self._listed = listed
        self._in_flight: InFlightVotes | None = None

    def ask(self) -> Ask | Undecidable:
        """Return the requests that the election needs, or why no further vote could settle it."""
        verdict = self.verdict
        if not isinstance(verdict, More):
            return verdict
        if self._in_flight is None and self.kind.plain and verdict.n <= self._shared.most_n(0):
            return Ask((self._request(self.election.asked, verdict.n, 0),))
        return Ask(self._more(verdict.n))

    def hear(self, reply: Finished) -> Candidate[A] | None:
        """Count a request's samples; return the winner if they decided. Raises what the task's own code does.

        Samples that come in before those of votes that stand before them wait for these.
        """
        self.tokens += reply.prompt_tokens + reply.completion_tokens
        verdict = self.verdict
        assert isinstance(verdict, More)  # noqa: S101 - nothing is asked for otherwise
        if self._in_flight is not None:
            return self._hear_part(self._in_flight, reply, verdict.n)
        self.election.hear(verdict.n, reply.samples)
        return self._ruled()

    def pass_on(self, request: Request) -> Ask:
        """Return the requests that ask other models of the pool for a request's votes: its own stays away."""
        assert self._in_flight is not None  # noqa: S101 - there is no other model without one
        return Ask(self._parts(self._in_flight, self._in_flight.take_back(request.id)))

    def can_pass(self, model: int) -> bool:
        """Say whether another model than this one has a turn in the rotation, and is not away."""
        return any(other != model and other not in self._shared.unavailable for other in self.kind.role.rotation)

    @property
    def early(self) -> dict[int, Sample]:
        """The samples that wait for those of the votes before them, by the number of their vote."""
        return {} if self._in_flight is None else self._in_flight.early(self.election.asked)

    def let_go(self) -> Sequence[int]:
        """Return the ids of requests that are under way, and forget them: they can decide nothing any more."""
        if self._in_flight is None:
            return ()
        under_way, self._in_flight = self._in_flight.under_way, None
        return under_way

    def _more(self, n: int) -> tuple[Request, ...]:
        """Ask for the votes that could settle the step, and some more where they are wanted, but for those asked."""
        election = self.election
        if self._in_flight is None:
            self._in_flight = InFlightVotes(election.asked)
        votes = self._in_flight.extend(election.asked + n, min(self.kind.role.extra, election.remaining - n))
        election.rounds += bool(votes.needed)
        return self._parts(self._in_flight, votes.needed) + self._parts(self._in_flight, votes.extra)

    def _parts(self, in_flight: InFlightVotes, votes: Sequence[int]) -> tuple[Request, ...]:
        shared, requests = self._shared, []
        for model, its in in_flight.split(votes, self.kind.role.rotation, shared.unavailable, self._most_n):
            for alike in self._alike(its):
                requests.append(self._request(alike[0], len(alike), model))
                in_flight.send(requests[-1].id, alike, model)
        return tuple(requests)

    def _alike(self, votes: Sequence[int]) -> Iterable[Sequence[int]]:
        """Return votes by the way in which they are asked for: one request asks in one way."""
        if not self.kind.ways:
            return (votes,)
        ordered = sorted(votes, key=lambda vote: (self._way(vote), vote))
        return [list(its) for _, its in groupby(ordered, self._way)]

    def _way(self, vote: int) -> int:
        return vote % len(self.kind.ways) if self.kind.ways else 0

    def _most_n(self, model: int) -> int:
        return 1 if self._listed else self._shared.most_n(model)

    def _request(self, vote: int, n: int, model: int) -> Request:
        step = self.election.step
        kind = step.kind
        system, temperature = kind.system, None
        if self.kind.ways:
            variant = self.kind.ways[self._way(vote)]
            system, temperature = kind.system if variant.system is None else variant.system, variant.temperature
        if self._listed:
            system = self._listed[vote % len(self._listed)]
        return Request(
            next(self._shared.tickets),
            system,
            step.prompt,
            n,
            self._seed(vote),
            kind.max_tokens,
            kind.stop,
            kind.name,
            kind.schema,
            model,
            kind.role,
            temperature,
        )

    def _hear_part(self, in_flight: InFlightVotes, reply: Finished, lacking: int) -> Candidate[A] | None:
        election = self.election
        in_flight.take(reply)
        due = election.asked + lacking
        while in_flight.has(election.asked):
            sample, model = in_flight.at(election.asked)
            election.count(1, (sample,) if sample else (), model, self._way(election.asked))
            if election.asked < due:
                continue
            if (elected := self._ruled()) is not None or not isinstance(self.verdict, More):
                return elected
            due = election.asked + self.verdict.n
        self.verdict = More(due - election.asked)
        return None

    def _ruled(self) -> Candidate[A] | None:
        outcome = self.election.verdict()
        if isinstance(outcome, Candidate):
            return outcome
        self.verdict = outcome
        return None
