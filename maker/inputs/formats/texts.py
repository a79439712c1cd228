"""Text files: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maker.inputs.formats.records import Cut, Records
from maker.inputs.parts import Undecodable


@dataclass(frozen=True, slots=True)
class Texts(Records):
    """Files whose whole content is one row: an empty one too."""

    fixed = ("file", "text")
    line_starts = ()

    def cut(self, data: bytes, *, final: bool) -> Cut:
        """Take all of a file when it is all there."""
        if not final:
            return Cut([], [], 0)
        try:
            return Cut([data.decode(self.encoding.name)], [len(data)], len(data))
        except UnicodeDecodeError as error:
            why = f"{error.reason} at its byte {error.start}"
            return Cut([Undecodable.of(self.encoding.name, why)], [len(data)], len(data), bad=True)

    def values(self, entry: Any, columns: tuple[str, ...], name: str) -> dict[str, Any]:
        """Return the file's name and its text."""
        return {"file": name, "text": entry}
