"""Migrations: what they leave of a new database and of an old one, and what they leave alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, ForeignKey, Integer, String, Text, create_engine
from sqlalchemy.exc import OperationalError

import maker.store.backend.migrations as folder
from maker.errors import StoreUnusable
from maker.store.backend import migrate as runner
from maker.store.backend.database import Database, open_database
from maker.store.backend.migrate import migrate
from maker.store.backend.operations import Operations
from maker.store.backend.schema import HEAD, metadata

OLD = Path(__file__).parents[1] / "store_0001.sql"


def made(file: Path) -> list[tuple[str, ...]]:
    """Return what a SQLite file says of its tables and indexes: their very statements."""
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        version = connection.execute("SELECT version_num FROM maker_schema_version").fetchall()
    assert version == [(HEAD,)]
    return sorted((kind, name, of, sql or "") for kind, name, of, sql in rows)


def test_an_old_database_becomes_what_a_new_one_is(tmp_path: Path) -> None:
    """To the letter: one that the maker of the first schema wrote, and one that has just been made."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript(OLD.read_text())
    for file in (old, new):
        open_database(f"sqlite:///{file}", create=True).close()
    assert made(old) == made(new)


def test_stopping_at_any_schema_comes_to_the_same(tmp_path: Path) -> None:
    """A database upgraded one schema at a time is one that was upgraded at once."""
    slow, new = tmp_path / "slow.db", tmp_path / "new.db"
    open_database(f"sqlite:///{new}", create=True).close()
    engine = create_engine(f"sqlite:///{slow}")
    found = None
    for number in range(1, int(HEAD) + 1):
        with engine.begin() as connection:
            migrate(connection, None, found, to=f"{number:04}")
        found = f"{number:04}"
    engine.dispose()
    assert made(slow) == made(new)


def test_the_newest_migration_is_the_schema_of_the_code() -> None:
    """Numbers have no gap and end at `HEAD`: no migration is left out, and none is there twice."""
    (path,) = folder.__path__
    numbers = sorted(file.name[:4] for file in Path(path).glob("[0-9]*.py"))
    assert numbers == [f"{number:04}" for number in range(1, int(HEAD) + 1)]


def test_the_tables_are_those_of_the_code(tmp_path: Path) -> None:
    """No table is forgotten, none is left over."""
    open_database(f"sqlite:///{tmp_path}/new.db", create=True).close()
    tables = {name for kind, name, *_ in made(tmp_path / "new.db") if kind == "table"}
    assert tables - {"maker_schema_version"} == metadata.tables.keys()


def test_a_failed_migration_leaves_the_database_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of an upgrade is one transaction."""
    file = tmp_path / "old.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(OLD.read_text())
        before = list(connection.iterdump())
    real = runner._names
    monkeypatch.setattr(runner, "_names", lambda: iter([*real(), "9999_missing"]))
    monkeypatch.setattr("maker.store.backend.migrate.HEAD", "9999")
    monkeypatch.setattr("maker.store.backend.database.HEAD", "9999")
    monkeypatch.setattr(runner.migrate, "__kwdefaults__", {"to": "9999"})
    with pytest.raises(ModuleNotFoundError, match="9999_missing"):
        open_database(f"sqlite:///{file}", create=False)
    with closing(sqlite3.connect(file)) as connection:
        assert list(connection.iterdump()) == before


def test_who_comes_after_a_newer_maker_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that found an old schema, and then a newer one than it knows: another process was quicker."""
    file = tmp_path / "old.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(OLD.read_text())
    found = Database.checked

    def overtaken(database: Database) -> str | None:
        version = found(database)
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE maker_schema_version SET version_num = '9999'")
        return version

    monkeypatch.setattr(Database, "checked", overtaken)
    with pytest.raises(StoreUnusable, match="has schema 9999; this maker knows schemas up to"):
        open_database(f"sqlite:///{file}", create=False)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT version_num FROM maker_schema_version").fetchall() == [("9999",)]


# --- what a migration may do ---


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Return a connection to an empty SQLite database in memory."""
    engine = create_engine("sqlite://")
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def test_tables_come_change_and_go(connection: Connection) -> None:
    """A table is made, gets a column with a value in old rows, an index and another name, and goes."""
    op = Operations(connection, None)
    assert op.dialect == "sqlite"
    op.create_table("maker_a", Column("id", Integer, primary_key=True), Column("name", Text, nullable=False))
    op.create_table(
        "maker_b", Column("id", Integer, primary_key=True), Column("of", Integer, ForeignKey("maker_a.id")),
        Column("again", Integer, ForeignKey("maker_a.id")), Column("up", Integer, ForeignKey("maker_b.id")),
    )  # fmt: skip
    of_a = op.table("maker_a", "id", "name")
    op.insert(of_a, [{"id": 1, "name": "x"}])
    op.insert(of_a, [])
    op.add_column("maker_a", Column("more", String(5), nullable=False, server_default="it's"))
    op.create_index("maker_a_name", "maker_a", ["name", "more"])
    op.rename_table("maker_a", "order")
    op.execute(op.table("order", "name").update().values(name="y"))
    assert connection.exec_driver_sql('SELECT * FROM "order"').fetchall() == [(1, "y", "it's")]
    assert connection.exec_driver_sql("PRAGMA index_info(maker_a_name)").fetchall() == [(0, 1, "name"), (1, 2, "more")]
    op.drop_table("maker_b")
    assert connection.exec_driver_sql("SELECT name FROM sqlite_master").fetchall() == [("order",), ("maker_a_name",)]


def test_what_is_there_is_not_made_again(connection: Connection) -> None:
    """A table that is there is an error, and one that is not cannot be changed: no migration goes on regardless."""
    op = Operations(connection, None)
    op.create_table("maker_a", Column("id", Integer, primary_key=True))
    with pytest.raises(OperationalError, match="already exists"):
        op.create_table("maker_a", Column("id", Integer, primary_key=True))
    for change in (
        lambda: op.add_column("maker_b", Column("id", Integer)),
        lambda: op.rename_table("maker_b", "maker_c"),
        lambda: op.drop_table("maker_b"),
        lambda: op.create_index("maker_b_id", "maker_b", ["id"]),
    ):
        with pytest.raises(OperationalError, match="no such table"):
            change()
