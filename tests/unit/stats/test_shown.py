"""What a pilot shows whatever the distribution of p: marks and bounds against orders counted out, grids and draws."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.special import expit

from maker.stats.bounds import Labelled, most_wrong_in
from maker.stats.mixture import Array
from maker.stats.shown import doubt, own_loss, race_marks, sample_loss

pytestmark = pytest.mark.plan

Table = dict[tuple[int, int], int]


def heard(p: Array, votes: int, rng: np.random.Generator) -> Table:
    right = rng.binomial(votes, p)
    return dict(Counter((int(r), votes - int(r)) for r in right))


def looked_again(p: Array, first: int, more: int, rng: np.random.Generator) -> Table:
    """Steps whose first votes are not all right get more."""
    right = rng.binomial(first, p)
    total = np.where(right < first, first + more, first)
    right = right + np.where(right < first, rng.binomial(more, p), 0)
    return dict(Counter((int(r), int(v - r)) for r, v in zip(right, total, strict=True)))


def lost(p: Array, k: int) -> Array:
    found: Array = expit(-k * np.log(p / (1 - p)))
    return found


def marked(votes: tuple[bool, ...], k: int) -> bool:
    lead = 0
    for right in votes:
        lead += 1 if right else -1
        if abs(lead) == k:
            break
    return lead <= 0


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_marks_are_the_share_of_orders_that_are_lost(k: int) -> None:
    for votes in range(1, 7):
        marks = race_marks(k, {votes})[votes]
        for right in range(votes + 1):
            orders = list(permutations([True] * right + [False] * (votes - right)))
            assert marks[right] == pytest.approx(sum(marked(one, k) for one in orders) / len(orders))


def test_a_step_without_a_vote_is_marked() -> None:
    assert race_marks(3, {0})[0].tolist() == [1.0]
    found = doubt({(10, 0): 290, (0, 0): 10}, 6, 0.95)
    assert (found.heard, found.marked) == (300, 10)


def test_no_mark_in_300_is_clopper_and_pearsons_bound() -> None:
    found = doubt({(10, 0): 300}, 5, 0.95)
    assert found.share / found.factor == pytest.approx(1 - 0.05 ** (1 / 300), abs=1e-8)
    assert found.factor == pytest.approx(1.0646, abs=1e-3)
    # 3 in 300, where marks are 0 or 1: F(1 - u; 297, 4) = .05.
    three = doubt({(10, 0): 297, (4, 6): 2, (0, 10): 1}, 6, 0.95)
    assert three.share / three.factor == pytest.approx(0.025641, abs=1e-5)


@pytest.mark.parametrize("votes", [1, 2, 3, 5, 10, 11, 40])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 12, 60])
def test_the_marks_are_worth_every_race_that_is_lost(votes: int, k: int) -> None:
    """Races lost are at most c E[mark], between grid points too; c is 1 for p >= 1/2, and never above 2."""
    x = np.concatenate([np.linspace(-12, 12, 1777), np.linspace(-3, 3, 777) / k])
    p = expit(x)
    marks = race_marks(k, {votes})[votes]
    chances = np.array([math.comb(votes, r) * p**r * (1 - p) ** (votes - r) for r in range(votes + 1)])
    mean = marks @ chances
    factor = doubt({(votes, 0): 100}, k, 0.95).factor
    assert 1 <= factor <= 2
    assert np.all(expit(-k * x) <= factor * mean * 1.001)
    above = x >= 0
    assert np.all(expit(-k * x[above]) <= mean[above] * (1 + 1e-9))


PROCESSES = {
    "one_in_200_wrong": lambda rng, n: np.where(rng.random(n) < 0.005, 0.45, 0.97),
    "one_in_50_a_coin": lambda rng, n: np.where(rng.random(n) < 0.02, 0.5, 0.9),
    "all_alike": lambda rng, n: np.full(n, 0.85),
    "beta": lambda rng, n: rng.beta(9.0, 1.0, n),
    "many_near_a_half": lambda rng, n: np.where(rng.random(n) < 0.05, 0.6, 0.99),
}


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("more", [0, 90])
def test_what_is_shown_of_steps_holds_in_19_of_20_pilots(process: str, more: int) -> None:
    rng = np.random.default_rng(20261130)
    k, votes, pilots = 4, 10, 60 if more else 150
    truth = float(lost(PROCESSES[process](rng, 100_000), k).mean())
    broken = 0
    for _ in range(pilots):
        p = PROCESSES[process](rng, 300)
        table = looked_again(p, votes, more, rng) if more else heard(p, votes, rng)
        broken += doubt(table, k, 0.95, first=votes if more else None).share < truth
    assert broken <= 0.05 * pilots + 3 * math.sqrt(0.05 * 0.95 * pilots)


def test_a_pilot_of_the_runs_own_steps_shows_no_more_than_one_of_others() -> None:
    """30 of 300 steps, each marked with a chance of .1, show no mark in one pilot of 24; 3 of them are then to be lost.

    The hypergeometric bound takes a mark for a lasting property: with all steps asked, and none marked, it says 0.
    """
    rng = np.random.default_rng(7)
    marks = rng.random((20_000, 30)) < 0.1
    clean = float((~marks.any(axis=1)).mean())
    assert clean == pytest.approx(0.9**30, abs=0.006)
    assert most_wrong_in(Labelled(300, 300, 0), 0.95) == 0
    assert 300 * doubt({(10, 0): 300}, 5, 0.95).share >= 3


OWN = {
    "one_coin": [0.5],
    "one_wrong": [0.45],
    "one_at_what_300_clean_steps_allow": [0.74],
    "three_near_a_half": [0.6, 0.6, 0.6],
    "thirty_at_.8": [0.8] * 30,
    "alike": [0.95] * 300,
}


@pytest.mark.parametrize("process", OWN)
@pytest.mark.parametrize("more", [0, 90])
def test_what_is_shown_of_steps_that_were_all_asked_holds_in_19_of_20_pilots(process: str, more: int) -> None:
    rng = np.random.default_rng(20261130)
    p = np.array(OWN[process] + [0.998] * (300 - len(OWN[process])))
    truth = float(-np.log1p(-lost(p, 5)).sum())
    pilots = 100
    broken = 0
    for _ in range(pilots):
        table = looked_again(p, 10, more, rng) if more else heard(p, 10, rng)
        broken += own_loss(table, 5, 0.95, first=10 if more else None) < truth
    assert broken <= 0.05 * pilots + 3 * math.sqrt(0.05 * 0.95 * pilots)


def test_clean_steps_that_were_all_asked_are_shown() -> None:
    assert own_loss({(10, 0): 300}, 5, 0.95) == pytest.approx(0.0055, abs=2e-4)
    # One step of p = .05^(1/10) = .741 alone could be as clean as that.
    assert own_loss({(10, 0): 300}, 5, 0.95) >= float(-np.log1p(-lost(np.array([0.05**0.1]), 5))[0])
    assert own_loss({(10, 0): 299, (6, 4): 1}, 5, 0.95) > 1
    assert own_loss({(10, 0): 299, (0, 0): 1}, 5, 0.95) == math.inf
    # Looked at again, the weak steps are no longer weak.
    assert own_loss({(10, 0): 250, (389, 21): 50}, 5, 0.95, first=10) < 0.1


def test_a_pilot_without_steps_shows_nothing() -> None:
    with pytest.raises(ValueError, match="has asked no step"):
        doubt({}, 3, 0.95)


def test_a_step_passes_a_sample_with_no_more_than_the_product() -> None:
    """Of all samples of 5 of 8 steps: the mean of the product of chances is below that of single draws."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        chances = rng.random(8) ** 2
        mean = np.mean([np.prod([chances[step] for step in drawn]) for drawn in combinations(range(8), 5)])
        assert mean <= np.prod(1 - 5 / 8 + 5 / 8 * chances)


@pytest.mark.parametrize(("drawn", "of"), [(500, 1000), (90, 100), (99, 100), (600, 1000), (30, 60)])
def test_of_a_clean_sample_the_hypergeometric_bound_is_left(drawn: int, of: int) -> None:
    """With votes that leave no doubt of a step that was drawn, only others can be wrong: one more at most."""
    exact = most_wrong_in(Labelled(of, drawn, 0), 0.95)
    assert exact <= sample_loss({(1000, 0): drawn}, 5, 0.95, of=of) < exact + 1.01


def test_of_a_sample_that_is_all_steps_their_own_votes_are_left() -> None:
    for table in ({(10, 0): 300}, {(10, 0): 290, (9, 1): 10}):
        at_least_one = -math.expm1(-own_loss(table, 5, 0.95))
        assert sample_loss(table, 5, 0.95, of=300) == pytest.approx(at_least_one, rel=0.01)
    assert math.isinf(sample_loss({(10, 0): 299, (0, 0): 1}, 5, 0.95, of=400))


def test_more_steps_leave_less() -> None:
    found = [sample_loss({(10, 0): drawn}, 5, 0.95, of=1000) for drawn in (500, 700, 900, 999)]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(math.log(20) / math.log(2), rel=0.01)
    assert found[-1] < 0.1


def test_what_a_sample_shows_is_so() -> None:
    """Of 60 rows two have p = .3, and 40 are drawn: of 2,000 pilots no more than one in twenty shows too little."""
    rng = np.random.default_rng(7)
    p = np.array([0.3, 0.3, *[0.97] * 58])
    wrong, broken, told = float(lost(p, 3).sum()), 0, 0
    for _ in range(2000):
        drawn = rng.choice(60, 40, replace=False)
        most = sample_loss(heard(p[drawn], 10, rng), 3, 0.95, of=60)
        broken += most < wrong
        told += most < 60
    assert broken <= 2000 * 0.05 + 4 * math.sqrt(2000 * 0.05 * 0.95)
    assert told > 100
