"""A process that opens a database several times has one engine for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import text

from maker.errors import StoreFailed
from maker.store.backend.database import Database, open_database, upgrade_database


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Close all that a test has opened."""
    with ExitStack() as stack:
        yield stack


def one(database: Database) -> object:
    """Read something."""
    with database.read() as connection:
        return connection.execute(text("SELECT 1")).scalar()


def test_one_engine_until_the_last_one_closes(database_url: str, opened: ExitStack) -> None:
    """Who closes takes nothing away from others; closing twice counts once."""
    upgrade_database(database_url)
    first, second = (opened.enter_context(closing(open_database(database_url, create=False))) for _ in range(2))
    assert first.engine is second.engine
    first.close()
    first.close()
    assert one(second) == 1
    third = opened.enter_context(closing(open_database(database_url, create=False)))
    assert third.engine is second.engine
    second.close()
    third.close()
    fourth = opened.enter_context(closing(open_database(database_url, create=False)))
    assert fourth.engine is not second.engine
    assert one(fourth) == 1


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_as_many_transactions_as_threads(database_url: str, opened: ExitStack) -> None:
    """No thread waits for the connection of another."""
    upgrade_database(database_url)
    database = opened.enter_context(closing(open_database(database_url, create=False)))
    threads = 30
    together = threading.Barrier(threads, timeout=30)

    def read() -> None:
        with database.read() as connection:
            connection.execute(text("SELECT 1"))
            together.wait()

    workers = [threading.Thread(target=read) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not together.broken


def test_a_file_that_takes_the_place_of_another_is_opened_anew(tmp_path: Path, opened: ExitStack) -> None:
    """Who has the old one open is told, who opens the new one reads it."""
    url, file = f"sqlite:///{tmp_path}/a.db", tmp_path / "a.db"
    for _ in range(2):
        old = opened.enter_context(closing(open_database(url, create=True)))
    file.rename(tmp_path / "moved.db")
    for end in ("-wal", "-shm"):
        file.with_name(f"a.db{end}").rename(tmp_path / f"moved.db{end}")
    new = opened.enter_context(closing(open_database(url, create=True)))
    assert new.engine is not old.engine
    assert one(new) == 1
    with pytest.raises(StoreFailed, match=r"was (removed|replaced) while this process used it"):
        one(old)


def test_a_relative_name_is_another_file_in_another_folder(
    tmp_path: Path, opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working directory is part of what a relative URL names."""
    engines = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        for _ in range(2):
            database = opened.enter_context(closing(open_database("sqlite:///a.db", create=True)))
        engines.append(database.engine)
    assert engines[0] is not engines[1]


def test_a_forked_process_shares_nothing(tmp_path: Path, opened: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its parent's memory, and its connections would be used by both."""
    url = f"sqlite:///{tmp_path}/a.db"
    open_database(url, create=True).close()
    first = opened.enter_context(closing(open_database(url, create=False)))
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert opened.enter_context(closing(open_database(url, create=False))).engine is not first.engine
