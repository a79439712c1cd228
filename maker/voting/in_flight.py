"""The votes of a step that are asked for in several requests: which are under way, and what came. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from maker.types import Finished, Sample

MANY = 2**31


def unbounded(model: int) -> int:
    """Return how many replies a request may ask for where that is not bounded."""
    return MANY


class Votes(NamedTuple):
    """Votes to ask for, by their indices within the step: those that could settle it, and those asked in advance."""

    needed: range
    extra: range


class InFlightVotes:
    """Which votes of a step were asked of whom, and what came in.

    Votes count in the order of their index. A reply to a request for votes 3 and 5 waits here until what was asked for
    vote 4 is in.

    Args:
        first: The first vote.
    """

    __slots__ = ("_asked", "_came", "_until")

    def __init__(self, first: int) -> None:
        self._until = first
        self._asked: dict[int, tuple[Sequence[int], int]] = {}
        self._came: dict[int, tuple[Sample | None, int]] = {}

    def extend(self, until: int, extra: int) -> Votes:
        """Return which votes before ``until`` are still to be asked for, and up to ``extra`` after them.

        None in advance where all before ``until`` are under way: what is asked for in time saves a round, what comes
        after it is waste.
        """
        needed = range(self._until, max(until, self._until))
        ahead = range(until, until + extra) if needed else range(0)
        self._until = max(self._until, until + len(ahead))
        return Votes(needed, ahead)

    def split(
        self, votes: Sequence[int], rotation: Sequence[int], unavailable: Collection[int], most_n: Callable[[int], int]
    ) -> Iterator[tuple[int, Sequence[int]]]:
        """Yield models with the votes that one request each is to ask them for.

        A vote of a model that is away passes on to the next in the rotation; where all are, it stays with its own.
        """
        for model, its in _by_model(votes, rotation, unavailable):
            rest = iter(its)
            while part := list(islice(rest, most_n(model))):
                yield model, part

    def send(self, request: int, votes: Sequence[int], model: int) -> None:
        """Take note of a request for these votes."""
        self._asked[request] = (votes, model)

    def take(self, reply: Finished) -> None:
        """Take a reply in: sample i is that of the request's vote i; a vote that it has no sample for is lost."""
        votes, model = self._asked.pop(reply.id)
        for number, vote in enumerate(votes):
            self._came[vote] = (reply.samples[number] if number < len(reply.samples) else None, model)

    def take_back(self, request: int) -> Sequence[int]:
        """Return the votes of a request that is not answered, to be asked for anew."""
        votes, _ = self._asked.pop(request)
        return votes

    def has(self, vote: int) -> bool:
        """Say whether what was asked for a vote has come in."""
        return vote in self._came

    def at(self, vote: int) -> tuple[Sample | None, int]:
        """Return a vote's sample, None where it is lost, and the number of its model."""
        return self._came[vote]

    def early(self, counted: int) -> dict[int, Sample]:
        """Return the samples that came in before what was asked for vote ``counted``, by the number of their vote."""
        came = ((vote, sample) for vote, (sample, _) in sorted(self._came.items()) if vote >= counted)
        return {vote: sample for vote, sample in came if sample is not None}

    @property
    def under_way(self) -> list[int]:
        """The ids of requests that are not answered."""
        return list(self._asked)


def _by_model(
    votes: Iterable[int], rotation: Sequence[int], unavailable: Collection[int]
) -> Iterator[tuple[int, Sequence[int]]]:
    def model_of(vote: int) -> int:
        turns = (rotation[(vote + turn) % len(rotation)] for turn in range(len(rotation)))
        return next((model for model in turns if model not in unavailable), rotation[vote % len(rotation)])

    ordered = sorted(votes, key=lambda vote: (model_of(vote), vote))
    for model, its in groupby(ordered, model_of):
        yield model, list(its)
