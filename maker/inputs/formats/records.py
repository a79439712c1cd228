"""Formats whose rows follow one another as bytes: counted in one pass, and read by ranges of bytes."""

from __future__ import annotations

import codecs
import hashlib
import io
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, ClassVar, NamedTuple
from zlib import crc32

from maker.errors import BadInput
from maker.inputs.blocks import Block, Cutter
from maker.inputs.encoding import Encoding, check_kind, mark_bytes, wrong_encoding
from maker.inputs.formats.interface import Format, LoadedBlock
from maker.inputs.parts import Broken, BrokenRow, Misquoted, NoText, NotTold, Undecodable, changed
from maker.inputs.scan import Gathering
from maker.inputs.sites import Site
from maker.types import InputPart

CHUNK_BYTES = 256 << 10
ROW_BYTES = 16 << 20
"""The most that one row may take: what a quote that is never closed would otherwise read into memory."""
_LEAST_BYTES = 8
"""What a byte order mark, or the end of a line, takes at most."""
_QUOTES = (
    "write a quotation mark inside a quoted field twice; if quotation marks are plain text in the file, "
    "set task.quotes = false"
)
NAMED = 10
"""Most lines that one message names."""
_CELL_BYTES = 64
"""About what Python adds to a text of its own."""


class Returns(NamedTuple):
    """How records end that are told apart by their line ends.

    Args:
        alone: The line, from 0, of the first that ends with a carriage return alone, with more after it; -1 if none.
        newline: Any ends with a newline.
    """

    alone: int = -1
    newline: bool = False


class Cut(NamedTuple):
    """Records that were cut off the beginning of some data.

    Args:
        entries: Theirs; `Broken` for what cannot be read.
        ends: Where each ends, in bytes.
        taken: Bytes after which only unfinished records come.
        bad: Some are `Undecodable` or `Misquoted`.
        open_lines: How many lines the last record takes, if it is one that should go on and cannot; else 0.
        missing: What a file must end with, and the data does not.
        returns: How they end, where that says whether they were told apart rightly.
    """

    entries: list[Any]
    ends: list[int]
    taken: int
    bad: bool = False
    open_lines: int = 0
    missing: str = ""
    returns: Returns = Returns()


@dataclass(frozen=True, slots=True)
class Records(Format):
    """A format of records. Bytes of a record tell where it ends, whatever comes before it."""

    encoding: Encoding

    header: ClassVar[bool] = False
    """The first record names the columns."""
    fixed: ClassVar[tuple[str, ...]] = ()
    """The columns of every such file; without them they are those of its first row."""
    word: ClassVar[str] = "text"
    """What files of the format are called."""
    line_ends: ClassVar[tuple[str, ...]] = ("\n",)
    """What a row that is whole ends with."""
    line_starts: ClassVar[tuple[str, ...]] = ("\n", "\r\n")
    """What comes after a row that had nothing at its end, if it is whole all the same. Empty: nothing may follow."""

    @abstractmethod
    def cut(self, data: bytes, *, final: bool) -> Cut:
        """Cut data, which begins with a record, into records. Unless it is ``final``, the last may be unfinished.

        Raises:
            NoText: Where one record cannot be told from the next, as the data is no text.
        """

    def cells(self, entries: list[Any]) -> int:
        """Return how many Python objects the entries are, about."""
        return len(entries)

    def is_preamble(self, entry: Any) -> bool:
        """Say whether a first record is no header yet."""
        return False

    def take_header(self, entry: Any, name: str, found: Gathering) -> None:
        """Take the columns that the first record of a file names. Raises `BadInput` where it names none."""
        what = f"the header of {name}"
        if isinstance(entry, Undecodable):
            raise wrong_encoding(what, self.encoding, entry.why)
        if isinstance(entry, Misquoted):
            raise BadInput(f"{what} {entry.what}: {entry.text}", fix=_QUOTES)
        if isinstance(entry, Broken):
            raise BadInput(f"{what} {entry.what}", fix="its first line must name every column")
        if any("\0" in column for column in entry):
            raise wrong_encoding(what, self.encoding, "it holds zero bytes", "utf-16-le")
        found.take_columns(name, tuple(entry))

    def scan(self, site: Site, name: str, known: Sequence[InputPart], found: Gathering, *, grow: bool) -> None:
        """Count, digest and index a file in one pass; what it has grown by is a part of its own."""
        with site.open(name) as file:
            scan = _Scan(self, site, name, file, found)
            for part in known:
                scan.check(part)
            # Where nothing may follow, what does is told as a change.
            if grow or not self.line_starts:
                scan.go_on()

    def load(self, site: Site, part: InputPart, block: Block) -> LoadedBlock:
        """Read a range of bytes and cut it into records."""
        data = site.read(part.name, block.start, block.stop)
        if crc32(data) != block.check:
            why = f"bytes {block.start:,} to {block.stop:,} are not what they were"
            raise changed(part.name, why, when="since it was scanned")
        entries = self.cut(data, final=True).entries
        return LoadedBlock(entries, len(data) + _CELL_BYTES * self.cells(entries))


class _Scan:
    """One pass over a file. ``_data`` begins ``_offset`` bytes into it; ``_position`` is how far it has been read."""

    def __init__(self, format: Records, site: Site, name: str, file: IO[bytes], found: Gathering) -> None:
        self._format, self._site, self._name, self._file, self._found = format, site, name, file, found
        self._digest = hashlib.blake2b(digest_size=16)
        self._preamble_due = self._header_due = format.header
        self._data = b""
        self._offset = self._position = self._rows = 0
        self._tail = b""
        self._open = False
        # What cannot be told apart is refused before a run begins; one that has begun keeps its rows' numbers.
        self._fresh = False
        self._alone: tuple[int, int] | None = None
        self._newline = False

    def check(self, part: InputPart) -> None:
        """Read a part that is known. Raises `BadInput` where the file has changed."""
        first = self._rows
        try:
            self._segment(part.size)
        except BadInput:
            # What is wrong with it may be what was changed.
            while self._read(part.size):
                pass
            self._compare(part)
            raise
        self._compare(part)
        if (first, self._rows - first) != (part.first, part.rows):
            raise changed(
                self._name,
                f"rows {part.first:,} to {part.first + part.rows - 1:,} were counted in the same bytes "
                f"that now hold rows {first:,} to {self._rows - 1:,}",
            )
        self._found.take_part(part)

    def go_on(self) -> None:
        """Read the rest of the file, which is a part of its own if it holds a row."""
        first = self._rows
        self._fresh = True
        self._segment(None)
        if self._rows > first:
            rows = self._rows - first
            self._found.take_part(InputPart(self._name, first, rows, self._position, self._digest.hexdigest()))

    def _compare(self, part: InputPart) -> None:
        if self._position < part.size:
            raise changed(self._name, f"it had {part.size:,} bytes and has {self._position:,}")
        if self._digest.hexdigest() != part.digest:
            raise changed(self._name, f"its first {part.size:,} bytes have changed")

    def _segment(self, upto: int | None) -> None:
        """Read records up to a byte, or the end of the file."""
        cutter, final, grown = Cutter(self._found.blocks), False, self._rows > 0
        while not final:
            chunk = self._read(upto)
            if grown and not chunk:
                return
            if grown:
                self._check_goes_on(chunk)
                grown = False
            self._tail = (self._tail + chunk)[-_LEAST_BYTES:]
            final = not chunk or self._position == upto
            self._data += chunk
            if self._position == len(chunk):
                check_kind(self._data, self._name, self._format.word)
                self._drop(mark_bytes(self._data, self._name, self._format.encoding))
            cut = self._cut(final)
            self._take(cut, cutter)
            self._drop(cut.taken)
            if len(self._data) > ROW_BYTES:
                raise self._too_long()
            if final and cut.missing:
                raise self._not_told(NotTold(f"it ends without {cut.missing}", self._data.count(b"\n")))
            if cut.open_lines > 1:
                raise self._never_closed(cut.open_lines)
            self._open = cut.open_lines > 0

    def _cut(self, final: bool) -> Cut:
        try:
            return self._format.cut(self._data, final=final)
        except NoText as error:
            why = f"{error.why} at its byte {self._offset + error.at:,}"
            raise wrong_encoding(self._name, self._format.encoding, why, error.likely) from error
        except NotTold as error:
            raise self._not_told(error) from error

    def _read(self, upto: int | None) -> bytes:
        # A record that does not end is cut again with each chunk: chunks that grow with it keep that linear.
        size = max(CHUNK_BYTES, len(self._data), _LEAST_BYTES)
        if upto is not None:
            size = min(size, upto - self._position)
        pieces: list[bytes] = []
        with self._site.telling(self._name):
            # A network's file may give less than is asked for.
            while size and (piece := self._file.read(size)):
                pieces.append(piece)
                size -= len(piece)
        chunk = b"".join(pieces)
        self._digest.update(chunk)
        self._position += len(chunk)
        return chunk

    def _drop(self, taken: int) -> None:
        self._data = self._data[taken:]
        self._offset += taken

    def _check_goes_on(self, chunk: bytes) -> None:
        """Raise `BadInput` where what a file has grown by belongs to its old last row."""
        encoding = self._format.encoding.name
        ends = tuple(end.encode(encoding) for end in self._format.line_ends)
        starts = tuple(start.encode(encoding) for start in self._format.line_starts)
        if not starts:
            raise changed(self._name, f"it had {self._position - len(chunk):,} bytes and has more")
        if self._open or not (self._tail.endswith(ends) or chunk.startswith(starts)):
            raise changed(self._name, f"the added text continues row {self._rows - 1}, which was its last one")

    def _take(self, cut: Cut, cutter: Cutter) -> None:
        entries, ends, start = cut.entries, cut.ends, 0
        if self._fresh:
            self._check_returns(cut.returns)
        if self._preamble_due and entries:
            self._preamble_due = False
            if self._format.is_preamble(entries[0]):
                entries, ends, start = entries[1:], ends[1:], ends[0]
        if self._header_due and entries:
            self._header_due = False
            try:
                self._format.take_header(entries[0], self._name, self._found)
            except NotTold as error:
                raise self._not_told(error) from error
            entries, ends, start = entries[1:], ends[1:], ends[0]
        cutter.add(self._data, self._offset, start, ends, cut.taken)
        if cut.bad:
            for number, entry in enumerate(entries, self._rows):
                if isinstance(entry, Undecodable):
                    self._found.take_undecodable(self._name, number, entry)
            if self._fresh and (misquoted := [one for one in enumerate(entries) if isinstance(one[1], Misquoted)]):
                raise self._misquoted(misquoted)
        self._take_columns(entries)
        if self._found.id_column:
            self._take_ids(entries)
        self._rows += len(entries)

    def _take_columns(self, entries: list[Any]) -> None:
        if self._found.columns is not None:
            return
        if self._format.fixed:
            self._found.take_columns(self._name, self._format.fixed)
            return
        for entry in entries:
            try:
                self._found.take_keys(self._name, tuple(self._format.read(entry, (), self._name)))
            except BrokenRow:
                continue
            return

    def _take_ids(self, entries: list[Any]) -> None:
        columns, column, name = self._found.columns or (), self._found.id_column, self._name
        for number, entry in enumerate(entries, self._rows):
            try:
                value = self._format.read(entry, columns, name).get(column)
            except BrokenRow:
                self._found.take_broken(name, number)
            else:
                self._found.take_id(name, number, value)

    def _check_returns(self, found: Returns) -> None:
        """Raise `BadInput` where some rows end with a carriage return alone, and others with a newline."""
        if self._alone is None and found.alone >= 0:
            self._alone = (self._offset, found.alone)
        self._newline = self._newline or found.newline
        if self._newline and self._alone is not None:
            raise BadInput(
                f"line {self._line(*self._alone):,} of {self._name} ends with a carriage return alone, others with a "
                "newline: it may be one row or two",
                fix="put the field with the carriage return in quotation marks, or end all lines alike",
                part=self._name,
            )

    def _not_told(self, error: NotTold) -> BadInput:
        return BadInput(
            f"{self._name} is no JSON array of objects: {error.why}, line {self._line(self._offset, error.line):,}",
            fix="write [{…}, {…}]; a file with an object a line is JSON Lines, and ends with .jsonl",
            part=self._name,
        )

    def _misquoted(self, found: list[tuple[int, Misquoted]]) -> BadInput:
        number, row = found[0]
        line = self._line(self._offset, row.line)
        others = [f"{line + other.line - row.line:,}" for _, other in found[1:NAMED]]
        more = f"; so have lines {', '.join(others)}{', …' * (len(found) > NAMED)}" if others else ""
        return BadInput(
            f"line {line:,} of {self._name} (row {self._rows + number}) {row.what}: {row.text}{more}",
            fix=_QUOTES,
            part=self._name,
        )

    def _line(self, offset: int, after: int) -> int:
        """Return the number, from 1, of the line that is ``after`` lines from some bytes into the file.

        For errors alone: it reads the file anew.
        """
        decoder = codecs.getincrementaldecoder(self._format.encoding.name)("replace")
        lines = io.IncrementalNewlineDecoder(decoder, translate=True)
        left, count = offset, 0
        with self._site.open(self._name) as file, self._site.telling(self._name):
            while left and (piece := file.read(min(left, CHUNK_BYTES))):
                left -= len(piece)
                count += lines.decode(piece, not left).count("\n")
        return count + after + 1

    def _too_long(self) -> BadInput:
        return BadInput(
            f"row {self._rows} of {self._name} takes over {ROW_BYTES:,} bytes",
            fix="split it; in CSV, check for a quoted field that is never closed",
        )

    def _never_closed(self, lines: int) -> BadInput:
        return BadInput(
            f"row {self._rows - 1} of {self._name} opens a quoted field that is never closed: "
            f"it would swallow the {lines - 1:,} lines after it",
            fix="close the field; write a quotation mark inside a field twice",
        )
