"""``maker doctor`` calls a store good if a run can use it, and no other."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from maker.cli.commands.doctor import _disk, _store
from maker.errors import MakerError
from maker.store.backend.database import folder_of, open_database, try_database


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder in memory if there is one: the tests may run as root, whom no permission stops elsewhere."""
    made = Path(tempfile.mkdtemp())
    yield made
    made.chmod(0o700)
    shutil.rmtree(made)


@pytest.mark.posix
def test_a_store_that_a_run_can_use_is_good(folder: Path) -> None:
    """One that is there, one that will be made, and a file that has no tables of ours yet; nothing is changed."""
    url = f"sqlite:///{folder}/maker.db"
    found = _store(url)
    assert (found.state, found.detail) == ("ok", f"{url} does not exist yet; the first run creates it")
    assert not list(folder.iterdir())
    open_database(url, create=True).close()
    before = (folder / "maker.db").read_bytes()
    assert (_store(url).state, _store(url).detail) == ("ok", url)
    assert (folder / "maker.db").read_bytes() == before
    with closing(sqlite3.connect(folder / "other.db")) as connection:
        connection.execute("CREATE TABLE mine (x)")
    assert _store(f"sqlite:///{folder}/other.db").state == "ok"
    with closing(sqlite3.connect(folder / "other.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


@pytest.mark.posix
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///{folder}/none/maker.db", "the folder .*none for the database maker.db does not exist"),
        ("sqlite:///:memory:", "store.url names no file"),
        ("sqlite:///{folder}/text.db", "it is not a SQLite database"),
        ("sqlite:///{folder}/held.db", "another program has locked the database"),
        ("sqlite:///{folder}/newer.db", "has schema 9999"),
        ("host=h password=secret", "is not a database URL"),
        pytest.param("postgresql://u@127.0.0.1:1/name", "no connection to the server", marks=pytest.mark.postgres),
    ],
)
def test_a_store_that_a_run_refuses_is_broken(
    folder: Path, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    """What opening or writing raises for a run is what the doctor says."""
    monkeypatch.setattr("maker.store.backend.database.BUSY_S", 0.01)
    (folder / "text.db").write_text("no database " * 100)
    for name in ("held.db", "newer.db"):
        open_database(f"sqlite:///{folder}/{name}", create=True).close()
    with closing(sqlite3.connect(folder / "newer.db")) as connection, connection:
        connection.execute("UPDATE maker_schema_version SET version_num = '9999'")
    with closing(sqlite3.connect(folder / "held.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        found = _store(url.format(folder=folder))
        with pytest.raises(MakerError, match=said):
            try_database(url.format(folder=folder))
    assert found.state == "broken"
    assert found.fix


@pytest.mark.posix
def test_the_disk_is_that_of_the_store(folder: Path) -> None:
    """Free space is looked for where the store is."""
    assert folder_of(f"sqlite:///{folder}/maker.db") == folder
    assert str(folder) in _disk(f"sqlite:///{folder}/maker.db").detail
    assert "in this folder" in _disk("postgresql://u@h/name").detail
