"""One database: opened, checked, brought to the current schema; its errors told in maker's words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tenacity
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from maker.errors import StoreFailed, StoreUnusable
from maker.store.schema import HEAD, VERSION_TABLE

BUSY_S = 10.0
LOCKED_S = 30.0
_alembic = threading.Lock()
"""Alembic keeps its environment in a module's globals: one migration at a time in a process."""

retry_locked = tenacity.retry(
    retry=tenacity.retry_if_exception(
        lambda error: isinstance(error, StoreFailed) and error.facts.get("locked", False)
    ),
    stop=tenacity.stop_after_delay(LOCKED_S),
    wait=tenacity.wait_random_exponential(multiplier=0.05, max=2),
    reraise=True,
)
"""Repeat a whole transaction that found the database locked, for half a minute."""


class Database:
    """A database that holds runs. Open it with `open_database`.

    `read` and `write` give a connection in one transaction, which is committed when the block ends and rolled back
    when it raises. Any thread may use them; on SQLite a write takes the lock at its start, so it never fails half way.
    """

    def __init__(self, engine: Engine, shown: str) -> None:
        self.engine = engine
        self.shown = shown

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection for reading. Raises `StoreFailed` or `StoreUnusable`."""
        with self._told(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection for one write transaction. Raises `StoreFailed` or `StoreUnusable`."""
        with self._told(), self.engine.connect().execution_options(maker_write=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _told(error, self.shown) from error


def open_database(url: str, *, create: bool) -> Database:
    """Open a database, and bring its schema up to date.

    Args:
        url: A SQLAlchemy URL; SQLite paths are relative to the working directory.
        create: Make the database if it is not there; otherwise a missing one is an error.

    Raises:
        StoreUnusable: The URL cannot be read, or what it names is no database, read-only, missing, or too new.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreUnusable(
            f"store.url {shown_url(url)!r} is no database URL", fix='write it like "sqlite:///maker.db"'
        ) from error
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise StoreUnusable(
            f"store.url: {parsed.drivername} is not supported yet", fix='write it like "sqlite:///maker.db"'
        )
    if parsed.database in (None, "", ":memory:"):
        raise StoreUnusable("store.url names no file", fix='a run must outlive its process: "sqlite:///maker.db"')
    path = Path(str(parsed.database))
    if not path.exists() and not create:
        raise StoreUnusable(
            f"there is no database {path}", fix="name it with --store URL or MAKER_STORE", path=str(path)
        )
    if not path.parent.is_dir():
        raise StoreUnusable(f"there is no folder {path.parent} for the database {path.name}", path=str(path))
    database = Database(_sqlite(url), str(path))
    _upgrade(database, create=create)
    return database


def _sqlite(url: str) -> Engine:
    # The pool keeps the writer's connection open: whoever closes the last one makes SQLite fold its log into the
    # file and delete it, which made a commit take 16 ms instead of 2.
    engine = create_engine(url, connect_args={"timeout": BUSY_S, "check_same_thread": False})

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


def _upgrade(database: Database, *, create: bool) -> None:
    with database.read() as connection:
        version = _version(connection)
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise StoreUnusable(
            f"{database.shown} has schema {version}; this maker knows schemas up to {HEAD}",
            fix="use the newer maker that wrote it",
        )
    if version is None and not create:
        raise StoreUnusable(f"{database.shown} holds no runs of maker", fix="name another database with --store")
    _use_wal(database)
    with database.write() as connection:
        if _version(connection) != HEAD:
            _migrate(connection)


@retry_locked
def _use_wal(database: Database) -> None:
    """Set write-ahead logging, which the file keeps. With another opener about this fails at once, without waiting."""
    with database._told(), database.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None  # noqa: S101 - for the type checker
        raw.execute("PRAGMA journal_mode = WAL")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant


def _migrate(connection: Connection) -> None:
    # Imported here: a database that is up to date never needs it, and it takes a tenth of a second.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    with _alembic:
        command.upgrade(config, "head")


def shown_url(url: str) -> str:
    """Return a URL without its password."""
    return url if "@" not in url else url.split("://", maxsplit=1)[0] + "://…@" + url.rsplit("@", 1)[1]


def _told(error: DBAPIError, shown: str) -> StoreFailed | StoreUnusable:
    said = str(error.orig)
    for sign, what, fix in _UNUSABLE:
        if sign in said:
            return StoreUnusable(f"{shown}: {what} ({said})", fix=fix)
    for sign, what, fix in _FAILED:
        if sign in said:
            return StoreFailed(f"{shown}: {what} ({said})", fix=fix, locked="locked" in said)
    return StoreFailed(f"{shown}: {said}", fix="nothing that was committed is lost; resume the run when it is mended")


_UNUSABLE = (
    ("not a database", "it is no SQLite database", "name another one with store.url or --store"),
    ("malformed", "the database is damaged", "restore it from a copy"),
    ("readonly", "the database is read-only", "make the file and its folder writable, or name another store.url"),
    ("unable to open", "it cannot be opened", "make the file and its folder readable and writable"),
)
_FAILED = (
    ("disk is full", "the disk is full", "free some space, then `maker resume`; what was committed is safe"),
    ("disk I/O error", "the disk does not take writes", "free some space or mend the disk, then `maker resume`"),
    ("locked", "another program holds the database's lock", "end that program, then `maker resume`"),
)
