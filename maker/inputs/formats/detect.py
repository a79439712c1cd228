"""Which format a file is in, by the end of its name, and what separates the columns of CSV."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import NamedTuple

from maker.errors import BadInput
from maker.inputs.compressed import ENDINGS as COMPRESSED
from maker.inputs.compressed import split_name
from maker.inputs.encoding import EXCEL_FIX, Encoding
from maker.inputs.failures import redacted
from maker.inputs.formats.delimited import Delimited, is_separator
from maker.inputs.formats.interface import Format
from maker.inputs.formats.jsonarray import JsonArray
from maker.inputs.formats.jsonlines import JsonLines
from maker.inputs.formats.parquet import Parquet
from maker.inputs.formats.slices import Slices
from maker.inputs.formats.texts import Texts
from maker.inputs.parts import Broken
from maker.inputs.sites import Found, Site

_ENDINGS = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".json": "JSON",
    ".parquet": "Parquet",
    ".txt": "text",
    ".md": "text",
    ".text": "text",
}
_EXCEL = (".xlsx", ".xlsm", ".xls", ".ods")
_DELIMITERS = (";", "\t", "|")
_HEAD_BYTES = 64 << 10


class Dialect(NamedTuple):
    """How text is to be read.

    Args:
        encoding: What it is written in.
        delimiter: What separates the columns of CSV; "" finds it.
        quotes: Whether quotation marks enclose fields of CSV and TSV.
        slice: Read texts in slices of at most so many characters; 0 makes a whole file one row.
    """

    encoding: Encoding
    delimiter: str = ""
    quotes: bool = True
    slice: int = 0


_MADE: dict[str, Callable[[Dialect], Format]] = {
    "CSV": lambda dialect: Delimited(dialect.encoding, dialect.delimiter or ",", dialect.quotes),
    "TSV": lambda dialect: Delimited(dialect.encoding, dialect.delimiter or "\t", dialect.quotes),
    "JSON lines": lambda dialect: JsonLines(dialect.encoding),
    "JSON": lambda dialect: JsonArray(dialect.encoding),
    "Parquet": lambda _: Parquet(),
    "text": lambda dialect: Texts(dialect.encoding),
}


def word_of(found: Found) -> tuple[str, list[str]]:
    """Return which format the files of an input are in, in words, and their names.

    What a folder holds beside them, in no format that is known, is passed over; so is JSON beside another format.

    Raises:
        BadInput: There is none, there are two formats, a file that was asked for is in none, a name is no UTF-8, or a
            folder holds a file and the same one compressed.
    """
    words = {name: _word(name) for name in found.names}
    if found.folder and len(set(words.values()) - {"", "JSON"}) > 0:
        words = {name: "" if word == "JSON" else word for name, word in words.items()}
    names = [name for name in found.names if words[name]]
    if (len(names) < len(found.names) and not found.folder) or not names:
        raise _unknown(next(name for name in found.names if not words[name]))
    if wrong := next((name for name in names if not _is_text(name)), ""):
        raise BadInput(f"the name of the file {redacted(wrong)} is not UTF-8", fix="rename it")
    word = words[names[0]]
    if other := next((name for name in names if words[name] != word), ""):
        raise BadInput(
            f"the input mixes formats: {names[0]} is {word}, {other} is {words[other]}",
            fix="use a pattern that matches files of one format, e.g. data/*.csv",
        )
    there = set(names)
    if twice := next((name for name in names if (plain := split_name(name)[0]) != name and plain in there), ""):
        raise BadInput(
            f"the input holds {split_name(twice)[0]} and {twice}: the same rows would be read twice",
            fix="use a pattern that matches one of them, or move the other",
        )
    return word, names


def _word(name: str) -> str:
    stem, ending = split_name(name)
    word = _ENDINGS.get(posixpath.splitext(stem)[1].lower(), "")
    # A Parquet file is compressed within, and read from its end.
    return "" if ending and word == "Parquet" else word


def _unknown(name: str) -> BadInput:
    if posixpath.splitext(name)[1].lower() in _EXCEL:
        return BadInput(f"{redacted(name)} is a spreadsheet, which is not read: its cells are not text", fix=EXCEL_FIX)
    if name.lower().endswith(".parquet" + split_name(name)[1]):
        return BadInput(f"{redacted(name)} is a compressed Parquet file", fix="decompress it")
    return BadInput(
        f"{redacted(name)} is in no known format",
        fix=f"use files that end with {', '.join(_ENDINGS)}; text may be compressed: {', '.join(COMPRESSED)}",
    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def make_format(word: str, dialect: Dialect) -> Format:
    """Return a format by the word that `word_of` gave; of text in slices of so many characters, where there are any.

    Raises `BadInput` for slices of anything else.
    """
    if not dialect.slice:
        return _MADE[word](dialect)
    if word != "text":
        raise BadInput(f"the input is {word}; only text can be read in slices", fix="use a .txt, .md or .text file")
    return Slices(dialect.encoding, dialect.slice)


def find_delimiter(site: Site, name: str, dialect: Dialect, size: int | None) -> str:
    """Return what separates the columns of a CSV file: a comma, unless the file leaves no doubt that it is another.

    Its first line may say so (``sep=;``). Otherwise its header must be one field by a comma, or none that can be read
    (``"a";"b"``), and all rows at its beginning must have as many fields as its header, at least two, by one delimiter
    and by no other.

    Args:
        site: Where the file is.
        name: Which it is.
        dialect: How it is read.
        size: Look at no more of it than so many bytes.
    """
    with site.open(name) as file, site.telling(name):
        head = file.read(min(size or _HEAD_BYTES, _HEAD_BYTES))
    final = len(head) < _HEAD_BYTES
    mark = dialect.encoding.mark
    head = head.removeprefix(mark) if mark else head

    def rows(delimiter: str) -> list[object]:
        format = Delimited(dialect.encoding, delimiter, dialect.quotes)
        found: list[object] = format.cut(head, final=final).entries
        return found

    by_comma = rows(",")
    first = by_comma[0] if by_comma else None
    if is_separator(first) and isinstance(first, list):
        return str(first[0][4:]) or ","
    if isinstance(first, list) and len(first) > 1:
        return ","
    fits = [delimiter for delimiter in _DELIMITERS if _is_table(rows(delimiter))]
    return fits[0] if len(fits) == 1 else ","


def _is_table(rows: list[object]) -> bool:
    """Say whether rows are some under a header of two columns or more, all as long as it."""
    if len(rows) < 2 or any(isinstance(row, Broken) or not isinstance(row, list) for row in rows):
        return False
    lengths = {len(row) for row in rows if isinstance(row, list)}
    return len(lengths) == 1 and lengths.pop() > 1
