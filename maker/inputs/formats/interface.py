"""The interface to a format: how its files are counted, and how a block of rows is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from maker.inputs.blocks import Block
from maker.inputs.parts import Broken, BrokenRow
from maker.inputs.scan import Gathering
from maker.inputs.sites import Site
from maker.types import InputPart


class LoadedBlock(NamedTuple):
    """A block in memory: an entry a row, and about how many bytes they take."""

    entries: Sequence[Any]
    weight: int


class Format(ABC):
    """One kind of files. Holds no state of a file."""

    uniform: ClassVar[bool] = True
    """Every row has the columns of the first."""

    @abstractmethod
    def scan(self, site: Site, name: str, known: Sequence[InputPart], found: Gathering, *, grow: bool) -> None:
        """Read a file once: take its parts, blocks, columns and ids into ``found``.

        Args:
            site: Where the file is.
            name: Which it is.
            known: The parts that it had when the run began, by their first rows.
            found: Taken into.
            grow: Read on after the known parts.

        Raises:
            BadInput: The file cannot be read, is not what it was, or holds no rows in this format.
        """

    @abstractmethod
    def load(self, site: Site, part: InputPart, block: Block) -> LoadedBlock:
        """Read one block. Raises `BadInput` where it cannot be read, or is not what was scanned."""

    @abstractmethod
    def values(self, entry: Any, columns: tuple[str, ...], name: str) -> dict[str, Any]:
        """Return an entry's values by column, the caller's own. Raises `BrokenRow`."""

    def read(self, entry: Any, columns: tuple[str, ...], name: str) -> dict[str, Any]:
        """Return what `values` does. Raises `BrokenRow`, with what follows the row's place in a message."""
        if isinstance(entry, Broken):
            raise BrokenRow(entry.what)
        return self.values(entry, columns, name)
