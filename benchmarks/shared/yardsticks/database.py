"""What a SQLite database tells from outside: how safely it commits, how often it did, how large it is."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

LEVELS = ("OFF", "NORMAL", "FULL", "EXTRA")


def settings(ask: Callable[[str], Any]) -> tuple[str, str]:
    """Return journal mode and ``synchronous`` of a connection, of which ``ask`` runs a PRAGMA and gives its value."""
    return str(ask("PRAGMA journal_mode")), LEVELS[int(ask("PRAGMA synchronous"))]


class Commits:
    """Counts the transactions that wrote to a database, from outside and without a lock.

    Its files stay open until `close`: a process that closes one gives up every lock that SQLite holds on it, and the
    next process to open the database cuts its index short under our connections. So close those first.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._index = database.with_name(database.name + "-shm")
        self._open: dict[Path, BinaryIO] = {}

    def count(self) -> int:
        """Return a counter that goes up by one with each transaction that wrote; only differences mean anything.

        With write-ahead logging it is ``iChange`` in the header of the index (https://www.sqlite.org/walformat.html,
        native byte order), else the file change counter (https://www.sqlite.org/fileformat.html).
        """
        if found := self._four(self._index, 8):
            return int.from_bytes(found, sys.byteorder)
        return int.from_bytes(self._four(self._database, 24), "big")

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _four(self, path: Path, at: int) -> bytes:
        try:
            known = self._open.get(path)
            if known is None or not os.path.samestat(path.stat(), os.fstat(known.fileno())):
                self._open[path] = path.open("rb", buffering=0)
                if known is not None:
                    known.close()
            return os.pread(self._open[path].fileno(), 4, at)
        except OSError:
            return b""


def folded_bytes(database: Path) -> int:
    """Fold the write-ahead log into the file, and return what both take on the disk then."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        log = database.with_name(database.name + "-wal")
        return database.stat().st_size + (log.stat().st_size if log.exists() else 0)
