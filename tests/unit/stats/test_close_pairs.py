"""How likely contested steps stand as close together as these: means exact, tails bounded."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from maker.stats.close_pairs import REACH, expected, many, pairs_of


def counted(steps: int, contested: int) -> Counter[int]:
    """Return how many of all ways to place the contested steps have so many close pairs."""
    ways = itertools.combinations(range(steps), contested)
    return Counter(sum(1 for a, b in itertools.combinations(way, 2) if b - a <= REACH) for way in ways)


@pytest.mark.parametrize(("steps", "contested"), [(3, 2), (8, 3), (12, 4), (16, 6), (6, 6), (9, 0), (9, 1)])
def test_the_mean_is_exact_and_the_tail_is_bounded(steps: int, contested: int) -> None:
    """By enumeration; the bound is no more than fifteen times the chance."""
    ways = counted(steps, contested)
    whole = ways.total()
    assert expected(steps, contested) == pytest.approx(sum(pairs * n for pairs, n in ways.items()) / whole)
    for found in ways:
        tail = sum(n for pairs, n in ways.items() if pairs >= found) / whole
        bound = many(steps, contested, found)
        assert tail * (1 - 1e-9) <= bound <= 15 * tail
        assert bound == 1.0 or found > expected(steps, contested)


def test_the_bits_of_a_line_are_its_pairs() -> None:
    """Nine touch, and 30 of ten in a row are close."""
    assert [pairs_of(bits) for bits in (0, 1, 0b11, 0b1011, 0b100001, (1 << 10) - 1)] == [0, 0, 1, 3, 0, 30]


@pytest.mark.parametrize(
    ("steps", "contested", "found", "bound"),
    [
        (1_000, 130, 67, 1.0),
        (1_000, 130, 130, 1.36e-10),
        (1_000, 10, 30, 2.43e-19),
        (1_000_000, 100_000, 42_000, 1.1e-25),
    ],
)
def test_long_runs(steps: int, contested: int, found: int, bound: float) -> None:
    """A million steps are no harder than a thousand."""
    assert many(steps, contested, found) == pytest.approx(bound, rel=0.1)
    assert many(steps, contested, contested * REACH) < 1e-20
