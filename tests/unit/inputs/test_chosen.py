"""Row numbers as a short text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maker.inputs.chosen import packed, unpacked


@given(st.sets(st.integers(0, 5000)))
def test_rows_come_back_in_their_order(rows: set[int]) -> None:
    """Whatever rows are packed, the same are unpacked, ascending."""
    assert list(unpacked(packed(sorted(rows)))) == sorted(rows)


@pytest.mark.parametrize("text", ["0-5", "not base64 at all!", "aGVsbG8="])
def test_another_text_is_refused(text: str) -> None:
    """A text that maker has not written says so, and is never taken for other rows."""
    with pytest.raises(ValueError, match="no text that maker writes"):
        unpacked(text)


def test_a_quarter_of_a_million_rows_is_small() -> None:
    """It takes fewer bytes than the rows have bits, and little more than one would need."""
    rows = [row for row in range(1_000_000) if row * 2654435761 % 2**32 < 2**30]
    assert len(packed(rows)) < 180_000
