"""Rules that accept rows: golden numbers, the promise over all tables and samples, forecasts against simulation."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations, product

import pytest

from maker.stats.acceptance import (
    MOST_RULES,
    AcceptRule,
    allowed,
    choose,
    estimated_wrong,
    expected_rows,
    first_rule,
    labels_needed,
    order_of,
    thinned,
)
from maker.stats.bounds import Labelled, binomial, chance_of_few

BILLION = [10**9]


@pytest.mark.parametrize(("error", "needed"), [(0.01, (299, 473, 628)), (0.05, (59, 93, 124)), (0.1, (29, 46, 61))])
def test_labels_needed_of_a_large_table_are_those_of_the_binomial_tail(error: float, needed: tuple[int, ...]) -> None:
    found = tuple(labels_needed(BILLION, error, 0.95, wrong=wrong) for wrong in range(3))
    assert found == needed
    for wrong, labels in enumerate(needed):
        assert binomial(wrong, labels, error) <= 0.05 < binomial(wrong, labels - 1, error)


def test_a_small_table_needs_fewer_labels() -> None:
    """And with strata no fewer; all rows are enough, however small the error, unless too many are wrong."""
    assert labels_needed([2000], 0.01, 0.95) == 265
    assert 265 <= labels_needed([1800, 150, 50], 0.01, 0.95) <= 275
    assert labels_needed([50], 0.001, 0.95) == 48
    assert labels_needed([3], 0.001, 0.999) == 3
    with pytest.raises(ValueError, match="2 wrong of 3 rows exceed"):
        labels_needed([3], 0.5, 0.95, wrong=2)


def test_what_is_allowed_is_a_whole_number_of_rows() -> None:
    assert [allowed(rows, 0.01) for rows in (99, 100, 2900, 2999)] == [0, 1, 29, 29]
    assert allowed(300, 0.07) == 21
    assert allowed(300, 1 - 1e-15) == 299


def test_a_confidence_next_to_one_is_had_with_all_labels() -> None:
    """No chance is small enough then, but none at all is."""
    sure = 1 - 1e-15
    assert labels_needed([20], 0.1, sure) == 18
    assert choose([AcceptRule(20, 2)], [Labelled(20, 20, 0)], 0.1, sure).last == 0
    assert choose([AcceptRule(20, 3)], [Labelled(20, 20, 0)], 0.1, sure).last is None
    assert choose([AcceptRule(20, 0)], [Labelled(20, 17, 0)], 0.1, sure).chances == ()


def test_the_docstring_of_one_test() -> None:
    sample = [Labelled(2000, 300, 0)]
    assert chance_of_few(3, 51, sample) <= 0.05 < chance_of_few(4, 51, sample)
    sizes = (1000, 1500, 2000)
    assert (
        choose([AcceptRule(sizes[0], 3), AcceptRule(sizes[1], 90), AcceptRule(sizes[2], 99)], sample, 0.05, 0.95).last
        == 0
    )
    assert (
        choose([AcceptRule(sizes[0], 4), AcceptRule(sizes[1], 4), AcceptRule(sizes[2], 4)], sample, 0.05, 0.95).last
        is None
    )


def tables(cells: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield how many rows of each cell are wrong, in all ways."""
    yield from product(*(range(rows + 1) for rows in cells))


def chosen_badly(
    cells: Sequence[int], wrong: Sequence[int], strata: Sequence[Sequence[int]], error: float, confidence: float
) -> Fraction:
    """Return the exact chance that a rule is chosen which is not good, over all samples of some strata.

    The rows of the table are numbered cell by cell; a stratum holds some of them, and its first number says how many
    of these are drawn.
    """
    sizes = [sum(cells[: number + 1]) for number in range(len(cells))]
    of = [cell for cell, rows in enumerate(cells) for _ in range(rows)]
    bad = [place < wrong[cell] for cell, rows in enumerate(cells) for place in range(rows)]
    sample = [Labelled(len(rows), n, 0) for n, *rows in strata]
    good = [sum(wrong[: number + 1]) <= error * rows for number, rows in enumerate(sizes)]
    failed = whole = 0
    for drawn in product(*(combinations(rows, n) for n, *rows in strata)):
        seen = Counter(of[row] for one in drawn for row in one if bad[row])
        rules = [AcceptRule(rows, sum(seen[cell] for cell in range(n + 1))) for n, rows in enumerate(sizes)]
        last = choose(rules, sample, error, confidence).last
        failed += last is not None and not good[last]
        whole += 1
    return Fraction(failed, whole)


@pytest.mark.parametrize(("error", "confidence", "labels"), [(0.3, 0.8, 5), (0.45, 0.7, 4), (0.2, 0.6, 6)])
def test_the_promise_holds_for_every_table(error: float, confidence: float, labels: int) -> None:
    """Whichever rows are wrong, a rule that is not good is chosen in no more than the risk of all samples."""
    cells = (4, 2, 3)
    worst = max(
        chosen_badly(cells, wrong, [(labels, *range(9))], error, confidence) for wrong in tables(cells)
    )  # fmt: skip
    assert 0 < worst <= 1 - Fraction(str(confidence))


def test_the_promise_holds_for_strata_that_cross_the_rules() -> None:
    """Rows are drawn in proportion from two strata; each rule has rows of both."""
    cells, strata = (4, 2, 3), [(3, 0, 1, 4, 6, 7), (3, 2, 3, 5, 8)]
    worst = max(chosen_badly(cells, wrong, strata, 0.3, 0.7) for wrong in tables(cells))
    assert 0 < worst <= Fraction(3, 10)


def test_the_sequence_begins_by_sizes_alone_and_stops_at_the_first_failure() -> None:
    sample, sizes = [Labelled(2000, 300, 0)], [100, 400, 1000, 1400, 2000]
    first = first_rule(sizes, sample, 0.05, 0.95)
    assert first == 2
    clean = choose([AcceptRule(rows, 0) for rows in sizes], sample, 0.05, 0.95)
    assert (clean.first, clean.last, len(clean.chances)) == (2, 4, 3)
    broken = choose(
        [AcceptRule(rows, wrong) for rows, wrong in zip(sizes, (0, 0, 0, 60, 60), strict=True)], sample, 0.05, 0.95
    )
    assert (broken.first, broken.last, len(broken.chances)) == (2, 2, 2)
    # Where only the last quarter would bear three wrong labels, it begins where it bears none.
    assert first_rule([100, 420, 1600, 2000], sample, 0.05, 0.95) == 1
    # A rule of so few rows could not be shown, and there is no other.
    assert choose([AcceptRule(100, 0)], sample, 0.05, 0.95) == (0, (), None)
    assert first_rule([2000], [Labelled(2000, 265, 0)], 0.01, 0.95) == 0
    assert first_rule([2000], [Labelled(2000, 264, 0)], 0.01, 0.95) is None


def test_an_order_counts_rows_and_labels_up_to_each_score() -> None:
    rows = {(0.1,): 50, (0.3, 1.0): 30, (0.3, 0.0): 20}
    found = order_of(rows, [((0.1,), True), ((0.3, 0.0), False), ((0.3, 1.0), True), ((0.3, 1.0), False)])
    assert found.scores == [(0.1,), (0.3, 0.0), (0.3, 1.0)]
    assert found.rules == [(50, 0), (70, 1), (100, 2)]
    assert found.sampled == [1, 2, 4]
    assert [found.rank[one] for one in found.scores] == [0, 1, 2]


def test_many_rules_are_thinned_and_every_row_keeps_one() -> None:
    scores = {(float(number),): 1 + number % 3 for number in range(5000)}
    found = order_of(scores, [((4999.0,), False)])
    assert len(found.rules) == MOST_RULES == len(thinned([*range(1, 5001)]))
    assert found.rules[-1] == (sum(scores.values()), 1)
    assert [one.wrong for one in found.rules[:-1]] == [0] * (MOST_RULES - 1)
    under = Counter(found.rank[one] for one, n in scores.items() for _ in range(n))
    assert [sum(under[number] for number in range(n + 1)) for n in range(MOST_RULES)] == [
        one.rows for one in found.rules
    ]


def test_a_forecast_is_what_simulated_samples_accept() -> None:
    """Within 4 sigma of 2,000 sequences, and 2 % for wrong rows being drawn one by one in the forecast."""
    sizes, wrong = [600, 1000, 1400, 1700, 1900, 2000], [6, 15, 30, 50, 80, 130]
    cells = [cell for cell, n in enumerate(wrong) for _ in range(n - ([0, *wrong])[cell])]
    rows = cells + [len(sizes)] * (2000 - len(cells))
    draw = random.Random(20261201)
    for labels in (300, 600):
        sample = [Labelled(2000, labels, 0)]
        accepted = []
        for _ in range(2000):
            seen = Counter(draw.sample(rows, labels))
            rules = [AcceptRule(n, sum(seen[cell] for cell in range(place + 1))) for place, n in enumerate(sizes)]
            last = choose(rules, sample, 0.05, 0.95).last
            accepted.append(0 if last is None else sizes[last])
        mean = sum(accepted) / len(accepted)
        sigma = (sum((one - mean) ** 2 for one in accepted) / len(accepted) ** 2) ** 0.5
        assert expected_rows(sizes, wrong, sample, 0.05, 0.95) == pytest.approx(mean, abs=4 * sigma + 40)
    assert expected_rows(sizes, wrong, [Labelled(2000, 2000, 0)], 0.05, 0.95) == pytest.approx(1900)
    assert expected_rows([100], [1], [Labelled(2000, 50, 0)], 0.05, 0.95) == 0


def test_estimates_never_fall_and_never_exceed_the_rows() -> None:
    found = estimated_wrong([AcceptRule(100, 4), AcceptRule(120, 4), AcceptRule(130, 4)], [4, 40, 80])
    assert found == [90, 90, 90]
    assert estimated_wrong([AcceptRule(10, 3)], [0]) == [10]
