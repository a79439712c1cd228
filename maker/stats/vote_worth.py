"""What a further vote on an open step is worth: the chance, per vote, that the step gets decided. Pure.

A step is a race to a lead of k between the two foremost candidates. A vote is for one of them, with the step's own
chance x, from one half to 1. How often each x occurs is learned from the votes on all steps so far, and is then the
prior of each step (`likeliest_shares`): the likelihood of votes does not depend on when they were stopped.

The idea, to spend a budget for all questions where it decides most, is that of Blend-ASC (arXiv 2511.12309).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import comb
from typing import Any, NamedTuple

ASKS = 6
"""So many requests ahead a step is looked at: a long race may be worth it although its next request decides little."""
LARGE_K = 40
"""Above this margin only the next request is looked at: the work grows as the square of the margin."""
TURNS = 60
"""Turns of the search for the likeliest shares."""
GRID = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.94, 0.97, 0.99, 0.999)
"""The chances x that are told apart."""
DIGITS = 9
"""Worths that differ by less count as equal: another machine's last digit must not change who is asked."""


class Share(NamedTuple):
    """Which part of the steps has votes that are for the stronger of two candidates with the chance ``x``."""

    x: Any
    part: Any


class Asks(NamedTuple):
    """What so many requests come to: the chance that they decide a step, and how many votes they take, on average."""

    decided: Any
    votes: Any


def likeliest_shares(tallies: Mapping[tuple[int, int], int]) -> tuple[Share, ...]:
    """Return how often each x of `GRID` occurs, by expectation maximisation.

    One step of an even mixture is added, so that no x is ruled out.

    Args:
        tallies: Steps by the votes of their two foremost candidates, decided ones and open ones.
    """
    chances = {
        (votes, rival): [x**votes * (1 - x) ** rival + (1 - x) ** votes * x**rival for x in GRID]
        for votes, rival in tallies
    }
    return expected_shares(GRID, chances, tallies)


def expected_shares(
    grid: Sequence[float], chances: Mapping[tuple[int, int], Sequence[float]], tallies: Mapping[tuple[int, int], int]
) -> tuple[Share, ...]:
    """Return how often each value of a grid occurs, from the chance of each tally by value, and the steps of each."""
    rows = [(steps, chances[tally]) for tally, steps in sorted(tallies.items()) if steps and sum(chances[tally]) > 0]
    even = 1 / len(grid)
    parts = [even] * len(grid)
    total = 1 + sum(steps for steps, _ in rows)
    for _ in range(TURNS):
        sums = [even] * len(grid)
        for steps, its in rows:
            joint = [part * chance for part, chance in zip(parts, its, strict=True)]
            scale = steps / sum(joint)
            sums = [one + scale * more for one, more in zip(sums, joint, strict=True)]
        parts = [one / total for one in sums]
    return tuple(Share(x, part) for x, part in zip(grid, parts, strict=True))


class VoteWorth:
    """Says what further votes on an open step are worth.

    A request asks for the fewest votes that could settle a step: k less its lead. ``asks`` of them in a row are looked
    at, and the best number of them counts: a step that they leave open may be given up.

    k = 3, all steps with x = .9 and a tally of 2 to 1: the leader is the stronger candidate with the chance .081 / .09,
    so that the next two votes decide with .9 .9^2 + .1 .1^2 = .73, and each is worth .365 steps.

    Args:
        shares: How often each x occurs.
        k: The margin.
        asks: How many requests ahead are looked at.
    """

    def __init__(self, shares: Sequence[Share], k: int, asks: int = ASKS) -> None:
        self.k = k
        # Whichever candidate is the stronger one: either is, before the first vote.
        self._laws = [(x, share.part) for share in shares for x in (share.x, 1 - share.x)]
        ahead = asks if k <= LARGE_K else 1
        self._ahead = [list(_requests(x, k, ahead)) if ahead > 1 else [] for x, _ in self._laws]

    def ask(self, votes: int, rival: int) -> int:
        """Return how many votes could settle a step at the least."""
        return self.k - (votes - rival)

    def worth(self, votes: int, rival: int, others: int = 0) -> float:
        """Return the chance per vote that a step gets decided, at most over how many requests are made.

        Args:
            votes: The leader's votes.
            rival: Those of its strongest rival.
            others: Samples without a part in the race: for other candidates, and flagged ones.
        """
        return round(float(self.exact(votes, rival, others)), DIGITS)

    def exact(self, votes: int, rival: int, others: int = 0) -> Any:
        """Return the same, not rounded; a fraction where the shares are fractions."""
        lead = votes - rival
        needed = self.k - lead
        weights = [part * x**votes * (1 - x) ** rival for x, part in self._laws]
        all_alike = [x**needed + (0 if lead else (1 - x) ** needed) for x, _ in self._laws]
        found = [[Asks(chance, needed) for chance in all_alike]]
        found += [[law[lead] for law in laws] for laws in zip(*(law[1:] for law in self._ahead), strict=True)]
        best: Any = 0
        for asked in found:
            decided = sum(weight * one.decided for weight, one in zip(weights, asked, strict=True))
            cost = sum(weight * one.votes for weight, one in zip(weights, asked, strict=True))
            if cost and decided / cost > best:
                best = decided / cost
        return best * (votes + rival + 1) / (votes + rival + others + 1)


def _requests(x: Any, k: int, most: int) -> Iterable[dict[int, Asks]]:
    """Yield what 1, 2, … requests come to, by the lead of the first candidate, which gets a vote with the chance x."""
    leads = range(1 - k, k)
    moves = {lead: [(lead + change, chance) for change, chance in _changes(x, k - abs(lead))] for lead in leads}
    before = {lead: Asks(0, 0) for lead in leads}
    for _ in range(most):
        after = {}
        for lead in leads:
            decided: Any = 0
            votes: Any = k - abs(lead)
            for place, chance in moves[lead]:
                if abs(place) >= k:
                    decided += chance
                else:
                    decided += chance * before[place].decided
                    votes += chance * before[place].votes
            after[lead] = Asks(decided, votes)
        yield after
        before = after


def _changes(x: Any, votes: int) -> list[tuple[int, Any]]:
    """Return by how much so many votes change a lead, with the chance of each change."""
    return [(2 * j - votes, comb(votes, j) * x**j * (1 - x) ** (votes - j)) for j in range(votes + 1)]
