"""Rounds of batches, against closed forms and a simulation."""

from __future__ import annotations

import random

import pytest

from maker.stats.batch_rounds import rounds_of
from maker.stats.race import votes_per_step


@pytest.mark.parametrize(("p", "k"), [(0.99, 3), (0.9, 2), (0.8, 4)])
def test_the_first_round_decides_where_all_agree(p: float, k: int) -> None:
    assert rounds_of(p, k, 10**6).first == pytest.approx(p**k + (1 - p) ** k)


@pytest.mark.parametrize(("p", "k"), [(0.99, 3), (0.9, 2), (0.7, 4)])
def test_votes_are_those_of_the_race(p: float, k: int) -> None:
    """None is asked for in vain."""
    assert rounds_of(p, k, 10**9).votes == pytest.approx(votes_per_step(p, k), abs=1e-6)


def test_a_thousand_steps_take_three_rounds() -> None:
    assert rounds_of(0.99, 3, 1000).rounds == 3
    assert rounds_of(1.0, 3, 1000).rounds == 1
    assert rounds_of(0.99, 1, 1000).rounds == 1


@pytest.mark.parametrize("extra", [0, 1, 3])
def test_extra_votes_save_rounds_as_a_simulation_says(extra: int) -> None:
    p, k, steps, chance = 0.85, 3, 20_000, random.Random(7)
    first = votes = longest = 0
    for _ in range(steps):
        lead, rounds = 0, 0
        while abs(lead) < k:
            asked = k - abs(lead) + extra
            votes, rounds = votes + asked, rounds + 1
            for _ in range(asked):
                if abs(lead) < k:
                    lead += 1 if chance.random() < p else -1
        first += rounds == 1
        longest = max(longest, rounds)
    found = rounds_of(p, k, steps, extra)
    assert found.first == pytest.approx(first / steps, abs=0.01)
    assert found.votes == pytest.approx(votes / steps, rel=0.01)
    assert abs(found.rounds - longest) <= 3


@pytest.mark.parametrize(("p", "k", "steps", "extra"), [(0.985, 2, 200, 0), (0.985, 2, 200, 2), (0.9, 3, 50, 0)])
def test_no_more_rounds_in_95_of_100_runs(p: float, k: int, steps: int, extra: int) -> None:
    """Of 300 simulated runs; fewer rounds would be too few in more of them."""
    chance, most, over = random.Random(3), rounds_of(p, k, steps, extra).rounds, [0, 0]
    for _ in range(300):
        longest = 0
        for _ in range(steps):
            lead, rounds = 0, 0
            while abs(lead) < k:
                rounds += 1
                for _ in range(k - abs(lead) + extra):
                    if abs(lead) < k:
                        lead += 1 if chance.random() < p else -1
            longest = max(longest, rounds)
        over[0] += longest > most
        over[1] += longest > most - 1
    assert over[0] <= 0.05 * 300 < over[1]


def test_what_is_no_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="p"):
        rounds_of(1.5, 3, 10)
