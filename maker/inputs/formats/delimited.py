"""CSV and TSV: quoted fields may hold quotation marks, delimiters and newlines."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from maker.inputs.formats.lines import Lines, split_lines
from maker.inputs.formats.records import ROW_BYTES, Cut, Records, Returns
from maker.inputs.parts import Broken, BrokenRow, Misquoted, Undecodable

_OPEN = Broken("has a quoted field that is never closed")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Delimited(Records):
    """Rows of fields under a header. A row that has more or fewer fields than the header is broken."""

    delimiter: str
    quotes: bool = True
    """Whether quotation marks enclose fields; otherwise they are text as any other."""

    header = True
    word = "CSV"
    line_ends = line_starts = ("\n", "\r")

    def cut(self, data: bytes, *, final: bool) -> Cut:
        """Cut data after the lines at which no quoted field is open."""
        lines = split_lines(data, self.encoding, "", final=final)
        count = len(lines.texts)
        rows, misquoted = self._parsed(lines.texts)
        open_lines = 0
        if rows and rows[-1][1] > count:
            rows.pop()
            began = rows[-1][1] if rows else 0
            if final:
                left = lines.texts[began:]
                rows.append((_OPEN if self._is_open(left) else _misquoted(lines.texts, began, count), count))
                open_lines = count - began
        taken = rows[-1][1] if rows else 0
        if lines.bad:
            rows = _marked(rows, lines, self.encoding.name)
        entries = [row for row, _ in rows if row]
        at = [line - 1 for row, line in rows if row]
        ends = [lines.ends[line] for line in at]
        returns = _returns(lines, at[:-1] if open_lines else at, final=final)
        bad = bool(lines.bad) or misquoted
        return Cut(entries, ends, lines.ends[taken - 1] if taken else 0, bad, open_lines, returns=returns)

    def is_preamble(self, entry: Any) -> bool:
        """Say whether a first row is the line by which Excel knows the delimiter, ``sep=;``."""
        return is_separator(entry)

    def cells(self, entries: list[Any]) -> int:
        """Count the fields."""
        return sum(map(len, entries))

    def values(self, entry: Any, columns: tuple[str, ...], name: str) -> dict[str, Any]:
        """Return the fields by column."""
        if len(entry) != len(columns):
            raise BrokenRow(f"has {len(entry)} field{'s' * (len(entry) > 1)}, but its header has {len(columns)}")
        return dict(zip(columns, entry, strict=True))

    def _parsed(self, lines: Sequence[str]) -> tuple[list[tuple[Any, int]], bool]:
        """Return rows, each with the number of lines up to its end, and whether some are `Misquoted`.

        A last row in which a quoted field is still open ends after one line more than there are.
        """
        # The limit is the process's own; raised, it cuts nobody else's rows short.
        if csv.field_size_limit() < ROW_BYTES * 2:
            csv.field_size_limit(ROW_BYTES * 2)
        rows: list[tuple[Any, int]] = []
        reader = self._reader(lines, strict=True)
        try:
            # A loop: what was read before an error is kept.
            for row in reader:
                rows.append((row, reader.line_num))
        except csv.Error:
            began = rows[-1][1] if rows else 0
            if self._is_open(lines[began:]):
                return [*rows, ([], len(lines) + 1)], False
        else:
            return rows, False
        # Where a row ends in which text follows a closing mark is a convention: the one by which rows were counted
        # before such rows were refused.
        rows = []
        for row, end in self._lenient(lines):
            began = rows[-1][1] if rows else 0
            rows.append((self._checked(row, lines, began, end) if end <= len(lines) else row, end))
        return rows, True

    def _is_open(self, lines: Sequence[str]) -> bool:
        """Say whether a row that cannot be read ends within a quoted field, at the end of the lines."""
        try:
            next(self._reader([*lines, '"'], strict=True), None)
        except csv.Error:
            return False
        return True

    def _lenient(self, lines: Sequence[str]) -> list[tuple[Any, int]]:
        reader = self._reader([*lines, "x"], strict=False)
        rows = [(row, reader.line_num) for row in reader]
        # The line after the last one shows whether a quoted field is still open there: it would be taken in.
        began = rows[-2][1] if len(rows) > 1 else 0
        return rows[:-1] if began == len(lines) else rows

    def _checked(self, row: list[str], lines: Sequence[str], start: int, stop: int) -> Any:
        """Return a row, or `Misquoted`."""
        try:
            list(self._reader(lines[start:stop], strict=True))
        except csv.Error:
            return _misquoted(lines, start, stop)
        return row

    def _reader(self, lines: Iterable[str], *, strict: bool) -> Any:
        if self.quotes:
            return csv.reader(lines, delimiter=self.delimiter, strict=strict)
        return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, strict=strict)


def _misquoted(lines: Sequence[str], start: int, stop: int) -> Misquoted:
    """Return what stands for a row, from line ``start`` to before ``stop``, in which text follows a closing mark."""
    first = next(line for line in range(start, stop) if lines[line].strip("\r\n"))
    text = lines[first].rstrip("\r\n")
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return Misquoted("has text after a closing quotation mark", first, shown)


def is_separator(row: Any) -> bool:
    """Say whether a row is a line like ``sep=;``, read with that delimiter or another."""
    return isinstance(row, list) and (
        row == ["sep=", ""] or (len(row) == 1 and re.fullmatch("sep=.", row[0]) is not None)
    )


def _returns(lines: Lines, ends: Sequence[int], *, final: bool) -> Returns:
    """Say how rows end, each of which ends with the line of its place in ``ends``."""
    newline, alone = False, -1
    for line in ends if lines.returns else ends[:1]:
        if lines.texts[line].endswith("\n"):
            newline = True
        # What ends the file ends one row either way.
        elif alone < 0 and lines.texts[line].endswith("\r") and not (final and line + 1 == len(lines.texts)):
            alone = line
    return Returns(alone, newline)


def _marked(rows: list[tuple[Any, int]], lines: Lines, encoding: str) -> list[tuple[Any, int]]:
    """Return rows, with those of which a line cannot be decoded replaced."""
    marked, start = [], 0
    for row, end in rows:
        why = next((lines.bad[line] for line in range(start, end) if line in lines.bad), "")
        # Where a misquoted row ends is not known, whatever its bytes are.
        marked.append((row if not why or isinstance(row, Misquoted) else Undecodable.of(encoding, why), end))
        start = end
    return marked
