"""How the bytes of an input become text."""

from __future__ import annotations

import codecs
from typing import NamedTuple

from maker.errors import BadInput

_MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}
"""What a file may begin with that is no text, by encoding; the longer ones before those that they begin with."""

_EXCEL = "an Excel workbook or another zip file"
_OLD_EXCEL = "an old Excel workbook"
_KINDS = {
    b"PK\x03\x04": _EXCEL,
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": _OLD_EXCEL,
    b"\x1f\x8b": "compressed with gzip",
    b"BZh91AY&SY": "compressed with bzip2",
    b"\xfd7zXZ\0": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"PAR1\x15": "Parquet",
    b"SQLite format 3\0": "an SQLite database",
}
"""What is no text, by what it begins with."""
EXCEL_FIX = (
    "open it and save the sheet as CSV UTF-8; or, with pandas and openpyxl: "
    "pandas.read_excel(FILE, dtype=str).to_csv(OUT, index=False)"
)
_KIND_FIXES = {
    _EXCEL: EXCEL_FIX,
    _OLD_EXCEL: EXCEL_FIX,
    "compressed with gzip": "let its name end with .gz, e.g. rows.csv.gz",
    "compressed with bzip2": "let its name end with .bz2, e.g. rows.csv.bz2",
    "compressed with xz": "let its name end with .xz, e.g. rows.csv.xz",
    "compressed with Zstandard": "let its name end with .zst, e.g. rows.csv.zst",
    "Parquet": "let its name end with .parquet",
    "an SQLite database": "write the table to a CSV file",
}
_STATEFUL = ("utf-7", "hz", "iso2022", "raw-unicode-escape")
_PLAIN = '\n\r",'


class Encoding(NamedTuple):
    """An encoding in which every line can be read by itself.

    Args:
        name: Python's name for it.
        newline: The bytes of a newline: 1, 2 or 4.
        mark: The byte order mark, which is passed over where a file begins with it.
    """

    name: str
    newline: bytes
    mark: bytes


def checked_encoding(encoding: str) -> Encoding:
    """Return an encoding, checked. Raises `BadInput` where it is unknown, or lines cannot be told apart in it."""
    try:
        name = codecs.lookup(encoding).name.replace("_", "-").removesuffix("-sig")
        plain = _PLAIN.encode(name)
    except (LookupError, ValueError, TypeError) as error:
        raise _unusable(encoding, "there is no such encoding", "use utf-8, cp1252 or latin-1") from error
    if name in {"utf-16", "utf-32"}:
        fix = f"use {name}-le, as Windows writes it, or {name}-be"
        raise _unusable(encoding, "it does not fix the byte order", fix)
    wide = name.startswith(("utf-16", "utf-32"))
    if name.startswith(_STATEFUL) or not (wide or plain == _PLAIN.encode("ascii")):
        raise _unusable(encoding, "its lines cannot be read one by one", "convert the files to utf-8")
    return Encoding(name, "\n".encode(name), _MARKS.get(name, b""))


def check_kind(data: bytes, name: str, word: str) -> None:
    """Raise `BadInput` where a file begins as one of another kind does, whatever its name says."""
    if kind := next((kind for begins, kind in _KINDS.items() if data.startswith(begins)), ""):
        raise BadInput(f"{name} is no {word} but {kind}", fix=_KIND_FIXES[kind])


def mark_bytes(data: bytes, name: str, encoding: Encoding) -> int:
    """Return the length of the byte order mark that a file begins with. Raises `BadInput` for another encoding's."""
    if encoding.mark and data.startswith(encoding.mark):
        return len(encoding.mark)
    if other := next((encoding for encoding, mark in _MARKS.items() if data.startswith(mark)), ""):
        raise wrong_encoding(name, encoding, f"it begins with the byte order mark of {other}", other)
    return 0


def wrong_encoding(what: str, encoding: Encoding, why: str, likely: str = "") -> BadInput:
    """Return the error for bytes that are no text in the encoding of the input."""
    fix = f"set task.encoding to {likely or 'the encoding of the files, e.g. cp1252 or latin-1'}"
    return BadInput(f"{what} cannot be read as {encoding.name}: {why}", fix=fix, encoding=encoding.name)


def _unusable(encoding: str, why: str, fix: str) -> BadInput:
    return BadInput(f"task.encoding is {encoding!r}: {why}", fix=fix, encoding=encoding)
