"""One declared input: scanned once, then read by row number on any worker."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from maker.errors import BadInput
from maker.inputs.blocks import Index
from maker.inputs.encoding import checked_encoding
from maker.inputs.failures import redacted
from maker.inputs.formats.detect import Dialect, find_delimiter, make_format, word_of
from maker.inputs.formats.interface import Format, LoadedBlock
from maker.inputs.ids import id_text
from maker.inputs.nesting import too_deep
from maker.inputs.parts import BrokenRow, InputRow
from maker.inputs.scan import Gathering, place_id
from maker.inputs.sites import Site, find, would_read
from maker.types import InputPart

CACHE_BYTES = 8 << 20
"""What the blocks that were read last may take; two are kept whatever they take."""


class _Scanned(NamedTuple):
    """What a scan leaves, and what travels to the workers."""

    site: Site
    format: Format
    rows: Index
    columns: tuple[str, ...]


class _Here(NamedTuple):
    """The block that was asked for last: rows ``first`` to before ``stop`` of the input."""

    first: int
    stop: int
    entries: Sequence[Any]
    name: str
    shift: int


_NOWHERE = _Here(0, 0, (), "", 0)


class Input:
    """Rows of files, by number. Pickles with its index, and with nothing that is open or was read.

    Threads may share one. What was read last is kept for all of them: threads that work far apart do better with a
    copy each.

    Args:
        where: A file, a pattern, or a folder; a path, or a URL that fsspec knows.
        id_column: The column that gives the rows' ids; without it a row's id is ``part:number``.
        encoding: What text is written in; a byte order mark is passed over.
        known: The parts that a run began with: they keep their rows' numbers, and must be what they were.
        slice: Read texts in slices of at most so many characters, each a row; 0 makes a whole file one row.
        delimiter: What separates the columns of CSV and TSV; "" finds it.
        quotes: Quotation marks enclose fields of CSV and TSV; otherwise they are text as any other.
        grow: Read what has come since as well, at the end of files or as new ones: its rows come after. Otherwise
            nothing but the known parts is looked at, if there are any.
    """

    def __init__(
        self,
        where: str,
        *,
        id_column: str = "",
        encoding: str = "utf-8",
        known: Sequence[InputPart] = (),
        slice: int = 0,
        delimiter: str = "",
        quotes: bool = True,
        grow: bool = True,
    ) -> None:
        self._where = where
        self._id_column = id_column
        self._encoding = encoding
        self._known = tuple(known)
        self._slice = slice
        self._delimiter = delimiter
        self._quotes = quotes
        self._grow = grow or not self._known
        self._scanned: _Scanned | None = None
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        kept = (
            "_where", "_id_column", "_encoding", "_known", "_slice", "_delimiter", "_quotes", "_grow", "_scanned",
        )  # fmt: skip
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def scan(self) -> tuple[InputPart, ...]:
        """Read all files through once, and return their parts in the order of their rows. Blocks.

        Memory is flat: 20 bytes a block, and while it lasts 8 bytes a row if there is an id column. A second call
        only returns what the first one did.

        Raises:
            BadInput: There are no files or no rows, files cannot be read, a header or an encoding is wrong, columns
                differ between parts, ids are missing or come twice, or a known part is gone or has changed.
        """
        with self._lock:
            if self._scanned is None:
                read = copy.copy(self)
                read._scanned, suspects = self._read_through()
                read._check_ids(suspects)
                self._scanned = read._scanned
        return self._scanned.rows.parts

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of all parts; of JSON lines those of the first row, the others may have their own."""
        return self._done().columns

    @property
    def uniform(self) -> bool:
        """Whether every row has these columns; of JSON lines each has its own."""
        return self._done().format.uniform

    def __len__(self) -> int:
        return len(self._done().rows)

    def row(self, i: int) -> InputRow:
        """Return row ``i`` of the input, from 0. Blocks while its block is read, if it is not one of the last.

        Raises:
            BrokenRow: The row cannot be read; a `ValueError`. The message names the part and the row in it.
            BadInput: The part cannot be read, or has changed since it was scanned.
            IndexError: There is no such row.
        """
        scanned, here = self._done(), self._at(i)
        number = i - here.shift
        try:
            values = scanned.format.read(here.entries[i - here.first], scanned.columns, here.name)
            if deep := too_deep(values):
                raise BrokenRow(f"is {deep}")
        except BrokenRow as error:
            raise BrokenRow(f"row {number} of {here.name} {error}") from error.__cause__
        named = values.get(self._id_column)
        if isinstance(named, ValueError):
            raise BrokenRow(f"row {number} of {here.name} has no id: its {self._id_column!r} {named}")
        id = id_text(named) if self._id_column else place_id(here.name, number)
        return InputRow(id, values, here.name, number)

    def row_id(self, i: int) -> str:
        """Return the id of row ``i``: of a row that cannot be read, ``part:number``. Raises as `row` does otherwise."""
        try:
            if self._id_column:
                return self.row(i).id
        except BrokenRow:
            pass
        here = self._at(i)
        return place_id(here.name, i - here.shift)

    def would_read(self, file: str) -> bool:
        """Say whether a file of this machine would be one of the input's, if there were one at that path.

        Of a folder, any would that is not hidden, in whatever format. Links are followed. Of a URL it is not known:
        False.

        Raises:
            BadInput: It may not be looked at what the input is.
        """
        return would_read(self._where, file)

    def _done(self) -> _Scanned:
        if self._scanned is None:
            raise RuntimeError("an input is scanned before its rows are counted or read: call scan()")
        return self._scanned

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._here = _NOWHERE
        self._cache: OrderedDict[int, tuple[_Here, int]] = OrderedDict()
        self._cached_bytes = 0

    def _at(self, i: int) -> _Here:
        here = self._here
        if not here.first <= i < here.stop:
            if not 0 <= i < len(self):
                raise IndexError(f"there is no row {i}: the input has {len(self):,}")
            with self._lock:
                self._here = here = self._block(self._done().rows.find(i))
        return here

    def _block(self, at: int) -> _Here:
        if at in self._cache:
            self._cache.move_to_end(at)
            return self._cache[at][0]
        site, format, index, _ = self._done()
        block = index.block(at)
        part = index.parts[block.part]
        loaded: LoadedBlock = format.load(site, part, block)
        here = _Here(block.first, block.first + block.rows, loaded.entries, part.name, index.shift(block.part))
        self._cache[at] = (here, loaded.weight)
        self._cached_bytes += loaded.weight
        # Rows are asked for mostly in order, some thousands at once: where one block ends the next is in use as well.
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 2:
            _, (_, weight) = self._cache.popitem(last=False)
            self._cached_bytes -= weight
        return here

    def _read_through(self) -> tuple[_Scanned, set[int]]:
        encoding = checked_encoding(self._encoding)
        found = find(self._where)
        known: defaultdict[str, list[InputPart]] = defaultdict(list)
        for part in self._known:
            known[part.name].append(InputPart(*part))
        _check_there(known, found.names)
        if not self._grow:
            found = found._replace(names=tuple(sorted(known)))
        word, names = word_of(found)
        dialect = Dialect(encoding, self._delimiter, self._quotes, self._slice)
        if word == "CSV" and not self._delimiter:
            # By what the run began with, where it has begun: the same is found whatever has come since.
            first = min(known) if known else names[0]
            size = min((part.size for part in known[first]), default=None) if known else None
            dialect = dialect._replace(delimiter=find_delimiter(found.site, first, dialect, size))
        gathered, format = Gathering(self._id_column, encoding), make_format(word, dialect)
        for name in names:
            parts = sorted(known[name], key=lambda part: part.first)
            format.scan(found.site, name, parts, gathered, grow=self._grow)
        index = gathered.index(self._known)
        if not len(index):
            what = names[0] if len(names) == 1 else f"{redacted(self._where)}, {len(names):,} files,"
            raise BadInput(f"{what} holds no rows", fix="give an input with rows")
        return _Scanned(found.site, format, index, gathered.columns or ()), gathered.ids.suspects()

    def _check_ids(self, suspects: set[int]) -> None:
        """Raise `BadInput` for two rows of one id, among those whose ids have a suspect's hash."""
        seen: dict[str, int] = {}
        for i in range(len(self) if suspects else 0):
            id = self.row_id(i)
            if hash(id) not in suspects:
                continue
            if id in seen:
                one, other = (self._at(row) for row in (seen[id], i))
                raise BadInput(
                    f"two rows have the id {id!r}: row {seen[id] - one.shift} of {one.name} "
                    f"and row {i - other.shift} of {other.name}",
                    fix=f"make {self._id_column!r} unique, or leave task.id_column out",
                    id=id,
                )
            seen[id] = i


def _check_there(known: defaultdict[str, list[InputPart]], names: Sequence[str]) -> None:
    """Raise `BadInput` where a known part is gone."""
    there = set(names)
    if gone := [name for name in known if name not in there]:
        rows = sum(part.rows for part in known[gone[0]])
        more = f"; {len(gone) - 1:,} more are gone too" if gone[1:] else ""
        raise BadInput(
            f"input part {gone[0]} is gone: the run began with its {rows:,} rows{more}",
            fix="put it back where it was, or start a new run",
            part=gone[0],
        )
