"""What a SQLite database tells from outside: how safely it commits, how often it did, how large it is."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

LEVELS = ("OFF", "NORMAL", "FULL", "EXTRA")


def settings(ask: Callable[[str], Any]) -> tuple[str, str]:
    """Return journal mode and ``synchronous`` of a connection, of which ``ask`` runs a PRAGMA and gives its value."""
    return str(ask("PRAGMA journal_mode")), LEVELS[int(ask("PRAGMA synchronous"))]


def commits(database: Path) -> int:
    """Return a counter that goes up by one with each transaction that wrote; only differences mean anything.

    With write-ahead logging it is ``iChange`` in the header of the index (https://www.sqlite.org/walformat.html,
    native byte order), else the file change counter (https://www.sqlite.org/fileformat.html). Reading it takes no lock.
    """
    index = database.with_name(database.name + "-shm")
    if found := _four(index, 8):
        return int.from_bytes(found, sys.byteorder)
    return int.from_bytes(_four(database, 24), "big")


def folded_bytes(database: Path) -> int:
    """Fold the write-ahead log into the file, and return what both take on the disk then."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        log = database.with_name(database.name + "-wal")
        return database.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _four(path: Path, at: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(at)
            return file.read(4)
    except OSError:
        return b""
