"""What a scan has found so far."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from maker.errors import BadInput
from maker.inputs.blocks import Blocks, Index
from maker.inputs.encoding import Encoding, wrong_encoding
from maker.inputs.ids import Ids, id_text
from maker.inputs.parts import Undecodable
from maker.types import InputPart

_UNDECODABLE_SHARE = 0.01
"""Of more rows than this the encoding is wrong; of fewer, the rows are."""


class Gathering:
    """Parts, columns, blocks and ids of an input that is being scanned. Mutable; thrown away after the scan.

    Args:
        id_column: The column whose values are the ids, or empty.
        encoding: The encoding, for messages.
    """

    def __init__(self, id_column: str, encoding: Encoding) -> None:
        self.id_column = id_column
        self.columns: tuple[str, ...] | None = None
        self.blocks = Blocks()
        self.ids = Ids()
        self._encoding = encoding
        self._columns_of = ""
        self._parts: list[InputPart] = []
        self._stops: list[int] = []
        self._undecodable = 0
        self._first_undecodable = ("", "")

    def take_columns(self, name: str, columns: tuple[str, ...]) -> None:
        """Take the columns of a part. Raises `BadInput` where they are no good, or not those of the part before."""
        if self.columns is None:
            _check_names(name, columns)
        self.take_keys(name, columns)

    def take_keys(self, name: str, columns: tuple[str, ...]) -> None:
        """Take columns whatever they are called. Raises `BadInput` where they differ, or the id column is not there."""
        if self.columns is None:
            if self.id_column and self.id_column not in columns:
                close = near_column(self.id_column, columns)
                raise BadInput(
                    f"the id column {self.id_column!r} is not a column of {name}: it has {', '.join(columns)}",
                    fix=f"did you mean {close!r}?" if close else "name one of its columns, or leave it out",
                )
            self.columns, self._columns_of = columns, name
        elif columns != self.columns:
            raise BadInput(
                f"the columns of {name} differ from those of {self._columns_of}: {_difference(columns, self.columns)}",
                fix="give all files the same columns in the same order",
            )

    def take_id(self, name: str, number: int, value: Any) -> None:
        """Take the id of a row. Raises `BadInput` for a value that is none."""
        text = id_text(value)
        if not text:
            what = "holds nothing" if value is None or value == "" else f"holds {value!r:.40}"
            raise BadInput(
                f"row {number} of {name} has no id: its {self.id_column!r} {what}",
                fix="give every row an id, a text or a number, or leave task.id_column out",
            )
        self.ids.add(text)

    def take_broken(self, name: str, number: int) -> None:
        """Take the id of a row that cannot be read: its place."""
        self.ids.add(place_id(name, number))

    def take_undecodable(self, name: str, number: int, row: Undecodable) -> None:
        """Count a row whose bytes are no text."""
        self._undecodable += 1
        if not self._first_undecodable[0]:
            self._first_undecodable = (f"row {number} of {name}", row.why)

    def take_part(self, part: InputPart) -> None:
        """End a part: the blocks since the last one are its own."""
        self._parts.append(part)
        self._stops.append(len(self.blocks))

    def index(self, known: Sequence[InputPart]) -> Index:
        """Return the index of all that was taken: the known parts first, in their order, then the others.

        Raises:
            BadInput: Too many rows are no text in the encoding.
        """
        total = sum(part.rows for part in self._parts)
        if self._undecodable > total * _UNDECODABLE_SHARE:
            where, why = self._first_undecodable
            count = f"{self._undecodable:,} of {total:,} rows cannot be read as {self._encoding.name}"
            raise wrong_encoding(where, self._encoding, f"{why}; {count}")
        places = {(part.name, part.first): place for place, part in enumerate(known)}
        order = list(range(len(self._parts)))
        if places:
            # What is not known keeps its order, by name: the sort is stable.
            order.sort(key=lambda one: places.get((self._parts[one].name, self._parts[one].first), len(places)))
        starts = [0, *self._stops]
        blocks = Blocks()
        for one in order:
            blocks.extend(self.blocks, starts[one], self._stops[one])
        return Index(
            tuple(self._parts[one] for one in order), [self._stops[one] - starts[one] for one in order], blocks
        )


def near_column(name: str, columns: Sequence[str]) -> str:
    """Return the column that a wrong name most likely means, "" for none. Case and blanks around it do not matter."""
    plain = {column.strip().casefold(): column for column in reversed(columns)}
    close = difflib.get_close_matches(name.strip().casefold(), plain, n=1)
    return plain[close[0]] if close else ""


def place_id(name: str, number: int) -> str:
    """Return the id of a row that has none of its own."""
    return f"{name}:{number}"


def _check_names(name: str, columns: tuple[str, ...]) -> None:
    fix = "its first line must name every column, each once"
    if "" in columns:
        raise BadInput(f"column {columns.index('') + 1} of {name} has no name", fix=fix)
    if twice := [column for column, times in Counter(columns).items() if times > 1]:
        raise BadInput(f"{name} has more than one column {', '.join(map(repr, twice))}", fix=fix)


def _difference(columns: tuple[str, ...], before: tuple[str, ...]) -> str:
    lacking = [column for column in before if column not in columns]
    more = [column for column in columns if column not in before]
    told = [f"it lacks {', '.join(map(repr, lacking))}" if lacking else ""]
    told.append(f"it has {', '.join(map(repr, more))} more" if more else "")
    return " and ".join(filter(None, told)) or f"they come in another order, {', '.join(columns)}"
