"""Rows that a map's later round leaves out, as people have answered them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from decomposers.map.root import Run, add_row, without


@given(
    st.lists(st.sampled_from(["undecided", "rejected", ""]), max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=5),
)
def test_rows_of_ranges_are_left_out(outcomes: list[str], ranges: list[tuple[int, int]]) -> None:
    """As from a table of all rows; the others keep their order and their outcomes."""
    runs: list[Run] = []
    for row, outcome in enumerate(outcomes):
        if outcome:
            add_row(runs, row, outcome)
    out = {row for first, stop in ranges for row in range(first, stop)}
    found = [(row, run.outcome) for run in without(runs, ranges) for row in range(run.first, run.stop)]
    assert found == [(row, outcome) for row, outcome in enumerate(outcomes) if outcome and row not in out]
