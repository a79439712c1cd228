"""Labels that stand together: chances against all sets of rows counted out, and what is said of which rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import combinations, pairwise

import pytest

from maker.stats.random_sample import most_chance, runs_chance, span_chance, stand_together

Rows = tuple[int, ...]


def share(of: int, n: int, holds: Callable[[Rows], bool]) -> float:
    """Return the share of the sets of n of so many rows of which something holds."""
    sets = list(combinations(range(of), n))
    return sum(map(holds, sets)) / len(sets)


@pytest.mark.parametrize(("of", "n"), [(10, 2), (10, 5), (11, 8), (9, 9)])
def test_the_chance_of_a_short_span_is_that_of_all_sets(of: int, n: int) -> None:
    for span in range(n, of + 1):
        counted = share(of, n, lambda rows: rows[-1] - rows[0] < span)  # noqa: B023 - called at once
        assert span_chance(span, n, of) == pytest.approx(counted, abs=1e-12)
    assert span_chance(2, 2, 10) == pytest.approx(1 / 5)


@pytest.mark.parametrize(("of", "n"), [(10, 2), (10, 5), (11, 8)])
def test_the_chance_of_few_runs_is_that_of_all_sets(of: int, n: int) -> None:
    """Up to the mean number of runs; from there on it is not needed, and 1."""
    for runs in range(1, n + 1):
        counted = share(of, n, lambda rows: runs_of(rows) <= runs)  # noqa: B023 - called at once
        assert runs_chance(runs, n, of) == pytest.approx(counted if runs < n * (of - n + 1) / of else 1.0, abs=1e-12)


def runs_of(rows: Rows) -> int:
    return 1 + sum(after > before + 1 for before, after in pairwise(rows))


def test_the_chance_of_many_on_one_side_is_that_of_all_sets() -> None:
    for found in range(5):
        counted = share(10, 4, lambda rows: sum(row < 6 for row in rows) >= found)  # noqa: B023 - called at once
        assert most_chance(found, 6, 4, 10) == pytest.approx(counted if found > 4 * 6 / 10 else 1.0, abs=1e-12)
    assert most_chance(2, 5, 2, 10) == pytest.approx(10 / 45)


@pytest.mark.parametrize(
    ("rows", "of", "said"),
    [
        (range(300), 1000, "your 300 labels are rows 1 to 300 of 1,000"),
        (range(700, 1000), 1000, "your 300 labels are rows 701 to 1,000 of 1,000"),
        (range(0, 40, 2), 1000, "your 20 labels are all among rows 1 to 39 of 1,000"),
        ([*range(150), *range(850, 1000)], 1000, "your 300 labels stand in 2 blocks of neighbouring rows, of 1,000"),
        (
            [*range(0, 400, 2), *range(401, 999, 6)],
            1000,
            "188 of your 300 labels are among the first 375 of 1,000 rows",
        ),
        ([*range(299), 0, 1, 2, 2], 1000, "your 299 labels are rows 1 to 299 of 1,000"),
    ],
)
def test_rows_that_stand_together_are_told(rows: list[int], of: int, said: str) -> None:
    assert stand_together(rows, of) == said


@pytest.mark.parametrize(
    ("rows", "of"),
    [(range(1000), 1000), (range(0, 1000, 3), 1000), ([4, 5], 1000), ([7], 1000), ((), 1000), (range(99), 100)],
    ids=["all", "every third", "two", "one", "none", "all but one"],
)
def test_other_rows_are_let_pass(rows: list[int], of: int) -> None:
    assert stand_together(rows, of) == ""


@pytest.mark.parametrize(("of", "n"), [(1000, 300), (300_000, 200), (60, 30), (5000, 4000)])
def test_random_samples_are_let_pass(of: int, n: int) -> None:
    """At a level of 1e-4 each, one of 300 is told with a chance of 3 % at most."""
    rng = random.Random(18)
    assert [told for _ in range(300) if (told := stand_together(rng.sample(range(of), n), of))] == []


def test_the_level_is_kept_by_all_sets() -> None:
    """Of the 38,760 sets of 6 of 20 rows three may be told, a share of 1e-4."""
    told = [rows for rows in combinations(range(20), 6) if stand_together(rows, 20)]
    assert len(told) <= 3
