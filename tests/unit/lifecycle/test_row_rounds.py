"""The rounds of a map are read side by side: each row as the newest round that asks it says, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_tasks import job, write_rows

from maker import api
from maker.lifecycle import row_files
from maker.lifecycle.row_files import _changed
from maker.lifecycle.rows import all_settled, results, settled_rows


class Asked(NamedTuple):
    """A round as `settled_rows` reads it, without a store: of its rows so many are settled."""

    rows: Sequence[int]
    chain: Any
    name: int

    def reached(self, start: int = 0) -> Iterator[Any]:
        """Yield the rows from a place on up to the last that is settled; every third is open while it is under way."""
        over = self.chain.cursor == len(self.rows)
        for row in self.rows[start : self.chain.cursor]:
            yield SimpleNamespace(row=row, by=self.name) if over or row % 3 else None

    def settled(self, start: int = 0) -> Iterator[Any]:
        """Yield the rows from a place on that are settled."""
        for row in self.rows[start : self.chain.cursor]:
            yield SimpleNamespace(row=row, by=self.name)


@st.composite
def histories(draw: st.DrawFn) -> list[Asked]:
    """Draw rounds, each of some earlier rows and some new ones; the last may not be over."""
    rounds: list[Asked] = []
    end = 0
    for name in range(draw(st.integers(1, 4))):
        again = draw(st.sets(st.integers(0, end - 1))) if end else set()
        new = range(end, end + draw(st.integers(0, 12)))
        end = new.stop
        rows = [*sorted(again), *new]
        rounds.append(Asked(rows, SimpleNamespace(cursor=len(rows)), name))
    rounds[-1].chain.cursor = draw(st.integers(0, len(rounds[-1].rows)))
    return rounds


def naive(rounds: Sequence[Asked], start: int) -> list[tuple[int, int]]:
    """Return what `settled_rows` must yield, from a table of all rows."""
    newest = {row: (one.name, at < one.chain.cursor) for one in rounds for at, row in enumerate(one.rows)}
    found = []
    for row in sorted(newest):
        name, settled = newest[row]
        if row >= start and not settled:
            break
        found.append((row, name))
    return [(row, name) for row, name in found if row >= start]


@given(histories(), st.integers(0, 40))
def test_each_row_is_the_newest_rounds(rounds: list[Asked], start: int) -> None:
    """Whatever was asked again how often, and from whichever row on."""
    found = [(one.row, one.by) for one in settled_rows(rounds, start)]  # type: ignore[arg-type, attr-defined]
    assert found == naive(rounds, start)


@given(histories(), st.integers(0, 40))
def test_what_is_settled_is_read_whatever_is_open(rounds: list[Asked], start: int) -> None:
    """Open rows are left out: an earlier round's result is no result any more."""
    newest = {row: one for one in rounds for row in one.rows}
    settled = {(one.row, one.by) for round_ in rounds for one in round_.reached() if one is not None}
    want = [(row, one.name) for row, one in sorted(newest.items()) if row >= start and (row, one.name) in settled]
    found = [(one.row, one.by) for one in all_settled(rounds, start)]  # type: ignore[arg-type, attr-defined]
    assert found == want


@given(histories(), st.integers(1, 7))
def test_files_of_rows_that_are_asked_again_are_known(rounds: list[Asked], size: int) -> None:
    """They are those that hold such a row, or end where new ones come."""
    expected: set[int] = set()
    end = 0
    for number, one in enumerate(rounds):
        if number:
            expected |= {row // size for row in one.rows if row < end} | ({end // size} if end % size else set())
        end = max([end, *(row + 1 for row in one.rows)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_files, "PART_ROWS", size)
        patch.setattr(row_files, "read_cuts", lambda database, key: [])
        patch.setattr(row_files, "read_reviews", lambda database, key: {})
        found = _changed([one._replace(chain=SimpleNamespace(key=0)) for one in rounds], None)  # type: ignore
    assert found == expected


def test_a_result_as_json_holds_every_field(tmp_path: Path) -> None:
    """In their order, and nothing of them is a copy that costs more than the row."""
    write_rows(tmp_path / "rows.csv", range(3))
    api.run(job(tmp_path))
    (one, *_) = results("last", store=f"sqlite:///{tmp_path}/maker.db")
    told = one.to_json()
    assert list(told) == list(one.__dataclass_fields__)
    assert all(told[name] is getattr(one, name) for name in told)
