"""The votes of a step by request, and what votes that hang together are worth. Pure, and loads no numpy."""

from __future__ import annotations

from typing import NamedTuple


class RequestVotes(NamedTuple):
    """The valid votes of one request for a step: all of them, and those against the step's answer.

    ``round`` is the number of the time at which it was asked, ``model`` that of its model in a pool; both are 0-based.
    """

    round: int
    votes: int
    against: int
    model: int = 0


def effective_votes(votes: int, correlation: float) -> float:
    """Return how many independent votes say as much: n / (1 + (n - 1) rho) (Kish 1965). 10 at rho = .2 are 3.57."""
    return votes / (1 + (votes - 1) * correlation)
