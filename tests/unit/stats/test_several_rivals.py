"""Races against several rivals: the bound by enumeration, and what a pilot makes of it."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections import Counter

import numpy as np
import pytest
from races import by_mass, exact
from split_pilots import Splits, drawn

from maker.stats.difficulty import Mode, fit
from maker.stats.margins import Margins, Reason, Refusal, cheapest
from maker.stats.mixture import beta_failure
from maker.stats.risk import RiskBudget
from maker.stats.several_rivals import SeveralRivals, split_failure, split_votes
from maker.stats.tally_law import ODDS, Likeliest, TallyLaw
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams

pytestmark = pytest.mark.plan


def expected(p: float, rivals: int, votes: int, steps: float) -> Splits:
    """Return a pilot that heard just what was to be expected, of equal rivals."""
    found: Splits = {}
    for right in range(votes + 1):
        for parts in _partitions(votes - right, votes, rivals):
            orders = math.factorial(votes) / math.prod(map(math.factorial, (right, *parts)))
            named = math.factorial(rivals) / math.factorial(rivals - len(parts))
            for times in Counter(parts).values():
                named /= math.factorial(times)
            chance = orders * named * p**right * ((1 - p) / rivals) ** (votes - right)
            if n := round(steps * chance):
                found[right, parts] = n
    return found


def _partitions(votes: int, most: int, kinds: int) -> list[tuple[int, ...]]:
    if not votes:
        return [()]
    if not kinds:
        return []
    return [
        (first, *rest)
        for first in range(min(votes, most), 0, -1)
        for rest in _partitions(votes - first, first, kinds - 1)
    ]


def test_the_bound_is_the_sum_of_powers() -> None:
    """P = .4 against six rivals of .1: k = 9 is the first with at most .05 of 1,000 steps lost."""
    lost = {k: split_failure(0.4, [0.1] * 6, k) for k in range(1, 12)}
    assert lost[3] == pytest.approx(6 / 64)
    assert lost[9] == pytest.approx(2.29e-5, rel=1e-3)
    assert min(k for k, share in lost.items() if 1000 * share <= 0.05) == 9
    assert all(more >= less for more, less in itertools.pairwise(lost.values()))
    # Of the same mass, rivals that are less alike are the worse, down to one that has all.
    assert split_failure(0.4, [0.1] * 6, 5) < split_failure(0.4, [0.2, *[0.08] * 5], 5) < 1
    assert split_failure(0.4, [0.6], 5) == 1


@pytest.mark.parametrize("masses", [(0.4, 0.3, 0.2, 0.1), (0.4, 0.2, 0.2, 0.2), (0.6, 0.4), (0.5, 0.3, 0.2)])
@pytest.mark.parametrize("k", [2, 3])
def test_races_are_lost_no_more_often_than_the_bound(masses: tuple[float, ...], k: int) -> None:
    found = exact(FirstToAheadByK(FirstToAheadByKParams(k=k)), masses, thin=1e-9)
    assert found.wrong <= split_failure(masses[0], masses[1:], k)
    assert found.lost < 1e-3


@pytest.mark.parametrize(("p", "rivals", "k"), [(0.4, 6, 9), (0.5, 4, 6), (0.3, 4, 15), (0.7, 1, 8)])
def test_votes_are_about_those_of_simulated_races(p: float, rivals: int, k: int) -> None:
    votes = simulated(p, rivals, k, 400)
    assert float(split_votes(np.array(p), np.array(rivals), k)) == pytest.approx(np.mean(votes), rel=0.1)


def simulated(p: float, rivals: int, k: int, races: int) -> list[int]:
    draw, rng = by_mass(p, *[(1 - p) / rivals] * rivals), random.Random(3)
    found = []
    for _ in range(races):
        counts = Counter[str]()
        while True:
            counts[draw(rng, [])] += 1
            first, *rest = (n for _, n in counts.most_common(2))
            if first - sum(rest) >= k:
                break
        found.append(counts.total())
    return found


def test_a_pilot_that_knows_all_gives_the_bound_and_its_votes() -> None:
    known = SeveralRivals(expected(0.4, 6, 10, 3_000_000), 0.95)
    assert known.agreement.estimate == pytest.approx(1 / 6, rel=0.01)
    assert known.agreement.low < 1 / 6 < known.agreement.high
    for k in (6, 9):
        assert known.failure(k).estimate == pytest.approx(split_failure(0.4, [0.1] * 6, k), rel=0.15)
        assert known.independent(k).estimate == pytest.approx(split_failure(0.4, [0.1] * 6, k), rel=0.02)
    assert known.votes_per_step(9).estimate == pytest.approx(
        float(split_votes(np.array(0.4), np.array(6), 9)), rel=0.02
    )
    assert known.mode is Mode.OPEN
    cut = np.mean([votes > 40 for votes in simulated(0.4, 6, 9, 2000)])
    assert known.unsettled(9, 40) == pytest.approx(cut, abs=0.05)
    assert (known.unsettled(9, 8), known.unsettled(9, 400) < 1e-6) == (1, True)


def test_one_rival_is_what_one_rival_is() -> None:
    """Where all wrong votes agree, little more is lost than by the fit to one rival."""
    table = expected(0.9, 1, 10, 300)
    each = SeveralRivals(table, 0.95)
    one = fit({(right, sum(parts)): n for (right, parts), n in table.items()})
    assert each.agreement.estimate == 1
    for k in (3, 5):
        assert each.failure(k).estimate == pytest.approx(one.failure(k).estimate, rel=0.1)


def test_a_wide_law_of_p_is_summed_over() -> None:
    """P is Beta(19, 1), and all wrong votes are one rival's: the closed form's integral, to what the grid gives."""
    votes = np.arange(11)
    orders = [
        math.comb(10, int(right)) * math.exp(_beta_log(19 + right, 11 - right) - _beta_log(19, 1)) for right in votes
    ]
    table = {(int(right), (10 - int(right),) if right < 10 else ()): round(1e6 * chance)
             for right, chance in zip(votes, orders, strict=True) if round(1e6 * chance)}  # fmt: skip
    each = SeveralRivals(table, 0.95)
    truth = beta_failure(np.log([19.0]), np.array([1 / 21]), 4)[0]
    assert each.failure(4).estimate == pytest.approx(truth, rel=0.1)


def _beta_log(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def test_six_rivals_take_few_votes() -> None:
    """300 steps with 10 votes: k is from 9, which would do if all were known, to 20 in most pilots."""
    found = []
    for seed in range(7):
        made = cheapest([RiskBudget("a", 1000, SeveralRivals(drawn(0.4, 6, seed=seed), 0.95))], 0.95)
        assert isinstance(made, Margins)
        found.append(made.k["a"])
    assert min(found) >= 9
    assert statistics.median(found) <= 15


def test_four_strong_rivals_are_not_shown_to_be_beaten() -> None:
    found = cheapest([RiskBudget("a", 1000, SeveralRivals(drawn(0.3, 4), 0.95))], 0.95)
    assert isinstance(found, Refusal)
    assert found.kind is Reason.PILOT
    assert "more --votes" in found.fix


def test_the_law_of_a_tally_is_that_of_all_its_courses() -> None:
    """Three equal rivals, p = .5, by enumeration."""
    mass = np.zeros(len(ODDS))
    mass[int(np.argmin(abs(ODDS)))] = 1.0
    law, chances = TallyLaw(Likeliest(mass, 3.0, 0.0), 6), [0.5, *[1 / 6] * 3]
    behind = seldom = 0.0
    for votes in itertools.product(range(4), repeat=5):
        chance = math.prod(chances[vote] for vote in votes)
        right, most = votes.count(0), max(votes.count(rival) for rival in (1, 2, 3))
        behind += chance * (right <= most)
        seldom += chance * (right <= 1 and most >= 3)
    assert law.behind(5) == pytest.approx(behind)
    assert law.at_least(1, (3, 1)) == pytest.approx(seldom)
    # With a law of the shares that is as wide as can be, all wrong votes are one rival's.
    one = TallyLaw(Likeliest(mass, 3.0, 1e9), 6)
    assert one.behind(5) == pytest.approx(0.5, rel=1e-3)


def test_steps_that_no_law_explains_are_found() -> None:
    """Ten votes for one of six rivals have a chance of 6e-10 on a step like the others."""
    alike = drawn(0.4, 6)
    assert SeveralRivals(alike, 0.95).unexplained() == 0
    assert SeveralRivals(alike | {(0, (10,)): 1}, 0.95).unexplained() >= 1
    assert SeveralRivals({(10, ()): 20}, 0.95).unexplained() == 0
