"""Splits bytes into lines of text, and keeps count of the bytes."""

from __future__ import annotations

import io
from itertools import accumulate
from typing import Literal, NamedTuple, TypeAlias

from maker.inputs.codec import Codec

Newline: TypeAlias = Literal["", "\n"]
"""What ends a line, as `open` has it: a newline alone, or ("") any of \\n, \\r and \\r\\n."""


class Lines(NamedTuple):
    """Lines in order, each with what ends it.

    Args:
        texts: What they say; what cannot be decoded is U+FFFD.
        ends: Where each ends, in bytes from the beginning of the data.
        bad: By place in ``texts``, why a line cannot be decoded.
    """

    texts: list[str]
    ends: list[int]
    bad: dict[int, str]


def split_lines(data: bytes, codec: Codec, newline: Newline, *, final: bool) -> Lines:
    """Split data. Unless it is the ``final`` one, a line that could go on after it is left out."""
    pieces = _pieces(data, codec, newline)
    # After a carriage return at the end of the data a newline may come.
    if pieces and not final and not pieces[-1].endswith(codec.newline):
        pieces.pop()
    ends = list(accumulate(map(len, pieces)))
    try:
        return Lines([str(piece, codec.name) for piece in pieces], ends, {})
    except UnicodeDecodeError:
        return Lines([str(piece, codec.name, "replace") for piece in pieces], ends, _undecodable(pieces, codec))


def _pieces(data: bytes, codec: Codec, newline: Newline) -> list[bytes]:
    if len(codec.newline) == 1:
        return io.BytesIO(data).readlines() if newline else data.splitlines(keepends=True)
    # U+FFFD takes as many bytes as what it stands for in these encodings, so the lengths stay true.
    texts = io.StringIO(data.decode(codec.name, "replace"), newline=newline)
    ends = list(accumulate(len(text.encode(codec.name)) for text in texts))
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _undecodable(pieces: list[bytes], codec: Codec) -> dict[int, str]:
    bad = {}
    for place, piece in enumerate(pieces):
        try:
            piece.decode(codec.name)
        except UnicodeDecodeError as error:
            bad[place] = f"{error.reason} at its byte {error.start}"
    return bad
