"""The contract of a `Database`, held against SQLite and PostgreSQL alike; and what PostgreSQL has of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgres_server import PostgresServer
from sqlalchemy import Connection, MetaData, func, insert, select, text, update
from store_rows import made_up

from maker.errors import StoreFailed
from maker.store.backend import database as databases
from maker.store.backend import schema
from maker.store.backend.database import Database, open_database, retried, upgrade_database
from maker.store.backend.postgres import SCHEMA

STEP = schema.step


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Return an empty store of either kind."""
    upgrade_database(database_url)
    with closing(open_database(database_url, create=False)) as opened:
        yield opened


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """Return the URL of an empty store in PostgreSQL."""
    url = postgres.create_database()
    upgrade_database(url)
    return url


def steps(count: int, start: int = 0) -> list[tuple[Any, ...]]:
    """Return rows of maker_step."""
    return [made_up(STEP, chain=1, idx=i, action=f"a{i}", digest=i.to_bytes(16)) for i in range(start, start + count)]


def counted(database: Database) -> int:
    """Return how many steps are in the store."""
    with database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(STEP)).scalar_one())


def runs(database: Database, *names: str) -> None:
    """Make runs."""
    with database.write() as connection:
        rows = [made_up(schema.run, id=i + 1, run_id=name) for i, name in enumerate(names)]
        database.insert_rows(connection, schema.run, rows)


def touch(connection: Connection, name: str) -> None:
    """Change a run's row, and so lock it."""
    connection.execute(update(schema.run).where(schema.run.c.run_id == name).values(votes=schema.run.c.votes + 1))


# --- transactions ---


def test_a_write_is_all_or_nothing(database: Database) -> None:
    """What a block writes is there when it ends, and gone when it raises."""
    with database.write() as connection:
        database.insert_rows(connection, STEP, steps(3))
    with pytest.raises(KeyError), database.write() as connection:
        database.insert_rows(connection, STEP, steps(3, start=3))
        raise KeyError
    assert counted(database) == 3


def test_what_is_read_stands_still(database: Database) -> None:
    """A block that reads does not see what is written meanwhile; the next one does."""
    with database.read() as connection:
        before = connection.execute(select(func.count()).select_from(STEP)).scalar_one()
        with database.write() as writing:
            database.insert_rows(writing, STEP, steps(2))
        assert (before, connection.execute(select(func.count()).select_from(STEP)).scalar_one()) == (0, 0)
    assert counted(database) == 2


def test_a_lock_that_is_never_given_back_is_told(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that meets another's lock fails after a while, and the error says that it was a lock."""
    monkeypatch.setattr(databases, "BUSY_S", 0.2)
    upgrade_database(database_url)
    with closing(open_database(database_url, create=False)) as database:
        runs(database, "one")
        with database.write() as connection:
            touch(connection, "one")
            waiting = pytest.raises(StoreFailed, match="another program")
            with waiting as caught, database.write() as other:
                touch(other, "one")
        assert caught.value.facts["locked"] is True


def test_a_lock_is_waited_for(database: Database) -> None:
    """Writers of one row come one after the other, and none is lost."""
    runs(database, "one")

    def work() -> None:
        for _ in range(20):
            with database.write() as connection:
                touch(connection, "one")

    in_threads(work, work, work)
    with database.read() as connection:
        assert connection.execute(select(schema.run.c.votes)).scalar_one() == 60


def in_threads(*works: Any) -> None:
    """Do several things at once; raise what one of them raised."""
    raised: list[Exception] = []

    def one(work: Any) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is told to the test
            raised.append(error)

    threads = [threading.Thread(target=one, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


# --- rows ---

ODD = ["", "\t\n\r\\\b", "\\N", "\\.", "\"'{},()", "ä\u2028\U0001f600", " ", "%s %(x)s", "x" * 100_000]


FEW_AND_MANY = pytest.mark.parametrize("copies", [1, 30], ids=["few", "many"])
"""PostgreSQL takes few rows and many in different ways."""


@FEW_AND_MANY
def test_every_text_comes_back(database: Database, copies: int) -> None:
    """Texts that mean something to a database's formats are stored as they are."""
    rows = [made_up(schema.snapshot, chain=i, state=odd) for i, odd in enumerate(ODD * copies)]
    with database.write() as connection:
        database.insert_rows(connection, schema.snapshot, rows)
    with database.read() as connection:
        assert connection.execute(select(schema.snapshot).order_by(schema.snapshot.c.chain)).all() == rows


@FEW_AND_MANY
def test_every_kind_of_value_comes_back(database: Database, copies: int) -> None:
    """Bytes, floats, large numbers, truth values and nothing at all are stored as they are."""
    runs(database, "one")
    keys = range(1, copies + 1)
    written = {
        STEP: [made_up(STEP, chain=2**62, idx=i, tally=bytes(range(256)), tokens=2**31 - 1) for i in keys],
        schema.grant: [
            made_up(
                schema.grant, id=i, run=1, calls=-(2**60), cost=[0.1 + 0.2, float("inf")][i % 2], settled=i % 3 == 0
            )
            for i in keys
        ],
        schema.sample: [made_up(schema.sample, idx=i, text=b"\0", candidate=None, flag="cut") for i in keys],
    }
    with database.write() as connection:
        for table, rows in written.items():
            database.insert_rows(connection, table, rows)
    with database.read() as connection:
        for table, rows in written.items():
            assert connection.execute(select(table).order_by(*table.primary_key)).all() == rows


def test_rows_are_added(database: Database) -> None:
    """No row, one and many are added in one call each."""
    with database.write() as connection:
        database.insert_rows(connection, STEP, [])
        database.insert_rows(connection, STEP, steps(1))
        database.insert_rows(connection, STEP, steps(20_000, start=1))
    assert counted(database) == 20_001


@FEW_AND_MANY
def test_a_row_that_is_there_already_is_told(database: Database, copies: int) -> None:
    """A row with the key of another fails the whole block, as a conflict; nothing of it stays."""
    with database.write() as connection:
        database.insert_rows(connection, STEP, steps(3))
    with (
        pytest.raises(StoreFailed, match="another process has written this row") as caught,
        database.write() as connection,
    ):
        database.insert_rows(connection, STEP, steps(3 * copies, start=2))
    assert caught.value.facts["conflict"] is True
    assert counted(database) == 3


def test_a_conflict_is_told_whoever_adds_the_row(database: Database) -> None:
    """An ordinary insert that meets a unique value raises the same error."""
    runs(database, "one")
    with (
        pytest.raises(StoreFailed, match="another process has written this row") as caught,
        database.write() as connection,
    ):
        columns = [column.name for column in schema.run.columns]
        row = dict(zip(columns, made_up(schema.run, id=2, run_id="one"), strict=True))
        connection.execute(insert(schema.run).values(row))
    assert caught.value.facts["conflict"] is True


def test_a_statement_becomes_text(database: Database) -> None:
    """A statement's text names the schema where there is one, and takes its parameters from a tuple."""
    sql = database.sql(insert(STEP))
    assert (f"INTO {SCHEMA}.maker_step" if database.engine.dialect.name == "postgresql" else "INTO maker_step") in sql
    with database.write() as connection:
        connection.exec_driver_sql(sql, steps(2))
    assert counted(database) == 2


# --- the schema ---


def test_migrations_make_the_schema_that_the_code_uses(database: Database) -> None:
    """A database made by the migrations differs in nothing from the tables in the code."""
    ours = SCHEMA if database.engine.dialect.name == "postgresql" else None
    target = MetaData(schema=ours)
    for table in schema.metadata.sorted_tables:
        table.to_metadata(target)
    options = {
        "version_table": schema.VERSION_TABLE,
        "version_table_schema": ours,
        "compare_type": True,
        "include_schemas": True,
    }
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, target) == []
        assert context.get_current_revision() == schema.HEAD


# --- what PostgreSQL has of its own ---


def test_every_statement_names_our_schema(postgres: PostgresServer, postgres_url: str) -> None:
    """Tables of the same names elsewhere on the search path are not touched."""
    name = postgres_url.rpartition("/")[2]
    postgres.sql(
        "CREATE TABLE public.maker_step (LIKE maker.maker_step)",
        f"ALTER DATABASE {name} SET search_path = public, maker",
        database=name,
    )
    with closing(open_database(postgres_url, create=False)) as database:
        with database.write() as connection:
            database.insert_rows(connection, STEP, steps(2))
            connection.execute(update(STEP).values(tokens=7))
            connection.exec_driver_sql(database.sql(insert(STEP)), steps(1, start=2))
        assert counted(database) == 3
    assert postgres.sql("SELECT count(*) FROM public.maker_step", database=name) == [(0,)]


def test_writers_that_wait_for_each_other_are_parted(postgres_url: str) -> None:
    """Two transactions that lock the same rows in opposite order both take place when they are retried."""
    both, tries = threading.Barrier(2), []

    def locker(database: Database, first: str, second: str) -> Any:
        @retried
        def work() -> None:
            with database.write() as connection:
                touch(connection, first)
                tries.append(first)
                if tries.count(first) == 1:
                    both.wait()
                touch(connection, second)

        return work

    with closing(open_database(postgres_url, create=False)) as database:
        runs(database, "one", "two")
        in_threads(locker(database, "one", "two"), locker(database, "two", "one"))
        with database.read() as connection:
            assert connection.execute(select(schema.run.c.votes)).scalars().all() == [2, 2]
    assert len(tries) == 3


def test_a_text_that_the_server_cannot_hold_is_told(postgres_url: str) -> None:
    """A NUL, which no text in PostgreSQL can hold, is told as such, and breaks nothing else."""
    with closing(open_database(postgres_url, create=False)) as database:
        for count in (1, 30):
            rows = [made_up(schema.snapshot, idx=i, state="a\0b") for i in range(count)]
            with pytest.raises(StoreFailed, match="NUL"), database.write() as connection:
                database.insert_rows(connection, schema.snapshot, rows)
        assert counted(database) == 0


def test_a_commit_waits_for_the_disk(postgres: PostgresServer, postgres_url: str) -> None:
    """A host's default that forgets commits in a power cut does not hold for us; a stronger one does."""
    name = postgres_url.rpartition("/")[2]
    for default, held in (("off", "on"), ("remote_apply", "remote_apply")):
        postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit = {default}")
        with closing(open_database(postgres_url, create=False)) as database, database.write() as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == held


def test_a_hosts_isolation_does_not_hold_for_us(postgres: PostgresServer, postgres_url: str) -> None:
    """Writing is READ COMMITTED, whatever the database's default is."""
    name = postgres_url.rpartition("/")[2]
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    with closing(open_database(postgres_url, create=False)) as database:
        for context, level in ((database.write, "read committed"), (database.read, "repeatable read")):
            with context() as connection:
                assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == level
