"""Declared inputs: every row is found by its number, and what a run began with is still there when it goes on."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import json
import math
import os
import pickle
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import Late

from maker.errors import BadInput, ExtraMissing
from maker.inputs import blocks, handle
from maker.inputs.formats import parquet as columnar
from maker.inputs.formats import records
from maker.inputs.handle import Input
from maker.inputs.ids import Ids, id_text
from maker.inputs.parts import InputRow
from maker.inputs.sites import Site
from maker.types import InputPart

pyarrow = Late("pyarrow", "pyarrow.parquet")

SPECIAL = ['"', ",", "\t", "\n", "\r", "\r\n", "\0", "é", "😀", "\u2028", "\x85", "\x0b", "\x1c", "\ufeff", "a", " "]
CELLS = st.lists(st.sampled_from(SPECIAL), max_size=6).map("".join) | st.text(max_size=6)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=4)
SIZES = st.fixed_dictionaries({"rows": st.integers(1, 5), "bytes": st.integers(1, 60), "chunk": st.integers(1, 40),
                               "cache": st.sampled_from([0, 100, 8 << 20])})  # fmt: skip
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "gb18030"]
Table = list[list[str]]


@contextmanager
def sized(sizes: dict[str, int]) -> Iterator[None]:
    """Make blocks, chunks and the cache so small that a table of a few rows has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_ROWS", sizes["rows"])
        patch.setattr(blocks, "BLOCK_BYTES", sizes["bytes"])
        patch.setattr(records, "CHUNK_BYTES", sizes["chunk"])
        patch.setattr(handle, "CACHE_BYTES", sizes["cache"])
        yield


def put(name: str, data: bytes) -> str:
    """Write a file of the memory file system; return its URL."""
    files = fsspec.filesystem("memory")
    files.pipe(f"/{name}", data)
    return f"memory://{name}"


@pytest.fixture(autouse=True)
def _empty_memory() -> Iterator[None]:
    yield
    _forget_memory()


def _forget_memory() -> None:
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def write(folder: Path, **files: str | bytes) -> None:
    """Write files; ``__`` in a name stands for the dot."""
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def scanned(where: object, **options: Any) -> Input:
    """Return an input that has been scanned."""
    made = Input(str(where), **options)
    made.scan()
    return made


def values_of(source: Input, order: Iterable[int] | None = None) -> list[dict[str, Any]]:
    return [source.row(i).values for i in (range(len(source)) if order is None else order)]


def shuffled(count: int, seed: int) -> list[int]:
    """Return every row's number twice, in some order."""
    order = [*range(count), *range(count)]
    random.Random(seed).shuffle(order)
    return order


def csv_bytes(table: Iterable[Sequence[str]], encoding: str = "utf-8", **dialect: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, **dialect).writerows(table)
    return text.getvalue().encode(encoding)


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def refusal(where: object, **options: Any) -> str:
    """Return what a scan says when it refuses."""
    with pytest.raises(BadInput) as caught:
        Input(str(where), **options).scan()
    assert type(caught.value) in (BadInput, ExtraMissing)
    return str(caught.value)


@st.composite
def tables(draw: st.DrawFn, max_rows: int = 12) -> Table:
    """Return a table with its header."""
    # At the beginning of a file the byte order mark, either way round, is no text.
    names = CELLS.filter(lambda text: text != "" and "\0" not in text and text[0] not in "\ufeff\ufffe")
    header = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    row = st.lists(CELLS, min_size=len(header), max_size=len(header))
    return [header, *draw(st.lists(row, min_size=1, max_size=max_rows))]


# Round trips.


@settings(max_examples=100)
@given(tables(), SIZES, st.sampled_from(ENCODINGS), st.integers(0, 9), st.booleans(), st.booleans())
def test_a_table_comes_back_row_by_row_in_any_order(
    table: Table, sizes: dict[str, int], encoding: str, seed: int, tabs: bool, unix: bool
) -> None:
    # Before Python 3.13 the csv module does not quote a \r by itself where lines end with \n.
    dialect: dict[str, Any] = {"lineterminator": "\n", "quoting": csv.QUOTE_ALL} if unix else {}
    # Named: a table of one column that holds tabs could be one of several.
    delimiter = "\t" if tabs else ","
    data = csv_bytes(table, encoding, delimiter=delimiter, **dialect)
    where = put("table.tsv" if tabs else "table.csv", data)
    with sized(sizes):
        source = scanned(where, encoding=encoding, delimiter=delimiter)
        header, *rows = table
        assert source.columns == tuple(header)
        assert source.scan() == (InputPart(where[9:], 0, len(rows), len(data), digest(data)),)
        order = shuffled(len(rows), seed)
        assert values_of(source, order) == [dict(zip(header, rows[i], strict=True)) for i in order]
        assert values_of(pickle.loads(pickle.dumps(source)), order) == values_of(source, order)  # noqa: S301


@settings(max_examples=100)
@given(st.lists(OBJECTS, min_size=1, max_size=12), SIZES, st.sampled_from(ENCODINGS), st.integers(0, 9), st.booleans())
def test_json_lines_come_back_row_by_row_in_any_order(
    rows: list[dict[str, Any]], sizes: dict[str, int], encoding: str, seed: int, plain: bool
) -> None:
    blank = random.Random(seed)
    lines = []
    for row in rows:
        lines += [blank.choice(["", " \t", "\r"]) for _ in range(blank.randrange(3))]
        lines.append(json.dumps(row, ensure_ascii=plain) + blank.choice(["", "\r"]))
    text = "\n".join(lines) + blank.choice(["", "\n", "\n\n"])
    where = put("rows.jsonl", text.encode(encoding))
    with sized(sizes):
        source = scanned(where, encoding=encoding)
        order = shuffled(len(rows), seed)
        assert values_of(source, order) == [rows[i] for i in order]
        assert source.columns == tuple(rows[0])


@settings(max_examples=100)
@given(tables(), SIZES, st.sampled_from(ENCODINGS), st.lists(st.integers(0, 12), max_size=3), st.booleans())
def test_a_file_that_grows_keeps_its_rows_and_digests(
    table: Table, sizes: dict[str, int], encoding: str, cuts: list[int], newline: bool
) -> None:
    header, *rows = table
    cuts = sorted({min(cut, len(rows)) for cut in cuts} | {len(rows)} - {0})
    known: tuple[InputPart, ...] = ()
    with sized(sizes):
        for cut in cuts:
            if cut == 0:
                continue
            data = csv_bytes([header, *rows[:cut]], encoding)
            ended = newline or cut < cuts[-1]
            where = put("grows.csv", data if ended else data[: -len("\r\n".encode(encoding.removesuffix("-sig")))])
            # Named, as above.
            source = scanned(where, known=known, encoding=encoding, delimiter=",")
            parts = source.scan()
            assert parts[: len(known)] == known
            assert len(parts) == len(known) + 1
            assert parts[-1].first + parts[-1].rows == cut == len(source)
            assert parts[-1].digest == digest(data[: parts[-1].size])
            known = parts
        table_of_dicts = [dict(zip(header, row, strict=True)) for row in rows]
        assert values_of(source) == values_of(scanned(where, encoding=encoding, delimiter=",")) == table_of_dicts
        assert [source.row(i).number for i in range(len(rows))] == [*range(len(rows))]


def test_rows_and_ids_say_where_they_are(tmp_path: Path) -> None:
    write(tmp_path, a__csv="x,y\n1,2\n3,4\n", b__csv="x,y\n5,6\n")
    source = scanned(tmp_path)
    assert [source.row(i) for i in range(3)] == [
        InputRow("a.csv:0", {"x": "1", "y": "2"}, "a.csv", 0),
        InputRow("a.csv:1", {"x": "3", "y": "4"}, "a.csv", 1),
        InputRow("b.csv:0", {"x": "5", "y": "6"}, "b.csv", 0),
    ]
    assert [source.row_id(i) for i in (2, 0)] == ["b.csv:0", "a.csv:0"]
    named = scanned(tmp_path, id_column="y")
    assert [named.row(i).id for i in range(3)] == [named.row_id(i) for i in range(3)] == ["2", "4", "6"]


def test_no_row_beyond_the_ends(tmp_path: Path) -> None:
    write(tmp_path, a__csv="x\n1\n2\n")
    source = scanned(tmp_path / "a.csv")
    for i in (-1, 2):
        with pytest.raises(IndexError, match=r"the input has 2$"):
            source.row(i)


def test_an_input_is_scanned_before_it_is_read(tmp_path: Path) -> None:
    write(tmp_path, a__csv="x\n1\n")
    for read in (lambda one: one.row(0), len, lambda one: one.columns, lambda one: one.row_id(0)):
        with pytest.raises(RuntimeError, match=r"call scan\(\)"):
            read(Input(str(tmp_path)))


def test_values_belong_to_the_caller(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"a": [[1], [2]]}), tmp_path / "p.parquet")
    write(tmp_path, c__csv="a\n1\n", j__jsonl='{"a": [1]}\n')
    for name in ("p.parquet", "c.csv", "j.jsonl"):
        source = scanned(tmp_path / name)
        first = source.row(0).values
        before = repr(first)
        first["a"] = first["a"].append(9) if isinstance(first["a"], list) else "9"
        first["b"] = 1
        assert repr(source.row(0).values) == before


def test_old_mac_line_ends_and_blank_lines(tmp_path: Path) -> None:
    write(tmp_path, mac__csv="\r\rx,y\r1,2\r\r3,4", mixed__csv='\n\nx,y\n\r\n1,"2\r3"\r\n\n\n4,5\n\n')
    assert values_of(scanned(tmp_path / "mac.csv")) == [{"x": "1", "y": "2"}, {"x": "3", "y": "4"}]
    assert values_of(scanned(tmp_path / "mixed.csv")) == [{"x": "1", "y": "2\r3"}, {"x": "4", "y": "5"}]


def test_a_newline_pair_at_the_edge_of_a_chunk_is_one_line_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = b'x,y\r\n1,"2\r\n3"\r\n4,5\r\n'
    (tmp_path / "a.csv").write_bytes(data)
    for size in range(1, len(data) + 1):
        monkeypatch.setattr(records, "CHUNK_BYTES", size)
        source = scanned(tmp_path / "a.csv")
        assert values_of(source) == [{"x": "1", "y": "2\r\n3"}, {"x": "4", "y": "5"}], size


def test_a_row_of_two_megabytes(tmp_path: Path) -> None:
    long = 'é"\n,' * 300_000
    rows = [["a", "1"], [long, "2"], ["c", "3"]]
    (tmp_path / "a.csv").write_bytes(csv_bytes([["x", "y"], *rows]))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"x": x, "y": y}) + "\n" for x, y in rows))
    for name in ("a.csv", "a.jsonl"):
        source = scanned(tmp_path / name, id_column="x")
        assert [source.row(i).values["y"] for i in (2, 1, 0)] == ["3", "2", "1"]
        assert source.row(1).values["x"] == source.row_id(1) == long


def test_a_thousand_parts(tmp_path: Path) -> None:
    for at in range(1000):
        (tmp_path / f"part-{at:04}.csv").write_text(f"x,y\n{at},a\n{at},b\n")
    source = scanned(tmp_path)
    assert len(source.scan()) == 1000
    assert len(source) == 2000
    for i in shuffled(2000, 0)[:300]:
        assert source.row(i) == InputRow(
            f"part-{i // 2:04}.csv:{i % 2}", {"x": str(i // 2), "y": "ab"[i % 2]}, f"part-{i // 2:04}.csv", i % 2
        )


def test_blocks_end_after_1024_rows_and_after_64_kib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "CHUNK_BYTES", 1500)
    write(tmp_path, short__csv="x\n" + "1\n" * 3000, long__csv="x\n" + f"{'y' * 20_000}\n" * 10)
    short, long = scanned(tmp_path / "short.csv"), scanned(tmp_path / "long.csv")
    assert _block_rows(short) == [1024, 1024, 952]
    assert _block_rows(long) == [4, 4, 2]


def _block_rows(source: Input) -> list[int]:
    """Return how many rows are read at once."""
    assert source._scanned is not None
    rows = source._scanned.rows
    return [rows.block(at).rows for at in range(rows.find(len(source) - 1) + 1)]


def test_the_cache_is_bounded_and_keeps_two_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("x\n" + "".join(f"{at}\n" for at in range(10_000)))
    source = scanned(tmp_path / "a.csv")
    reads: list[int] = []
    read = Site.read
    monkeypatch.setattr(
        Site,
        "read",
        lambda self, name, start, stop: (reads.append(start), read(self, name, start, stop))[1],
    )
    window = [i for base in range(0, 9000, 1000) for i in shuffled(3000, base) if i + base < 10_000]
    assert [source.row(i).values["x"] for i in window] == [str(i) for i in window]
    assert len(reads) == len(set(reads)) <= 10
    monkeypatch.setattr(handle, "CACHE_BYTES", 0)
    source = pickle.loads(pickle.dumps(source))  # noqa: S301
    reads.clear()
    for _ in range(50):
        assert source.row(1023).values["x"] == "1023"
        assert source.row(1024).values["x"] == "1024"
    assert len(reads) == 2
    source.row(5000)
    source.row(1023)
    assert len(reads) == 4
    assert len(source._cache) == 2


def test_an_input_pickles_small_and_works_from_another_folder(tmp_path: Path, working_directory: Path) -> None:
    (working_directory / "a.csv").write_text("x\n" + "".join(f"{at}\n" for at in range(5000)))
    source = scanned("a.csv")
    before = pickle.dumps(source)
    values_of(source)
    sent = pickle.dumps(source)
    assert len(sent) == len(before) < 1500
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).row(4321))"
    done = subprocess.run(
        [sys.executable, "-c", program], input=sent, cwd=tmp_path, capture_output=True, check=True, timeout=60
    )
    assert done.stdout.decode().strip() == repr(source.row(4321))


def test_scanning_keeps_no_rows_in_memory(tmp_path: Path) -> None:
    peaks = []
    for rows in (15_000, 60_000):
        path = tmp_path / f"{rows}.csv"
        path.write_text("x,y\n" + "".join(f"row {at},some text that is long\n" for at in range(rows)))
        source = Input(str(path), id_column="x")
        tracemalloc.start()
        try:
            source.scan()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert len(source) == rows
    # 8 bytes a row for the ids, and what arrays keep ahead; the 45,000 rows would be 20 MB.
    assert peaks[1] < peaks[0] + (1 << 20)


# Places.


def test_a_name_is_relative_to_the_input(tmp_path: Path) -> None:
    for name in ("one/a.csv", "one/two/b.csv", "other.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n1\n")
    assert _names(tmp_path / "one") == _names(f"{tmp_path}/one/") == ["a.csv", "two/b.csv"]
    assert _names(tmp_path) == ["one/a.csv", "one/two/b.csv", "other.csv"]
    assert _names(tmp_path / "one" / "*.csv") == ["a.csv"]
    assert _names(f"{tmp_path}/*/a.csv") == ["one/a.csv"]
    assert _names(f"{tmp_path}/**/*.csv") == ["one/a.csv", "one/two/b.csv", "other.csv"]
    assert _names(f"{tmp_path}/o[nt]*.csv") == ["other.csv"]
    assert _names(tmp_path / "other.csv") == _names(f"file://{tmp_path}/other.csv") == ["other.csv"]


def _names(where: object) -> list[str]:
    return [part.name for part in scanned(where).scan()]


def test_a_file_of_that_very_name_goes_before_the_pattern(tmp_path: Path) -> None:
    write(tmp_path, a__csv="x\n1\n")
    (tmp_path / "[a].csv").write_text("x\n2\n")
    assert values_of(scanned(tmp_path / "[a].csv")) == [{"x": "2"}]


def test_the_memory_file_system(tmp_path: Path) -> None:
    put("in/a.csv", b"x\n1\n")
    put("in/deep/b.csv", b"x\n2\n")
    assert _names("memory://in") == ["a.csv", "deep/b.csv"]
    assert _names("memory://in/*.csv") == _names("memory://in/a.csv") == ["a.csv"]
    assert values_of(scanned("memory://in")) == [{"x": "1"}, {"x": "2"}]


@pytest.mark.posix
def test_links_count_as_what_they_lead_to(tmp_path: Path) -> None:
    write(tmp_path, real__csv="x\n1\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.csv").symlink_to(tmp_path / "real.csv")
    (folder / "lost.csv").symlink_to(tmp_path / "nothing.csv")
    assert _names(folder) == _names(folder / "*.csv") == ["link.csv"]


def test_a_folder_of_texts(tmp_path: Path) -> None:
    write(tmp_path, b__txt="one\r\ntwo\n", a__md=b"\xef\xbb\xbf# T\xc3\xa4xt", empty__text="", C__TXT="c")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.txt").write_text("d")
    (tmp_path / "picture.png").write_bytes(b"\x89")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "e.txt").write_text("e")
    source = scanned(tmp_path)
    assert source.columns == ("file", "text")
    assert {row["file"]: row["text"] for row in values_of(source)} == {
        "C.TXT": "c", "a.md": "# Täxt", "b.txt": "one\r\ntwo\n", "empty.text": "", "sub/d.txt": "d",
    }  # fmt: skip
    assert [source.row_id(i) for i in range(5)] == ["C.TXT:0", "a.md:0", "b.txt:0", "empty.text:0", "sub/d.txt:0"]
    assert source.scan()[3] == InputPart("empty.text", 0, 1, 0, digest(b""))
    assert scanned(tmp_path, id_column="file").row(4).id == "sub/d.txt"


def test_what_a_folder_holds_beside_its_parts_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, a__jsonl='{"x": 1}', b__ndjson='{"x": 2}', _SUCCESS="", c__log="x")
    assert _names(tmp_path) == ["a.jsonl", "b.ndjson"]


def test_nothing_there(tmp_path: Path) -> None:
    write(tmp_path, a__log="x")
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "b.csv").startswith(f"there is no input {tmp_path}/b.csv\n")
    assert refusal(tmp_path / "*.csv").startswith(f"no file matches {tmp_path}/*.csv\n")
    assert refusal(tmp_path / "empty").startswith(f"the folder {tmp_path}/empty holds no file\n")
    assert "a.log is in no known format\nuse files that end with .csv, .tsv" in refusal(tmp_path / "a.log")
    assert "a.log is in no known format" in refusal(tmp_path)
    assert "the input is empty" in refusal("")
    assert "there is no input memory://nowhere/a.csv" in refusal("memory://nowhere/a.csv")


def test_a_pattern_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    write(tmp_path, a__csv="x\n1\n", b__dat="x")
    (tmp_path / "folder").mkdir()
    assert "b.dat is in no known format" in refusal(tmp_path / "*")
    assert _names(tmp_path) == ["a.csv"]


@pytest.mark.parametrize(
    ("other", "told"), [("b.tsv", "b.tsv is TSV"), ("b.md", "b.md is text"), ("b.jsonl", "b.jsonl is JSON lines")]
)
def test_formats_do_not_mix(tmp_path: Path, other: str, told: str) -> None:
    write(tmp_path, a__csv="x\n1\n")
    (tmp_path / other).write_text("x\n")
    assert f"a.csv is CSV, {told}" in refusal(tmp_path)
    assert f"a.csv is CSV, {told}" in refusal(tmp_path / "*")
    assert _names(tmp_path / "*.csv") == ["a.csv"]


class Refusing(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A store behind a network that raises what it is told to."""

    protocol = "s3"
    error: Exception = PermissionError("Access Denied for AKIASECRET at s3://user:AKIASECRET@bucket/a?sig=AKIASECRET")
    cachable = False

    def info(self, path: str, **kwargs: Any) -> Any:
        raise self.error


class NoCredentialsError(Exception):
    """What a driver raises where it finds none."""


@pytest.fixture
def protocols() -> Iterator[dict[str, Any]]:
    """Return the table of file systems; it is put back as it was."""
    table = sys.modules["fsspec.registry"]._registry
    before = dict(table)
    yield table
    table.clear()
    table.update(before)


@pytest.mark.parametrize("error", [Refusing.error, NoCredentialsError("Unable to locate them")])
def test_missing_credentials_name_the_variables_and_no_value(
    protocols: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "VERYSECRET")
    monkeypatch.setattr(Refusing, "error", error)
    protocols["s3"] = Refusing
    told = refusal("s3://bucket/a.csv")
    assert told.startswith(f"s3://bucket/a.csv may not be read: {type(error).__name__}: ")
    assert told.endswith("\nset AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to credentials that may read it")
    assert "SECRET" not in told.replace("AWS_SECRET", "").replace("for AKIASECRET", "")


def test_a_url_is_shown_without_its_secrets(protocols: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refusing, "error", OSError("s3://me:HUSH@bucket/a.csv?key=HUSH broke"))
    protocols["s3"] = Refusing
    told = refusal("s3://me:HUSH@bucket/a.csv?key=HUSH")
    assert told == "s3://bucket/a.csv?… cannot be read: OSError: s3://bucket/a.csv?… broke"


def test_a_missing_package_is_named(protocols: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    protocols.pop("s3", None)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert refusal("s3://b/a.csv") == "s3://b/a.csv cannot be read: s3:// needs the package s3fs\npip install s3fs"
    assert "warp:// is not supported" in refusal("warp://b/a.csv")


class Web(BaseHTTPRequestHandler):
    """Serves ``/rows.csv`` whole, whatever range is asked for, to who has the token; ``/secret.csv`` to nobody."""

    body = b"x,y\n" + b"".join(b"%d,some text\n" % at for at in range(5000))

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def _answer(self, *, head: bool) -> None:
        path, _, query = self.path.partition("?")
        self.send_response(403 if "HUSH" not in query or path == "/secret.csv" else 200 if path == "/rows.csv" else 404)
        self.send_header("Content-Length", str(len(self.body) if path == "/rows.csv" else 0))
        self.end_headers()
        if path == "/rows.csv" and not head:
            self.wfile.write(self.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_web_address_is_read_even_without_ranges(web: str) -> None:
    pytest.importorskip("aiohttp")
    source = scanned(f"{web}/rows.csv?token=HUSH")
    assert source.scan()[0].name == "rows.csv"
    assert [source.row(i).values["x"] for i in (4999, 0, 1024)] == ["4999", "0", "1024"]
    assert "may not be read" in (told := refusal(f"{web}/secret.csv?token=HUSH")) and "HUSH" not in told
    assert "there is no input" in (told := refusal(f"{web}/none.csv?token=HUSH")) and "HUSH" not in told


# Going on with a run.


def test_what_has_come_since_comes_after_what_was_known(tmp_path: Path) -> None:
    write(tmp_path, b__csv="x\n1\n2\n", d__csv="x\n3\n")
    known = scanned(tmp_path).scan()
    write(tmp_path, a__csv="x\n6\n", c__csv="x\n7\n8\n", b__csv="x\n1\n2\n9\n")
    grown = scanned(tmp_path, known=known)
    data = (tmp_path / "b.csv").read_bytes()
    assert grown.scan()[:2] == known
    assert [part[:3] for part in grown.scan()[2:]] == [("a.csv", 0, 1), ("b.csv", 2, 1), ("c.csv", 0, 2)]
    assert grown.scan()[3] == InputPart("b.csv", 2, 1, len(data), digest(data))
    assert [row["x"] for row in values_of(grown)] == ["1", "2", "3", "6", "9", "7", "8"]
    assert [grown.row_id(i) for i in range(7)] == [
        "b.csv:0", "b.csv:1", "d.csv:0", "a.csv:0", "b.csv:2", "c.csv:0", "c.csv:1",
    ]  # fmt: skip
    (tmp_path / "b.csv").write_bytes(data + b"10\n")
    (tmp_path / "0.csv").write_text("x\n11\n")
    again = scanned(tmp_path, known=grown.scan())
    assert [row["x"] for row in values_of(again)] == ["1", "2", "3", "6", "9", "7", "8", "11", "10"]
    assert again.row(8) == InputRow("b.csv:3", {"x": "10"}, "b.csv", 3)
    assert scanned(tmp_path, known=again.scan()).scan() == again.scan()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("x\n1\n2\n", "x\n1\n3\n", "its first 6 bytes have changed"),
        ("x\n1\n2\n", "x\n1\n3\n4\n", "its first 6 bytes have changed"),
        ("x\n1\n2\n", "x\n1\n", "it had 6 bytes and has 4"),
        ("x\n1\n2\n", "", "it had 6 bytes and has 0"),
        ("x\n1\n2", "x\n1\n23\n", "the added text continues row 1, which was its last one"),
        ("x\n1\n2", "x\n1\n2 \n3\n", "the added text continues row 1, which was its last one"),
        ('x\n1\n"2', 'x\n1\n"2\n3"\n4\n', "the added text continues row 1, which was its last one"),
        ("x\n1\n2\n", "x,x\n\n1\n", "its first 6 bytes have changed"),
        ("x\n1\n2\n", "\0\n1\n2\n", "its first 6 bytes have changed"),
    ],
)
def test_a_changed_part_is_named(tmp_path: Path, before: str, after: str, told: str) -> None:
    write(tmp_path, a__csv="x\n0\n", p__csv=before)
    known = scanned(tmp_path).scan()
    write(tmp_path, p__csv=after)
    message = refusal(tmp_path, known=known)
    assert message.startswith(f"input part p.csv changed since the run began: {told}\nrestore the file")


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("p.csv", "x\n1", "x\n1\n2"),
        ("p.csv", "x\n1", "x\n1\r\n2\r\n"),
        ("p.csv", "x\r1", "x\r1\r2"),
        ("p.csv", "x\n1\r", "x\n1\r\n2\n"),
        ("p.csv", "x\n1\n\n", "x\n1\n\n\n2\n"),
        ("p.jsonl", '{"x": 1}', '{"x": 1}\n{"x": 2}'),
        ("p.jsonl", '{"x": 1}', '{"x": 1}\r\n{"x": 2}\r\n'),
    ],
)
def test_a_whole_row_may_end_where_the_file_did(tmp_path: Path, name: str, before: str, after: str) -> None:
    path = tmp_path / name
    path.write_bytes(before.encode())
    known = scanned(path).scan()
    assert scanned(path, known=known).scan() == known
    path.write_bytes(after.encode())
    grown = scanned(path, known=known)
    assert [str(row["x"]) for row in values_of(grown)] == ["1", "2"]
    assert [(part.first, part.rows) for part in grown.scan()] == [(0, 1), (1, 1)]


def test_a_line_of_json_that_goes_on_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    for before, after in [('{"x": 1}', ' {"x": 2}'), ('{"x": 1', "}"), ('{"x": 1}', '\r{"x": 2}\n')]:
        path.write_text(before)
        known = scanned(path).scan()
        path.write_bytes((before + after).encode())
        assert "p.jsonl changed since the run began: the added text continues row 0," in refusal(path, known=known)


def test_blank_lines_at_the_end_are_no_part(tmp_path: Path) -> None:
    write(tmp_path, a__csv="x\n1\n")
    known = scanned(tmp_path).scan()
    write(tmp_path, a__csv="x\n1\n\n\r\n", b__csv="x\n", c__csv="")
    assert scanned(tmp_path, known=known).scan() == known
    write(tmp_path, a__csv="x\n1\n\n\r\n2\n", b__csv="x\n3\n")
    grown = scanned(tmp_path, known=known)
    assert [row["x"] for row in values_of(grown)] == ["1", "2", "3"]


def test_texts_and_parquet_do_not_grow(tmp_path: Path) -> None:
    write(tmp_path, **{"t/a__txt": "a", "t/empty__txt": ""})
    table = pyarrow.table({"x": [1, 2]})
    pyarrow.parquet.write_table(table, tmp_path / "p.parquet")
    texts, parquet = scanned(tmp_path / "t").scan(), scanned(tmp_path / "p.parquet").scan()
    assert scanned(tmp_path / "t", known=texts).scan() == texts
    assert scanned(tmp_path / "p.parquet", known=parquet).scan() == parquet
    write(tmp_path, **{"t/a__txt": "a\n"})
    assert "a.txt changed since the run began: it had 1 bytes and has more" in refusal(tmp_path / "t", known=texts)
    write(tmp_path, **{"t/a__txt": "a", "t/empty__txt": "b"})
    assert "empty.txt changed since the run began: it had 0 bytes and has more" in refusal(tmp_path / "t", known=texts)
    write(tmp_path, **{"t/a__txt": "b", "t/empty__txt": ""})
    assert "a.txt changed since the run began: its first 1 bytes" in refusal(tmp_path / "t", known=texts)
    pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2, 3]}), tmp_path / "p.parquet")
    assert "p.parquet changed since the run began: it had " in refusal(tmp_path / "p.parquet", known=parquet)
    pyarrow.parquet.write_table(pyarrow.table({"x": [1, 3]}), tmp_path / "p.parquet")
    told = refusal(tmp_path / "p.parquet", known=parquet)
    assert "p.parquet changed since the run began: its content has changed" in told


def test_a_part_that_is_gone_is_named(tmp_path: Path) -> None:
    write(tmp_path, a__csv="x\n1\n", b__csv="x\n2\n3\n", c__csv="x\n4\n")
    known = scanned(tmp_path).scan()
    (tmp_path / "b.csv").unlink()
    assert refusal(tmp_path, known=known).startswith("input part b.csv is gone: the run began with its 2 rows\n")
    (tmp_path / "c.csv").unlink()
    assert "its 2 rows; 1 more are gone too" in refusal(tmp_path, known=known)


def test_rows_counted_otherwise_are_a_change(tmp_path: Path) -> None:
    write(tmp_path, a__csv="x\n1\n2\n")
    part = scanned(tmp_path).scan()[0]
    assert "in the same bytes that now hold rows 0 to 1" in refusal(tmp_path, known=[part._replace(rows=3)])
    assert "rows 1 to 2 were counted" in refusal(tmp_path, known=[part._replace(first=1)])


ADDED = {
    "an id that was there": ("a.csv", "id,x\n1,a\n2,b\n1,c\n"),
    "an open quote": ("a.csv", 'id,x\n1,a\n2,b\n3,"c\n4,d\n'),
    "a row that goes on": ("b.csv", "id,x\n3,cd"),
    "half a row": ("a.csv", "id,x\n1,a\n2,b\n3"),
    "another encoding": ("a.csv", b"id,x\n1,a\n2,b\n3,\xff\n"),
    "other columns": ("c.csv", "id,y\n1,a\n"),
    "another format": ("notes.txt", "hello"),
    "a name that is no text": (os.fsdecode(b"caf\xe9.csv"), "id,x\n9,z\n"),
}


@pytest.mark.parametrize("added", ADDED)
def test_what_has_come_since_disturbs_nothing_that_was_known(tmp_path: Path, added: str) -> None:
    """Nothing but the known rows is looked at where the input is not to grow."""
    write(tmp_path, a__csv="id,x\n1,a\n2,b\n", b__csv="id,x\n3,c")
    known = scanned(tmp_path, id_column="id").scan()
    name, content = ADDED[added]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    source = scanned(tmp_path, id_column="id", known=known, grow=False)
    assert source.scan() == known
    assert values_of(source) == values_of(pickle.loads(pickle.dumps(source)))  # noqa: S301
    assert [(row["id"], row["x"]) for row in values_of(source)] == [("1", "a"), ("2", "b"), ("3", "c")]
    if added not in ("half a row", "another encoding"):
        assert refusal(tmp_path, id_column="id", known=known)


def test_what_was_known_is_still_looked_at_where_nothing_may_grow(tmp_path: Path) -> None:
    """Changed and missing parts are told as ever; a text or Parquet file that has grown is another one."""
    write(tmp_path, **{"c/a__csv": "x\n1\n2\n", "c/b__csv": "x\n3\n", "t/a__txt": "a"})
    pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2]}), tmp_path / "p.parquet")
    tables, texts = scanned(tmp_path / "c").scan(), scanned(tmp_path / "t").scan()
    columns = scanned(tmp_path / "p.parquet").scan()
    write(tmp_path, **{"c/a__csv": "x\n1\n3\n4\n", "t/a__txt": "ab"})
    pyarrow.parquet.write_table(pyarrow.table({"x": [1, 2, 3]}), tmp_path / "p.parquet")
    told = refusal(tmp_path / "c", known=tables, grow=False)
    assert "a.csv changed since the run began: its first 6 bytes have changed" in told
    told = refusal(tmp_path / "t", known=texts, grow=False)
    assert "a.txt changed since the run began: it had 1 bytes and has more" in told
    told = refusal(tmp_path / "p.parquet", known=columns, grow=False)
    assert "p.parquet changed since the run began: it had " in told
    (tmp_path / "c" / "a.csv").unlink()
    told = refusal(tmp_path / "c", known=tables, grow=False)
    assert told.startswith("input part a.csv is gone: the run began with its 2 rows\n")


def test_parts_that_a_file_grew_by_are_read_as_they_were_taken(tmp_path: Path) -> None:
    """A file that has grown twice is read to the end of the last part that is known."""
    write(tmp_path, a__csv="x\n1\n")
    known = scanned(tmp_path).scan()
    write(tmp_path, a__csv="x\n1\n2\n")
    known = scanned(tmp_path, known=known).scan()
    write(tmp_path, a__csv='x\n1\n2\n"3')
    source = scanned(tmp_path, known=known, grow=False)
    assert source.scan() == known
    assert [row["x"] for row in values_of(source)] == ["1", "2"]


def test_a_file_name_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    """With what UTF-8 cannot write escaped, so that it can be printed."""
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("item 1")
    told = refusal(tmp_path)
    assert told.startswith("the name of the file caf\\udce9.txt is not UTF-8\n")
    assert told.isascii()
    assert refusal(tmp_path / os.fsdecode(b"caf\xe9.log")).isascii()
    assert refusal(tmp_path / os.fsdecode(b"caf\xe9.txt")).isascii()


@pytest.mark.posix
@pytest.mark.parametrize(
    ("where", "file", "read"),
    [
        ("in", "in/out/a.jsonl", True),
        ("in", "in/a.jsonl", True),
        ("in/", "linked/a.jsonl", True),
        ("in", "in/.out/a.jsonl", False),
        ("in", "inside/a.jsonl", False),
        ("in/*.jsonl", "in/a.jsonl", True),
        ("in/*.jsonl", "in/out/a.jsonl", False),
        ("in/*.csv", "in/a.jsonl", False),
        ("**/*.jsonl", "in/out/a.jsonl", True),
        ("*/a.jsonl", "in/a.jsonl", True),
        ("linked/*", "in/a.jsonl", True),
        ("in/rows.csv", "in/a.jsonl", False),
        ("in/rows.csv", "in/rows.csv", True),
        ("nowhere", "nowhere/a.jsonl", False),
    ],
)
def test_what_an_input_would_read(tmp_path: Path, where: str, file: str, read: bool) -> None:
    """A file that is not there yet is judged by where it would be."""
    write(tmp_path, **{"in/rows__csv": "x\n1\n"})
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    assert Input(f"{tmp_path}/{where}").would_read(f"{tmp_path}/{file}") is read
    assert Input(f"file://{tmp_path}/{where}").would_read(f"{tmp_path}/{file}") is read
    assert not Input(f"memory://{tmp_path}/{where}").would_read(f"{tmp_path}/{file}")


def test_an_input_that_moved_is_the_same(tmp_path: Path) -> None:
    write(tmp_path, **{"here/a__csv": "x\n1\n", "here/sub/b__csv": "x\n2\n"})
    known = scanned(tmp_path / "here").scan()
    (tmp_path / "here").rename(tmp_path / "there")
    assert scanned(tmp_path / "there", known=known).scan() == known


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt", "a.parquet"])
def test_a_file_that_changes_after_the_scan_is_not_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name

    def store(rows: list[str]) -> None:
        if name == "a.parquet":
            pyarrow.parquet.write_table(pyarrow.table({"x": rows}), path)
        elif name == "a.jsonl":
            path.write_text("".join(json.dumps({"x": row}) + "\n" for row in rows))
        else:
            path.write_text("\n".join(["x", *rows]) + "\n")

    store(["1", "2"])
    source = scanned(path)
    store(["1", "2", "3"] if name == "a.parquet" else ["1", "4"])
    with pytest.raises(BadInput, match=f"input part {name} changed since it was scanned: "):
        source.row(0)
    path.unlink()
    with pytest.raises(BadInput, match=f"input part {name} does not exist"):
        source.row(0)


def test_a_file_that_grows_after_the_scan_is_read_on(tmp_path: Path) -> None:
    write(tmp_path, a__csv="x\n1\n2")
    source = scanned(tmp_path)
    write(tmp_path, a__csv="x\n1\n2\n3\n")
    assert [row["x"] for row in values_of(source)] == ["1", "2"]


# Rows that are broken.


def broken(source: Input, i: int) -> str:
    with pytest.raises(ValueError) as caught:
        source.row(i)
    return str(caught.value)


def test_a_row_of_other_fields_is_broken_alone(tmp_path: Path) -> None:
    write(tmp_path, a__csv='x,y\n1,2\n3\n4,5,6\n"7\n8",9\n')
    source = scanned(tmp_path, id_column="x")
    assert broken(source, 1) == "row 1 of a.csv has 1 field, but its header has 2"
    assert broken(source, 2) == "row 2 of a.csv has 3 fields, but its header has 2"
    assert [source.row_id(i) for i in range(4)] == ["1", "a.csv:1", "a.csv:2", "7\n8"]
    assert source.row(3).values == {"x": "7\n8", "y": "9"}


def test_a_line_that_is_no_object_is_broken_alone(tmp_path: Path) -> None:
    lines = ['{"x": 1}', '{"x": ', "[1]", "17", '"t"', "null", "true", "[" * 100_000, '{"x": ' + "1" * 5000 + "}", "{}"]
    write(tmp_path, a__jsonl="\n".join(lines))
    source = scanned(tmp_path)
    assert broken(source, 1) == "row 1 of a.jsonl is not JSON: Expecting value at its character 7"
    for i, word in [(2, "a list"), (3, "a number"), (4, "a text"), (5, "null"), (6, "true or false")]:
        assert broken(source, i) == f"row {i} of a.jsonl is not a JSON object but {word}"
    assert broken(source, 7) == "row 7 of a.jsonl is nested more than 200 deep"
    assert broken(source, 8).startswith("row 8 of a.jsonl is not readable JSON: ")
    assert source.row(9).values == {}
    assert source.row_id(1) == "a.jsonl:1"


def test_columns_come_from_the_first_row_that_can_be_read(tmp_path: Path) -> None:
    write(tmp_path, a__jsonl='no\n{"x": 1, "y": 2}\n{"z": 1}\n', b__jsonl="no\n")
    assert scanned(tmp_path).columns == ("x", "y")
    assert scanned(tmp_path / "b.jsonl").columns == ()
    assert scanned(tmp_path / "b.jsonl", id_column="id").row_id(0) == "b.jsonl:0"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_one_row_in_a_hundred_may_be_undecodable(tmp_path: Path, name: str) -> None:
    row = b'{"x": "%s"}\n' if name == "a.jsonl" else b'"%s"\n'
    head = b"" if name == "a.jsonl" else b"x\n"
    good = [row % b"%d" % at for at in range(99)]
    (tmp_path / name).write_bytes(head + b"".join([*good[:50], row % b"caf\xe9", *good[50:]]))
    source = scanned(tmp_path / name, id_column="x")
    assert broken(source, 50).startswith(
        f"row 50 of {name} cannot be read as utf-8: invalid continuation byte at its byte "
    )
    assert source.row_id(50) == f"{name}:50"
    assert [source.row(i).values["x"] for i in (49, 51)] == ["49", "50"]
    assert scanned(tmp_path / name, encoding="cp1252").row(50).values["x"] == "café"
    (tmp_path / name).write_bytes(head + b"".join([*good[:50], row % b"caf\xe9", *good[50:98]]))
    told = refusal(tmp_path / name)
    assert told.startswith(f"row 50 of {name} cannot be read as utf-8: invalid continuation byte")
    assert "1 of 99 rows cannot be read as utf-8\nset task.encoding to " in told


def test_an_undecodable_line_breaks_the_row_that_it_is_in(tmp_path: Path) -> None:
    rows = b"".join(b"%d,a\n" % at for at in range(200))
    (tmp_path / "a.csv").write_bytes(b'x,y\n1,"\n\xff\n",\n' + rows)
    source = scanned(tmp_path)
    assert broken(source, 0) == "row 0 of a.csv cannot be read as utf-8: invalid start byte at its byte 0"
    assert source.row(1).values == {"x": "0", "y": "a"}


def test_half_a_character_at_the_end_breaks_the_last_row(tmp_path: Path) -> None:
    data = "x\r\n".encode("utf-16-le") + "".join(f"{at}\r\n" for at in range(200)).encode("utf-16-le")
    (tmp_path / "a.csv").write_bytes(data + "é".encode("utf-16-le")[:1])
    source = scanned(tmp_path, encoding="utf-16-le")
    assert "row 200 of a.csv cannot be read as utf-16-le: truncated data" in broken(source, 200)
    assert source.row(199).values == {"x": "199"}


def test_a_quote_that_nothing_closes(tmp_path: Path) -> None:
    write(tmp_path, last__csv='x,y\n1,2\n3,"4\n', middle__csv='x,y\n1,2\n3,"4\n5,6\n7,8\n', head__csv='"x\n1\n')
    source = scanned(tmp_path / "last.csv")
    assert broken(source, 1) == "row 1 of last.csv has a quoted field that is never closed"
    assert source.row(0).values == {"x": "1", "y": "2"}
    told = refusal(tmp_path / "middle.csv")
    assert told.startswith(
        "row 1 of middle.csv opens a quoted field that is never closed: it would swallow the 2 lines after it\n"
    )
    assert "the header of head.csv has a quoted field that is never closed" in refusal(tmp_path / "head.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_a_row_beyond_all_bounds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(records, "ROW_BYTES", 1000)
    monkeypatch.setattr(records, "CHUNK_BYTES", 100)
    start = {"a.csv": 'x\n1\n"', "a.jsonl": '{"x": 1}\n', "a.txt": ""}[name]
    (tmp_path / name).write_text(start + "y\n" * 100)
    assert len(scanned(tmp_path / name)) if name == "a.txt" else True
    (tmp_path / name).write_text(start + ("y\n" if name == "a.csv" else "y") * 2000)
    number = 0 if name == "a.txt" else 1
    assert f"row {number} of {name} takes over 1,000 bytes" in refusal(tmp_path / name)


# Headers, columns and encodings that are refused.


def test_headers(tmp_path: Path) -> None:
    write(
        tmp_path,
        gap__csv="x,,z\n1,2,3\n",
        twice__csv="x,y,x,y,z\n1,2,3,4,5\n",
        wide__csv="x,y\n1,2\n".encode("utf-16-le"),
    )
    (tmp_path / "latin.csv").write_bytes("größe\n1\n".encode("latin-1"))
    assert "column 2 of gap.csv has no name\n" in refusal(tmp_path / "gap.csv")
    assert "twice.csv has more than one column 'x', 'y'\n" in refusal(tmp_path / "twice.csv")
    told = refusal(tmp_path / "wide.csv")
    assert told == "the header of wide.csv cannot be read as utf-8: it holds zero bytes\nset task.encoding to utf-16-le"
    told = refusal(tmp_path / "latin.csv")
    assert told.startswith("the header of latin.csv cannot be read as utf-8: invalid start byte at its byte 2")
    assert "\nset task.encoding to" in told


def test_columns_that_differ_name_both_parts(tmp_path: Path) -> None:
    write(tmp_path, a__csv="x,y\n1,2\n", b__csv="x,z\n1,2\n")
    told = "the columns of b.csv differ from those of a.csv: it lacks 'y' and it has 'z' more"
    assert told in refusal(tmp_path)
    write(tmp_path, b__csv="y,x\n")
    assert "the columns of b.csv differ from those of a.csv: they come in another order, y, x" in refusal(tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"x": [1], "y": [1]}), tmp_path / "b.parquet")
    told = "the columns of b.parquet differ from those of a.parquet: it has 'y' more"
    assert told in refusal(tmp_path / "*.parquet")


def test_no_rows(tmp_path: Path) -> None:
    write(tmp_path, empty__csv="", head__csv="x,y\n", blank__jsonl="\n \n\n")
    for name in ("empty.csv", "head.csv", "blank.jsonl"):
        assert refusal(tmp_path / name).startswith(f"{name} holds no rows\n")
    assert f"{tmp_path}/*.csv, 2 files, holds no rows" in refusal(tmp_path / "*.csv")
    pyarrow.parquet.write_table(pyarrow.table({"x": []}), tmp_path / "a.parquet")
    assert "a.parquet holds no rows" in refusal(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("klingon", "task.encoding is 'klingon': there is no such encoding"),
        ("base64", "task.encoding is 'base64': there is no such encoding"),
        ("a\0b", "there is no such encoding"),
        ("utf-16", "task.encoding is 'utf-16': it does not fix the byte order\nuse utf-16-le"),
        ("utf-7", "its lines cannot be read one by one"),
        ("iso2022_jp", "its lines cannot be read one by one"),
        ("cp037", "its lines cannot be read one by one"),
        ("unicode_escape", "its lines cannot be read one by one"),
        ("raw_unicode_escape", "its lines cannot be read one by one"),
    ],
)
def test_encodings_that_are_refused(tmp_path: Path, encoding: str, told: str) -> None:
    write(tmp_path, a__csv="x\n1\n")
    assert told in refusal(tmp_path, encoding=encoding)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_a_mark_tells_which_encoding_is_meant(tmp_path: Path, name: str) -> None:
    text = {"a.csv": "x\nä\n", "a.jsonl": '{"x": "ä"}\n', "a.txt": "ä"}[name]
    (tmp_path / name).write_bytes(("\ufeff" + text).encode("utf-16-le"))
    for encoding in ("utf-8", "latin-1", "utf-16-be"):
        told = refusal(tmp_path / name, encoding=encoding)
        assert "it begins with the byte order mark of utf-16-le\nset task.encoding to utf-16-le" in told
    column = "text" if name == "a.txt" else "x"
    assert scanned(tmp_path / name, encoding="utf-16-le").row(0).values[column] == "ä"
    (tmp_path / name).write_bytes(("\ufeff" + text).encode("utf-8"))
    assert scanned(tmp_path / name).row(0).values[column] == "ä"
    assert "set task.encoding to utf-8" in refusal(tmp_path / name, encoding="cp1252")


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "gbk", "big5", "euc_kr", "koi8-r", "utf_8_sig", "UTF8"])
def test_encodings_that_are_read(tmp_path: Path, encoding: str) -> None:
    text = {"cp1252": "ä€", "koi8-r": "ж", "euc_kr": "한"}.get(encoding, "表十一")
    rows = [[text, "1"], ["a\n" + text, "2"], [text * 3, "3"]]
    (tmp_path / "a.csv").write_bytes(csv_bytes([["x", "y"], *rows], encoding))
    assert [list(row.values()) for row in values_of(scanned(tmp_path, encoding=encoding))] == rows


def test_texts_in_another_encoding(tmp_path: Path) -> None:
    for at in range(100):
        (tmp_path / f"{at:03}.txt").write_bytes(b"caf\xe9" if at == 7 else b"tea")
    source = scanned(tmp_path)
    assert broken(source, 7) == "row 0 of 007.txt cannot be read as utf-8: unexpected end of data at its byte 3"
    (tmp_path / "100.txt").write_bytes(b"\xff")
    (tmp_path / "101.txt").write_bytes(b"\xff")
    assert "row 0 of 007.txt cannot be read as utf-8" in refusal(tmp_path)


# Ids.


def test_an_unknown_id_column_lists_the_columns(tmp_path: Path) -> None:
    write(tmp_path, a__csv="number,name\n1,2\n", j__jsonl='{"number": 1, "name": 2}\n')
    for name in ("a.csv", "j.jsonl"):
        told = refusal(tmp_path / name, id_column="nmae")
        assert told.startswith(
            f"the id column 'nmae' is not a column of {name}: it has number, name\ndid you mean 'name'"
        )


def test_an_id_twice_names_both_places(tmp_path: Path) -> None:
    write(tmp_path, a__csv="id\nx\ny\n", b__csv="id\nz\ny\nx\n")
    told = refusal(tmp_path, id_column="id")
    assert told.startswith("two rows have the id 'y': row 1 of a.csv and row 1 of b.csv\n")
    write(tmp_path, j__jsonl='{"id": 1}\n{"id": 2}\n{"id": "1"}\n')
    assert "two rows have the id '1': row 0 of j.jsonl and row 2 of j.jsonl" in refusal(
        tmp_path / "j.jsonl", id_column="id"
    )


def test_ids_that_are_twice_in_what_was_added(tmp_path: Path) -> None:
    write(tmp_path, a__csv="id\nx\ny\n", b__csv="id\nz\n")
    known = scanned(tmp_path, id_column="id").scan()
    write(tmp_path, a__csv="id\nx\ny\nz\n")
    told = refusal(tmp_path, id_column="id", known=known)
    assert "two rows have the id 'z': row 0 of b.csv and row 2 of a.csv" in told


def test_the_ids_of_broken_rows_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, a__csv="id,y\nx,1\nx\nx,2,3\n,\n")
    assert "row 3 of a.csv has no id" in refusal(tmp_path, id_column="id")
    write(tmp_path, a__csv="id,y\nx,1\nx\nx,2,3\n")
    assert [scanned(tmp_path, id_column="id").row_id(i) for i in range(3)] == ["x", "a.csv:1", "a.csv:2"]
    write(tmp_path, a__csv="id,y\na.csv:1,1\nx\n")
    told = refusal(tmp_path, id_column="id")
    assert "two rows have the id 'a.csv:1': row 0 of a.csv and row 1 of a.csv" in told


@pytest.mark.parametrize(
    ("value", "told"),
    [('""', "nothing"), ('" "', "' '"), ("null", "nothing"), ("[1]", r"\[1\]"), ("true", "True")],
)
def test_a_row_without_an_id_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, told: str) -> None:
    monkeypatch.setattr(records, "CHUNK_BYTES", 8)
    write(tmp_path, a__jsonl=f'{{"id": 1}}\n{{"id": {value}}}\n')
    with pytest.raises(BadInput, match=rf"row 1 of a.jsonl has no id: its 'id' holds {told}\n"):
        Input(str(tmp_path), id_column="id").scan()


def test_a_row_that_lacks_the_id_column_is_refused(tmp_path: Path) -> None:
    write(tmp_path, a__jsonl='{"id": 1}\n{"name": 1}\n')
    assert "row 1 of a.jsonl has no id: its 'id' holds nothing" in refusal(tmp_path, id_column="id")


def test_ids_are_texts() -> None:
    assert [id_text(value) for value in ("a ", 7, 1.5, datetime.date(2026, 1, 2))] == ["a ", "7", "1.5", "2026-01-02"]
    assert {id_text(value) for value in (None, "", " \n", True, [1], {}, b"x", math.nan, math.inf)} == {""}


def test_an_input_that_was_refused_stays_unscanned(tmp_path: Path) -> None:
    write(tmp_path, a__csv="id\nx\nx\n")
    source = Input(str(tmp_path), id_column="id")
    for _ in range(2):
        with pytest.raises(BadInput, match="two rows have the id 'x'"):
            source.scan()
    with pytest.raises(RuntimeError):
        len(source)
    write(tmp_path, a__csv="id\nx\ny\n")
    assert source.scan()[0].rows == 2


@given(st.lists(st.integers(-50, 50)))
@settings(max_examples=50)
def test_suspects_are_the_ids_that_came_twice(numbers: list[int]) -> None:
    ids = Ids()
    for number in numbers:
        ids.add(str(number))
    assert ids.suspects() == {hash(str(number)) for number in numbers if numbers.count(number) > 1}


def test_one_hash_is_not_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maker.inputs.ids.hash", lambda text: 7, raising=False)
    monkeypatch.setattr("maker.inputs.handle.hash", lambda text: 7, raising=False)
    write(tmp_path, a__csv="id\nx\ny\nz\n")
    assert len(scanned(tmp_path, id_column="id")) == 3
    write(tmp_path, a__csv="id\nx\ny\nz\ny\n")
    assert "two rows have the id 'y': row 1 of a.csv and row 3 of a.csv" in refusal(tmp_path, id_column="id")


def test_ids_that_utf8_cannot_write(tmp_path: Path) -> None:
    write(tmp_path, a__jsonl='{"id": "\\ud800"}\n{"id": "\\ud801"}\n')
    assert [scanned(tmp_path, id_column="id").row_id(i) for i in range(2)] == ["\ud800", "\ud801"]


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", '{"y": [NaN]}'])
def test_a_line_with_what_is_no_number_is_broken_alone(tmp_path: Path, value: str) -> None:
    """JSON has neither NaN nor Infinity, and nothing that is written of a row may hold them."""
    write(tmp_path, a__jsonl=f'{{"x": 1}}\n{{"x": {value}}}\n{{"x": 1e30}}\n')
    source = scanned(tmp_path)
    assert broken(source, 1).startswith("row 1 of a.jsonl is not readable JSON: it holds ")
    assert [source.row(i).values for i in (0, 2)] == [{"x": 1}, {"x": 1e30}]


def test_only_json_lines_have_columns_of_their_own_each(tmp_path: Path) -> None:
    """Of the other formats every row has those of the first."""
    write(tmp_path, a__csv="x\n1\n", a__jsonl='{"x": 1}\n', a__txt="x")
    pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / "a.parquet")
    found = {name: scanned(tmp_path / f"a.{name}").uniform for name in ("csv", "jsonl", "txt", "parquet")}
    assert found == {"csv": True, "jsonl": False, "txt": True, "parquet": True}


# Parquet.


def parquet(path: Path, rows: int, group: int) -> list[dict[str, Any]]:
    """Write a table of several types; return its rows."""
    made = [
        {"id": f"k{at}", "number": at, "share": at / 4, "when": datetime.datetime(2026, 1, 1, 0, 0, at % 60),
         "list": [at, None], "part": {"x": at, "y": None}, "raw": b"\0%d" % at, "yes": at % 2 == 0, "none": None}
        for at in range(rows)
    ]  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(made), path, row_group_size=group)
    return made


def test_parquet_by_row_group_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = parquet(tmp_path / "a.parquet", 500, 70)
    rows += parquet(tmp_path / "b.parquet", 30, 1000)
    order = shuffled(530, 3)
    source = scanned(tmp_path)
    assert source.columns == tuple(rows[0])
    assert [source.row(i).values for i in order] == [rows[i] for i in order]
    assert source.row(500).id == "b.parquet:0"
    assert [part.rows for part in source.scan()] == [500, 30]
    assert source.scan()[1].digest == digest((tmp_path / "b.parquet").read_bytes())
    monkeypatch.setattr("maker.inputs.formats.parquet.SLICE_ROWS", 3)
    monkeypatch.setattr(handle, "CACHE_BYTES", 0)
    small = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert [small.row(i).values for i in order[:100]] == [rows[i] for i in order[:100]]
    named = scanned(tmp_path / "a.parquet", id_column="number")
    assert [named.row_id(i) for i in (0, 499)] == ["0", "499"]


def test_parquet_keeps_the_slices_that_are_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "SLICE_ROWS", 100)
    parquet(tmp_path / "a.parquet", 2000, 2000)
    source = scanned(tmp_path)
    sliced: list[int] = []
    python = columnar.python_rows
    monkeypatch.setattr(columnar, "python_rows", lambda table: (sliced.append(table.num_rows), python(table))[1])
    order = shuffled(800, 0)
    assert [source.row(i).values["number"] for i in order] == order
    assert sliced == [100] * 8
    for i in range(800, 2000):
        source.row(i)
    assert sliced == [100] * 20
    block = next(iter(source._cache.values()))[0]
    assert len(block.entries._slices) == 8  # type: ignore[attr-defined]


def test_parquet_that_lost_a_row_group(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", 4, 2)
    source = scanned(tmp_path)
    before = (tmp_path / "a.parquet").read_bytes()
    parquet(tmp_path / "a.parquet", 2, 2)
    with pytest.raises(BadInput, match=r"a\.parquet changed since it was scanned: it had [\d,]+ bytes and has "):
        source.row(2)
    after = (tmp_path / "a.parquet").read_bytes()
    # What comes before the first row group's pages is not looked at: the same size, one group less.
    (tmp_path / "a.parquet").write_bytes(b"\0" * (len(before) - len(after)) + after)
    with pytest.raises(BadInput, match=r"a\.parquet changed since it was scanned: row group 1 has changed"):
        source.row(2)


def test_parquet_ids_twice(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", 50, 20)
    parquet(tmp_path / "b.parquet", 3, 20)
    told = refusal(tmp_path, id_column="id")
    assert "two rows have the id 'k0': row 0 of a.parquet and row 0 of b.parquet" in told
    assert "row 0 of a.parquet has no id: its 'none' holds nothing" in refusal(tmp_path, id_column="none")


def test_parquet_values_that_python_does_not_have_are_errors_of_their_own(tmp_path: Path) -> None:
    """Whoever needs one raises it; the others of the row are good. Rows are named by their place where an id is one."""
    text = pyarrow.array([b"a", b"\xff", b"c"]).cast(pyarrow.binary()).view(pyarrow.binary())
    column = pyarrow.StringArray.from_buffers(3, text.buffers()[1], text.buffers()[2])
    times = pyarrow.array([1_000, 1, 2_000], pyarrow.timestamp("ns"))
    pyarrow.parquet.write_table(pyarrow.table({"x": column, "at": times, "n": [1, 2, 3]}), tmp_path / "a.parquet")
    source = scanned(tmp_path)
    assert [row["n"] for row in values_of(source)] == [1, 2, 3]
    assert [source.row(i).values["x"] for i in (0, 2)] == ["a", "c"]
    assert source.row(0).values["at"] == datetime.datetime(1970, 1, 1, 0, 0, 0, 1)
    for name in ("x", "at"):
        odd = source.row(1).values[name]
        assert isinstance(odd, ValueError) and str(odd).startswith("cannot be read: ")
    named = scanned(tmp_path, id_column="x")
    assert broken(named, 1).startswith("row 1 of a.parquet has no id: its 'x' cannot be read: ")
    assert [named.row_id(i) for i in range(3)] == ["a", "a.parquet:1", "c"]


def test_parquet_numbers_that_are_not_finite_are_nothing(tmp_path: Path) -> None:
    """Wherever they stand in a value: JSON has none of them."""
    odd = [math.nan, math.inf, -math.inf, 1.5]
    pairs = pyarrow.map_(pyarrow.string(), pyarrow.float64())
    table = pyarrow.table({
        "plain": odd,
        "half": pyarrow.array(odd, pyarrow.float16()),
        "list": [[value, 1.0] for value in odd],
        "part": [{"a": value, "b": "x"} for value in odd],
        "deep": [[{"a": [value]}] for value in odd],
        "pairs": pyarrow.array([[("a", value)] for value in odd], pairs),
        "named": pyarrow.array(odd).dictionary_encode(),
        "text": ["NaN"] * 4,
    })  # fmt: skip
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    rows = values_of(scanned(tmp_path))
    for row, value in zip(rows, [None, None, None, 1.5], strict=True):
        assert row == {
            "plain": value, "half": value, "list": [value, 1.0], "part": {"a": value, "b": "x"},
            "deep": [{"a": [value]}], "pairs": [("a", value)], "named": value, "text": "NaN",
        }  # fmt: skip
        json.dumps(row, allow_nan=False)


def test_parquet_that_is_none(tmp_path: Path) -> None:
    write(tmp_path, a__parquet="PAR1 but nothing else", b__parquet="")
    for name in ("a.parquet", "b.parquet"):
        told = refusal(tmp_path / name)
        assert told.startswith(f"input part {name} cannot be read: ArrowInvalid: ")
        assert told.endswith("check that it is a complete Parquet file")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path / "a.parquet", 3, 3)
    write(tmp_path, a__csv="x\n1\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    told = refusal(tmp_path / "a.parquet")
    assert told.startswith("parquet needs the package pyarrow, which is not installed")
    assert told.endswith("\npip install 'maker-executor[parquet]'")
    assert len(scanned(tmp_path / "a.csv")) == 1


def test_csv_needs_no_pyarrow_to_be_imported() -> None:
    program = "import sys, maker.inputs.handle; assert not {'pyarrow', 's3fs', 'aiohttp'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env=os.environ)


# Handles on several workers.


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_threads_share_a_handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(handle, "CACHE_BYTES", 0)
    if name == "a.csv":
        (tmp_path / name).write_text("x\n" + "".join(f"{at}\n" for at in range(20_000)))
    else:
        table = pyarrow.table({"x": [str(at) for at in range(20_000)]})
        pyarrow.parquet.write_table(table, tmp_path / name, row_group_size=20_000)
    source = Input(str(tmp_path))
    failed: list[Any] = []
    inside: list[int] = []

    def one_at_a_time(call: Callable[..., Any], *args: Any) -> Any:
        inside.append(1)
        time.sleep(0.001)
        failed.extend(["two at once"] * (len(inside) - 1))
        try:
            return call(*args)
        finally:
            inside.pop()

    read, python = Site.read, columnar.python_rows
    monkeypatch.setattr(Site, "read", lambda *args: one_at_a_time(read, *args))
    monkeypatch.setattr(columnar, "python_rows", lambda table: one_at_a_time(python, table))

    def work(seed: int) -> None:
        try:
            source.scan()
            chosen = random.Random(seed).choices(range(20_000), k=100)
            failed.extend(i for i in chosen if source.row(i).values["x"] != str(i))
        except Exception as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
