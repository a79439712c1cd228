"""Two ways to answer the same rows: the exact test of McNemar, by numbers worked out by hand."""

from __future__ import annotations

import pytest

from maker.stats.paired import mcnemar


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
