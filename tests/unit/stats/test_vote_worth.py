"""What a vote is worth, who gets votes, and what a budget buys: against brute force, to the last digit."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maker.stats.budget_forecast import Bought, alike, likeliest_mixture, spread
from maker.stats.race import step_right, votes_per_step
from maker.stats.vote_allocation import LEAST_PART, OpenRows, allocate, in_order, outlook
from maker.stats.vote_worth import Share, VoteWorth, likeliest_shares

EXACT = (
    Share(Fraction(19, 20), Fraction(4, 5)),
    Share(Fraction(7, 10), Fraction(3, 20)),
    Share(Fraction(1, 2), Fraction(1, 20)),
)
MIXED = tuple(Share(float(share.x), float(share.part)) for share in EXACT)


def chance(x: Fraction, votes: tuple[int, ...]) -> Fraction:
    found = Fraction(1)
    for vote in votes:
        found *= x if vote else 1 - x
    return found


def brute_worth(k: int, votes: int, rival: int, asks: int) -> Fraction:
    """Go through every sequence of votes, for each share, with the leader as the stronger candidate or the weaker."""
    best = Fraction(0)
    laws = [(x, one.part * x**votes * (1 - x) ** rival) for one in EXACT for x in (one.x, 1 - one.x)]
    for most in range(1, asks + 1):
        decided = cost = Fraction(0)

        def follow(x: Fraction, weight: Fraction, lead: int, left: int) -> None:
            nonlocal decided, cost
            needed = k - abs(lead)
            for seen in itertools.product((0, 1), repeat=needed):
                here = weight * chance(x, seen)
                cost += here * needed
                after = lead + 2 * sum(seen) - needed
                if abs(after) >= k:
                    decided += here
                elif left > 1:
                    follow(x, here, after, left - 1)

        for x, weight in laws:
            follow(x, weight, votes - rival, most)
        best = max(best, decided / cost)
    return best


@pytest.mark.parametrize(
    ("k", "votes", "rival"), [(1, 0, 0), (2, 1, 1), (2, 0, 0), (3, 2, 1), (3, 1, 1), (3, 3, 2), (4, 3, 1)]
)
def test_a_votes_worth_is_that_of_every_sequence_of_votes(k: int, votes: int, rival: int) -> None:
    assert VoteWorth(EXACT, k, 2).exact(votes, rival) == brute_worth(k, votes, rival, 2)


def test_the_example_of_the_docstring() -> None:
    worth = VoteWorth([Share(0.9, 1.0)], 3)
    assert worth.worth(2, 1) == pytest.approx(0.365)
    assert worth.ask(2, 1) == 2


def test_samples_that_are_no_part_of_the_race_make_a_step_worth_less() -> None:
    worth = VoteWorth(EXACT, 3)
    assert worth.exact(2, 1, 3) == worth.exact(2, 1) * Fraction(4, 7)
    assert worth.worth(0, 0, 300) < worth.worth(20, 20)


def test_a_longer_contest_is_worth_less() -> None:
    worth = VoteWorth(MIXED, 3)
    found = [worth.worth(votes, votes - 1) for votes in range(2, 30)]
    assert found == sorted(found, reverse=True)


def test_a_large_margin_takes_no_long_time() -> None:
    assert VoteWorth(likeliest_shares({(300, 20): 5}), 1000).worth(300, 20) >= 0
    assert VoteWorth(MIXED, 1000).worth(2000, 1500) == 0.0


def test_shares_are_found_again() -> None:
    """The tallies of many races that are not over tell what they were drawn from, whenever each was stopped."""
    random.seed(4)
    tallies: dict[tuple[int, int], int] = {}
    for number in range(20_000):
        x = 0.97 if number % 10 < 8 else 0.6
        votes = [random.random() < x for _ in range(3)]
        while 0 < sum(votes) < len(votes) < 9 and random.random() < 0.8:
            votes += [random.random() < x for _ in range(2)]
        pair = (max(sum(votes), len(votes) - sum(votes)), min(sum(votes), len(votes) - sum(votes)))
        tallies[pair] = tallies.get(pair, 0) + 1
    shares = likeliest_shares(tallies)
    assert sum(share.part for share in shares) == pytest.approx(1)
    assert sum(share.part for share in shares if share.x >= 0.85) == pytest.approx(0.8, abs=0.05)
    assert sum(share.part * share.x for share in shares) == pytest.approx(0.8 * 0.97 + 0.2 * 0.6, abs=0.02)


GROUPS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 3), st.integers(0, 12), st.integers(1, 60)),
    max_size=6,
)


@given(GROUPS, st.integers(0, 3000), st.integers(1, 3), st.integers(0, 3))
def test_votes_go_to_those_for_whom_they_are_worth_most(
    drawn: list[tuple[int, int, int, int, int]], left: int, share: int, extra: int
) -> None:
    worth, groups, first = VoteWorth(MIXED, 3), [], 0
    for rival, lead, others, most, rows in drawn:
        groups.append(OpenRows(rival + lead, rival, others, most, range(first, first + rows)))
        first += rows
    found = allocate(groups, worth, left, share=share, extra=extra)
    costs = {row: min(one.most, 3 - one.votes + one.rival + extra) for one in groups for row in one.rows}
    able = {row for one in groups if 3 - one.votes + one.rival <= one.most for row in one.rows}
    assert set(found.rows) <= able
    assert len(set(found.rows)) == len(found.rows)
    assert found.votes == sum(costs[row] for row in found.rows) <= min(left, max(left // share, LEAST_PART))
    values = {row: worth.worth(*one[:3]) for one in groups for row in one.rows}
    passed = able.difference(found.rows)
    # Whoever was passed over is worth no more, or does not fit into what is left.
    part = min(left, max(left // share, LEAST_PART))
    for row in passed:
        better = sum(costs[other] for other in found.rows if values[other] >= values[row])
        assert better + costs[row] > part


def test_rows_that_are_alike_come_in_an_order_that_is_spread_over_the_input() -> None:
    worth = VoteWorth(MIXED, 3)
    found = allocate([OpenRows(2, 1, 0, 90, range(10_000))], worth, 2000).rows
    assert len(found) == 500
    for start in range(0, 10_000, 1000):
        assert sum(start <= row < start + 1000 for row in found) == pytest.approx(50, abs=3)


def test_nothing_is_given_where_nothing_fits() -> None:
    worth = VoteWorth(MIXED, 3)
    assert allocate([OpenRows(2, 1, 0, 90, [4])], worth, 1) == ((), 0)
    assert allocate([OpenRows(2, 1, 0, 1, [4])], worth, 10) == ((), 0)
    assert allocate([], worth, 10) == ((), 0)
    assert in_order([OpenRows(2, 1, 0, 1, [4])], worth) == []


def test_an_outlook_is_what_a_tenth_more_decides() -> None:
    """Of rows at two to one with x = .9 the next two votes decide 73 %."""
    worth = VoteWorth([Share(0.9, 1.0)], 3, 1)
    found = outlook([OpenRows(2, 1, 0, 90, range(500))], worth, 100)
    assert (found.votes, found.rows) == (100, pytest.approx(50 * 0.73))


# --- what a budget buys ---


def test_without_end_a_budget_buys_what_the_race_decides() -> None:
    for way in (spread, alike):
        found = way([Share(0.9, 1.0)], 3, 1000, 10**6, max_votes=400)
        assert found.decided == pytest.approx(1000, abs=0.5)
        assert found.wrong / found.decided == pytest.approx(1 - step_right(0.9, 3), rel=1e-3)
        assert found.votes == pytest.approx(1000 * votes_per_step(0.9, 3), rel=1e-3)


@pytest.mark.parametrize("budget", [3100, 3500, 3700])
def test_errors_among_the_decided_are_what_k_claims_whenever_a_race_is_stopped(budget: float) -> None:
    """A race that ends right and its mirror image are (p / q)^k as likely, however many votes they take."""
    for way in (spread, alike):
        found = way([Share(0.9, 1.0)], 3, 1000, budget, max_votes=100)
        assert found.votes == pytest.approx(budget, abs=0.1)
        assert found.wrong / found.decided == pytest.approx(1 - step_right(0.9, 3), rel=1e-9)


@pytest.mark.parametrize("k", [3, 4, 5])
@pytest.mark.parametrize("part", [0.75, 0.85, 0.95])
def test_spread_votes_decide_as_many_rows_as_the_best_number_for_all(k: int, part: float) -> None:
    whole = alike(MIXED, k, 10_000, 10**7, max_votes=100)
    budget = part * whole.votes
    found, same = (way(MIXED, k, 10_000, budget, max_votes=100) for way in (spread, alike))
    assert found.decided >= 0.999 * same.decided
    assert found.wrong / found.decided <= whole.wrong / whole.decided


def simulated(k: int, rows: int, budget: int, seed: int) -> Bought:
    """Spread a budget over rows that are drawn, as the engine does, with the mixture known."""
    draw = random.Random(seed)
    chances = [share.x for share in MIXED for _ in range(round(rows * share.part))]
    worth = VoteWorth([*MIXED], k)
    tallies = [(0, 0)] * len(chances)
    asked: tuple[int, ...] = tuple(range(len(chances)))
    spent, decided, wrong = 0, 0, 0
    opened = set(asked)
    while asked:
        for row in asked:
            right, others = tallies[row]
            for _ in range(k - abs(right - others)):
                right, others = (right + 1, others) if draw.random() < chances[row] else (right, others + 1)
                spent += 1
            tallies[row] = right, others
            if abs(right - others) >= k:
                opened.discard(row)
                decided += 1
                wrong += others > right
        groups: dict[tuple[int, int], list[int]] = {}
        for row in sorted(opened):
            groups.setdefault((max(tallies[row]), min(tallies[row])), []).append(row)
        asked = allocate(
            [OpenRows(*key, 0, 100 - sum(key), its) for key, its in groups.items()], worth, budget - spent
        ).rows
    return Bought(spent, decided, wrong)


def test_a_forecast_is_what_a_simulation_comes_to() -> None:
    rows, budget = 20_000, 108_000
    expected = spread(MIXED, 4, rows, budget, max_votes=100)
    found = simulated(4, rows, budget, seed=11)
    assert found.votes <= budget
    assert found.decided == pytest.approx(expected.decided, abs=4 * rows**0.5 / 2)
    assert found.wrong == pytest.approx(expected.wrong, abs=4 * expected.wrong**0.5 + 10)


def test_a_mixture_is_found_from_a_pilot() -> None:
    cells = {(5, 0): 6191, (4, 1): 1629, (3, 2): 172, (2, 3): 8, (0, 5): 1548, (1, 4): 407, (2, 2): 45}
    found = likeliest_mixture(cells)
    assert sum(one.part for one in found) == pytest.approx(1)
    assert sum(one.part for one in found if one.x < 0.5) == pytest.approx(0.2, abs=0.02)
