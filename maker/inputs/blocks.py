"""The index of an input: where its blocks of rows begin."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple
from zlib import crc32

from maker.types import InputPart

BLOCK_ROWS = 1024
BLOCK_BYTES = 64 << 10


class Block(NamedTuple):
    """Rows that are read and parsed together.

    Args:
        part: The place of its part among the input's.
        first: The number of its first row in the input.
        rows: How many.
        start: Where it begins in its file, in bytes; of Parquet the number of its row group.
        stop: Where it ends, in bytes.
        check: CRC-32 of its bytes; 0 for Parquet.
    """

    part: int
    first: int
    rows: int
    start: int
    stop: int
    check: int


class Blocks:
    """Blocks in the order in which they are found: 20 bytes each, whatever their rows."""

    def __init__(self) -> None:
        self.starts = array("q")
        self.rows = array("q")
        self.checks = array("I")

    def __len__(self) -> int:
        return len(self.starts)

    def add(self, start: int, rows: int = 0, check: int = 0) -> None:
        """Begin a block."""
        self.starts.append(start)
        self.rows.append(rows)
        self.checks.append(check)

    def extend(self, other: Blocks, start: int, stop: int) -> None:
        """Add the blocks of another from ``start`` to before ``stop``."""
        self.starts += other.starts[start:stop]
        self.rows += other.rows[start:stop]
        self.checks += other.checks[start:stop]


class Cutter:
    """Cuts the records of one part into blocks, at every 1,024th row and after every 64 KiB."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._bytes = -1

    def add(self, data: bytes, offset: int, start: int, ends: Sequence[int], taken: int) -> None:
        """Take records in.

        Args:
            data: Bytes that hold them.
            offset: Where ``data`` begins in the file.
            start: Where the first record begins in ``data``; each of the others where the one before ends.
            ends: Where each ends.
            taken: Up to where ``data`` holds nothing but them and blank lines.
        """
        view, at = memoryview(data), 0
        while at < len(ends):
            if self._bytes < 0 or self._bytes >= BLOCK_BYTES or self._blocks.rows[-1] >= BLOCK_ROWS:
                self._blocks.add(offset + start)
                self._bytes = 0
            upto = bisect_left(ends, start + BLOCK_BYTES - self._bytes, at) + 1
            upto = min(upto, at + BLOCK_ROWS - self._blocks.rows[-1], len(ends))
            self._grow(view[start : ends[upto - 1]], upto - at)
            start, at = ends[upto - 1], upto
        if self._bytes >= 0:
            self._grow(view[start:taken], 0)

    def _grow(self, data: memoryview, rows: int) -> None:
        self._bytes += len(data)
        self._blocks.rows[-1] += rows
        self._blocks.checks[-1] = crc32(data, self._blocks.checks[-1])


class Index:
    """Where every row of an input is. Never changes; pickles.

    Args:
        parts: The parts, in the order of their rows.
        sizes: How many blocks each has.
        blocks: Their blocks, in that order.
    """

    def __init__(self, parts: tuple[InputPart, ...], sizes: Sequence[int], blocks: Blocks) -> None:
        self.parts = parts
        self._blocks = blocks
        self._firsts = array("q", accumulate(blocks.rows, initial=0))
        self._stops = array("q", accumulate(sizes))

    def __len__(self) -> int:
        return self._firsts[-1]

    def find(self, row: int) -> int:
        """Return the block that a row of the input is in."""
        return bisect_right(self._firsts, row) - 1

    def block(self, at: int) -> Block:
        """Return a block by its number."""
        blocks, part = self._blocks, bisect_right(self._stops, at)
        last = at + 1 == self._stops[part]
        stop = self.parts[part].size if last else blocks.starts[at + 1]
        return Block(part, self._firsts[at], blocks.rows[at], blocks.starts[at], stop, blocks.checks[at])

    def shift(self, part: int) -> int:
        """Return what a row's number in the input is more than its number in the part's file."""
        first_block = self._stops[part - 1] if part else 0
        return self._firsts[first_block] - self.parts[part].first
