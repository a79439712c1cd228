"""What a file holds comes out as it stands there, or is refused by its line: nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from needs import Late

from maker.errors import BadInput
from maker.inputs.formats import records
from maker.inputs.formats.jsonlines import object_of
from maker.inputs.handle import Input
from maker.inputs.template import Template

pyarrow = Late("pyarrow", "pyarrow.parquet")


def scanned(path: Path, content: str | bytes, **options: Any) -> Input:
    """Write a file and return its input, scanned."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = Input(str(path), **options)
    found.scan()
    return found


def refusal(path: Path, content: str | bytes, **options: Any) -> str:
    with pytest.raises(BadInput) as caught:
        scanned(path, content, **options)
    return str(caught.value)


def rows(source: Input) -> list[dict[str, Any]]:
    return [source.row(i).values for i in range(len(source))]


STRAY = ['1,"Great" product', '1,"say "yes" now"', '1,"6" pipe"', '1,"a" ', '"1"x,a', '1,"a\nb" c', '"1"x,"a']


@pytest.mark.parametrize("row", STRAY)
def test_text_after_a_closing_mark_is_refused_by_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    """Whatever follows, and wherever a chunk ends; `task.quotes = false` reads marks as text."""
    path = tmp_path / "a.csv"
    for size in (8, 256 << 10):
        monkeypatch.setattr(records, "CHUNK_BYTES", size)
        for after in ("", "\n", '\n5,"ok"\n', '\n5,"o\nk"\n', "\r\n6,x"):
            told = refusal(path, f'id,text\n0,"one\ntwo"\n\n{row}{after}')
            assert told.startswith("line 5 of a.csv (row 1) has text after a closing quotation mark: ")
            assert row.partition("\n")[0] in told
            assert "set task.quotes = false" in told
    plain = scanned(path, f'id,text\n{row.replace(chr(10), " ")}\n2,"ok"\n', quotes=False)
    fields = row.replace("\n", " ").split(",")
    assert rows(plain) == [{"id": fields[0], "text": fields[1]}, {"id": "2", "text": '"ok"'}]


def test_several_lines_are_named_at_once(tmp_path: Path) -> None:
    told = refusal(tmp_path / "a.csv", "id,text\n" + '1,"a"b\n2,c\n' * 20)
    assert told.startswith(
        'line 2 of a.csv (row 0) has text after a closing quotation mark: 1,"a"b; '
        "so have lines 4, 6, 8, 10, 12, 14, 16, 18, 20, …\n"
    )


def test_a_mark_within_a_field_that_has_none_around_it_is_text(tmp_path: Path) -> None:
    source = scanned(tmp_path / "a.csv", 'id,text\n1,6" pipe\n2,a "b" c\n3, "d"\n4,"e ""f"""\n')
    assert [row["text"] for row in rows(source)] == ['6" pipe', 'a "b" c', ' "d"', 'e "f"']


def test_a_header_with_text_after_a_closing_mark_is_refused(tmp_path: Path) -> None:
    assert 'the header of a.csv has text after a closing quotation mark: "id"x,text' in refusal(
        tmp_path / "a.csv", '"id"x,text\n1,a\n'
    )


def test_a_run_that_began_with_such_a_file_keeps_its_rows(tmp_path: Path) -> None:
    """Their numbers stay, and the rows whose text had been changed fail."""
    content = 'id,text\n1,a\n2,"b" c\n3,d\n'
    path = tmp_path / "a.csv"
    before = scanned(path, content, quotes=False).scan()
    source = scanned(path, content, known=before, grow=False)
    assert source.scan() == before
    assert [source.row(i).values["id"] for i in (0, 2)] == ["1", "3"]
    with pytest.raises(ValueError, match=r"^row 1 of a\.csv has text after a closing quotation mark$"):
        source.row(1)
    with pytest.raises(BadInput, match=r"^line 5 of a\.csv \(row 3\) has text"):
        scanned(path, content + '4,"e"f\n', known=before)


@pytest.mark.parametrize("size", [3, 256 << 10])
def test_a_carriage_return_that_may_be_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """One row of `a\\rb`, or two? Files all of whose lines end so are read, and what stands in quotation marks."""
    monkeypatch.setattr(records, "CHUNK_BYTES", size)
    path = tmp_path / "a.csv"
    for end in ("\n", "\r\n"):
        told = refusal(path, f"id,text{end}1,a\rb{end}2,c{end}")
        assert told.startswith("line 2 of a.csv ends with a carriage return alone, others with a newline")
    assert rows(scanned(path, 'id,text\n1,"a\rb"\n')) == [{"id": "1", "text": "a\rb"}]
    assert rows(scanned(path, "id,text\r\r\n1,a\r\r\n")) == [{"id": "1", "text": "a"}]
    assert rows(scanned(path, "id,text\r1,a\r2,b")) == [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": 1, "text": "a", "text": "b"}', "is not readable JSON: it has more than one 'text'"),
        ('{"id": 1, "text": {"x": [{"y": 1, "y": 1}]}}', "is not readable JSON: it has more than one 'y'"),
        ('{"id": 0.1234567890123456789}', "it holds 0.1234567890123456789, which has more digits than a number keeps"),
        ('{"id": 12345678901234567.5}', "which has more digits than a number keeps; write it as a text"),
        ('{"id": 1e-999999999}', "has more digits than a number keeps"),
        ('{"id": 13.404953999999988123}', "has more digits than a number keeps"),
        ('{"id": 1e-400}', "it holds 1e-400, which has more digits than a number keeps"),
        ('{"id": 1e400}', "which is too large for a number"),
        ('{"id": NaN}', "it holds NaN"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_that_python_would_change_breaks_its_row(tmp_path: Path, name: str, line: str, told: str) -> None:
    good = '{"id": 0.1, "text": 12345678901234567890123, "b": 1.10, "c": 2.5e-3, "d": 0.30000000000000004, "e": -0.0}'
    content = f"{line}\n{good}\n" if name == "a.jsonl" else f"[{line},\n{good}]"
    source = scanned(tmp_path / name, content)
    with pytest.raises(ValueError, match=r"^row 0 of a\.json") as caught:
        source.row(0)
    assert told in str(caught.value)
    assert source.row(1).values == {
        "id": 0.1, "text": 12345678901234567890123, "b": 1.1, "c": 0.0025, "d": 0.30000000000000004, "e": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "numeral",
    [
        "0.10000000000000001", "13.404953999999989", "-122.417680000000004", "1.7976931348623157e+308", "0e-999999999",
        "0.1000000000000000055511151231257827", "4.9406564584124654e-324", "5e-324", "123456789012345680.0",
    ],
)  # fmt: skip
def test_a_float_as_programs_print_it_is_a_number(tmp_path: Path, numeral: str) -> None:
    """With 17 digits, or 15 after the point, some write more than the shortest form: it is the same float."""
    source = scanned(tmp_path / "a.jsonl", f'{{"id": {numeral}}}\n')
    assert source.row(0).values == {"id": float(numeral)}


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(16, 40))
def test_every_float_may_be_printed_with_more_digits_than_it_needs(value: float, digits: int) -> None:
    assert object_of(f'{{"x": {value:.{digits}e}}}') == {"x": value}


def test_a_value_that_cannot_be_read_fails_only_where_it_is_named(tmp_path: Path) -> None:
    times = pyarrow.array([1], pyarrow.timestamp("ns"))
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"at": times, "text": ["a"]}), path)
    found = Input(str(path))
    found.scan()
    values = found.row(0).values
    assert Template("{{text}}").render(values) == "a"
    with pytest.raises(ValueError, match="the row's 'at' cannot be read: "):
        Template("{{at}}").render(values)


def test_a_column_in_another_case_is_suggested(tmp_path: Path) -> None:
    content = "ID,Text\n1,apple\n"
    assert "did you mean 'ID'?" in refusal(tmp_path / "a.csv", content, id_column="id")
    with pytest.raises(ValueError, match="the row has no column 'id', which the template names; did you mean 'ID'"):
        Template("{{id}}").render({"ID": 1})


def test_a_misquoted_row_that_is_no_text_is_refused_too(tmp_path: Path) -> None:
    """Where it ends is not known, whatever its bytes are: one row in a hundred may be no text, but not this one."""
    content = b"id,text\n" + b"1,a\n" * 150 + b'2,"\xff"b\n'
    assert refusal(tmp_path / "a.csv", content).startswith("line 152 of a.csv (row 150) has text after")


def test_half_a_pair_at_the_end_breaks_the_last_row(tmp_path: Path) -> None:
    """The last bytes of UTF-16 are counted, whatever stands for them."""
    content = "x\n".encode("utf-16-le") * 200 + b"\x3d\xd8\x00"
    source = scanned(tmp_path / "a.csv", content, encoding="utf-16-le")
    with pytest.raises(ValueError, match=r"row 199 of a\.csv cannot be read as utf-16-le"):
        source.row(199)
    assert source.row(198).values == {"x": "x"}


def test_a_last_row_that_is_open_says_nothing_of_how_lines_end(tmp_path: Path) -> None:
    source = scanned(tmp_path / "a.csv", 'id,text\r1,a\r2,"b\r\n')
    assert source.row(0).values == {"id": "1", "text": "a"}
    with pytest.raises(ValueError, match="has a quoted field that is never closed"):
        source.row(1)


def test_what_shares_its_place_in_a_file_is_scanned_rightly() -> None:
    """In memory every reader of a file moves the others: nothing is read beside a scan that goes on."""
    files = fsspec.filesystem("memory")
    files.pipe("/mac.csv", b"id,text\r" + b"1,a\r" * 100_000)
    source = Input("memory://mac.csv")
    (part,) = source.scan()
    files.rm("/mac.csv")
    assert (part.rows, part.size) == (100_000, 8 + 400_000)
