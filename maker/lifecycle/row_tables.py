"""Write rows as JSON lines, CSV or Parquet: values as they were read, in flat memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Any, TypeAlias

from maker.core.csv_cells import csv_cell, csv_line
from maker.inputs.formats.parquet import pyarrow_module

Row: TypeAlias = Mapping[str, Any]
BATCH_ROWS = 2_000
WHOLE = 1 << 53
"""Up to here a float holds every whole number."""


def write_rows(file: IO[bytes], rows: Callable[[], Iterator[Row]], format: str) -> None:
    """Write rows in a format: ``jsonl``, ``csv`` or ``parquet``.

    The last two have the columns of all rows, in the order in which they come, and look through the rows once before
    they write them. Raises `BadInput` where Parquet is asked for and pyarrow is not installed.
    """
    if format == "jsonl":
        for row in rows():
            file.write(json_line(row))
    elif format == "csv":
        write_csv(file, _columns(rows()), rows())
    else:
        _write_parquet(file, rows)


def json_line(row: Row) -> bytes:
    """Return a row as a line of JSON, its line end with it."""
    try:
        return (_WRITTEN.encode(row) + "\n").encode()
    except UnicodeEncodeError:
        # Half a surrogate pair: JSON can write it, as an escape, but UTF-8 cannot.
        return (json.dumps(row, default=str) + "\n").encode()


def write_csv(file: IO[bytes], columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write rows as CSV in UTF-8, under a header."""
    file.write(csv_line(columns))
    for row in rows:
        file.write(csv_line(row.get(name) for name in columns))


def _columns(rows: Iterable[Row]) -> list[str]:
    found: dict[str, None] = {}
    for row in rows:
        if not row.keys() <= found.keys():
            found |= dict.fromkeys(row)
    return list(found)


def _write_parquet(file: IO[bytes], rows: Callable[[], Iterator[Row]]) -> None:
    arrow = pyarrow_module()
    schema = _schema(arrow, rows())
    with arrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in _batches(rows()):
            cells = {field.name: _cells(batch, field.name, text=bool(field.metadata)) for field in schema}
            writer.write_table(arrow.table(cells, schema))


def _schema(arrow: Any, rows: Iterator[Row]) -> Any:
    """Return the columns with their types; one that no type of Arrow's holds is of texts, and marked by metadata."""
    types: dict[str, Any] = {}
    wide: set[str] = set()
    for batch in _batches(rows):
        for name in _columns(batch):
            found = _type(arrow, _cells(batch, name))
            wide |= {name} if found == arrow.int64() and _is_wide(batch, name) else set()
            types[name] = _united(arrow, types.get(name, arrow.null()), found)
    texts = {name for name, kind in types.items() if kind is None or (name in wide and kind != arrow.int64())}
    mark = {"maker": "as text"}
    return arrow.schema(
        [arrow.field(name, arrow.string(), metadata=mark) if name in texts else (name, types[name]) for name in types]
    )


def _type(arrow: Any, cells: Sequence[Any]) -> Any:
    try:
        return arrow.array(cells).type
    except (arrow.ArrowException, OverflowError):
        return None


def _united(arrow: Any, one: Any, other: Any) -> Any:
    """Return the type that holds the values of both, None where there is none."""
    if one is None or other is None:
        return None
    schemas = [arrow.schema([("cell", kind)]) for kind in (one, other)]
    try:
        return arrow.unify_schemas(schemas, promote_options="permissive").field("cell").type
    except arrow.ArrowException:
        return None


def _is_wide(batch: Sequence[Row], name: str) -> bool:
    return any(abs(cell) > WHOLE for cell in _cells(batch, name) if cell is not None)


def _cells(batch: Sequence[Row], name: str, *, text: bool = False) -> list[Any]:
    cells = (row.get(name) for row in batch)
    return [None if cell is None else _text(cell) for cell in cells] if text else list(cells)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else csv_cell(value)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


_WRITTEN = json.JSONEncoder(ensure_ascii=False, default=str)
