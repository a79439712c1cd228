"""Kinds of files: what separates columns, compressed files, JSON, and files that are not what their names say."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decomposers.map import Map, MapParams
from maker.errors import BadInput
from maker.inputs import compressed
from maker.inputs.formats import records
from maker.inputs.handle import Input


def scanned(where: object, **options: Any) -> Input:
    found = Input(str(where), **options)
    found.scan()
    return found


def rows(source: Input) -> list[dict[str, Any]]:
    return [source.row(i).values for i in range(len(source))]


def refusal(where: object, **options: Any) -> str:
    with pytest.raises(BadInput) as caught:
        scanned(where, **options)
    return str(caught.value)


# What separates columns.


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ("id;text\n1;apple\n2;pear, ripe\n", [{"id": "1", "text": "apple"}, {"id": "2", "text": "pear, ripe"}]),
        ("id|text\n1|a;b\n", [{"id": "1", "text": "a;b"}]),
        ("id\ttext\n1\ta\n", [{"id": "1", "text": "a"}]),
        ('id;"te;xt"\r\n1;"a\r\nb;c"\r\n', [{"id": "1", "te;xt": "a\r\nb;c"}]),
        ("sep=;\r\nid;text\r\n1;a\r\n2;b;c\r\n", None),
        ("\ufeffsep=,\nid,text\n1,a\n", [{"id": "1", "text": "a"}]),
        ('"sep=;"\nid;text\n1;a\n', [{"id": "1", "text": "a"}]),
        ('"id";"text"\r\n"1";"a;b"\r\n', [{"id": "1", "text": "a;b"}]),
        ('"id, or\nname";"text"\n"1";"a"\n', [{"id, or\nname": "1", "text": "a"}]),
        ('"sep=;\n0";"b"\n1;2\n', [{"sep=;\n0": "1", "b": "2"}]),
        ("sep=;\r\nsep=0\r\n1\r\n", [{"sep=0": "1"}]),
        # Where it is not certain it is a comma, as it always was.
        ("id;text\n1;apple\n2;a;b\n", [{"id;text": "1;apple"}, {"id;text": "2;a;b"}]),
        ("text\nwait; what\n", [{"text": "wait; what"}]),
        ("a;b|c\n1;2|3\n", [{"a;b|c": "1;2|3"}]),
        ("id,a;b\n1,2;3\n", [{"id": "1", "a;b": "2;3"}]),
    ],
)
def test_a_delimiter_is_found_where_it_is_certain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, read: list[dict[str, str]] | None
) -> None:
    monkeypatch.setattr(records, "CHUNK_BYTES", 7)
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode())
    source = scanned(path)
    if read is None:
        assert source.columns == ("id", "text")
        assert source.row(0).values == {"id": "1", "text": "a"}
        with pytest.raises(ValueError, match=r"row 1 of a\.csv has 3 fields, but its header has 2"):
            source.row(1)
    else:
        assert rows(source) == rows(pickle.loads(pickle.dumps(source))) == read  # noqa: S301 - our own


def test_a_delimiter_that_is_set_counts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;text\n1;apple\n2;a;b\n")
    (tmp_path / "b.csv").write_text("id,x;text\n1,y;apple\n")
    assert scanned(tmp_path / "a.csv", delimiter=";").row(0).values == {"id": "1", "text": "apple"}
    assert scanned(tmp_path / "b.csv", delimiter=";").row(0).values == {"id,x": "1,y", "text": "apple"}


def test_what_has_come_since_changes_no_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id;text\n1;apple\n")
    known = scanned(path).scan()
    path.write_text("id;text\n1;apple\n2;a;b\n")
    grown = scanned(path, known=known)
    assert grown.scan()[:1] == known
    assert grown.row(0).values == {"id": "1", "text": "apple"}


def test_a_map_says_which_column_or_delimiter_may_be_meant(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;text\n1;apple\n2;a;b\n")
    (tmp_path / "b.csv").write_text("ID,Text\n1,apple\n")

    def told(**params: Any) -> str:
        with pytest.raises(BadInput) as caught:
            Map(MapParams.model_validate(params)).parts()
        return str(caught.value)

    assert "if ';' separates its columns, set task.delimiter = \";\"" in told(
        input=str(tmp_path / "a.csv"), template="{{text}}"
    )
    assert "did you mean 'Text'? known: ID, Text" in told(input=str(tmp_path / "b.csv"), template="{{text}}")


def test_settings_at_their_default_are_not_stored() -> None:
    plain = MapParams.model_validate({"input": "a.csv", "template": "{{x}}"})
    assert not {"delimiter", "quotes"} & plain.model_dump(mode="json").keys()
    given = MapParams.model_validate({"input": "a.csv", "template": "{{x}}", "delimiter": ";", "quotes": False})
    assert MapParams.model_validate(given.model_dump(by_alias=True)) == given
    for bad in ('"', "\n", ";;"):
        with pytest.raises(ValueError, match="delimiter"):
            MapParams.model_validate({"input": "a.csv", "template": "{{x}}", "delimiter": bad})


# Compressed files.


def zst(data: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").ZstdCompressor(write_checksum=True).compress(data))


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zst,
}  # fmt: skip


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_compressed_rows_come_in_any_order(tmp_path: Path, ending: str) -> None:
    """Size and digest are those of what the file holds: how it is compressed may change."""
    compress = COMPRESSIONS[ending]
    table = "id,text\n" + "".join(f"{i},{'x' * (i % 90)}\n" for i in range(5000))
    (tmp_path / "a.csv").write_text(table)
    plain = scanned(tmp_path / "a.csv")
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(compress(table.encode()))
    source = scanned(path, id_column="id")
    (part,) = source.scan()
    assert part == plain.scan()[0]._replace(name=path.name)
    for i in (4999, 0, 2500, 1, 4998):
        assert source.row(i).values == plain.row(i).values
    assert pickle.loads(pickle.dumps(source)).row(3000).values == plain.row(3000).values  # noqa: S301 - our own
    half = len(table) // 2
    path.write_bytes(compress(table[:half].encode()) + compress(table[half:].encode() + b"5000,new\n"))
    grown = scanned(path, known=source.scan())
    assert grown.scan()[0] == part
    assert grown.row(5000).values == {"id": "5000", "text": "new"}


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_damaged_compressed_file_is_refused(tmp_path: Path, ending: str) -> None:
    """None is taken for a shorter one: cut off, with something after it, with a changed byte, or not compressed."""
    whole = COMPRESSIONS[ending](b"id,text\n" + b"".join(b"%d,some text %d\n" % (i, i * i) for i in range(2000)))
    path = tmp_path / f"a.csv{ending}"
    middle = len(whole) // 2
    bad = [whole[:-1], whole[:middle], whole[:3], whole + b"x", whole + whole[:-1], b"\0" + whole, b"id,text\n1,a\n"]
    bad.append(whole[:middle] + bytes([whole[middle] ^ 64]) + whole[middle + 1 :])
    for data in bad:
        path.write_bytes(data)
        assert refusal(path).startswith(f"input part a.csv{ending} cannot be decompressed: ")
    path.write_bytes(b"")
    assert refusal(path).startswith(f"a.csv{ending} holds no rows")
    path.write_bytes(whole + b"\0" * 8)
    assert len(scanned(path)) == 2000


def test_what_grows_large_is_decompressed_in_pieces(tmp_path: Path) -> None:
    """A file of zeros is a thousand times smaller than what it holds: no more than asked for comes at once."""
    for ending, compress in COMPRESSIONS.items():
        path = tmp_path / f"a.txt{ending}"
        path.write_bytes(compress(b"\0" * (8 << 20)))
        with compressed.Decompressed(path.open("rb"), path.name) as file:
            pieces = [len(piece) for piece in iter(lambda file=file: file.read(10_000), b"")]
        assert sum(pieces) == 8 << 20
        assert max(pieces) <= 10_000


@pytest.mark.posix
def test_few_copies_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "COPIES", 2)
    for at in range(5):
        (tmp_path / f"{at}.jsonl.gz").write_bytes(gzip.compress(b'{"x": %d}\n' % at))
    source = scanned(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert [source.row(i).values["x"] for i in (4, 3, 2, 1, 0, 4)] == [4, 3, 2, 1, 0, 4]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_a_folder_with_a_file_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"x\n1\n"))
    assert "the input holds a.csv and a.csv.gz: the same rows would be read twice" in refusal(tmp_path)
    (tmp_path / "b.parquet.gz").write_bytes(b"")
    assert refusal(tmp_path / "b.parquet.gz") == "b.parquet.gz is a compressed Parquet file\ndecompress it"


def test_zstandard_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    (tmp_path / "a.csv.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    told = refusal(tmp_path / "a.csv.zst")
    assert told.startswith("input part a.csv.zst needs the package zstandard, which is not installed\n")
    assert told.endswith("pip install 'maker-executor[zstd]'")


# JSON.


OBJECTS = [{"id": 1, "text": 'a"]},[{'}, {"id": 2, "text": "é漢😀\n", "x": [{}, [1.5, None]]}, {}, {"y": "\\"}]


@pytest.mark.parametrize("size", [1, 2, 5, 256 << 10])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_an_array_of_objects_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, indent: int | None, encoding: str
) -> None:
    monkeypatch.setattr(records, "CHUNK_BYTES", size)
    monkeypatch.setattr("maker.inputs.blocks.BLOCK_ROWS", 2)
    path = tmp_path / "a.json"
    path.write_bytes(("\ufeff \n" + json.dumps(OBJECTS, indent=indent, ensure_ascii=False) + "\n ").encode(encoding))
    source = scanned(path, encoding=encoding)
    assert [source.row(i).values for i in (3, 1, 0, 2)] == [OBJECTS[i] for i in (3, 1, 0, 2)]
    assert source.columns == ("id", "text")
    again = scanned(path, encoding=encoding, known=source.scan())
    assert rows(again) == OBJECTS
    with path.open("ab") as file:
        file.write(" ".encode(encoding))
    assert "a.json changed since the run began" in refusal(path, encoding=encoding, known=source.scan())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"rows": [{"a": 1}]}', "it does not begin with [, line 1"),
        ('{"a": 1}\n{"a": 2}\n', "a comma or ] is missing, line 2"),
        ('[{"a": 1}\n{"a": 2}]', "a comma or ] is missing, line 2"),
        ('[{"a": 1},\n{"a": 2}', "it ends without ], line 2"),
        ('[\n,{"a": 1}]', "it begins with a comma, line 2"),
        ('[{"a": 1},\n]', "a row of it is no object, line 2"),
        ('[{"a": 1},,{"a": 2}]', "a row of it is no object, line 1"),
        ('[{"a": 1},\n7]', "a row of it is no object, line 2"),
        ("[[1, 2]]", "a row of it is no object, line 1"),
        ('[{"a": 1}[{"a": 2}]', "a comma or ] is missing, line 1"),
        ('[{"a": 1}]\n{"a": 2}', "there is more after the array, line 2"),
        ('[{"a": 1}]]', "there is more after the array, line 1"),
        ('[{"a": 1},\n{"a" 2}]', "Expecting ':' delimiter, line 2"),
        ('[{"a": 1},\n{"a": "b}]', "Unterminated string starting at, line 2"),
        ('[{"a": ' + "[" * 100_000, "it is nested too deep, line 1"),
        ("", "it ends without ]"),
        ("7", "a row of it is no object"),
    ],
)
def test_json_that_is_no_array_of_objects_is_refused_by_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, why: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    for size in (256 << 10, 1) if len(content) < 100 else (256 << 10,):
        monkeypatch.setattr(records, "CHUNK_BYTES", size)
        told = refusal(path)
        assert told.startswith("a.json is no JSON array of objects: ")
        assert why in told
    path.write_text("[]")
    assert "a.json holds no rows" in refusal(path)


def test_json_beside_another_format_in_a_folder_is_passed_over(tmp_path: Path) -> None:
    """A folder of tables may hold a schema, as ever."""
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "schema.json").write_text("{}")
    assert rows(scanned(tmp_path)) == [{"x": "1"}]
    (tmp_path / "a.csv").unlink()
    (tmp_path / "schema.json").write_text('[{"x": 1}]')
    assert rows(scanned(tmp_path)) == [{"x": 1}]


# Files that are not what their names say.


@pytest.mark.parametrize(
    ("begins", "told", "fix"),
    [
        (b"PK\x03\x04rest", "is no CSV but an Excel workbook or another zip file", "save the sheet as CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is no CSV but an old Excel workbook", "save the sheet as CSV UTF-8"),
        (gzip.compress(b"x\n1\n"), "is no CSV but compressed with gzip", "end with .gz"),
        (lzma.compress(b"x\n1\n"), "is no CSV but compressed with xz", "end with .xz"),
        (bz2.compress(b"x\n1\n"), "is no CSV but compressed with bzip2", "end with .bz2"),
    ],
    # What gzip makes depends on the time, and a test's name must not.
    ids=["zip", "old Excel", "gzip", "xz", "bzip2"],
)
def test_a_file_of_another_kind_is_named_for_what_it_is(tmp_path: Path, begins: bytes, told: str, fix: str) -> None:
    (tmp_path / "a.csv").write_bytes(begins)
    said = refusal(tmp_path / "a.csv")
    assert said.startswith(f"a.csv {told}\n")
    assert fix in said


def test_a_spreadsheet_is_told_how_to_convert(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04")
    told = refusal(tmp_path / "a.xlsx")
    assert told.startswith("a.xlsx is a spreadsheet, which is not read")
    assert "save the sheet as CSV UTF-8" in told
