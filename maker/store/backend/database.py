"""Open a database, check it, upgrade its schema, and translate its errors into maker's."""

from __future__ import annotations

import re
import shlex
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import tenacity
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Select,
    Table,
    Transaction,
    column,
    insert,
    inspect,
    select,
    table,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.sql import ClauseElement

from maker.errors import StoreFailed, StoreMissing, StoreUnusable, extra
from maker.store.backend.schema import HEAD, VERSION_TABLE
from maker.store.backend.sharing import Holding, hold
from maker.store.backend.sqlite import Sqlite
from maker.store.backend.waits import tell_wait

BUSY_S = 5.0
LOCKED_S = 30.0
LOST_S = 60.0
_EXAMPLES = 'write it like "sqlite:///maker.db" or "postgresql://user@host/name"'
_SHOWN = ("host", "hostaddr", "port", "user", "dbname", "sslmode", "target_session_attrs", "application_name", "mode")
"""Parameters in a URL's query that are shown: whatever others hold may be secret."""
_HARMLESS = re.compile(r"[\w.,:/\[\]-]*")
_SCHEME = re.compile(r"(sqlite|postgres|postgresql)(\+\w+)?(?=:)", re.IGNORECASE)


def _passes(error: BaseException) -> bool:
    return isinstance(error, StoreFailed) and bool(error.facts.get("locked") or error.facts.get("lost"))


def _lasted(state: tenacity.RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    most_s = LOST_S if isinstance(error, StoreFailed) and error.facts.get("lost") else LOCKED_S
    return (state.seconds_since_start or 0.0) >= most_s or _waited_s(error) >= most_s


def _waited_s(error: BaseException | None) -> float:
    since_s = error.since_s if isinstance(error, StoreFailed) else None
    return 0.0 if since_s is None else time.monotonic() - since_s


def _tell(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, StoreFailed):
        tell_wait(error.message, max(_waited_s(error), state.seconds_since_start or 0.0))


retried = tenacity.retry(
    retry=tenacity.retry_if_exception(_passes),
    stop=_lasted,
    wait=tenacity.wait_random_exponential(multiplier=0.05, max=2),
    before_sleep=_tell,
    reraise=True,
)
"""Repeat a whole transaction: for half a minute if the database is locked, for a minute if its server is lost.

The clock is the database's: it runs from the first failure on, whoever met it, until something succeeds. So what is
tried after all that time is tried once. After `WORD_S` seconds there is a word in the log.

A connection can be lost after the commit but before its answer: the repeated code must notice that by itself, or must
be harmless when it runs twice.
"""


_reached = tenacity.retry(
    retry=tenacity.retry_if_exception(lambda error: isinstance(error, StoreFailed) and bool(error.facts.get("lost"))),
    stop=_lasted,
    wait=tenacity.wait_random_exponential(multiplier=0.05, max=2),
    before_sleep=_tell,
    reraise=True,
)
"""Wait for a server that is away; as `retried`, whose callers need not be."""


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

    def exists(self) -> bool:
        """Say whether the database is there; raises `StoreUnusable` if it is not and cannot be made."""

    def check(self) -> None:
        """Raise `StoreFailed` if the database is no longer the one that was opened."""

    def hold(self, connection: Connection) -> None:
        """Lock out other upgrades; the first statement in an upgrade's transaction."""

    def fold_log(self) -> None:
        """Write what was committed into the database's own file, where that is work that a commit leaves."""

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
        schema: The schema of its tables, None if it has no schemas.
        once: Returns what all of this process who have the database open have of a thing together, by its name.
    """

    def __init__(self, held: Holding[Kind]) -> None:
        self._held: Holding[Kind] | None = held
        self._kind = kind = held.kind
        self.engine = kind.engine
        self.shown = kind.shown
        self.schema = kind.schema
        self.once = held.once
        self._since_s: dict[str, float] = held.once("since_s", dict)
        self._reading = threading.local()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection for reading. Raises `StoreFailed` or `StoreUnusable`."""
        if (shared := getattr(self._reading, "connection", None)) is not None:
            yield from self._read_within(shared)
            return
        with self._translating(), self._begun(self._kind.read_options) as (connection, _):
            try:
                yield connection
            except TypeError as error:
                # SQLite holds any value in any column; the driver's reading of one of another type ends here.
                raise StoreFailed(
                    f"{self.shown}: a stored value is of another type than its column: {error}",
                    fix="restore the database from a backup",
                ) from error
            self._kind.check()
            self._since_s.pop("lost", None)

    def _read_within(self, connection: Connection) -> Iterator[Connection]:
        with self._translating():
            try:
                yield connection
            except BaseException:
                # Its transaction may be broken: what is read after it, or again, is read in others.
                self._reading.connection = None
                raise

    @contextmanager
    def reading_at_once(self) -> Iterator[None]:
        """Let this thread read in one transaction within the block: each one costs two round trips.

        For short blocks: as long as it lasts a server keeps what others delete. Writing is as ever.
        """
        with self.read() as connection:
            self._reading.connection = connection
            try:
                yield
            finally:
                self._reading.connection = None

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
        with self._translating(), self._begun(self._kind.write_options) as (connection, transaction), transaction:
            yield connection
        self._since_s.clear()
        # After the commit: a file that was removed takes it like any other.
        self._kind.check()

    def fold_log(self) -> None:
        """Do the work that commits leave behind. It may take as long as many commits, and raises nothing."""
        self._kind.fold_log()

    def insert_rows(self, connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows, each with a value for every column in the table's order, in the database's fastest way.

        If a row exists already, the block of `write` raises `StoreFailed` with the fact ``conflict``.
        """
        if rows:
            sql: str = self.once(("insert", table.name), lambda: self.sql(insert(table)))
            self._kind.insert(connection, table, sql, rows)

    def sql(self, statement: ClauseElement) -> str:
        """Return a statement as this database's text, tables with their schema, for `Connection.exec_driver_sql`.

        Its parameters are taken from a tuple, in their order.
        """
        options: dict[str, Any] = {}
        if self.schema is not None:
            options = {"schema_translate_map": {None: self.schema}, "render_schema_translate": True}
        return str(statement.compile(dialect=self.engine.dialect, **options))

    def close(self) -> None:
        """Close every connection, unless others of this process use them. Closing again does nothing."""
        held, self._held = self._held, None
        if held is not None and held.let_go():
            self.engine.dispose()

    def version(self, connection: Connection) -> str | None:
        """Return the database's schema version, None if it has no maker tables."""
        schema = self.schema
        if not inspect(connection).has_table(VERSION_TABLE, schema=schema):
            return None
        kept = table(VERSION_TABLE, column("version_num"), schema=schema)
        found: str | None = connection.execute(select(kept.c.version_num)).scalar()
        return found

    def checked(self) -> str | None:
        """Connect for the first time; returns the schema version. Raises `StoreUnusable`."""
        with self._translating(opening=True), self.engine.connect() as connection:
            version = self.version(connection)
        self._refuse_newer(version)
        return version

    def refuse_old(self, version: str | None, url: str) -> None:
        """Raise `StoreUnusable` for a schema that only `upgrade_database` brings up to date."""
        if version != HEAD and not self._kind.upgrades_itself:
            has = f"has schema {version}; this maker needs {HEAD}" if version else "has no maker tables"
            fix = f"run `maker db upgrade --store {shlex.quote(shown_url(url))}`"
            raise StoreUnusable(f"{self.shown} {has}", fix=fix)

    def exists(self) -> bool:
        """Say whether the database is there; raises `StoreUnusable` if it is not and cannot be made."""
        return self._kind.exists()

    def upgrade(self) -> None:
        """Upgrade the schema in one transaction; waits while another process does the same."""
        self._prepare()
        self._migrate()

    @contextmanager
    def _begun(self, options: Mapping[str, Any]) -> Iterator[tuple[Connection, Transaction]]:
        connection, transaction = self._begin(options)
        with connection:
            yield connection, transaction

    @_reached
    def _begin(self, options: Mapping[str, Any]) -> tuple[Connection, Transaction]:
        """Return a connection in a transaction: a pooler gives a connection before it has a server for it."""
        with self._translating(), ExitStack() as stack:
            connection = stack.enter_context(self.engine.connect().execution_options(**options))
            transaction = connection.begin()
            stack.pop_all()
        return connection, transaction

    @retried
    def _prepare(self) -> None:
        with self._translating():
            self._kind.prepare()

    @retried
    def _migrate(self) -> None:
        with self.write() as connection:
            self._kind.hold(connection)
            found = self.version(connection)
            # Another process may have upgraded it meanwhile: a newer maker even further.
            self._refuse_newer(found)
            if found != HEAD:
                # Imported here: an up-to-date database never needs it.
                from maker.store.backend.migrate import migrate

                migrate(connection, self.schema, found)

    def _refuse_newer(self, version: str | None) -> None:
        if version is not None and version > HEAD:
            raise StoreUnusable(
                f"{self.shown} has schema {version}; this maker knows schemas up to {HEAD}",
                fix="upgrade maker to the version that wrote it",
            )

    @contextmanager
    def _translating(self, *, opening: bool = False) -> Iterator[None]:
        try:
            yield
        except self._kind.errors as error:
            failed = self._kind.translate(error, opening=opening)
            if isinstance(failed, StoreFailed):
                for fact in failed.facts.keys() & {"lost", "locked"}:
                    failed.since_s = self._since_s.setdefault(fact, time.monotonic())
            raise failed from error


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
    with _closed_unless_good(Database(_held(url, create=create))) as database:
        version = database.checked()
        if version == HEAD:
            return database
        database.refuse_old(version, url)
        if version is None and not create:
            raise StoreUnusable(f"{database.shown} has no maker tables", fix="name another database with --store")
        database.upgrade()
        return database


@contextmanager
def opened_if_there(url: str) -> Iterator[Database | None]:
    """Give an open database, None where there is none yet. Raises as `open_database` does."""
    try:
        database = open_database(url, create=False)
    except StoreMissing:
        yield None
        return
    with closing(database):
        yield database


def folder_of(url: str) -> Path:
    """Return the folder that a store fills: a SQLite file's, else the working directory."""
    file = sqlite_file(url)
    return Path.cwd() if file is None else file.parent


def sqlite_file(url: str) -> Path | None:
    """Return the path of a SQLite store's file, None for another store."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    return Path(parsed.database or "").absolute() if parsed.drivername.startswith("sqlite") else None


def try_database(url: str) -> bool:
    """Try what a run needs of its store, writing too, and change nothing; returns whether it is there yet.

    Raises:
        StoreUnusable, StoreFailed: As opening it and writing to it would.
    """
    with closing(Database(_held(url, create=True))) as database:
        if not database.exists():
            return False
        version = database.checked()
        database.refuse_old(version, url)
        with database.write() as connection:
            if version is not None:
                run = table("maker_run", column("id"), column("steps"), schema=database.schema)
                connection.execute(update(run).where(run.c.id < 0).values(steps=0))
    return version is not None


def upgrade_database(url: str) -> Upgrade:
    """Create or upgrade the tables of a database; creates a missing SQLite file.

    Raises:
        StoreUnusable: As `open_database`; or the user may not create tables.
    """
    with closing(Database(_held(url, create=True))) as database:
        version = database.checked()
        if version != HEAD:
            database.upgrade()
        return Upgrade(database.shown, version, HEAD)


@contextmanager
def _closed_unless_good(database: Database) -> Iterator[Database]:
    with ExitStack() as stack:
        stack.callback(database.close)
        yield database
        stack.pop_all()


def _held(url: str, *, create: bool) -> Holding[Kind]:
    parsed = _parsed(url)
    return hold(parsed, lambda: _kind(parsed, shown_url(url), create=create))


def _parsed(url: str) -> URL:
    try:
        url.encode()
        return make_url(url)
    except UnicodeEncodeError:
        raise StoreUnusable(f"store.url {shown_url(url)!r} is not UTF-8", fix="name another file") from None
    except (ArgumentError, ValueError):
        # Without its cause, which shows a part of the text.
        raise StoreUnusable(f"store.url {shown_url(url)!r} is not a database URL", fix=_EXAMPLES) from None


def _kind(parsed: URL, shown: str, *, create: bool) -> Kind:
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return Sqlite(parsed, create=create, busy_s=BUSY_S)
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        if "@" in (parsed.host or "") or set("@:=") & set(parsed.database or ""):
            # The driver's errors would show a part of the password as the host.
            raise StoreUnusable(
                f"store.url {shown!r} cannot be read: a part of the user or the password reads as the host",
                fix='write "@", ":", "/", "?" and "%" in them as %40, %3A, %2F, %3F and %25; '
                "or give the password in PGPASSWORD or ~/.pgpass",
            )
        return _postgres(parsed, shown)
    raise StoreUnusable(f"store.url: {parsed.drivername} is not supported", fix=_EXAMPLES)


def _postgres(url: URL, shown: str) -> Kind:
    with extra("postgres", shown):
        from maker.store.backend.postgres import Postgres

    return Postgres(url, shown=shown, busy_s=BUSY_S)


def shown_url(url: str) -> str:
    """Return a store's URL as it may be shown: whoever tells a URL tells this.

    Nothing is shown but what is known to be no secret. A text that is no URL may hold a password anywhere.
    """
    # What UTF-8 cannot write is refused where the store is opened.
    url = url.encode("utf-8", "backslashreplace").decode()
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        scheme = _SCHEME.match(url)
        return f"{scheme[0]}:***" if scheme else url if _HARMLESS.fullmatch(url) and ":" not in url else "***"
    query = {name: value for name, value in parsed.query.items() if name in _SHOWN and _harmless(value)}
    parsed = parsed.set(query=query)
    if not parsed.drivername.startswith("sqlite"):
        # With a character that is not escaped a part of the password is taken for another part of the URL.
        user, mark, _ = (parsed.username or "").partition(":")
        host = parsed.host if _harmless(parsed.host or "") else "***"
        database = parsed.database if _harmless((parsed.database or "").replace(":", "@")) else "***"
        password = "***" if mark else parsed.password
        parsed = parsed.set(username=user or None, password=password, host=host, database=database)
    return parsed.render_as_string(hide_password=True)


def _harmless(value: str | Sequence[str]) -> bool:
    return all(_HARMLESS.fullmatch(one) for one in ([value] if isinstance(value, str) else value))
