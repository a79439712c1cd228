"""How likely contested steps stand as close together as these: means exact, tails bounded."""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections import Counter

import pytest

from maker.errors import ExtraMissing
from maker.stats.close_pairs import REACH, expected, many, pairs_of
from maker.stats.monitor import Monitor
from maker.stats.vote_tests import Rule, Statistic


def counted(steps: int, contested: int) -> Counter[int]:
    """Return how many of all ways to place the contested steps have so many close pairs."""
    ways = itertools.combinations(range(steps), contested)
    return Counter(sum(1 for a, b in itertools.combinations(way, 2) if b - a <= REACH) for way in ways)


@pytest.mark.plan
@pytest.mark.parametrize(("steps", "contested"), [(3, 2), (8, 3), (12, 4), (20, 6), (24, 5), (6, 6), (9, 0), (9, 1)])
def test_the_mean_is_exact_and_the_tail_is_bounded(steps: int, contested: int) -> None:
    """By enumeration: the bound is the chance itself, where it is worth telling."""
    ways = counted(steps, contested)
    whole = ways.total()
    assert expected(steps, contested) == pytest.approx(sum(pairs * n for pairs, n in ways.items()) / whole)
    for found in ways:
        tail = sum(n for pairs, n in ways.items() if pairs >= found) / whole
        bound = many(steps, contested, found)
        assert bound == pytest.approx(tail, rel=1e-3) or (bound == 1.0 and tail > 2e-3)


def test_the_bits_of_a_line_are_its_pairs() -> None:
    """Nine touch, and 35 of ten in a row are close."""
    assert [pairs_of(bits) for bits in (0, 1, 0b11, 0b1011, 0b1000001, (1 << 10) - 1)] == [0, 0, 1, 3, 0, 35]


@pytest.mark.plan
@pytest.mark.parametrize(
    ("steps", "contested", "found", "bound"),
    [
        (1_000, 130, 95, 1.0),
        (1_000, 130, 140, 2.53e-8),
        (1_000, 10, 30, 1e-12),
        (1_000_000, 200, 30, 4.98e-21),
        (1_000_000, 100_000, 51_200, 6.6e-7),
    ],
)
def test_long_runs(steps: int, contested: int, found: int, bound: float) -> None:
    """A million steps are no harder than a thousand."""
    assert many(steps, contested, found) == pytest.approx(bound, rel=0.1)
    assert many(steps, contested, contested * REACH) < 1e-20


@pytest.mark.plan
def test_chances_hold_in_simulation() -> None:
    """Of 3,000 shuffled runs no more have a chance of at most .001 than that, within 4 sigma, and not none."""
    rng, runs = random.Random(11), 3_000
    low = 0
    for _ in range(runs):
        bits = sum(1 << place for place in rng.sample(range(400), 60))
        low += many(400, 60, pairs_of(bits)) <= 1e-3
    assert 0 < low <= runs * 1e-3 + 4 * math.sqrt(runs * 1e-3)


def test_without_its_packages_a_test_that_is_due_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far too many pairs are no alarm then, but a test that was not made; few pairs need no package."""
    monkeypatch.delitem(sys.modules, "maker.stats.pair_law", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert many(1_000, 130, 95) == 1.0
    with pytest.raises(ExtraMissing, match="the monitor's test for bursts needs the package numpy"):
        many(1_000, 130, 140)
    monitor = Monitor([Rule(3)])
    for place in range(512):
        monitor.observe(0, 3, int(place % 64 < 10), place)
    assert Statistic.BURSTS not in {alarm.statistic for alarm in monitor.look()}
    assert monitor.unmade == {
        (0, Statistic.BURSTS): "the monitor's test for bursts needs the package numpy, which is not installed; "
        "pip install 'maker-executor[plan]'"
    }
