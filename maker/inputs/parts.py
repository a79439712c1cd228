"""What an input is made of: rows, and what is wrong with some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from maker.errors import BadInput


class InputRow(NamedTuple):
    """One row.

    Args:
        id: What its id column holds, else ``part:number``.
        values: By column. Text in CSV and TSV; what JSON or Parquet holds; ``file`` and ``text`` of a text file. A
            ``ValueError`` stands for a value of Parquet that Python does not have: raise it where the value is needed.
            The caller's own: to change it changes no later reading.
        part: The name of its file.
        number: Its number in the file, from 0; a header is no row.
    """

    id: str
    values: dict[str, Any]
    part: str
    number: int


class BrokenRow(ValueError):
    """One row cannot be read; the others can. The message says which, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Stands for a row that cannot be read. ``what`` is told after the row's place: ``is no JSON: ...``."""

    what: str

    def __len__(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Undecodable(Broken):
    """A row whose bytes are no text in the input's encoding, and why."""

    why: str

    @classmethod
    def of(cls, encoding: str, why: str) -> Undecodable:
        """Return one with its words."""
        return cls(f"cannot be read as {encoding}: {why}", why)


@dataclass(frozen=True, slots=True)
class Misquoted(Broken):
    """A row in which text follows a closing quotation mark: what its fields are, and where it ends, is not known.

    ``line`` is the line of the data that it was cut from, from 0, and ``text`` its beginning.
    """

    line: int
    text: str


class NoText(ValueError):
    """Data that is no text in the input's encoding: why, from which of its bytes on, and what it may be instead."""

    def __init__(self, why: str, at: int, likely: str = "") -> None:
        super().__init__(why, at, likely)
        self.why, self.at, self.likely = why, at, likely


class NotTold(ValueError):
    """Data in which one row cannot be told from the next: why, and after how many lines."""

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why, line)
        self.why, self.line = why, line


def changed(name: str, why: str, *, when: str = "since the run began") -> BadInput:
    """Return the error for a part that is not what it was."""
    return BadInput(
        f"input part {name} changed {when}: {why}",
        fix="restore the file, or start a new run; you may add rows only at the end of a file, or in new files",
        part=name,
    )
