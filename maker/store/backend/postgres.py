"""PostgreSQL: a server, a connection that may be lost, and what its errors mean."""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import psycopg
from psycopg import sql as composed
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.schema import CreateSchema

from maker.errors import StoreFailed, StoreUnusable
from maker.store.backend.waits import WORD_S, tell_wait

SCHEMA = "maker"
"""All tables live in a schema of their own, and every statement names it: the search path does not matter."""
UPGRADE_LOCK = int.from_bytes(b"maker")
"""The advisory lock that an upgrade holds until it is committed."""
FEW_ROWS = 10
SILENT_S = 15.0
"""How long the server may take to begin a transaction, in seconds."""
IDLE_S = 10.0
"""How long the server waits for the next statement of a transaction that writes, in seconds; then it gives it up."""

# Defaults for libpq where the URL does not set them. They notice a server that is cut off within half a minute: the
# system's own limits are two hours for an idle connection and a quarter of an hour for a busy one.
_CONNECTION = {
    "application_name": "maker",
    "client_encoding": "utf8",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}
# A pooler in transaction mode gives each transaction another of the server's sessions: what a session knows must not
# matter. So nothing is set but within a transaction, and no statement is prepared.
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ"
# A server's defaults may lose commits in a power cut (synchronous_commit), wait for a lock forever, or leave its locks
# to a process that sleeps within a transaction. All goes to the server at once, so this takes no longer than BEGIN
# alone.
_WRITE = """
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT set_config('lock_timeout', '{milliseconds:.0f}', true),
    set_config('idle_in_transaction_session_timeout', '{idle_milliseconds:.0f}', true),
    set_config('synchronous_commit', CASE setting WHEN 'off' THEN 'on' ELSE setting END, true)
    FROM (SELECT current_setting('synchronous_commit') AS setting) AS found
"""


_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.DefaultSelector)
"""For one socket: epoll would take three calls of the system more."""


class Postgres:
    """A PostgreSQL database as a kind of database, by psycopg 3.

    Reading sees the database as it stood at one moment; writing is READ COMMITTED, under the lock of the run's row.

    Args:
        url: The server, the database and the user; what libpq knows may stand in the query.
        shown: The URL without its password.
        busy_s: How long to wait for a lock of another transaction, in seconds.
    """

    schema: str | None = SCHEMA
    upgrades_itself = False
    read_options: Mapping[str, Any] = MappingProxyType({})
    write_options: Mapping[str, Any] = MappingProxyType({"maker_write": True})
    errors: tuple[type[Exception], ...] = (DBAPIError, psycopg.Error)
    """`insert` goes around SQLAlchemy: what it raises is the driver's own."""

    def __init__(self, url: URL, *, shown: str, busy_s: float) -> None:
        self.shown = shown
        self.engine = _engine(url, busy_s, shown)

    def prepare(self) -> None:
        """Refuse a database that cannot hold every text."""
        with self.engine.connect() as connection:
            encoding = connection.execute(text("SELECT current_setting('server_encoding')")).scalar_one()
        if encoding != "UTF8":
            raise StoreUnusable(
                f"{self.shown}: its encoding is {encoding}", fix="use a database with the encoding UTF8"
            )

    def exists(self) -> bool:
        """Return True: who connects finds out."""
        return True

    def check(self) -> None:
        """Do nothing: a server keeps its files."""

    def fold_log(self) -> None:
        """Do nothing: a server sees to its log."""

    def hold(self, connection: Connection) -> None:
        """Wait until no other upgrade is under way, and make our schema."""
        # A migration of long tables may take minutes: wait for it without a limit.
        for name in ("lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text("SELECT set_config(:name, '0', true)"), {"name": name})
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        # Not IF NOT EXISTS: that asks for the right to make schemas where ours is there already.
        if not inspect(connection).has_schema(SCHEMA):
            connection.execute(CreateSchema(SCHEMA))

    def insert(self, connection: Connection, table: Table, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows. COPY takes one round trip more than executemany, and from 100 rows on a fifth of its time."""
        if len(rows) < FEW_ROWS:
            connection.exec_driver_sql(sql, list(rows))
            return
        raw = cast("psycopg.Connection[Any]", connection.connection.dbapi_connection)
        names = composed.SQL(", ").join(composed.Identifier(column.name) for column in table.columns)
        copy = composed.SQL("COPY {} ({}) FROM STDIN").format(composed.Identifier(SCHEMA, table.name), names)
        try:
            with raw.cursor() as cursor, cursor.copy(copy) as lines:
                for row in rows:
                    lines.write_row(row)
        except psycopg.Error as error:
            # A pooler tells of its lost server with an answer too many, which psycopg takes for a wrong use.
            misread = error.sqlstate is None and isinstance(error, psycopg.ProgrammingError)
            if raw.closed or misread:
                connection.invalidate(error)
            if misread:
                raise psycopg.OperationalError("the server ended the connection") from error
            raise

    def translate(self, error: Exception, *, opening: bool) -> StoreFailed | StoreUnusable:
        """Return maker's error for a driver's error; while opening, a lost connection is a bad setting."""
        orig = error.orig if isinstance(error, DBAPIError) else error
        state = orig.sqlstate if isinstance(orig, psycopg.Error) else None
        said = _said(orig)
        if state is not None:
            sign = _STATES.get(state) or _STATES.get(state[:2]) or _OTHER
        elif isinstance(orig, _BROKEN):
            sign = next((sign for words, sign in _REFUSED.items() if words in said), _LOST)
        else:
            sign = _OTHER
        message = f"{self.shown}: {sign.what} ({said})" if sign.what else f"{self.shown}: {said}"
        if opening or sign.unusable:
            return StoreUnusable(message, fix=sign.fix or "correct the URL or the server")
        fix = sign.fix if sign.fact == "conflict" else "; ".join(filter(None, [sign.fix, _SAFE]))
        return StoreFailed(message, fix=fix, **({sign.fact: True} if sign.fact else {}))


def _engine(url: URL, busy_s: float, shown: str) -> Engine:
    write = _WRITE.format(milliseconds=busy_s * 1000, idle_milliseconds=IDLE_S * 1000)
    given = {name: value for name, value in _CONNECTION.items() if name not in url.query}
    engine = create_engine(
        url.set(drivername="postgresql+psycopg").update_query_dict(given),
        # Transactions are begun below, explicitly.
        isolation_level="AUTOCOMMIT",
        execution_options={"schema_translate_map": {None: SCHEMA}},
        # Rows are tuples: their places in the statement have no names.
        paramstyle="format",
        use_native_hstore=False,
        # A process shares the engine: it has as many connections as threads were in transactions at once.
        pool_size=0,
        pool_use_lifo=True,
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: psycopg.Connection[Any], record: Any) -> None:
        record.info["fresh"] = True
        connection.prepare_threshold = None

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        raw = cast("psycopg.Connection[Any]", connection.connection.dbapi_connection)
        try:
            _begin(raw, write if connection.get_execution_options().get("maker_write") else _READ, shown)
        except psycopg.Error as error:
            if raw.closed:
                connection.invalidate(error)
            raise

    @event.listens_for(engine, "do_connect")
    def _on_opening(dialect: Any, _record: Any, words: Any, options: Any) -> Any:
        # A server that does not answer is waited for by libpq, which says nothing.
        speaking = threading.Timer(WORD_S, tell_wait, (f"{shown}: the server does not answer", WORD_S))
        speaking.daemon = True
        speaking.start()
        try:
            return dialect.connect(*words, **options)
        finally:
            speaking.cancel()

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: psycopg.Connection[Any], record: Any, _proxy: Any) -> None:
        # A server that ends says so to every connection. Looking costs 20 us, SQLAlchemy's ping a round trip.
        fresh = record.info.pop("fresh", False)
        if not fresh and (connection.closed or _spoken_to(connection)):
            raise InvalidatePoolError

    return engine


def _begin(connection: psycopg.Connection[Any], statements: str, shown: str) -> None:
    """Begin a transaction, which takes no time but a round trip: a server that is silent for `SILENT_S` is lost.

    A pooler keeps its clients waiting without a word while it has no server for them.
    """
    began = time.monotonic()
    wire = connection.pgconn
    wire.send_query(statements.encode())
    wire.flush()
    with _Selector() as selector:
        selector.register(wire.socket, selectors.EVENT_READ)
        while wire.is_busy():
            if selector.select(1.0):
                wire.consume_input()
            elif (waited_s := time.monotonic() - began) >= SILENT_S:
                connection.close()
                raise psycopg.OperationalError(f"no answer within {waited_s:.0f} s")
            else:
                tell_wait(f"{shown}: the server does not answer", waited_s)
    failed: PGresult | None = None
    while (result := wire.get_result()) is not None:
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            failed = failed or result
    if failed is not None:
        raise error_from_result(failed)


def _spoken_to(connection: psycopg.Connection[Any]) -> bool:
    """Say whether the server has sent something unasked: on an idle connection that can only be its end."""
    with _Selector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))


def _said(error: BaseException | None) -> str:
    # The other lines are libpq's hints, and the position in the statement.
    message = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return message or (str(error).strip().splitlines() or [type(error).__name__])[0]


class _Sign(NamedTuple):
    what: str
    fix: str
    fact: str = ""
    unusable: bool = False


_BROKEN = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""Without an SQLSTATE these tell of the connection. A pooler whose server ends within a command sends one answer too
many, which is an internal error of psycopg's."""
_SAFE = "committed steps are safe; continue with `maker resume`"
_LOST = _Sign("there is no connection to the server", "check that it runs and that the URL is right", "lost")
_CROWDED = _Sign("the server accepts no more connections", "close some, or raise its max_connections", "lost")
_LOCKED = _Sign("another program holds a lock on the database", "end that program", "locked")
_LOGIN = _Sign("the server refuses the user or the password", "give both in the URL, or set PGPASSWORD or ~/.pgpass")
_MISSING = _Sign("there is no such database or user", "create it with `createdb NAME`, then run `maker db upgrade`")
_STRANGE = _Sign("its tables have another schema than this maker's", "run `maker db upgrade`", unusable=True)
_OTHER = _Sign("", "")
_REFUSED = {
    "password authentication failed": _LOGIN,
    "no password supplied": _LOGIN,
    "no pg_hba.conf entry": _LOGIN,
    "does not exist": _MISSING,
    "too many c": _CROWDED,
    "connection slots": _CROWDED,
}
"""Texts of libpq for a refused connection, which has no SQLSTATE. Other texts are retried."""
_STATES = {
    "08": _LOST,
    "57P01": _LOST,
    "57P02": _LOST,
    "57P03": _LOST,
    "57P05": _LOST,
    "25P03": _LOST,
    "53300": _CROWDED,
    "40001": _LOCKED,
    "40P01": _LOCKED,
    "55P03": _LOCKED,
    "23505": _Sign("another process has written this row", "see the state of the run with `maker show`", "conflict"),
    "53100": _Sign("the disk is full", "free some space"),
    "25006": _Sign("the database is read-only", "use a server that accepts writes", unusable=True),
    "42501": _Sign("the user lacks a permission", "ask the owner of the tables to grant it", unusable=True),
    "42P01": _STRANGE,
    "42703": _STRANGE,
    "3F000": _STRANGE,
}
"""By SQLSTATE, or its class."""
