"""`maker db upgrade`: what it makes, beside what, and what it waits for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
from postgres_server import HOST, PASSWORD, USER, PostgresServer
from sqlalchemy import create_engine, insert, select

from maker.store.backend import schema
from maker.store.backend.database import open_database, upgrade_database
from maker.store.backend.migrate import migrate
from maker.store.backend.postgres import UPGRADE_LOCK

UPGRADE = (sys.executable, "-m", "maker", "db", "upgrade")


def said(folder: Path, *words: str) -> str:
    """Return what a command says that must succeed."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_command_makes_tables_and_says_so(database_url: str, tmp_path: Path) -> None:
    """The first call makes them, a second finds them made; a store so made is opened without further ado."""
    first = said(tmp_path, *UPGRADE, "--store", database_url)
    second = said(tmp_path, *UPGRADE, "--store", database_url)
    assert first.endswith(f" is created with schema {schema.HEAD}\n")
    assert second.endswith(f" has schema {schema.HEAD} already\n")
    assert PASSWORD not in first + second
    told = json.loads(said(tmp_path, *UPGRADE, "--store", database_url, "--json"))
    assert (told["before"], told["after"]) == (schema.HEAD, schema.HEAD)
    open_database(database_url, create=False).close()


def test_a_database_of_the_first_schema_keeps_its_runs(postgres: PostgresServer, tmp_path: Path) -> None:
    """Chains, samples and the ledger of schema 0001 are carried over, texts once each."""
    url = postgres.create_database()
    name = url.rpartition("/")[2]
    old_schema(postgres, name)
    postgres.sql(
        "INSERT INTO maker.maker_run VALUES (7, 'old', '', 'paused', '', 1.5, 2.5, '{}', '{}', '[]', NULL, 3, 9, 1, 1, "
        r"'\x01', 4.5, 0, 1, '', 0)",
        r"INSERT INTO maker.maker_chain VALUES (8, 7, NULL, 0, 3, 0, '\x02', 'paused', 'x')",
        "INSERT INTO maker.maker_sample SELECT 8, i, 0, 0, 'reply ' || i % 3, 5, 'c', NULL, '' "
        "FROM generate_series(0, 11999) AS i",
        "INSERT INTO maker.maker_ledger VALUES (7, 'm', 'vote', 12, 4, 100, 50)",
        database=name,
    )
    assert "is upgraded from schema 0001 to " in said(tmp_path, *UPGRADE, "--store", url)
    with closing(open_database(url, create=False)) as database, database.read() as connection:
        run = connection.execute(select(schema.run)).one()
        assert (run.id, run.run_id, run.steps, run.asked, run.batch, run.monitor) == (7, "old", 3, "", 0, "")
        chain = connection.execute(select(schema.chain)).one()
        assert (chain.id, chain.run, chain.cursor, chain.digest, chain.base_idx) == (8, 7, 3, b"\x02", 0)
        joined = select(schema.sample.c.idx, schema.text.c.body).join(
            schema.text, schema.text.c.digest == schema.sample.c.text
        )
        replies = connection.execute(joined.order_by(schema.sample.c.idx)).all()
        assert replies == [(i, f"reply {i % 3}") for i in range(12_000)]
        assert len(connection.execute(select(schema.text)).all()) == 3
        asked = select(schema.sample.c.system, schema.sample.c.temperature).distinct()
        assert connection.execute(asked).all() == [(None, None)]
        ledger = connection.execute(select(schema.ledger)).one()
        assert (ledger.model, ledger.role, ledger.calls, ledger.votes, ledger.red_flags) == ("m", "solver", 12, 9, 1)


def old_schema(postgres: PostgresServer, name: str) -> None:
    """Make the first schema, as the maker that knew no other did."""
    postgres.sql("CREATE SCHEMA maker", database=name)
    options = {"schema_translate_map": {None: "maker"}}
    engine = create_engine(postgres.url(name).replace("postgresql:", "postgresql+psycopg:"), execution_options=options)
    with engine.begin() as connection:
        migrate(connection, "maker", None, to="0001")
    engine.dispose()


# --- two at once ---


def test_upgrades_at_once_all_succeed(postgres: PostgresServer, tmp_path: Path) -> None:
    """Of several upgrades that are started together one makes the tables, the others wait and find them."""
    url = postgres.create_database()
    # Holding the lock until all of them wait for it makes them meet, however slowly they start.
    with psycopg.connect(
        host=HOST, port=postgres.port, user=USER, password=PASSWORD, dbname=url.rpartition("/")[2]
    ) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [UPGRADE_LOCK])
        programs = [
            subprocess.Popen([*UPGRADE, "--store", url], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(3)
        ]
        waiting = "SELECT count(*) FROM pg_locks, pg_sleep(0.05) WHERE locktype = 'advisory' AND NOT granted"
        while connection.execute(waiting.encode()).fetchone() != (3,):
            assert [program.poll() for program in programs] == [None] * 3
    told = [program.communicate(timeout=60)[0].decode() for program in programs]
    assert [program.returncode for program in programs] == [0, 0, 0], told
    open_database(url, create=False).close()


def test_a_long_wait_for_another_upgrade_is_no_failure(postgres: PostgresServer) -> None:
    """The patience for locks does not hold for an upgrade, which may take minutes."""
    url = postgres.create_database()
    with psycopg.connect(
        host=HOST, port=postgres.port, user=USER, password=PASSWORD, dbname=url.rpartition("/")[2]
    ) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [UPGRADE_LOCK])
        program = subprocess.Popen(
            [sys.executable, "-c", IMPATIENT, url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        connection.execute("SELECT pg_sleep(2)")
        assert program.poll() is None
    assert program.wait(timeout=60) == 0
    open_database(url, create=False).close()


IMPATIENT = """
import sys
from maker.store import database
database.BUSY_S, database.LOCKED_S = 0.05, 0.0
database.upgrade_database(sys.argv[1])
"""


# --- beside a host's own ---

HOST_ENV = """
import os
from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table, create_engine

metadata = MetaData()
Table("host_thing", metadata, Column("id", Integer, primary_key=True), *(
    [Column("size", Integer)] if os.environ["HOST_REVISION"] == "b" else []))
engine = create_engine(os.environ["HOST_URL"])
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
"""
HOST_A = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "a", None
def upgrade(): op.create_table("host_thing", sa.Column("id", sa.Integer, primary_key=True))
def downgrade(): op.drop_table("host_thing")
"""
HOST_B = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "b", "a"
def upgrade(): op.add_column("host_thing", sa.Column("size", sa.Integer))
def downgrade(): op.drop_column("host_thing", "size")
"""


class HostApplication:
    """An application with an Alembic environment of its own.

    Args:
        folder: Where its environment is made.
        url: Its database, which is ours as well.
    """

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "versions").mkdir(parents=True)
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s\n")
        (folder / "env.py").write_text(HOST_ENV)
        (folder / "versions" / "a.py").write_text(HOST_A)
        (folder / "versions" / "b.py").write_text(HOST_B)
        self.folder = folder
        self.url = url.replace("postgresql:", "postgresql+psycopg:")

    def alembic(self, *words: str, revision: str) -> str:
        """Run the application's own Alembic, its models as they are at a revision; return what it says."""
        env = os.environ | {"HOST_URL": self.url, "HOST_REVISION": revision}
        line = [sys.executable, "-m", "alembic", *words]
        done = subprocess.run(line, cwd=self.folder, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def test_beside_a_hosts_alembic(postgres: PostgresServer, tmp_path: Path) -> None:
    """A host migrates before and after us in the same database; neither sees the other's tables or versions."""
    url = postgres.create_database()
    name = url.rpartition("/")[2]
    host = HostApplication(tmp_path / "host", url)
    host.alembic("upgrade", "a", revision="a")
    assert upgrade_database(url).before is None
    host.alembic("upgrade", "b", revision="b")
    assert "No new upgrade operations" in host.alembic("check", revision="b")
    assert upgrade_database(url).before == schema.HEAD
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
    assert postgres.sql(tables, database=name) == [("alembic_version",), ("host_thing",)]
    assert postgres.sql("SELECT version_num FROM public.alembic_version", database=name) == [("b",)]
    assert postgres.sql("SELECT version_num FROM maker.maker_schema_version", database=name) == [(schema.HEAD,)]
    with closing(open_database(url, create=False)) as database:
        with database.write() as connection:
            connection.execute(insert(schema.text).values(digest=b"d", body="b"))
        host.alembic("downgrade", "base", revision="b")
        with database.read() as connection:
            assert connection.execute(select(schema.text.c.body)).scalar_one() == "b"
