"""Two ways to answer the same rows: the exact test of McNemar by numbers worked out by hand, and its intervals."""

from __future__ import annotations

import itertools
import math

import pytest

from maker.stats.paired import mcnemar, paired_difference, rows_to_settle, share_within


@pytest.mark.parametrize(
    ("one", "other", "p"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        # 2 (1 + 15 + 105) / 2^15
        (13, 2, 242 / 32768),
        # 2 (1 + 12 + 66 + 220 + 495) / 2^12
        (4, 8, 1588 / 4096),
        (0, 5, 2 / 32),
        (6, 0, 2 / 64),
    ],
)
def test_rows_that_differ_are_tossed_coins(one: int, other: int, p: float) -> None:
    """The p of rows that only one of two got right; the same whichever is named first."""
    assert mcnemar(one, other) == pytest.approx(p, abs=1e-12)
    assert mcnemar(other, one) == mcnemar(one, other)


def chance(one: int, other: int, rows: int, p: float, q: float) -> float:
    """Return the chance of so many rows that only the one and only the other way is right on."""
    ways = math.comb(rows, one) * math.comb(rows - one, other)
    return float(ways * p**one * q**other * (1 - p - q) ** (rows - one - other))


@pytest.mark.parametrize(
    ("p", "q"), [(0.0, 0.0), (0.1, 0.1), (0.3, 0.05), (0.02, 0.0), (0.5, 0.5), (0.0, 0.9), (0.45, 0.3)]
)
@pytest.mark.parametrize("rows", [8, 30])
def test_an_interval_of_a_difference_covers(p: float, q: float, rows: int) -> None:
    """Over all outcomes, weighed by their chance: at least the confidence, whatever the truth is."""
    covered = 0.0
    for one, other in itertools.product(range(rows + 1), repeat=2):
        if one + other <= rows and (weight := chance(one, other, rows, p, q)):
            found = paired_difference(one, other, rows, 0.9)
            covered += weight * (found.low <= p - q + 1e-9 and found.high >= p - q - 1e-9)
    assert covered >= 0.9


def test_a_difference_by_hand() -> None:
    """A difference is shown where the test of McNemar shows it, at its part of the risk; ways change its sign alone."""
    found = paired_difference(30, 5, 300, 0.95)
    assert found.estimate == pytest.approx(25 / 300)
    low, high = share_within(30, 35, 0.955)
    fewest, widest = share_within(35, 300, 0.995)
    assert (found.low, found.high) == pytest.approx(((2 * low - 1) * fewest, (2 * high - 1) * widest))
    turned = paired_difference(5, 30, 300, 0.95)
    assert (-turned.high, -turned.low) == pytest.approx((found.low, found.high))
    # .03125 is below .045, and 2 (1 + 9) / 2^9 = .039 as well; 2 (1 + 11 + 55) / 2^11 = .065 is not.
    for one, other, shown in [(6, 0, True), (8, 1, True), (9, 2, False)]:
        assert (paired_difference(one, other, 100, 0.95).low > 0) is shown
    assert paired_difference(0, 0, 300, 0.95).high == pytest.approx(share_within(0, 300, 0.995)[1])


@pytest.mark.parametrize(("one", "other", "rows"), [(3, 3, 5), (-1, 2, 5), (0, 0, 0)])
def test_counts_that_cannot_be_are_refused(one: int, other: int, rows: int) -> None:
    """More rows that differ than rows, a negative number, or no row."""
    with pytest.raises(ValueError, match="no counts of rows that differ"):
        paired_difference(one, other, rows, 0.95)


@pytest.mark.parametrize(
    ("one", "other", "rows", "worth"), [(35, 41, 600, 0.02), (10, 5, 300, 0.03), (0, 0, 100, 0.01)]
)
def test_so_many_rows_settle_it(one: int, other: int, rows: int, worth: float) -> None:
    """With as many as are named the interval leaves out 0 or what is worth it; with a fifth fewer it does not."""
    needed = rows_to_settle(one, other, rows, worth=worth, confidence=0.95)
    assert needed is not None

    def settled(n: int) -> bool:
        found = paired_difference(round(one * n / rows), round(other * n / rows), n, 0.95)
        return found.low > 0 or found.high < worth

    assert settled(needed)
    assert not settled(needed * 4 // 5)


def test_what_no_number_of_rows_settles() -> None:
    """Ways that differ by just what is worth it, where that is too little to be seen."""
    assert rows_to_settle(0, 0, 100, worth=1e-9, confidence=0.95) is None
