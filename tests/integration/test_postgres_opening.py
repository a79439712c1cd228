"""Opening PostgreSQL databases that cannot be used, and what is said of them."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import quote_plus

import pytest
from postgres_server import HOST, PASSWORD, PostgresServer
from sqlalchemy import insert, select, text
from sqlalchemy.engine import make_url
from store_rows import made_up

from maker.errors import StoreUnusable
from maker.store.backend import schema
from maker.store.backend.database import open_database, shown_url, upgrade_database

Spoiled = Callable[[PostgresServer, str], str]


def spoiled(**parts: Any) -> Spoiled:
    """Return a function that changes parts of a URL."""

    def spoil(_server: PostgresServer, url: str) -> str:
        return make_url(url).set(**parts).render_as_string(hide_password=False)

    return spoil


def with_query(**query: str) -> Spoiled:
    """Return a function that adds to a URL's query."""
    return lambda _server, url: make_url(url).update_query_dict(query).render_as_string(hide_password=False)


UNUSABLE: dict[str, tuple[Spoiled, str]] = {
    "a wrong password": (spoiled(password="wrong" + PASSWORD), "refuses the user or the password"),
    "a wrong password in the query": (with_query(password="wrong" + PASSWORD), "refuses the user or the password"),
    "an unknown user": (spoiled(username="stranger"), "refuses the user or the password"),
    "no password": (lambda server, url: f"postgresql://tester@{HOST}:{server.port}/postgres", "no password supplied"),
    "no database": (spoiled(database="nowhere"), 'database "nowhere" does not exist'),
    "no server": (spoiled(port=1), "no connection to the server"),
    "an unknown host": (spoiled(host="nowhere.invalid"), "no connection to the server"),
    "no encryption": (with_query(sslmode="require"), "SSL was required"),
    "an unknown option": (with_query(nonsense="1"), "nonsense"),
    "a bad option": (with_query(connect_timeout="soon"), "connect_timeout"),
    "another driver": (spoiled(drivername="postgresql+psycopg2"), r"postgresql\+psycopg2 is not supported"),
    "an older name": (lambda _server, url: url.replace("postgresql:", "postgres:"), "postgres is not supported"),
    "a port that is none": (lambda server, url: url.replace(str(server.port), "port"), "is not a database URL"),
}


@pytest.mark.parametrize("opened", [lambda url: open_database(url, create=True), upgrade_database])
@pytest.mark.parametrize("case", UNUSABLE)
def test_a_database_that_cannot_be_used(postgres: PostgresServer, case: str, opened: Callable[[str], object]) -> None:
    """Each is told as unusable, with what to do, and without the password."""
    spoil, said = UNUSABLE[case]
    url = spoil(postgres, postgres.create_database())
    with pytest.raises(StoreUnusable, match=said) as caught:
        opened(url)
    assert caught.value.fix
    assert "\n" not in caught.value.message
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.facts)
    assert PASSWORD not in told
    assert quote_plus(PASSWORD) not in told


@pytest.mark.parametrize("drivername", ["postgresql", "postgresql+psycopg"])
def test_a_database_is_opened_by_either_name(postgres: PostgresServer, drivername: str) -> None:
    """The driver may be named."""
    url = spoiled(drivername=drivername)(postgres, postgres.create_database())
    upgrade_database(url)
    open_database(url, create=False).close()


def test_what_the_url_says_of_the_connection_holds(postgres: PostgresServer) -> None:
    """Options of a connection may stand in the URL; they win over ours, the others of ours stay."""
    url = with_query(application_name="mine")(postgres, postgres.create_database())
    upgrade_database(url)
    with closing(open_database(url, create=False)) as database, database.read() as connection:
        assert connection.execute(text("SHOW application_name")).scalar_one() == "mine"
        assert connection.execute(text("SHOW tcp_user_timeout")).scalar_one() in ("30s", "0")


@pytest.mark.parametrize("create", [True, False])
def test_nothing_is_made_at_opening(postgres: PostgresServer, create: bool) -> None:
    """A database without our tables stays so, and the command that makes them is named, without the password."""
    url = postgres.create_database()
    with pytest.raises(StoreUnusable, match="has no maker tables") as caught:
        open_database(url, create=create)
    assert caught.value.fix == f"run `maker db upgrade --store '{shown_url(url)}'`"
    found = postgres.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'maker'", database=url.rpartition("/")[2])
    assert found == []


@pytest.mark.parametrize(
    ("version", "said"), [("0001", "has schema 0001; this maker needs"), ("9999", "has schema 9999; this maker knows")]
)
def test_another_schema_is_refused(postgres: PostgresServer, version: str, said: str) -> None:
    """An older schema is left to the command that changes it, a newer one alone."""
    url = postgres.create_database()
    upgrade_database(url)
    name = url.rpartition("/")[2]
    postgres.sql(f"UPDATE maker.maker_schema_version SET version_num = '{version}'", database=name)  # noqa: S608
    with pytest.raises(StoreUnusable, match=said):
        open_database(url, create=True)


def test_a_database_that_cannot_hold_every_text(postgres: PostgresServer) -> None:
    """A database of another encoding than UTF-8 is refused before anything is made."""
    url = postgres.create_database(ENCODING="'LATIN1'", TEMPLATE="template0")
    with pytest.raises(StoreUnusable, match="its encoding is LATIN1"):
        upgrade_database(url)


def test_rights(postgres: PostgresServer) -> None:
    """Who lacks a right is told which; who has those on the tables needs no others."""
    url = postgres.create_database()
    name = url.rpartition("/")[2]
    postgres.sql("DROP ROLE IF EXISTS worker", "CREATE ROLE worker LOGIN PASSWORD 'worker'")
    worker = postgres.url(name, user="worker", password="worker")  # noqa: S106
    with pytest.raises(StoreUnusable, match=f"permission denied for database {name}"):
        upgrade_database(worker)
    upgrade_database(url)
    with pytest.raises(StoreUnusable, match="permission denied for schema maker"):
        open_database(worker, create=False)
    postgres.sql(
        "GRANT USAGE ON SCHEMA maker TO worker",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA maker TO worker",
        database=name,
    )
    with closing(open_database(worker, create=False)) as database, database.write() as connection:
        database.insert_rows(connection, schema.step, [made_up(schema.step)])


def test_a_server_that_takes_no_writes_can_be_read(postgres: PostgresServer) -> None:
    """A read-only database is opened and read; writing to it is told."""
    url = postgres.create_database()
    upgrade_database(url)
    postgres.sql(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    with closing(open_database(url, create=False)) as database:
        with database.read() as connection:
            assert connection.execute(select(schema.run)).all() == []
        with pytest.raises(StoreUnusable, match="the database is read-only"), database.write() as connection:
            row = made_up(schema.snapshot)
            connection.execute(insert(schema.snapshot).values(row))


def test_a_crowded_server_is_told(postgres: PostgresServer) -> None:
    """A server that accepts no more connections is told as such."""
    url = postgres.create_database()
    upgrade_database(url)
    name = url.rpartition("/")[2]
    postgres.sql(
        "DROP ROLE IF EXISTS crowd",
        "CREATE ROLE crowd LOGIN PASSWORD 'crowd' CONNECTION LIMIT 0",
        "GRANT USAGE ON SCHEMA maker TO crowd",
        database=name,
    )
    with pytest.raises(StoreUnusable, match="accepts no more connections"):
        open_database(postgres.url(name, user="crowd", password="crowd"), create=False)  # noqa: S106


def test_without_the_driver_its_extra_is_named() -> None:
    """Who has not installed the extra is told its name."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from maker.errors import ExtraMissing; from maker.store.backend.database import open_database\n"
        "try: open_database('postgresql://user:secret@host/name', create=False)\n"
        "except ExtraMissing as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'maker-executor[postgres]'" in done.stdout, done.stderr
    assert "secret" not in done.stdout


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///maker.db", "sqlite:///maker.db"),
        ("maker.db", "maker.db"),
        ("postgresql://user:secret@host:5432/name", "postgresql://user:***@host:5432/name"),
        ("postgresql://host/name?password=secret&user=user", "postgresql://host/name?user=user"),
        ("postgresql://user:secret@host:x/name?password=secret", "postgresql:***"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    """A URL is shown without its password, wherever in it that stands and whether or not it can be read."""
    assert shown_url(url) == shown
