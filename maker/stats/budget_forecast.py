"""What a budget of votes is expected to buy: rows decided, and how many of them wrongly. Pure.

Rows are alike but for the chance p that a vote is right, against one rival. Instead of single rows their expected
numbers move, so that a forecast takes as long for ten rows as for a million.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import comb
from typing import NamedTuple

from maker.stats.vote_allocation import LEAST_PART
from maker.stats.vote_worth import GRID, Share, VoteWorth, expected_shares

NEGLIGIBLE = 0.05
"""Fewer open rows than this are none."""
CHANCES = (*GRID, *(1 - x for x in reversed(GRID[1:])))
"""The chances p that are told apart."""


class Bought(NamedTuple):
    """What votes are expected to buy: how many were asked for, rows that they decide, and wrong ones among these."""

    votes: float
    decided: float
    wrong: float


def likeliest_mixture(cells: Mapping[tuple[int, int], int]) -> tuple[Share, ...]:
    """Return how often each p of `CHANCES` occurs, from a pilot's steps by their right and wrong votes."""
    chances = {(right, wrong): [p**right * (1 - p) ** wrong for p in CHANCES] for right, wrong in cells}
    return expected_shares(CHANCES, chances, cells)


def spread(mixture: Sequence[Share], k: int, rows: float, budget: float, *, max_votes: int) -> Bought:
    """Return what a budget buys that is spread over rows by what votes are worth (`maker.stats.vote_allocation`)."""
    race = _Race(mixture, k, rows)
    race.ask((0, 0), 1.0)
    worth = VoteWorth([Share(max(one.x, 1 - one.x), one.part) for one in mixture], k)
    while (left := budget - race.votes) > NEGLIGIBLE:
        part = min(left, max(left / 2, LEAST_PART))
        asked = False
        for places, cost in _by_worth(race, worth, max_votes):
            if part <= NEGLIGIBLE:
                break
            for place in places:
                race.ask(place, min(1.0, part / cost))
            part -= min(part, cost)
            asked = True
        if not asked:
            break
    return race.bought()


def alike(mixture: Sequence[Share], k: int, rows: float, budget: float, *, max_votes: int) -> Bought:
    """Return what a budget buys where every row may take so many votes alike as it allows, at most ``max_votes``.

    Between two numbers of votes a row it is in proportion.
    """
    race = _Race(mixture, k, rows)
    race.ask((0, 0), 1.0)
    before = race.bought()
    for most in range(k, max_votes + 1):
        for place in list(race.open):
            if place != (0, 0) and sum(place) + race.needs(place) <= most:
                race.ask(place, 1.0)
        now = race.bought()
        if now.votes > budget:
            part = (budget - before.votes) / (now.votes - before.votes) if now.votes > before.votes else 0.0
            return Bought(*(one + max(0.0, part) * (more - one) for one, more in zip(before, now, strict=True)))
        before = now
    return before


class _Race:
    """Expected numbers of open rows, by right and wrong votes and by p."""

    def __init__(self, mixture: Sequence[Share], k: int, rows: float) -> None:
        self._p = [one.x for one in mixture]
        self._k = k
        self.open: dict[tuple[int, int], list[float]] = {(0, 0): [rows * one.part for one in mixture]}
        self.votes = self._right = self._wrong = 0.0

    def needs(self, place: tuple[int, int]) -> int:
        """Return how many votes a row asks for."""
        return self._k - abs(place[0] - place[1])

    def rows(self, place: tuple[int, int]) -> float:
        """Return how many rows have a tally."""
        return sum(self.open[place])

    def ask(self, place: tuple[int, int], part: float) -> None:
        """Let this part of the rows of a tally ask once."""
        masses, votes = self.open[place], self.needs(place)
        self.open[place] = [mass * (1 - part) for mass in masses]
        if part >= 1.0:
            del self.open[place]
        self.votes += votes * part * sum(masses)
        for j in range(votes + 1):
            right, wrong = place[0] + j, place[1] + votes - j
            ways = comb(votes, j) * part
            moved = [
                mass * ways * p**j * (1 - p) ** (votes - j) for mass, p in zip(masses, self._p, strict=True)
            ]  # fmt: skip
            if abs(right - wrong) < self._k:
                there = self.open.get((right, wrong), [0.0] * len(moved))
                self.open[right, wrong] = [one + more for one, more in zip(there, moved, strict=True)]
            elif right > wrong:
                self._right += sum(moved)
            else:
                self._wrong += sum(moved)

    def bought(self) -> Bought:
        """Return what was bought so far."""
        return Bought(self.votes, self._right + self._wrong, self._wrong)


def _by_worth(race: _Race, worth: VoteWorth, max_votes: int) -> Iterator[tuple[list[tuple[int, int]], float]]:
    """Yield the tallies of open rows that may go on, by what a vote on them is worth, and what asking them all costs.

    Whether the leader is right does not show: two tallies that differ in that alone come together.
    """
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for place in race.open:
        if sum(place) + race.needs(place) <= max_votes:
            groups.setdefault((max(place), min(place)), []).append(place)
    for _, places in sorted(groups.items(), key=lambda one: (-worth.worth(*one[0]), one[0])):
        if (rows := sum(map(race.rows, places))) > NEGLIGIBLE:
            yield places, rows * race.needs(places[0])
