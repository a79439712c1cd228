"""Open a database, check it, upgrade its schema, and translate its errors into maker's."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import tenacity
from sqlalchemy import URL, Connection, Engine, Select, Table, column, insert, inspect, select, table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.sql import ClauseElement

from maker.errors import StoreFailed, StoreUnusable
from maker.store.backend.schema import HEAD, VERSION_TABLE
from maker.store.backend.sqlite import Sqlite

BUSY_S = 10.0
LOCKED_S = 30.0
LOST_S = 60.0
_alembic = threading.Lock()
"""Alembic keeps its environment in a module's globals: one migration at a time in a process."""
_EXAMPLES = 'write it like "sqlite:///maker.db" or "postgresql://user@host/name"'
_SECRETS = ("password", "sslpassword", "oauth_client_secret")
"""Parameters in a URL's query that must not be shown."""


def _passes(error: BaseException) -> bool:
    return isinstance(error, StoreFailed) and bool(error.facts.get("locked") or error.facts.get("lost"))


def _lasted(state: tenacity.RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    lost = isinstance(error, StoreFailed) and error.facts.get("lost")
    return (state.seconds_since_start or 0.0) >= (LOST_S if lost else LOCKED_S)


retried = tenacity.retry(
    retry=tenacity.retry_if_exception(_passes),
    stop=_lasted,
    wait=tenacity.wait_random_exponential(multiplier=0.05, max=2),
    reraise=True,
)
"""Repeat a whole transaction: for half a minute if the database is locked, for a minute if its server is lost.

A connection can be lost after the commit but before its answer: the repeated code must notice that by itself, or must
be harmless when it runs twice.
"""


class Kind(Protocol):
    """The differences between SQLite and PostgreSQL.

    ``schema`` is the schema of its tables, None if it has no schemas. ``upgrades_itself`` says whether opening it may
    create and change tables. The options are for connections that read, and for those that write. ``errors`` are the
    errors of its driver, which `translate` turns into errors of maker.
    """

    engine: Engine
    shown: str
    schema: str | None
    upgrades_itself: bool
    read_options: Mapping[str, Any]
    write_options: Mapping[str, Any]
    errors: tuple[type[Exception], ...]

    def prepare(self) -> None:
        """Prepare the database for an upgrade; runs outside of any transaction."""

    def check(self) -> None:
        """Raise `StoreFailed` if the database is no longer the one that was opened."""

    def hold(self, connection: Connection) -> None:
        """Lock out other upgrades; the first statement in an upgrade's transaction."""

    def insert(self, connection: Connection, table: Table, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows to a table; ``sql`` inserts one."""

    def translate(self, error: Exception, *, opening: bool) -> StoreFailed | StoreUnusable:
        """Return maker's error for a driver's error."""


class Database:
    """A database that holds runs. Open it with `open_database`.

    `read` and `write` give a connection in one transaction, which is committed when the block ends and rolled back
    when it raises. Any thread may use them. What a block reads stands still while it reads. On SQLite a write takes
    the lock at its start, so it never fails half way; on PostgreSQL it locks the rows that it changes. A block that
    finds no server waits for it, as long as `retried` does; what is cut off in the middle is for `retried` to repeat.

    Attributes:
        shown: The database's name in messages, without a password.
    """

    def __init__(self, kind: Kind) -> None:
        self.engine = kind.engine
        self.shown = kind.shown
        self._kind = kind
        self._inserts: dict[str, str] = {}

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection for reading. Raises `StoreFailed` or `StoreUnusable`."""
        with self._translating(), self._connected(self._kind.read_options) as connection:
            try:
                yield connection
            except TypeError as error:
                # SQLite holds any value in any column; the driver's reading of one of another type ends here.
                raise StoreFailed(
                    f"{self.shown}: a stored value is of another type than its column: {error}",
                    fix="restore the database from a backup",
                ) from error
            self._kind.check()

    @retried
    def fetch(self, query: Select[Any]) -> Sequence[Any]:
        """Return all rows of a query; repeats it if the server was lost.

        Raises `StoreFailed` or `StoreUnusable`.
        """
        with self.read() as connection:
            return connection.execute(query).all()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection for one write transaction. Raises `StoreFailed` or `StoreUnusable`."""
        with self._translating(), self._connected(self._kind.write_options) as connection, connection.begin():
            yield connection
        # After the commit: a file that was removed takes it like any other.
        self._kind.check()

    def insert_rows(self, connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows, each with a value for every column in the table's order, in the database's fastest way.

        If a row exists already, the block of `write` raises `StoreFailed` with the fact ``conflict``.
        """
        if rows:
            if table.name not in self._inserts:
                self._inserts[table.name] = self.sql(insert(table))
            self._kind.insert(connection, table, self._inserts[table.name], rows)

    def sql(self, statement: ClauseElement) -> str:
        """Return a statement as this database's text, tables with their schema, for `Connection.exec_driver_sql`.

        Its parameters are taken from a tuple, in their order.
        """
        options: dict[str, Any] = {}
        if self._kind.schema is not None:
            options = {"schema_translate_map": {None: self._kind.schema}, "render_schema_translate": True}
        return str(statement.compile(dialect=self.engine.dialect, **options))

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def version(self, connection: Connection) -> str | None:
        """Return the database's schema version, None if it has no maker tables."""
        schema = self._kind.schema
        if not inspect(connection).has_table(VERSION_TABLE, schema=schema):
            return None
        kept = table(VERSION_TABLE, column("version_num"), schema=schema)
        found: str | None = connection.execute(select(kept.c.version_num)).scalar()
        return found

    def checked(self) -> str | None:
        """Connect for the first time; returns the schema version. Raises `StoreUnusable`."""
        with self._translating(opening=True), self.engine.connect() as connection:
            version = self.version(connection)
        if version is not None and version > HEAD:
            raise StoreUnusable(
                f"{self.shown} has schema {version}; this maker knows schemas up to {HEAD}",
                fix="upgrade maker to the version that wrote it",
            )
        return version

    def upgrade(self) -> None:
        """Upgrade the schema in one transaction; waits while another process does the same."""
        self._prepare()
        self._migrate()

    @retried
    def _connected(self, options: Mapping[str, Any]) -> Connection:
        with self._translating():
            return self.engine.connect().execution_options(**options)

    @retried
    def _prepare(self) -> None:
        with self._translating():
            self._kind.prepare()

    @retried
    def _migrate(self) -> None:
        with self.write() as connection:
            self._kind.hold(connection)
            if self.version(connection) != HEAD:
                _migrate(connection, self._kind.schema)

    @contextmanager
    def _translating(self, *, opening: bool = False) -> Iterator[None]:
        try:
            yield
        except self._kind.errors as error:
            raise self._kind.translate(error, opening=opening) from error


class Upgrade(NamedTuple):
    """What `upgrade_database` did: the schema before, None if there was none, and after."""

    shown: str
    before: str | None
    after: str


def open_database(url: str, *, create: bool) -> Database:
    """Return an open database. A SQLite file is upgraded; a PostgreSQL database only by `upgrade_database`.

    Args:
        url: ``sqlite:///path``, relative to the working directory, or ``postgresql://user:password@host/name``.
        create: Make a SQLite file that is not there; otherwise a missing one is an error.

    Raises:
        StoreUnusable: The URL cannot be read, or what it names is no database, read-only, missing, or of another
            schema.
    """
    kind = _kind(url, create=create)
    with _closed_unless_good(Database(kind)) as database:
        version = database.checked()
        if version == HEAD:
            return database
        if not kind.upgrades_itself:
            has = f"has schema {version}; this maker needs {HEAD}" if version else "has no maker tables"
            raise StoreUnusable(
                f"{kind.shown} {has}", fix=f"run `maker db upgrade --store {shlex.quote(shown_url(url))}`"
            )
        if version is None and not create:
            raise StoreUnusable(f"{kind.shown} has no maker tables", fix="name another database with --store")
        database.upgrade()
        return database


def upgrade_database(url: str) -> Upgrade:
    """Create or upgrade the tables of a database; creates a missing SQLite file.

    Raises:
        StoreUnusable: As `open_database`; or the user may not create tables.
    """
    with _closed_unless_good(Database(_kind(url, create=True))) as database:
        version = database.checked()
        if version != HEAD:
            database.upgrade()
        database.close()
        return Upgrade(database.shown, version, HEAD)


@contextmanager
def _closed_unless_good(database: Database) -> Iterator[Database]:
    with ExitStack() as stack:
        stack.callback(database.close)
        yield database
        stack.pop_all()


def _kind(url: str, *, create: bool) -> Kind:
    try:
        url.encode()
        parsed = make_url(url)
    except UnicodeEncodeError as error:
        raise StoreUnusable(f"store.url {shown_url(url)!r} is not UTF-8", fix="name another file") from error
    except (ArgumentError, ValueError) as error:
        raise StoreUnusable(f"store.url {shown_url(url)!r} is not a database URL", fix=_EXAMPLES) from error
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return Sqlite(parsed, create=create, busy_s=BUSY_S)
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        return _postgres(parsed, shown_url(url))
    raise StoreUnusable(f"store.url: {parsed.drivername} is not supported", fix=_EXAMPLES)


def _postgres(url: URL, shown: str) -> Kind:
    try:
        import psycopg  # noqa: F401 - an extra
    except ImportError as error:
        raise StoreUnusable(
            f"{shown} needs psycopg: {error}".splitlines()[0], fix="pip install 'maker-executor[postgres]'"
        ) from error
    from maker.store.backend.postgres import Postgres

    return Postgres(url, shown=shown, busy_s=BUSY_S)


def _migrate(connection: Connection, schema: str | None) -> None:
    # Imported here: an up-to-date database never needs it, and it takes a tenth of a second.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    config.attributes["schema"] = schema
    with _alembic:
        command.upgrade(config, "head")


def shown_url(url: str) -> str:
    """Return a URL without its password."""
    # What UTF-8 cannot write is refused where the store is opened.
    url = url.encode("utf-8", "backslashreplace").decode()
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text is no URL, so anything in it may be a password: hide all that could be one.
        beginning, mark, rest = url.partition("://")
        return beginning + mark + rest.rpartition("@")[2].partition("?")[0] if mark else url
    return parsed.difference_update_query(_SECRETS).render_as_string(hide_password=True)
