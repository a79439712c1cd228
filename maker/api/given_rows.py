"""The rows that a program gives: a table by its Arrow stream, dicts, or files; read one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from maker.errors import BadInput
from maker.inputs.formats.parquet import pyarrow_module, python_rows
from maker.inputs.handle import Input
from maker.inputs.parts import BrokenRow

SLICE_ROWS = 1024


@runtime_checkable
class ArrowTable(Protocol):
    """A table of pandas, Polars, Arrow or another library that knows the Arrow PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object = None, /) -> object:
        """Return the table as a stream of Arrow's."""


Rows: TypeAlias = ArrowTable | Iterable[Mapping[str, Any]] | str | Path
"""A table, dicts, or the path of a file, a pattern or a folder, or a URL."""


class GivenRows(ABC):
    """Rows that can be read several times, always in the same order."""

    given: Any
    """What the program gave."""

    columns: tuple[str, ...]
    """The columns of all rows, those of dicts that have others after those of the first one."""

    uniform: bool
    """Whether every row has all of them."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, columns: Sequence[str] | None = None) -> Iterator[Mapping[str, Any] | BrokenRow]:
        """Yield the rows as Python values, with these columns at least; `BrokenRow` for one that cannot be read."""

    def arrow(self) -> Any:
        """Return the rows as an Arrow table. Raises `BadInput` where a column holds values of several types."""
        arrow = pyarrow_module("an Arrow table")
        rows = [{} if isinstance(row, BrokenRow) else row for row in self.read()]
        found = {}
        for name in self.columns:
            try:
                found[name] = arrow.array([row.get(name) for row in rows])
            except (arrow.ArrowException, OverflowError) as error:
                told = f"column {name!r} cannot be an Arrow column: {error}".splitlines()[0]
                raise BadInput(told, fix="give its cells one type, or write CSV") from error
        return arrow.table(found)


def given_rows(rows: Rows) -> GivenRows:
    """Return the rows that were given.

    Raises:
        BadInput: They are nothing of this kind, there are none, two columns have one name, or they cannot be read.
    """
    found: GivenRows
    if isinstance(rows, str | Path):
        found = FileRows(rows)
    elif isinstance(rows, ArrowTable):
        found = TableRows(rows)
    elif isinstance(rows, Mapping) or not isinstance(rows, Iterable):
        raise BadInput(
            f"rows is a {type(rows).__name__}",
            fix="give a pandas, Polars or Arrow table, a list of dicts, or the path of a file",
        )
    else:
        found = DictRows(rows)
    if not len(found):
        raise BadInput("there are no rows", fix="give at least one")
    return found


class TableRows(GivenRows):
    """The rows of a table. What is no number in a column of floats comes out as None."""

    uniform = True

    def __init__(self, given: ArrowTable) -> None:
        arrow = pyarrow_module("a table")
        self.given = given
        try:
            table = arrow.table(given)
        except (arrow.ArrowException, ValueError, TypeError, OverflowError) as error:
            told = f"the table cannot be read by way of Arrow: {error}".splitlines()[0]
            raise BadInput(told, fix="give each column one name and one type, or give a list of dicts") from error
        # pandas: an index without a name is no column.
        self._table = table.drop_columns([name for name in table.column_names if name.startswith("__index_level_")])
        self.columns = tuple(self._table.column_names)
        if twice := [name for name, times in Counter(self.columns).items() if times > 1]:
            raise BadInput(f"two columns are called {twice[0]!r}", fix="give each column a name of its own")

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def read(self, columns: Sequence[str] | None = None) -> Iterator[Mapping[str, Any] | BrokenRow]:
        """Yield the rows, a slice of them in memory at a time."""
        table = self._table if columns is None else self._table.select(list(columns))
        if columns is not None and not columns:
            yield from ({} for _ in range(len(self)))
            return
        for start in range(0, len(self), SLICE_ROWS):
            yield from python_rows(table.slice(start, SLICE_ROWS))

    def arrow(self) -> Any:
        """Return the table."""
        return self._table


class DictRows(GivenRows):
    """Rows that a program holds as dicts."""

    def __init__(self, given: Iterable[Mapping[str, Any]]) -> None:
        self.given = self._rows = list(given)
        for number, row in enumerate(self._rows):
            if not isinstance(row, Mapping) or any(not isinstance(name, str) for name in row):
                raise BadInput(f"row {number} is no dict with texts as keys: {row!r:.80}", fix="give a list of dicts")
        self.columns = tuple(dict.fromkeys(name for row in self._rows for name in row))
        self.uniform = all(len(row) == len(self.columns) for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, columns: Sequence[str] | None = None) -> Iterator[Mapping[str, Any] | BrokenRow]:
        """Yield the dicts."""
        yield from self._rows


class FileRows(GivenRows):
    """The rows of files. Of JSON lines, whose rows have columns of their own each, all are looked through once."""

    def __init__(self, given: str | Path) -> None:
        self.given = given
        self._input = Input(str(given))
        self._input.scan()
        self.uniform = self._input.uniform

    @cached_property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The columns of all rows."""
        if self.uniform:
            return self._input.columns
        rows = (row for row in self.read() if not isinstance(row, BrokenRow))
        return tuple(dict.fromkeys(name for row in rows for name in row))

    def __len__(self) -> int:
        return len(self._input)

    def read(self, columns: Sequence[str] | None = None) -> Iterator[Mapping[str, Any] | BrokenRow]:
        """Yield the rows, a block of them in memory at a time."""
        for number in range(len(self)):
            try:
                yield self._input.row(number).values
            except BrokenRow as error:
                yield error
