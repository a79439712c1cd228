"""SQLite: a file, its locks, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain as chained
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event
from sqlalchemy.exc import DBAPIError

from maker.errors import StoreFailed, StoreMissing, StoreUnusable
from maker.store.lease import describe, this_process

MOST_HOLDERS = 3
_CHUNKS = (256, 64, 16, 4, 1)
"""How many rows a statement adds: few sizes, so that the driver's cache holds the statements."""
LOG_PAGES = 16_384
"""A commit folds the log only when it has grown to so many pages: 64 MB. As a rule a journal does it before, when
nobody waits: so a resume does not begin with writing what a killed process has left."""
_CONFLICTS = ("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE")


class Sqlite:
    """A SQLite file as a kind of database.

    Args:
        url: Names the file, relative to the working directory.
        create: Whether the file may be made; its folder never is.
        busy_s: How long to wait for another program's lock, in seconds.

    Raises:
        StoreUnusable: The URL names no file, or one that is not there.
    """

    schema: str | None = None
    upgrades_itself = True
    read_options: Mapping[str, Any] = MappingProxyType({})
    write_options: Mapping[str, Any] = MappingProxyType({"maker_write": True})
    errors: tuple[type[Exception], ...] = (DBAPIError, sqlite3.Error)

    def __init__(self, url: URL, *, create: bool, busy_s: float) -> None:
        if url.database in (None, "", ":memory:"):
            raise StoreUnusable("store.url names no file", fix='a run must outlive its process: "sqlite:///maker.db"')
        path = Path(str(url.database))
        if not path.exists() and not create:
            raise StoreMissing(
                f"there is no database {path}", fix="name another one with --store URL or MAKER_STORE", path=str(path)
            )
        if not path.parent.is_dir():
            raise StoreUnusable(
                f"the folder {path.parent} for the database {path.name} does not exist",
                fix="create it, or name another database",
                path=str(path),
            )
        self.shown = str(path)
        self._file = path.absolute()
        self._files = _Files(self._file)
        self.engine = _engine(url, busy_s, self._files)

    def exists(self) -> bool:
        """Say whether the file is there; raises `StoreUnusable` if it is not and its folder takes none."""
        if not self._file.exists() and not os.access(self._file.parent, os.W_OK | os.X_OK):
            raise StoreUnusable(
                f"the folder {self._file.parent} for the database {self._file.name} cannot be written to",
                fix="make it writable, or set another store.url",
            )
        return self._file.exists()

    def check(self) -> None:
        """Raise `StoreFailed` unless the open files are still those that their names stand for. Takes 10 us."""
        self._files.check()

    def prepare(self) -> None:
        """Turn on write-ahead logging, which the file keeps. Fails as locked if another process has the file open."""
        self._pragma("journal_mode = WAL")

    def fold_log(self) -> None:
        """Write the log into the file: SQLite's checkpoint, which waits for nobody.

        If it fails, as on a full disk, nothing is lost: what is in the log counts, and the next commit fails too.
        """
        with suppress(DBAPIError, sqlite3.Error, StoreFailed):
            self._pragma("wal_checkpoint(PASSIVE)")

    def _pragma(self, words: str) -> None:
        """Run a pragma outside of any transaction."""
        with self.engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None  # noqa: S101 - for the type checker
            raw.execute(f"PRAGMA {words}")

    def hold(self, connection: Connection) -> None:
        """Do nothing: a write transaction has the whole file to itself."""

    def insert(self, connection: Connection, table: Table, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows, many in one statement: between two statements another thread may keep this one waiting."""
        start, values = 0, sql.rpartition("VALUES ")[2]
        for size in _CHUNKS:
            while len(rows) - start >= size:
                chunk = tuple(chained.from_iterable(rows[start : start + size]))
                connection.exec_driver_sql(sql + f", {values}" * (size - 1), chunk)
                start += size

    def _holders(self) -> str:
        """Return who works on runs in this file, the one that was silent longest first: it may hold the lock."""
        query = (
            "SELECT run_id, holder, updated_at FROM maker_run WHERE status = 'running' AND holder <> '' "
            "ORDER BY updated_at LIMIT 20"
        )
        try:
            with closing(sqlite3.connect(f"{self._file.as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
                rows = connection.execute(query).fetchall()
        except sqlite3.Error:
            return ""
        others = [row for row in rows if row[1] != this_process()][:MOST_HOLDERS]
        told = (f"{describe(who)} on run {run}, silent for {time.time() - at:.0f} s" for run, who, at in others)
        return f"; at work in it: {', '.join(told)}" if others else ""

    def translate(self, error: Exception, *, opening: bool) -> StoreFailed | StoreUnusable:
        """Return maker's error for a driver's error."""
        orig = error.orig if isinstance(error, DBAPIError) else error
        said = str(orig)
        if isinstance(orig, sqlite3.IntegrityError) and orig.sqlite_errorname in _CONFLICTS:
            return StoreFailed(
                f"{self.shown}: another process has written this row ({said})",
                fix="see the state of the run with `maker show`",
                conflict=True,
            )
        for sign, what, fix in _UNUSABLE:
            if sign in said:
                return StoreUnusable(f"{self.shown}: {what} ({said})", fix=fix)
        for sign, what, fix in _FAILED:
            if sign in said:
                if "locked" in said:
                    return StoreFailed(f"{self.shown}: {what} ({said}){self._holders()}", fix=fix, locked=True)
                return StoreFailed(f"{self.shown}: {what} ({said})", fix=fix, locked=False)
        return StoreFailed(
            f"{self.shown}: {said}", fix="fix the database, then resume the run; committed steps are safe"
        )


class _Files:
    """The database's file and its companions, as they were when they were opened.

    A file that is removed or replaced stays open: what is written to it goes on without an error, and is lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]
        self._known: dict[Path, tuple[int, int]] = {}
        self._connections = 0

    def opened(self) -> None:
        """Note that a connection was opened."""
        self.check()
        self._connections += 1

    def closed(self) -> None:
        """Note that a connection was closed: the last one takes its companions with it."""
        self._connections -= 1
        if not self._connections:
            self._known = {path: known for path, known in self._known.items() if path == self._path}

    def check(self) -> None:
        """Raise `StoreFailed` if a file is gone or another one; note those that are new."""
        for path in self._names:
            known = self._known.get(path)
            try:
                found = path.stat()
            except OSError:
                if known is None:
                    continue
                raise _replaced(self._path, f"{path.name} was removed") from None
            if known is None:
                # A log that stands beside no file, or an empty one, is another database's, and SQLite deletes it.
                if path == self._path or self._written():
                    self._known[path] = (found.st_dev, found.st_ino)
            elif known != (found.st_dev, found.st_ino):
                raise _replaced(self._path, f"{path.name} was replaced")

    def _written(self) -> bool:
        try:
            return self._path.stat().st_size > 0
        except OSError:
            return False


def _replaced(path: Path, what: str) -> StoreFailed:
    return StoreFailed(
        f"{path}: {what} while this process used it, so nothing more is kept there",
        fix="if it was moved, move it back with the files beside it, then continue with `maker resume`; "
        "if it was deleted, restore it from a backup",
    )


def _engine(url: URL, busy_s: float, files: _Files) -> Engine:
    # The pool keeps the writer's connection open: closing the last one makes SQLite fold its log into the file and
    # delete the log, which made a commit take 16 ms instead of 2.
    # A process shares the engine: it has as many connections as threads were in transactions at once (pool_size=0).
    engine = create_engine(
        url, connect_args={"timeout": busy_s, "check_same_thread": False}, pool_size=0, pool_use_lifo=True
    )

    @event.listens_for(engine, "do_connect")
    def _on_opening(*_: Any) -> None:
        # Opening would make an empty database where ours is gone.
        files.check()

    @event.listens_for(engine, "close")
    def _on_close(_connection: Any, _record: Any) -> None:
        files.closed()

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # Transactions are begun below, explicitly: the driver's own would begin too late for DDL and for locks.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        files.opened()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("maker_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


_UNUSABLE = (
    ("not a database", "it is not a SQLite database", "name another one with store.url or --store"),
    ("malformed", "the database is damaged", "restore it from a backup"),
    ("readonly", "the database is read-only", "make the file and its folder writable, or set another store.url"),
    ("unable to open", "it cannot be opened", "make the file and its folder readable and writable"),
)
_FAILED = (
    (
        "disk is full",
        "the disk is full",
        "free some space, then continue with `maker resume`; committed steps are safe",
    ),
    ("disk I/O error", "the disk accepts no writes", "free some space or repair the disk, then `maker resume`"),
    ("locked", "another program has locked the database", "end that program, then continue with `maker resume`"),
)
