"""Files of every kind, as other programs write them and then damaged: what is read is what stands there, or is refused.

    python -m benchmarks.recovery.fuzz_files [--minutes 3] [--seed 7]

Tables of odd texts are written by the csv module in its dialects, by json, by pyarrow, and compressed by the standard
library; then most have bytes changed, cut out, doubled or inserted. Each file is read with blocks and chunks of a few
bytes, in sequence, by number in any order, by a copy, and again as the part that a run began with. A second reader,
written for this alone from the formats' definitions, says what must come out: the same values, a row that is broken, or
a refusal. Whatever else comes, an exception too, is printed with the seed that makes it again.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import pickle
import random
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, NamedTuple

import fsspec  # type: ignore[import-untyped]
import pyarrow.parquet

from benchmarks.shared.options import make_parser, read_options
from maker.errors import BadInput
from maker.inputs import blocks, handle
from maker.inputs.formats import delimited, records
from maker.inputs.handle import Input
from maker.inputs.parts import BrokenRow

PIECES = [
    '"', '""', ",", ";", "\t", "|", "\n", "\r", "\r\n", "\0", " ", "a", "b", "12", "0.1", "é", "漢", "😀", "\u2028",
    "\x85", "\ufeff", "{", "}", "[", "]", ":", "\\", "\\u0041", "sep=;", "null", "1e5", "-",
]  # fmt: skip
BITS = [b'"', b",", b";", b"\n", b"\r", b"\0", b"\xff", b"\xc3", b"{", b"}", b"[", b"]", b"\\", b'"a"b', b'"k":1,"k":2',
        b"NaN", b"1e999", b"0.1234567890123456789"]  # fmt: skip
COMPRESSIONS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    ".gz": (gzip.compress, gzip.decompress),
    ".bz2": (bz2.compress, bz2.decompress),
    ".xz": (lzma.compress, lzma.decompress),
}
MARKED, OPEN = "\ue000", "\ue001"
"""Stand for bytes that are no text, and for the end of a quoted field that is never closed."""
codecs.register_error("marked", lambda error: (MARKED, error.end))  # type: ignore[attr-defined]
BROKEN = "broken"
"""Stands for a row that must not be read."""


class Case(NamedTuple):
    """A file: its name, what it holds, what is stored of that, and how it is read."""

    name: str
    content: bytes
    stored: bytes
    options: dict[str, Any]
    damaged: bool


class Refused(Exception):
    """What a file must be refused for, or may be."""


def main() -> None:
    """Try files until the time is over; exit with 1 at the first that is read wrong."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=None, help="try this one alone")
    options = read_options(parser, needs=["pyarrow"], minutes=0.03)
    if options.seed is not None:
        problem = tried(options.seed)
        sys.exit(problem or 0)
    first = random.SystemRandom().randrange(1 << 40)
    count, problem = fuzz(first, options.minutes * 60)
    print(f"{count:,} files from seed {first}")
    sys.exit(problem or 0)


def fuzz(first: int, seconds: float) -> tuple[int, str]:
    """Try files from a seed on, for some time; return how many, and what was wrong with the last, "" for nothing."""
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        if problem := tried(first + count):
            return count + 1, problem
        count += 1
    return count, ""


def tried(seed: int) -> str:
    """Try one file; return what is wrong, "" for nothing."""
    rng = random.Random(seed)
    case = _made(rng)
    try:
        problem = _problem(case, rng)
    except Exception:  # noqa: BLE001 - any at all is what is looked for
        problem = traceback.format_exc()
    return f"seed {seed}: {problem}\n{repr(case)[:2000]}" if problem else ""


def _problem(case: Case, rng: random.Random) -> str:  # noqa: PLR0911 - a reason each
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pipe(f"/{case.name}", case.stored)
    where = f"memory://{case.name}"
    sizes = [rng.choice([1, 2, 3, 7, 30, 1 << 16]), rng.choice([1, 2, 5, 1024]), rng.choice([1, 20, 1 << 16])]
    with _sized(*sizes):
        source = Input(where, **case.options)
        try:
            parts = source.scan()
        except BadInput as error:
            return _unfounded(case, str(error))
        read = [_row(source, i) for i in range(len(source))]
        try:
            # A file that is read all the same, as one whose bytes were changed without effect, must be read rightly.
            expected = _expected(case, source)
        except Refused as why:
            return f"it should be refused: {why}"
        if read != expected:
            return f"read {read}\nexpected {expected}"
        order = [rng.randrange(len(source)) for _ in range(2 * len(source))]
        if [_row(source, i) for i in order] != [read[i] for i in order]:
            return "by number other rows are read than in sequence"
        copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own
        if [_row(copy, i) for i in order] != [read[i] for i in order]:
            return "a copy reads other rows"
        again = Input(where, known=parts, grow=False, **case.options)
        if again.scan() != parts or [_row(again, i) for i in range(len(again))] != read:
            return "a run that began with it reads other rows"
    return ""


def _unfounded(case: Case, told: str) -> str:
    """Return what is wrong with a refusal, "" where there is cause for it, and it is told."""
    if case.name not in told and "no rows" not in told:
        return f"the file is not named: {told}"
    try:
        _expected(case, None)
    except Refused:
        return ""
    return f"refused without cause: {told}"


def _row(source: Input, i: int) -> Any:
    try:
        return source.row(i).values
    except BrokenRow as error:
        return BROKEN if f"row {source._at(i).shift + i - source._at(i).shift} " in f"{error} " else f"unnamed: {error}"


@contextmanager
def _sized(chunk: int, rows: int, size: int) -> Iterator[None]:
    before = records.CHUNK_BYTES, blocks.BLOCK_ROWS, blocks.BLOCK_BYTES, handle.CACHE_BYTES
    records.CHUNK_BYTES, blocks.BLOCK_ROWS, blocks.BLOCK_BYTES, handle.CACHE_BYTES = chunk, rows, size, 100
    try:
        yield
    finally:
        records.CHUNK_BYTES, blocks.BLOCK_ROWS, blocks.BLOCK_BYTES, handle.CACHE_BYTES = before


# How files are written.


def _made(rng: random.Random) -> Case:
    if rng.random() < 0.03:
        return _parquet_case(rng)
    kind = rng.choice([_csv, _csv, _csv, _json_lines, _json_array, _text])
    name, content, options = kind(rng)
    damaged = rng.random() < 0.6
    if damaged and rng.random() < 0.7:
        content = _changed(rng, content)
    ending = rng.choice([*COMPRESSIONS, "", "", ""])
    stored = COMPRESSIONS[ending][0](content) if ending else content
    if ending and damaged and rng.random() < 0.5:
        stored = _changed(rng, stored)
    return Case(name + ending, content, stored, options, damaged)


def _csv(rng: random.Random) -> tuple[str, bytes, dict[str, Any]]:
    delimiter = rng.choice([",", ",", ";", "\t", "|"])
    quotes = rng.random() < 0.85
    columns = rng.randint(1, 4)
    header = [f"{_cell(rng)}{at}" for at in range(columns)] if rng.random() < 0.5 else list("abcd"[:columns])
    table = [header, *([_cell(rng) for _ in range(columns)] for _ in range(rng.choice([1, 2, 5, 12, 150])))]
    text = io.StringIO()
    if rng.random() < 0.1:
        text.write(f"sep={delimiter}\n")
    end = rng.choice(["\n", "\r\n", "\r"])
    if quotes:
        quoting: Any = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
        csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(table)
    else:
        for row in table:
            text.write(delimiter.join("".join(c for c in cell if c not in delimiter + "\r\n") for cell in row) + end)
    options: dict[str, Any] = {} if quotes else {"quotes": False}
    if rng.random() < 0.7:
        options["delimiter"] = delimiter
    return _encoded(rng, "t.tsv" if delimiter == "\t" else "t.csv", text.getvalue(), options)


def _json_lines(rng: random.Random) -> tuple[str, bytes, dict[str, Any]]:
    plain = rng.random() < 0.5
    lines = [json.dumps(_object(rng), ensure_ascii=plain) for _ in range(rng.choice([1, 3, 10, 150]))]
    return _encoded(rng, "t.jsonl", rng.choice(["\n", "\r\n", "\n\n"]).join(lines) + rng.choice(["", "\n"]), {})


def _json_array(rng: random.Random) -> tuple[str, bytes, dict[str, Any]]:
    rows = [_object(rng) for _ in range(rng.choice([1, 3, 10]))]
    text = json.dumps(rows, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 0, 2]))
    return _encoded(rng, "t.json", text, {})


def _text(rng: random.Random) -> tuple[str, bytes, dict[str, Any]]:
    text = "".join(rng.choices([piece for piece in PIECES if piece != "\0"], k=rng.randint(0, 300)))
    return _encoded(rng, "t.txt", text, rng.choice([{}, {"slice": 16}, {"slice": 50}]))


def _parquet_case(rng: random.Random) -> Case:
    """Return a Parquet file, whole or cut off: what reads it is not ours to damage further."""
    rows = rng.choice([1, 5, 40])
    columns: dict[str, Any] = {
        "text": [_cell(rng) for _ in range(rows)],
        "number": [rng.choice([rng.random(), float("nan"), None]) for _ in range(rows)],
        "list": [[rng.randint(0, 9), None] for _ in range(rows)],
        "at": pyarrow.array([rng.randrange(10**15) * 1000 for _ in range(rows)], pyarrow.timestamp("ns")),
    }
    written = io.BytesIO()
    compression = rng.choice(["none", "gzip", "zstd"])
    pyarrow.parquet.write_table(
        pyarrow.table(columns), written, row_group_size=rng.choice([1, 7, 100]), compression=compression
    )
    content = written.getvalue()
    damaged = rng.random() < 0.3
    return Case("t.parquet", content, content[: rng.randrange(len(content))] if damaged else content, {}, damaged)


def _encoded(rng: random.Random, name: str, text: str, options: dict[str, Any]) -> tuple[str, bytes, dict[str, Any]]:
    encoding = rng.choice(["utf-8", "utf-8", "utf-8", "utf-16-le", "utf-32-le"])
    mark = "\ufeff" if rng.random() < 0.2 else ""
    return name, (mark + text).encode(encoding), options | ({} if encoding == "utf-8" else {"encoding": encoding})


def _cell(rng: random.Random) -> str:
    return "".join(rng.choices(PIECES, k=rng.choice([0, 1, 1, 2, 5])))


def _object(rng: random.Random) -> dict[str, Any]:
    return {_cell(rng): _value(rng) for _ in range(rng.randint(0, 4))}


def _value(rng: random.Random) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: _cell(rng), rng.random, lambda: rng.randint(-(10**20), 10**20), lambda: None,
        lambda: [_cell(rng), {"x": rng.random()}], lambda: {_cell(rng): _cell(rng)},
    ]  # fmt: skip
    return rng.choice(kinds)()


def _changed(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.choice([1, 1, 2, 4])):
        at, to = sorted(rng.randint(0, len(data)) for _ in range(2))
        kind = rng.randrange(6)
        if kind == 0:
            data = data[:at] + data[min(to, at + 3) :]
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data = data[:at] + data[at : at + 20] + data[at:]
        elif kind == 3 and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
        else:
            data = data[:at] + rng.choice(BITS) + data[at:]
    return data


# What must come out, by a reader of its own.


def _expected(case: Case, source: Input | None) -> list[Any]:
    """Return the rows of a file, `BROKEN` where one must not be read. Raises `Refused`."""
    content = case.content
    if case.name == "t.parquet":
        if case.damaged:
            raise Refused("it is cut off")
        rows = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
        return [row | {"number": None if row["number"] != row["number"] else row["number"]} for row in rows]
    ending = next((ending for ending in COMPRESSIONS if case.name.endswith(ending)), "")
    if ending:
        try:
            # What follows a stream, and is none, the standard library passes over.
            found = COMPRESSIONS[ending][1](case.stored) if case.stored else b""
        except Exception as error:
            raise Refused(f"{ending}: {error}") from error
        if case.stored != COMPRESSIONS[ending][0](content) and source is None:
            raise Refused("the compressed file has changed")
        content = found
    encoding = case.options.get("encoding", "utf-8")
    mark = "\ufeff".encode(encoding)
    if content.startswith(mark):
        content = content[len(mark) :]
    elif content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        raise Refused("another encoding's mark")
    if case.name.startswith("t.txt"):
        return _expected_text(case, content, encoding)
    if case.name.startswith("t.jsonl"):
        return _expected_lines(content, encoding, source)
    if case.name.startswith("t.json"):
        return _expected_array(content, encoding)
    return _expected_csv(case, content, encoding, source)


def _decoded(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise Refused("it is no text") from error


def _expected_text(case: Case, content: bytes, encoding: str) -> list[Any]:
    text = _decoded(content, encoding)
    if not (size := case.options.get("slice", 0)):
        return [{"file": case.name, "text": text}]
    if "\0" in text or not text:
        raise Refused("zero bytes, or nothing")
    rows, start = [], 0
    while start < len(text):
        stop = min(start + size, len(text))
        window = text[start : start + size]
        line = window.find("\n", 13 * size // 16, 15 * size // 16)
        blank = next((at for at in range(15 * size // 16, len(window)) if window[at].isspace()), -1)
        if line >= 0:
            stop = start + line + 1
        elif blank >= 0:
            stop = start + blank + 1
        rows.append({"file": case.name, "text": text[start:stop]})
        start = stop
    return rows


def _expected_lines(content: bytes, encoding: str, source: Input | None) -> list[Any]:
    text = content.decode(encoding, "marked")
    rows = [_parsed(line) for line in text.split("\n") if line.strip(" \t\r\n")]
    if not rows:
        raise Refused("no rows")
    _check_text(sum(MARKED in line for line in text.split("\n")), len(rows), source)
    return rows


def _check_text(bad: int, rows: int, source: Input | None) -> None:
    """Raise `Refused` where too many rows are no text; where the file was refused, any is cause."""
    if bad > rows * 0.01 or (bad and source is None):
        raise Refused(f"{bad} rows are no text")


def _expected_array(content: bytes, encoding: str) -> list[Any]:
    text = _decoded(content, encoding)
    try:
        # A numeral that is no float is a matter of its row.
        pieces = json.loads(text, object_pairs_hook=tuple, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise Refused(str(error)) from error
    if not isinstance(pieces, list) or not pieces or not all(isinstance(piece, tuple) for piece in pieces):
        raise Refused("no array of objects")
    decoder, at, rows = json.JSONDecoder(), text.index("[") + 1, []
    for _ in pieces:
        at += len(text[at:]) - len(text[at:].lstrip(", \t\r\n"))
        _, stop = decoder.raw_decode(text, at)
        rows.append(_parsed(text[at:stop]))
        at = stop
    return rows


def _parsed(line: str) -> Any:
    """Return the object of a text, `BROKEN` if it is none, or one that Python would change."""
    if MARKED in line:
        return BROKEN
    try:
        exact = json.loads(line, object_pairs_hook=tuple, parse_float=Decimal, parse_constant=lambda word: complex(0))
        plain = json.loads(line)
    except (ValueError, RecursionError, ArithmeticError):
        return BROKEN
    return plain if isinstance(plain, dict) and _same(exact, plain) else BROKEN


def _same(exact: Any, plain: Any) -> bool:
    if isinstance(plain, dict):
        names = [name for name, _ in exact]
        return len(set(names)) == len(names) and all(_same(value, plain[name]) for name, value in exact)
    if isinstance(plain, list):
        return all(_same(one, other) for one, other in zip(exact, plain, strict=True))
    if isinstance(plain, float):
        return isinstance(exact, Decimal) and exact in _prints(plain, exact)
    return bool(exact == plain)


def _prints(plain: float, exact: Decimal) -> tuple[Decimal, Decimal]:
    """Return what programs print a float as: in the shortest form, and with as many places as a numeral has."""
    places = exact.as_tuple().exponent
    assert isinstance(places, int)  # noqa: S101 - JSON has no numeral that is not finite
    # No float has more places.
    return Decimal(repr(plain)), Decimal(f"{plain:.{min(1074, max(0, -places))}f}")


def _expected_csv(case: Case, content: bytes, encoding: str, source: Input | None) -> list[Any]:
    text = content.decode(encoding, "marked")
    if re.match(f'[\r\n]*"?sep={MARKED}', text):
        raise Refused("the line that names the delimiter is no text")
    known = source._scanned.format if source is not None and source._scanned is not None else None
    found = known.delimiter if isinstance(known, delimited.Delimited) else case.options.get("delimiter", "")
    # Which delimiter is found, where none is set, is not what is examined: a refusal must have cause by any of them.
    if not found and (said := re.match('[\r\n]*("?)sep=(.)\\1[\r\n]', text)):
        found = said[2]
    candidates = [found] if found else ["\t"] if case.name.startswith("t.tsv") else [",", ";", "\t", "|"]
    reasons: list[Refused] = []
    rows: list[Any] = []
    for delimiter in candidates:
        try:
            rows, bad = _table(text, delimiter, quotes=case.options.get("quotes", True))
            _check_text(bad, len(rows), source)
        except Refused as why:
            reasons.append(why)
    if reasons:
        raise reasons[0]
    return rows


def _table(text: str, delimiter: str, *, quotes: bool) -> tuple[list[Any], int]:
    """Return rows by column, and how many are no text. Raises `Refused`."""
    rows, ends = _fields(text, delimiter, quotes=quotes)
    if "\r" in ends and ends & {"\n", "\r\n"}:
        raise Refused("lines end in two ways")
    if rows and (rows[0] == ["sep=", ""] or (len(rows[0]) == 1 and len(rows[0][0]) == 5 and rows[0][0][:4] == "sep=")):
        rows = rows[1:]
    if len(rows) < 2:
        raise Refused("no rows")
    header, *found = rows
    if len(set(header)) < len(header) or "" in header or any(set(name) & {"\0", MARKED, OPEN} for name in header):
        raise Refused("the header")
    bad = [any(MARKED in field for field in row) for row in found]
    good = [len(row) == len(header) and not (row[-1] == OPEN or odd) for row, odd in zip(found, bad, strict=True)]
    read = [dict(zip(header, row, strict=True)) if one else BROKEN for row, one in zip(found, good, strict=True)]
    return read, sum(bad)


def _fields(text: str, delimiter: str, *, quotes: bool) -> tuple[list[list[str]], set[str]]:
    """Return rows of fields, and what they end with. Raises `Refused` where one cannot be told from the next."""
    rows: list[list[str]] = []
    ends: set[str] = set()
    at = 0
    while at < len(text):
        row: list[str] = []
        began = at
        while True:
            if quotes and text.startswith('"', at):
                field, at = _quoted(text, at + 1, delimiter)
                if at < 0:
                    if _lines(text[began:]) > 1:
                        raise Refused("a quoted field that is never closed")
                    return [*rows, [*row, field, OPEN]], ends
            else:
                stop = at
                while stop < len(text) and text[stop] not in (delimiter, "\r", "\n"):
                    stop += 1
                field, at = text[at:stop], stop
            row.append(field)
            if not text.startswith(delimiter, at):
                break
            at += 1
        end = "\r\n" if text.startswith("\r\n", at) else text[at : at + 1]
        at += len(end)
        if row != [""] or text[began:at].startswith('"'):
            rows.append(row)
            ends |= {end} if at < len(text) or end != "\r" else set()
    return rows, ends


def _lines(text: str) -> int:
    return sum(1 for _ in io.StringIO(text, newline=""))


def _quoted(text: str, at: int, delimiter: str) -> tuple[str, int]:
    """Return a quoted field and where what follows its closing mark stands, -1 if nothing closes it."""
    field = ""
    while (mark := text.find('"', at)) >= 0:
        field += text[at:mark]
        if text.startswith('""', mark):
            field += '"'
            at = mark + 2
            continue
        if text[mark + 1 : mark + 2] not in ("", delimiter, "\r", "\n"):
            raise Refused("text after a closing quotation mark")
        return field, mark + 1
    return field + text[at:], -1


if __name__ == "__main__":
    main()
