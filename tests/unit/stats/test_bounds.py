"""Bounds on wrong rows: against exact fractions, enumeration of all samples, simulation, and figures done by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maker.stats.bounds import (
    Labelled,
    allocate,
    binomial,
    chance_of_few,
    estimate,
    hypergeometric,
    most_wrong,
    most_wrong_in,
)

CONFIDENCES = (0.5, 0.8, 0.95, 0.99)


def chance_of(x: int, rows: int, wrong: int, drawn: int) -> Fraction:
    """Return the hypergeometric probability of x wrong rows, exactly."""
    return Fraction(math.comb(wrong, x) * math.comb(rows - wrong, drawn - x), math.comb(rows, drawn))


def share_with_replacement(x: int, n: int, risk: Fraction) -> float:
    """Return Clopper and Pearson's bound, where P(X <= x) falls to the risk, by bisection in fractions."""
    low, high = Fraction(0), Fraction(1)
    for _ in range(40):
        p = (low + high) / 2
        below = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(x + 1))
        low, high = (p, high) if below > risk else (low, p)
    return float(low)


def test_golden_bounds() -> None:
    """0 of 299 and 0 of 300 are below 1 %, and 1 of 10 is what tables of Clopper and Pearson say: .3942."""
    assert share_with_replacement(0, 299, Fraction(5, 100)) == pytest.approx(0.0099691, abs=1e-7)
    assert most_wrong_in(Labelled(10**6, 299, 0), 0.95) == 9_967
    assert most_wrong_in(Labelled(10**7, 10, 1), 0.95) / 10**7 == pytest.approx(0.394163, abs=1e-6)
    assert share_with_replacement(1, 10, Fraction(5, 100)) == pytest.approx(0.394163, abs=1e-6)
    # 9 of 10 rows are right, and the tenth was not looked at.
    assert most_wrong_in(Labelled(10, 9, 0), 0.95) == 1
    # 2, 3, 4 and 5 wrong rows of 10 hide from 4 draws in 70, 35, 15 and 5 of 210 cases: .33, .17, .07 and .02.
    assert [most_wrong_in(Labelled(10, 4, 0), one) for one in (0.8, 0.9, 0.95)] == [2, 3, 4]
    assert most_wrong([Labelled(900_000, 270, 0), Labelled(100_000, 30, 0)], 0.95) == 9_936
    assert most_wrong([Labelled(900_000, 270, 0), Labelled(100_000, 29, 0)], 0.95) > 9_936


def test_distributions_are_exact() -> None:
    """Running sums agree with fractions, in the middle and far out, and for what cannot be."""
    for rows, wrong, drawn in ((10, 3, 4), (50, 20, 30), (50, 50, 7), (60, 0, 60), (400, 30, 60), (5, 5, 5)):
        for x in range(-1, drawn + 2):
            true = sum(
                (chance_of(i, rows, wrong, drawn) for i in range(min(x, drawn) + 1) if drawn - i <= rows - wrong),
                Fraction(0),
            )
            assert hypergeometric(x, rows, wrong, drawn) == pytest.approx(float(true), rel=1e-11, abs=1e-16)
    for trials, p in ((10, 0.3), (10, 0.0), (10, 1.0), (200, 0.01), (200, 0.97)):
        exact = Fraction(p)
        for x in (-1, 0, 1, trials // 2, trials - 1, trials):
            true = sum(
                (math.comb(trials, i) * exact**i * (1 - exact) ** (trials - i) for i in range(x + 1)), Fraction(0)
            )
            assert binomial(x, trials, p) == pytest.approx(float(true), rel=1e-11, abs=1e-16)


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_one_stratum_is_the_exact_inversion(confidence: float) -> None:
    """The bound is the largest number of wrong rows with which the sample is as likely as the risk, by trying all."""
    risk = Fraction(1) - Fraction(str(confidence))
    for rows in (1, 5, 12, 25):
        for drawn in range(1, rows + 1):
            for x in range(drawn + 1):
                fits = [
                    w
                    for w in range(x, rows - drawn + x + 1)
                    if sum(chance_of(i, rows, w, drawn) for i in range(x + 1) if drawn - i <= rows - w) >= risk
                ]
                assert most_wrong_in(Labelled(rows, drawn, x), confidence) == max(fits, default=x)


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize(
    ("rows", "drawn"),
    [
        ((8, 4), (4, 2)), ((8, 5, 3), (4, 3, 2)), ((10, 6, 2), (3, 2, 2)), ((9, 3), (2, 3)), ((6, 6), (6, 1)),
        ((12, 3), (6, 0)), ((7, 5, 4), (7, 5, 4)), ((14, 2, 2), (1, 1, 1)),
    ],
)  # fmt: skip
def test_the_bound_holds_for_every_truth(rows: tuple[int, ...], drawn: tuple[int, ...], confidence: float) -> None:
    """Whatever rows are wrong, the chance of a sample whose bound is too low is at most what is left to the confidence.

    All truths and all samples are gone through, in exact fractions; parts are in proportion or far from it.
    """
    bounds = {
        seen: most_wrong([Labelled(*one) for one in zip(rows, drawn, seen, strict=True)], confidence)
        for seen in product(*(range(n + 1) for n in drawn))
    }
    for wrong in product(*(range(n + 1) for n in rows)):
        missed = sum(
            (
                math.prod(map(chance_of, seen, rows, wrong, drawn))
                for seen, bound in bounds.items()
                if bound < sum(wrong)
                and all(n - x <= r - w for n, x, r, w in zip(drawn, seen, rows, wrong, strict=True))
            ),
            Fraction(0),
        )
        assert missed <= Fraction(1) - Fraction(str(confidence))


def _outcomes(rng: random.Random, rows: list[int], wrong: list[int], drawn: list[int]) -> Iterator[Labelled]:
    for r, w, n in zip(rows, wrong, drawn, strict=True):
        yield Labelled(r, n, sum(row < w for row in rng.sample(range(r), n)))


@pytest.mark.parametrize("wrong", [[0, 0, 30], [90, 0, 0], [8, 30, 40], [200, 100, 50]])
def test_coverage_by_simulation(wrong: list[int]) -> None:
    """Of 2,000 samples of 10,000 rows (seed 1) at least 95 % have a bound that holds, less 4 sigma of that share."""
    rows, trials, rng = [9_000, 900, 100], 2_000, random.Random(1)
    drawn = allocate(rows, 100)
    held = sum(most_wrong(list(_outcomes(rng, rows, wrong, drawn)), 0.95) >= sum(wrong) for _ in range(trials))
    assert held / trials >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / trials)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4).filter(sum), st.integers(1, 2_000))
def test_a_clean_sample_in_proportion_is_as_good_as_one_with_replacement(rows: list[int], sample: int) -> None:
    """No wrong row among ``sample`` in proportion bounds the share by 1 - .05^(1 / sample), however strata lie."""
    parts = allocate(rows, sample)
    assert sum(parts) >= min(sample, sum(rows))
    assert sum(parts) < sample + len(rows)
    found = [Labelled(r, n, 0) for r, n in zip(rows, parts, strict=True)]
    # Parts are rounded up, to m in all: more trials of the same mean are worth -ln .05 / m less each.
    worst = min(1.0, sum(parts) / sample * (1 - 0.05 ** (1 / max(1, sum(parts)))))
    assert most_wrong(found, 0.95) <= worst * sum(rows) + 1e-6
    if sample == 299:
        assert most_wrong(found, 0.95) <= 0.01 * sum(rows)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300)), min_size=1, max_size=3))
def test_a_census_is_exact(strata: list[tuple[int, int]]) -> None:
    """Where every row is labelled, bound and estimate are what was counted."""
    found = [Labelled(rows, rows, min(rows, wrong)) for rows, wrong in strata]
    counted = sum(one.wrong for one in found)
    assert most_wrong(found, 0.99) == counted
    assert estimate(found) == pytest.approx(counted / sum(one.rows for one in found))


def test_estimates_weigh_strata_by_their_rows() -> None:
    """A thin stratum counts for as many rows as it has, not as were drawn."""
    assert estimate([Labelled(900, 90, 0), Labelled(100, 10, 5)]) == pytest.approx(0.05)
    assert estimate([Labelled(990, 10, 0), Labelled(10, 10, 10)]) == pytest.approx(0.01)
    assert estimate([Labelled(900, 90, 0), Labelled(100, 0, 0)]) is None
    assert estimate([Labelled(0, 0, 0)]) is None


def test_what_nobody_looked_at_may_be_wrong() -> None:
    """A stratum without a label counts as wholly wrong, beside what the others may hold."""
    assert most_wrong([Labelled(900, 300, 0), Labelled(100, 0, 0)], 0.95) >= 100
    assert most_wrong([Labelled(50, 0, 0)], 0.95) == 50


@pytest.mark.parametrize("labelled", [(5, 6, 0), (5, 2, 3), (5, 2, -1)])
def test_counts_that_cannot_be_are_refused(labelled: tuple[int, int, int]) -> None:
    """More rows than there are cannot be drawn, nor more wrong ones than were drawn."""
    for bound in (lambda: most_wrong([Labelled(*labelled)], 0.95), lambda: most_wrong_in(Labelled(*labelled), 0.95)):
        with pytest.raises(ValueError, match="none may exceed the next"):
            bound()
    for confidence in (0, 1, 95):
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            most_wrong_in(Labelled(5, 2, 1), confidence)


def test_parts_are_in_proportion_and_rounded_up() -> None:
    """9,000, 900 and 50 rows of 9,950 give 271.4, 27.1 and 1.5 of 300."""
    assert allocate([9_000, 900, 50], 300) == [272, 28, 2]
    assert allocate([3, 0, 1], 300) == [3, 0, 1]
    with pytest.raises(ValueError, match="at least 1"):
        allocate([3], 0)


def test_the_chance_of_few_wrong_labels_is_exact_or_more() -> None:
    """Of one stratum it is the hypergeometric tail; of two never less than the truth, wherever the wrong rows are."""
    assert chance_of_few(0, 20, [Labelled(2000, 300, 0)]) == hypergeometric(0, 2000, 20, 300)
    assert chance_of_few(0, 20, [Labelled(2000, 300, 0), Labelled(0, 0, 0)]) == hypergeometric(0, 2000, 20, 300)
    strata = [Labelled(12, 4, 0), Labelled(6, 3, 0)]
    for wrong in range(1, 19):
        for first in range(max(0, wrong - 6), min(12, wrong) + 1):
            for seen in range(8):
                parts = [
                    (hypergeometric(x, 12, first, 4) - (hypergeometric(x - 1, 12, first, 4) if x else 0.0))
                    * hypergeometric(seen - x, 6, wrong - first, 3)
                    for x in range(seen + 1)
                ]
                assert sum(parts) <= chance_of_few(seen, wrong, strata) + 1e-9
