"""SQLite: a file, its locks, and what its errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event
from sqlalchemy.exc import DBAPIError

from maker.errors import StoreFailed, StoreMissing, StoreUnusable

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
        self.engine = _engine(url, busy_s)

    def prepare(self) -> None:
        """Turn on write-ahead logging, which the file keeps. Fails as locked if another process has the file open."""
        with self.engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None  # noqa: S101 - for the type checker
            raw.execute("PRAGMA journal_mode = WAL")

    def hold(self, connection: Connection) -> None:
        """Do nothing: a write transaction has the whole file to itself."""

    def insert(self, connection: Connection, table: Table, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows. Tuples straight to the driver's executemany: three times the rows a second of a list of dicts."""
        connection.exec_driver_sql(sql, list(rows))

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
                return StoreFailed(f"{self.shown}: {what} ({said})", fix=fix, locked="locked" in said)
        return StoreFailed(
            f"{self.shown}: {said}", fix="fix the database, then resume the run; committed steps are safe"
        )


def _engine(url: URL, busy_s: float) -> Engine:
    # The pool keeps the writer's connection open: closing the last one makes SQLite fold its log into the file and
    # delete the log, which made a commit take 16 ms instead of 2.
    engine = create_engine(url, connect_args={"timeout": busy_s, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # Transactions are begun below, explicitly: the driver's own would begin too late for DDL and for locks.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")

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
