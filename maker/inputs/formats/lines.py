"""Splits bytes into lines of text, and keeps count of the bytes."""

from __future__ import annotations

import io
from itertools import accumulate
from typing import Literal, NamedTuple, TypeAlias

from maker.inputs.encoding import Encoding

Newline: TypeAlias = Literal["", "\n"]
"""What ends a line, as `open` has it: a newline alone, or ("") any of \\n, \\r and \\r\\n."""


class Lines(NamedTuple):
    """Lines in order, each with what ends it.

    Args:
        texts: What they say; what cannot be decoded is U+FFFD.
        ends: Where each ends, in bytes from the beginning of the data.
        bad: By place in ``texts``, why a line cannot be decoded.
        returns: Some of them end with a carriage return alone, perhaps.
    """

    texts: list[str]
    ends: list[int]
    bad: dict[int, str]
    returns: bool = False


def split_lines(data: bytes, encoding: Encoding, newline: Newline, *, final: bool) -> Lines:
    """Split data. Unless it is the ``final`` one, a line that could go on after it is left out."""
    if not final:
        # Half a character may be the newline after a carriage return.
        data = data[: len(data) - len(data) % len(encoding.newline)]
    pieces = _pieces(data, encoding, newline)
    # After a carriage return at the end of the data a newline may come.
    if pieces and not final and not pieces[-1].endswith(encoding.newline):
        pieces.pop()
    ends = list(accumulate(map(len, pieces)))
    returns = not newline and data.count(b"\r") > (data.count(b"\r\n") if len(encoding.newline) == 1 else 0)
    try:
        return Lines([str(piece, encoding.name) for piece in pieces], ends, {}, returns)
    except UnicodeDecodeError:
        texts = [str(piece, encoding.name, "replace") for piece in pieces]
        return Lines(texts, ends, _undecodable(pieces, encoding), returns)


def _pieces(data: bytes, encoding: Encoding, newline: Newline) -> list[bytes]:
    if len(encoding.newline) == 1:
        return io.BytesIO(data).readlines() if newline else data.splitlines(keepends=True)
    # U+FFFD takes as many bytes as what it stands for in these encodings, so the lengths stay true; but at the end.
    texts = io.StringIO(data.decode(encoding.name, "replace"), newline=newline)
    ends = list(accumulate(len(text.encode(encoding.name)) for text in texts))
    ends[-1:] = [len(data)] if ends else []
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _undecodable(pieces: list[bytes], encoding: Encoding) -> dict[int, str]:
    bad = {}
    for place, piece in enumerate(pieces):
        try:
            piece.decode(encoding.name)
        except UnicodeDecodeError as error:
            bad[place] = f"{error.reason} at its byte {error.start}"
    return bad
