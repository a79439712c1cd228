"""Margins by class: the golden budgets, the cheapest of all, and refusals that say which kind they are."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from maker.stats.difficulty import Difficulty, fit
from maker.stats.knapsack import Option, cheapest_choice
from maker.stats.margins import Margins, Reason, Refusal, budget, cheapest
from maker.stats.race import least_k, run_right, votes_per_step
from maker.stats.risk import RiskBudget

pytestmark = pytest.mark.plan

EASY = {(10, 0): 271, (9, 1): 27, (8, 2): 1}
"""299 steps of p = .99, as they are to be expected."""


def known(p: float, votes: int = 8, steps: int = 4_000_000) -> Difficulty:
    """Return a class whose steps are all alike, known from a pilot that heard exactly what was to be expected."""
    law = [math.comb(votes, right) * p**right * (1 - p) ** (votes - right) for right in range(votes + 1)]
    return fit({(right, votes - right): round(steps * chance) for right, chance in enumerate(law)})


class TestKnapsack:
    def test_is_the_cheapest_of_all(self) -> None:
        """400 drawn cases of up to four groups, against all choices."""
        rng = random.Random(5)
        for _ in range(400):
            groups = []
            for _ in range(rng.randint(1, 4)):
                r, cost, load = rng.uniform(0.001, 0.8), 10 ** rng.uniform(0, 4), 10 ** rng.uniform(0, 4)
                groups.append([Option(cost * k * rng.uniform(0.99, 1.01), load * r**k) for k in range(1, 8)])
            most = 10 ** rng.uniform(-2, 1)
            fitting = [
                sum(option.cost for option in choice)
                for choice in itertools.product(*groups)
                if sum(option.load for option in choice) <= most
            ]
            found = cheapest_choice(groups, most)
            if found is None:
                assert not fitting
            else:
                cost = sum(group[i].cost for group, i in zip(groups, found, strict=True))
                assert cost == pytest.approx(min(fitting), rel=1e-9)


class TestBudget:
    def test_goes_where_steps_are_hard(self) -> None:
        """900 steps of p = .99, 100 of .7: k = 3 and 9 give .9515 with 5,003 votes; k = 9 for all .9524 with 10,513."""
        loads = [RiskBudget("easy", 900, known(0.99)), RiskBudget("hard", 100, known(0.7))]
        assert budget(loads, 5010) == {"easy": 3, "hard": 9}
        right = run_right(0.99, 3, 900) * run_right(0.7, 9, 100)
        votes = 900 * votes_per_step(0.99, 3) + 100 * votes_per_step(0.7, 9)
        assert (round(right, 4), round(votes)) == (0.9515, 5003)
        assert run_right(0.99, 4, 900) * run_right(0.7, 4, 100) == pytest.approx(0.036, abs=5e-4)

    def test_fewer_votes_than_steps_are_refused(self) -> None:
        with pytest.raises(ValueError, match="fewer than one a step"):
            budget([RiskBudget("a", 10, known(0.9))], 9)


class TestCheapest:
    @pytest.mark.parametrize(("p", "steps", "k"), [(0.9, 1000, 5), (0.99, 10**6, 4), (0.8, 100, 6), (0.99, 10, 2)])
    def test_is_least_k_where_all_is_known(self, p: float, steps: int, k: int) -> None:
        found = cheapest([RiskBudget("a", steps, known(p))], 0.95)
        assert isinstance(found, Margins)
        assert found.k == {"a": k}
        assert found.sharp
        assert found.right.estimate == pytest.approx(run_right(p, k, steps), rel=1e-4)
        assert found.right.low <= found.right.estimate <= found.right.high
        assert found.votes.estimate == pytest.approx(steps * votes_per_step(p, k), rel=1e-3)

    def test_no_other_margins_are_cheaper(self) -> None:
        """Three classes that are known, against all margins up to 12."""
        truth = [(0.99, 900, 1.0), (0.8, 60, 3.0), (0.93, 300, 0.5)]
        loads = [RiskBudget(str(i), steps, known(p), 1.0, tokens) for i, (p, steps, tokens) in enumerate(truth)]
        found = cheapest(loads, 0.95)
        assert isinstance(found, Margins)

        def cost(ks: tuple[int, ...]) -> float:
            return sum(s * t * votes_per_step(p, k) for (p, s, t), k in zip(truth, ks, strict=True))

        def right(ks: tuple[int, ...]) -> float:
            return math.prod(run_right(p, k, s) for (p, s, _), k in zip(truth, ks, strict=True))

        best = min((ks for ks in itertools.product(range(1, 13), repeat=3) if right(ks) >= 0.951), key=cost)
        assert cost(tuple(found.k.values())) <= cost(best) * 1.001
        assert right(tuple(found.k.values())) >= 0.95

    def test_a_larger_consequence_takes_more(self) -> None:
        plain = cheapest([RiskBudget("a", 1000, known(0.9))], 0.95)
        heavy = cheapest([RiskBudget("a", 1000, known(0.9), consequence=100.0)], 0.95)
        assert isinstance(plain, Margins)
        assert isinstance(heavy, Margins)
        assert heavy.k["a"] == plain.k["a"] + 2

    def test_a_smaller_pilot_takes_larger_margins_and_says_so(self) -> None:
        small = cheapest([RiskBudget("a", 1000, known(0.8, steps=500))], 0.95)
        assert isinstance(small, Margins)
        assert small.k["a"] > least_k(0.8, 1000, 0.95)
        assert not small.sharp
        assert small.needed["a"] > 500

    def test_sure_is_no_less_careful(self) -> None:
        load = RiskBudget("a", 1000, known(0.9, steps=2000))
        found, sure = cheapest([load], 0.95), cheapest([load], 0.95, sure=True)
        assert isinstance(found, Margins)
        assert isinstance(sure, Margins)
        assert sure.k["a"] >= found.k["a"]
        assert sure.right.low >= 0.95
        assert found.right.low >= 0.9

    @pytest.mark.parametrize(("pilot", "steps"), [(100, 100), (100, 1000), (300, 1000)])
    def test_a_clean_pilot_is_planned(self, pilot: int, steps: int) -> None:
        """Ten votes on each step, all right: k = 2. That a few steps of the run may be of another kind is not P's."""
        found = cheapest([RiskBudget("a", steps, fit({(10, 0): pilot}))], 0.95)
        assert isinstance(found, Margins)
        assert found.k == {"a": 2}
        assert found.right.low >= 0.9

    def test_a_clean_pilot_of_a_long_run_takes_a_larger_k(self) -> None:
        """What 2,000 steps leave open of steps between easy and even is asked of 10^6 steps by a k of 13."""
        found = cheapest([RiskBudget("a", 10**6, fit({(8, 0): 2000}))], 0.95)
        assert isinstance(found, Margins)
        assert found.k == {"a": 13}
        assert not found.sharp

    @pytest.mark.parametrize("more", [{(4, 6): 1}, {(77, 133): 1, (83, 127): 1}])
    def test_a_step_that_votes_cannot_decide_is_not_planned_away(self, more: dict[tuple[int, int], int]) -> None:
        """One such step of 300 is three of a run of 1,000: no k helps. A run of five steps carries their share."""
        pilot = fit(EASY, closer=EASY | more)
        long, short = (cheapest([RiskBudget("a", steps, pilot)], 0.95) for steps in (1000, 5))
        assert isinstance(long, Refusal)
        assert long.kind in (Reason.HARD, Reason.FLOOR)
        assert (long.classes, long.needed) == (("a",), {})
        assert long.right.estimate < 0.2
        assert isinstance(short, Margins)
        assert short.right.estimate < 1 - 5 * 0.6 * sum(more.values()) / 301


class TestRefusals:
    def test_a_rival_that_is_the_mode_is_shown(self) -> None:
        found = cheapest([RiskBudget("good", 10, known(0.9)), RiskBudget("bad", 5, known(0.45, steps=20_000))], 0.95)
        assert isinstance(found, Refusal)
        assert (found.kind, found.shown, found.classes) == (Reason.RIVAL, True, ("bad",))

    def test_a_floor_is_shown(self) -> None:
        """A tenth of the steps at p = .3, the rest at .95: no margin gets 1,000 of them right."""
        pilot = {(8, 0): 60_000, (7, 1): 25_000, (6, 2): 5000, (2, 6): 3000, (3, 5): 2500, (4, 4): 1500, (1, 7): 2000}
        found = cheapest([RiskBudget("a", 1000, fit(pilot))], 0.95)
        assert isinstance(found, Refusal)
        assert (found.kind, found.shown) == (Reason.FLOOR, True)
        assert found.right.high < 0.95

    def test_too_small_a_pilot_says_how_large_it_should_be(self) -> None:
        found = cheapest([RiskBudget("a", 10_000, known(0.6, steps=2000))], 0.95)
        assert isinstance(found, Refusal)
        assert (found.kind, found.shown) == (Reason.PILOT, False)
        assert found.needed["a"] > 2000
        assert isinstance(cheapest([RiskBudget("a", 10_000, known(0.6, steps=found.needed["a"]))], 0.95), Margins)

    def test_one_vote_a_step_asks_for_two(self) -> None:
        found = cheapest([RiskBudget("a", 1000, fit({(1, 0): 1900, (0, 1): 100}))], 0.95)
        assert isinstance(found, Refusal)
        assert "2 or more --votes" in found.fix

    def test_nonsense_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one class"):
            cheapest([], 0.95)
        with pytest.raises(ValueError, match="too low"):
            cheapest([RiskBudget("a", 10, fit({(8, 0): 10}, confidence=0.8))], 0.95)
