"""Parquet: read by row group, made into Python values a slice at a time."""

from __future__ import annotations

import copy
import hashlib
import io
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, overload

from maker.errors import extra
from maker.inputs.blocks import Block
from maker.inputs.formats.interface import Format, LoadedBlock
from maker.inputs.formats.records import CHUNK_BYTES
from maker.inputs.parts import changed
from maker.inputs.scan import Gathering
from maker.inputs.sites import Site
from maker.types import InputPart

SLICE_ROWS = 1024
_SLICE_BYTES = 256 << 10
_SLICES = 8
_VALUE_BYTES = 64
"""About what Python adds to a value."""
_BATCH_ROWS = 8192
_SINCE = "since it was scanned"
_FIX = "check that it is a complete Parquet file"


@dataclass(frozen=True, slots=True)
class Parquet(Format):
    """Rows of typed columns. Their file cannot grow: any other content is another file.

    A number that is not finite comes out as None, as JSON has none. A value that Python does not have comes out as a
    ``ValueError`` that says so, for whoever uses it to raise: the other values of its row are good.
    """

    def scan(self, site: Site, name: str, known: Sequence[InputPart], found: Gathering, *, grow: bool) -> None:
        """Digest a file's bytes, then read its footer, and its ids where there is an id column."""
        size, digest = _digest(site, name)
        for part in known:
            if size != part.size:
                raise changed(name, f"it had {part.size:,} bytes and has {size:,}")
            if digest != part.digest:
                raise changed(name, "its content has changed")
        rows = 0
        with _opened(site, name) as file:
            found.take_columns(name, tuple(file.schema_arrow.names))
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if count:
                    found.blocks.add(group, count)
                rows += count
            if found.id_column:
                _take_ids(file, name, found)
        if rows:
            found.take_part(InputPart(name, 0, rows, size, digest))

    def load(self, site: Site, part: InputPart, block: Block) -> LoadedBlock:
        """Read a row group as Arrow holds it."""
        with _opened(site, part.name, part.size) as file:
            table = file.read_row_group(block.start, use_threads=False) if block.start < file.num_row_groups else None
        if table is None or table.num_rows != block.rows:
            raise changed(part.name, f"row group {block.start} has changed", when=_SINCE)
        rows = _Rows(table)
        return LoadedBlock(rows, rows.weight)

    def values(self, entry: Any, columns: tuple[str, ...], name: str) -> dict[str, Any]:
        """Return a copy of the row."""
        return dict(entry)


class _Rows(Sequence[Any]):
    """Rows of a table, of which the last slices that were asked for are Python values."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._nested = any(field.type.num_fields for field in table.schema)
        self._step = max(1, min(SLICE_ROWS, _SLICE_BYTES * table.num_rows // (table.nbytes + 1)))
        self._slices: OrderedDict[int, list[Any]] = OrderedDict()
        row_bytes = table.nbytes // (table.num_rows + 1) + _VALUE_BYTES * table.num_columns
        self.weight = table.nbytes + min(table.num_rows, _SLICES * self._step) * row_bytes

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Any]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        place, offset = divmod(at, self._step)
        with self._lock:
            row = self._slice(place)[offset]
        return copy.deepcopy(row) if self._nested else row

    def _slice(self, place: int) -> list[Any]:
        if place in self._slices:
            self._slices.move_to_end(place)
        else:
            self._slices[place] = python_rows(self._table.slice(place * self._step, self._step))
            if len(self._slices) > _SLICES:
                self._slices.popitem(last=False)
        return self._slices[place]


def python_rows(table: Any) -> list[Any]:
    """Return rows as Python values; a ``ValueError`` stands for a value that Python does not have."""
    try:
        rows = list(table.to_pylist())
    except (ValueError, OverflowError):
        columns = {name: _cells(table.column(name)) for name in table.column_names}
        rows = [{name: cells[at] for name, cells in columns.items()} for at in range(table.num_rows)]
    if names := [field.name for field in table.schema if _is_to_mend(field.type)]:
        for row in rows:
            row.update([(name, _mended(row[name])) for name in names])
    return rows


def _cells(column: Any) -> list[Any]:
    """Return the values of a column; a ``ValueError`` stands for one that Python does not have."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_cell(scalar) for scalar in column]


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError) as error:
        # Text that is not UTF-8, nanoseconds, years after 9999: Arrow holds what Python does not.
        return ValueError(f"cannot be read: {error}".splitlines()[0])


def _is_to_mend(kind: Any) -> bool:
    """Say whether values of an Arrow type may hold floats or nanoseconds, in lists, objects or a dictionary too."""
    types = pyarrow_module().types
    if types.is_dictionary(kind):
        return _is_to_mend(kind.value_type)
    if types.is_floating(kind) or getattr(kind, "unit", "") == "ns":
        return True
    return any(_is_to_mend(kind.field(i).type) for i in range(kind.num_fields))


def _mended(value: Any) -> Any:
    """Return a value with None for every number in it that is not finite, and with Python's own times.

    A ``ValueError`` stands for one with nanoseconds: with pandas installed Arrow gives a time of pandas', without it
    none, and a row must not depend on what is installed.
    """
    try:
        return _plain(value)
    except ValueError as error:
        return error


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if (nanoseconds := getattr(value, "nanosecond", getattr(value, "nanoseconds", None))) is None:
        return value
    if nanoseconds:
        raise ValueError(f"cannot be read: {value} has nanoseconds, which Python's times have not")
    return value.to_pydatetime() if hasattr(value, "to_pydatetime") else value.to_pytimedelta()


def _take_ids(file: Any, name: str, found: Gathering) -> None:
    number = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[found.id_column], use_threads=False):
        for row in python_rows(batch):
            if isinstance(row[found.id_column], ValueError):
                found.take_broken(name, number)
            else:
                found.take_id(name, number, row[found.id_column])
            number += 1


def _digest(site: Site, name: str) -> tuple[int, str]:
    size, digest = 0, hashlib.blake2b(digest_size=16)
    with site.open(name) as file, site.telling(name):
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


@contextmanager
def _opened(site: Site, name: str, size: int | None = None) -> Iterator[Any]:
    """Give a `ParquetFile`; whatever reading it raises is told as a `BadInput`, as is any but the given size."""
    arrow = pyarrow_module()
    with site.open(name) as file, site.telling(name, _FIX):
        if size is not None and size != (now := file.seek(0, io.SEEK_END)):
            raise changed(name, f"it had {size:,} bytes and has {now:,}", when=_SINCE)
        yield arrow.parquet.ParquetFile(file)


def pyarrow_module(what: str = "parquet") -> Any:
    """Return pyarrow, with its Parquet. Raises `ExtraMissing` where it is not installed; ``what`` needs it."""
    with extra("parquet", what):
        import pyarrow.parquet
    return pyarrow
