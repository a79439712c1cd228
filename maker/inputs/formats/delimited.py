"""CSV and TSV: quoted fields may hold quotation marks, delimiters and newlines."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import chain
from typing import Any

from maker.inputs.formats.lines import Lines, split_lines
from maker.inputs.formats.records import ROW_BYTES, Cut, Records
from maker.inputs.parts import Broken, BrokenRow, Undecodable

_OPEN = Broken("has a quoted field that is never closed")


@dataclass(frozen=True, slots=True)
class Delimited(Records):
    """Rows of fields under a header. A row that has more or fewer fields than the header is broken."""

    delimiter: str

    header = True
    line_ends = line_starts = ("\n", "\r")

    def cut(self, data: bytes, *, final: bool) -> Cut:
        """Cut data after the lines at which no quoted field is open."""
        lines = split_lines(data, self.encoding, "", final=final)
        count = len(lines.texts)
        # The line after the last one shows whether a quoted field is still open there: it would be taken in.
        rows = self._parsed(chain(lines.texts, ("x",)))
        began, open_lines = rows[-2][1] if len(rows) > 1 else 0, 0
        if began == count:
            rows.pop()
        elif final:
            rows[-1] = (_OPEN, count)
            open_lines = count - began
        else:
            rows.pop()
        taken = rows[-1][1] if rows else 0
        if lines.bad:
            rows = _marked(rows, lines, self.encoding.name)
        entries = [row for row, _ in rows if row]
        ends = [lines.ends[line - 1] for row, line in rows if row]
        return Cut(entries, ends, lines.ends[taken - 1] if taken else 0, bool(lines.bad), open_lines)

    def cells(self, entries: list[Any]) -> int:
        """Count the fields."""
        return sum(map(len, entries))

    def values(self, entry: Any, columns: tuple[str, ...], name: str) -> dict[str, Any]:
        """Return the fields by column."""
        if len(entry) != len(columns):
            raise BrokenRow(f"has {len(entry)} field{'s' * (len(entry) > 1)}, but its header has {len(columns)}")
        return dict(zip(columns, entry, strict=True))

    def _parsed(self, lines: Any) -> list[tuple[Any, int]]:
        """Return rows, each with the number of lines up to its end."""
        # The limit is the process's own; raised, it cuts nobody else's rows short.
        if csv.field_size_limit() < ROW_BYTES * 2:
            csv.field_size_limit(ROW_BYTES * 2)
        reader = csv.reader(lines, delimiter=self.delimiter)
        return [(row, reader.line_num) for row in reader]


def _marked(rows: list[tuple[Any, int]], lines: Lines, encoding: str) -> list[tuple[Any, int]]:
    """Return rows, with those of which a line cannot be decoded replaced."""
    marked, start = [], 0
    for row, end in rows:
        why = next((lines.bad[line] for line in range(start, end) if line in lines.bad), "")
        marked.append((Undecodable.of(encoding, why) if why else row, end))
        start = end
    return marked
