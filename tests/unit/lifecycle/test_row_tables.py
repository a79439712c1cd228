"""A map's answers as CSV and Parquet, in parts or in one file: values as they were read."""

from __future__ import annotations

import csv
import datetime
import io
import json
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maker import api
from maker.core.csv_cells import csv_cell, csv_line
from maker.errors import BadInput, JobError
from maker.lifecycle import row_files, row_tables
from maker.plugin import Truth


def truth(prompt: str) -> Truth:
    """Say what is right."""
    return Truth(["4"], ["5"])


def run(folder: Path, name: str, *, limit_steps: int | None = None, **task: Any) -> Any:
    """Run a map of a file in a folder; returns its report."""
    return api.run(
        {
            "task": {
                "decomposer": "map", "input": str(folder / name), "template": "How many is {{text}}?",
                "schema": {"type": "integer"}, "truth": "test_row_tables:truth", "output": str(folder / "out"),
            } | task,
            "model": {"kind": "simulated", "p": 1.0}, "vote": {"k": 2},
            "store": {"url": f"sqlite:///{folder}/maker.db"},
        },
        limit_steps=limit_steps,
    )  # fmt: skip


def written(rows: list[Mapping[str, Any]], format: str) -> bytes:
    """Return rows as they are written."""
    file = io.BytesIO()
    row_tables.write_rows(file, lambda: iter(rows), format)
    return file.getvalue()


def parquet(rows: list[Mapping[str, Any]]) -> Any:
    return pyarrow.parquet.read_table(io.BytesIO(written(rows, "parquet")))


def test_csv_comes_out_as_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts: years without quotes, zeros in front, and formulas that nothing runs."""
    monkeypatch.setattr(row_files, "PART_ROWS", 2)
    (tmp_path / "rows.csv").write_text('year,text\n2026,a\n0017,=1+1\n-5,"x,\ny"\n')
    run(tmp_path, "rows.csv", output_format="csv")
    files = sorted((tmp_path / "out").glob("rows-*"))
    assert [file.name for file in files] == ["rows-000000000-000000001.csv", "rows-000000002-000000003.csv"]
    assert files[0].read_text() == "year,text,answer\n2026,a,4\n0017,'=1+1,4\n"
    assert files[1].read_text() == 'year,text,answer\n-5,"x,\ny",4\n'
    assert (tmp_path / "out" / row_files.REVIEW).read_text() == ""


def test_parquet_keeps_types_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the batches that it is written in hold."""
    monkeypatch.setattr(row_tables, "BATCH_ROWS", 2)
    day = datetime.date(2026, 1, 2)
    table = pyarrow.table(
        {
            "text": ["a", "b", "c"], "day": [None, None, day], "price": [Decimal("1.50"), None, Decimal("99.25")],
            "n": [2026, None, 2**60], "blob": [None, b"\xff", None],
        }
    )  # fmt: skip
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    run(tmp_path, "rows.parquet", output_format="parquet", output_single=True)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "maker-run.json", "review.jsonl", "rows.parquet"
    ]  # fmt: skip
    read = pyarrow.parquet.read_table(tmp_path / "out" / "rows.parquet")
    assert read.drop_columns("answer").to_pylist() == table.to_pylist()
    assert [read.schema.field(name).type for name in ("day", "n", "answer")] == [
        pyarrow.date32(), pyarrow.int64(), pyarrow.int64()
    ]  # fmt: skip


def test_one_file_of_a_paused_run_says_so_and_goes(tmp_path: Path) -> None:
    """A resume writes the whole one in its place."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": i}) + "\n" for i in range(30)))
    cut = run(tmp_path, "rows.jsonl", limit_steps=5, output_single=True)
    assert cut.status == "paused"
    partly = tmp_path / "out" / "rows.partly.jsonl"
    assert 5 <= len(partly.read_text().splitlines()) < 30
    api.resume(cut.run_id, store=f"sqlite:///{tmp_path}/maker.db")
    assert not partly.exists()
    whole = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert whole == [{"text": i, "answer": 4} for i in range(30)]


def test_a_folder_with_files_of_any_format_is_taken(tmp_path: Path) -> None:
    """By whichever run has written them."""
    (tmp_path / "rows.csv").write_text("text\na\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows-000000000-000009999.parquet").write_text("")
    with pytest.raises(BadInput, match=r"holds rows-000000000-000009999.parquet, which no run has marked"):
        run(tmp_path, "rows.csv")


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"output_format": "xlsx"}, "output_format"),
        ({"output": "", "output_format": "csv"}, "set output too"),
        ({"output": "", "output_single": True}, "set output too"),
    ],
)
def test_bad_settings(tmp_path: Path, task: dict[str, Any], told: str) -> None:
    """A format that there is not, and one of files that nobody writes."""
    (tmp_path / "rows.csv").write_text("text\na\n")
    with pytest.raises(JobError, match=told):
        run(tmp_path, "rows.csv", **task)


def test_parquet_without_pyarrow_is_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at its end."""
    (tmp_path / "rows.csv").write_text("text\na\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(BadInput, match="parquet needs the package pyarrow"):
        run(tmp_path, "rows.csv", output_format="parquet")
    assert not (tmp_path / "maker.db").exists()


def test_columns_of_several_types_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """No value is changed to fit a type: a float holds no large whole number."""
    monkeypatch.setattr(row_tables, "BATCH_ROWS", 1)
    table = parquet([
        {"mixed": 1, "wide": 2**53 + 1, "huge": 2**70, "number": 1, "gone": None, "list": []},
        {"mixed": "a", "wide": 1.5, "huge": 1, "number": 1.5, "gone": None, "list": [1]},
        {"mixed": [1], "wide": None, "huge": None, "number": 2, "more": "x"},
    ])  # fmt: skip
    assert table.to_pylist() == [
        {"mixed": "1", "wide": "9007199254740993", "huge": str(2**70), "number": 1.0, "gone": None, "list": [],
         "more": None},
        {"mixed": "a", "wide": "1.5", "huge": "1", "number": 1.5, "gone": None, "list": [1], "more": None},
        {"mixed": "[1]", "wide": None, "huge": None, "number": 2.0, "gone": None, "list": None, "more": "x"},
    ]  # fmt: skip


def test_no_rows_at_all() -> None:
    """A run may decide none."""
    assert written([], "jsonl") == b""
    assert written([], "csv") == b"\n"
    assert parquet([]).num_rows == 0


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_text_is_read_again_and_begins_no_formula(text: str) -> None:
    """But for the apostrophe that keeps it from being run."""
    (line,) = csv.reader(io.StringIO(csv_line([text, "end"]).decode(), newline=""))
    assert line[1] == "end"
    assert line[0] in (text, f"'{text}")
    assert not line[0].startswith(("=", "@", "\t", "\r"))
    if line[0].startswith(("+", "-")):
        float(line[0].strip("%").replace(",", ""))


class Odd:
    """A value of no known type, which would be a formula as text."""

    def __str__(self) -> str:
        return "=1+1"


def test_a_value_of_another_type_is_its_text() -> None:
    """Alone and within another; it is no formula either."""
    hour = datetime.timedelta(hours=1)
    assert [csv_cell(one) for one in (hour, -7, Odd(), [hour, Odd()])] == [
        "1:00:00", "-7", "'=1+1", '["1:00:00", "\'=1+1"]'
    ]  # fmt: skip


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_in_plain_digits(number: float) -> None:
    """And read again as the same."""
    cell = csv_cell(number)
    assert "e" not in cell.lower()
    assert float(cell) == number
    assert csv_cell(float("nan")) == csv_cell(float("inf")) == ""
