"""Text files of any length: rows are slices, one after the other."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any

from maker.inputs.formats.records import Cut, Records
from maker.inputs.parts import NoText

_BLANK = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Slices(Records):
    """Slices of at most ``size`` characters; together they are the whole text.

    A slice ends after the first newline from 13/16 of the size on, else after the first blank in the last sixteenth of
    it, else where it is full. So its own characters alone say where it ends, whatever comes after it.
    """

    size: int = 4000

    fixed = ("file", "text")
    line_starts = ()

    def cut(self, data: bytes, *, final: bool) -> Cut:
        """Cut off whole slices; the rest of a file is one. Raises `NoText`."""
        try:
            text = codecs.getincrementaldecoder(self.encoding.name)().decode(data, final)
        except UnicodeDecodeError as error:
            raise NoText(error.reason, error.start) from error
        if (zero := text.find("\0")) >= 0:
            raise NoText("it holds zero bytes", len(text[:zero].encode(self.encoding.name)), "utf-16-le")
        entries: list[str] = []
        ends: list[int] = []
        start = taken = 0
        while stop := self._end(text, start, final=final):
            entries.append(text[start:stop])
            taken += len(entries[-1].encode(self.encoding.name))
            ends.append(taken)
            start = stop
        return Cut(entries, ends, taken)

    def values(self, entry: Any, columns: tuple[str, ...], name: str) -> dict[str, Any]:
        """Return the file's name and the slice."""
        return {"file": name, "text": entry}

    def _end(self, text: str, start: int, *, final: bool) -> int:
        """Return where the slice that begins at ``start`` ends, 0 where that is not known, or nothing is left."""
        newlines, blanks, full = (start + part * self.size // 16 for part in (13, 15, 16))
        if (at := text.find("\n", newlines, blanks)) >= 0:
            return at + 1
        if found := _BLANK.search(text, blanks, full):
            return found.end()
        if len(text) >= full:
            return full
        return len(text) if final and start < len(text) else 0
