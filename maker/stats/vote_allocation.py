"""Which open rows get further votes, of a number that is left for all of them. Pure.

It depends on the tallies of the rows alone, never on who answered first: so a run that was killed, and one on many
machines, spends its votes on the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from maker.stats.vote_worth import VoteWorth

LEAST_PART = 1000
"""Of the votes that are left at least so many are spent in one go."""
TENTH = 10
_SPREAD = 0x9E3779B97F4A7C15
"""The golden ratio's part of 2^64: multiples of it lie far apart."""


class OpenRows(NamedTuple):
    """Open rows that are alike: their leader's votes, its strongest rival's, other samples, and their numbers.

    ``most`` is how many further samples each may take.
    """

    votes: int
    rival: int
    others: int
    most: int
    rows: Sequence[int]


class Allocation(NamedTuple):
    """Further votes for open rows: ``rows`` get one request each, which take ``votes`` votes together."""

    rows: tuple[int, ...]
    votes: int


class Outlook(NamedTuple):
    """What further votes are expected to bring: so many rows decided by so many votes."""

    votes: int
    rows: float


def allocate(groups: Iterable[OpenRows], worth: VoteWorth, left: int, *, share: int = 2, extra: int = 0) -> Allocation:
    """Return which rows are asked next, those first for which a vote is worth most.

    At most one ``share``-th of what is left is spent before the tallies are looked at again, but at least `LEAST_PART`
    votes. Rows of equal worth come in an order that is spread over the input: what is asked first then says nothing of
    where a row stands.

    Args:
        groups: The open rows.
        worth: What a vote on each is worth.
        left: Votes that are left.
        share: How many parts what is left is spent in.
        extra: How many votes more than could settle a row are asked for at once.
    """
    part = min(left, max(left // share, LEAST_PART))
    taken: list[int] = []
    spent = 0
    for group in in_order(groups, worth):
        cost = cost_of(group, worth, extra)
        if fits := min(len(group.rows), (part - spent) // cost):
            taken += sorted(group.rows, key=_spread)[:fits]
            spent += fits * cost
    return Allocation(tuple(sorted(taken)), spent)


def outlook(groups: Iterable[OpenRows], worth: VoteWorth, votes: int, *, extra: int = 0) -> Outlook:
    """Return how many rows so many further votes are expected to decide, as far as there are rows to ask once."""
    spent, rows = 0, 0.0
    for group in in_order(groups, worth):
        cost = cost_of(group, worth, extra)
        asked = min(len(group.rows), (votes - spent) // cost)
        spent += asked * cost
        rows += asked * worth.ask(group.votes, group.rival) * worth.worth(*group[:3])
    return Outlook(spent, rows)


def in_order(groups: Iterable[OpenRows], worth: VoteWorth) -> list[OpenRows]:
    """Return open rows in the order of what a vote on them is worth, without those that may take too few votes."""
    able = [group for group in groups if worth.ask(group.votes, group.rival) <= group.most]
    return sorted(able, key=lambda group: (-worth.worth(*group[:3]), group[:4]))


def cost_of(group: OpenRows, worth: VoteWorth, extra: int) -> int:
    """Return how many votes a request for each of these rows asks for."""
    return min(group.most, worth.ask(group.votes, group.rival) + extra)


def _spread(row: int) -> int:
    return row * _SPREAD % 2**64
