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
