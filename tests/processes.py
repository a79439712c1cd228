"""Runs the command line in processes of its own.

Each carries a mark in its environment, by which whatever it starts in its turn is found again.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import warm

MARK = "MAKER_TEST_MARK"
END_S = 90.0
"""How long what a killed run leaves behind may take to notice: Ray's agents, killed while they start, take over a
minute to give the rest of it up; all else is gone within seconds."""


NEWEST = "SELECT status, steps, resumes FROM maker_run ORDER BY id DESC LIMIT 1"


class Standing(NamedTuple):
    """How the newest run of a database stands."""

    status: str
    steps: int
    resumes: int


class Server:
    """Looks into a database of a PostgreSQL server, by one connection that no transaction outlives."""

    def __init__(self, url: str) -> None:
        import psycopg

        self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)

    def standing(self) -> Standing | None:
        """Say how the newest run stands; None before there is one."""
        row = self._connection.execute(NEWEST.replace("maker_run", "maker.maker_run").encode()).fetchone()
        return Standing(*row) if row else None

    def forget(self) -> None:
        """Delete every run."""
        from maker.store.backend.schema import metadata

        tables = ", ".join(f"maker.{name}" for name in metadata.tables)
        self._connection.execute(f"TRUNCATE {tables} RESTART IDENTITY".encode())

    def locked(self) -> bool:
        """Say whether anybody writes to runs."""
        import psycopg

        try:
            with self._connection.transaction():
                self._connection.execute("LOCK TABLE maker.maker_run IN EXCLUSIVE MODE NOWAIT")
        except psycopg.errors.LockNotAvailable:
            return True
        return False

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Commands:
    """Runs ``python -m maker`` in one folder.

    Args:
        folder: Working directory of every command; the database is ``maker.db`` there.
        server: The URL of an upgraded database of a PostgreSQL server, which then takes the place of ``maker.db``.
    """

    def __init__(self, folder: Path, server: str | None = None) -> None:
        self.folder = folder
        self.database = folder / "maker.db"
        self.store = server or f"sqlite:///{self.database}"
        self._server = Server(server) if server else None
        self.mark = uuid.uuid4().hex
        own = ("MAKER_", "RAY_", "PYTEST_")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(own)} | {MARK: self.mark}
        if server:
            self.env["MAKER_STORE"] = server

    def run(
        self,
        *words: str,
        env: dict[str, str] | None = None,
        timeout_s: float = 120,
        fresh: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, without input.

        Args:
            *words: The command.
            env: What its environment has on top.
            timeout_s: Seconds that it may take.
            fresh: Start Python anew; else the command runs in a process that has maker imported, see `warm`.
            **options: Those of `subprocess.run`, for a fresh process.
        """
        given = self.env | (env or {})
        if not (fresh or options or any(name.startswith("PYTHON") for name in env or {})):
            return warm.run([*words], folder=self.folder, env=given, timeout_s=timeout_s)
        return subprocess.run(
            self.line(*words), cwd=self.folder, env=given, timeout=timeout_s, check=False,
            **({"capture_output": True, "text": True, "stdin": subprocess.DEVNULL} | options),
        )  # fmt: skip

    def start(self, *words: str, program: tuple[str, ...] = ("-m", "maker"), **options: Any) -> subprocess.Popen[str]:
        """Start a command in a session of its own; its output goes to ``output.txt``.

        Args:
            *words: The command.
            program: What Python runs.
            **options: Those of `subprocess.Popen`.
        """
        with (self.folder / "output.txt").open("a") as output:
            given = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, "text": True} | options
            line = [sys.executable, *program, *words]
            return subprocess.Popen(line, cwd=self.folder, env=self.env, start_new_session=True, **given)

    def json(self, *words: str) -> Any:
        """Run a command with ``--json`` that must succeed; return its only line, parsed."""
        return json.loads(self.good(*words, "--json"))

    def good(self, *words: str, fresh: bool = False) -> str:
        """Run a command that must succeed; return what it prints."""
        done = self.run(*words, fresh=fresh)
        assert done.returncode == 0, f"maker {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def write(self, name: str, text: str) -> Path:
        """Write a file in the folder."""
        path = self.folder / name
        path.write_text(text)
        return path

    def standing(self) -> Standing | None:
        """Say how the newest run stands, without touching the database; None before there is one."""
        if self._server:
            return self._server.standing()
        if not self.database.exists():
            return None
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)
        try:
            row = connection.execute(NEWEST).fetchone()
        except sqlite3.OperationalError as error:
            # Killed while the file was made: whoever opens it to write has to roll that back, and no run is in it yet.
            assert "no such table" in str(error) or "readonly" in str(error), error
            return None
        finally:
            connection.close()
        return Standing(*row) if row else None

    def wait_for(self, steps: int, process: subprocess.Popen[str], resumes: int = 0) -> None:
        """Wait until a run that is being worked on has so many steps, and has been resumed so often."""
        while (at := self.standing()) is None or at.steps < steps or at.resumes < resumes:
            assert process.poll() is None, self.output()
            time.sleep(0.02)

    def forget(self) -> None:
        """Delete the database, or all that a server's has."""
        if self._server:
            self._server.forget()
        for file in self.folder.glob("maker.db*"):
            file.unlink()

    def locked(self) -> bool:
        """Say whether anybody writes to the database at this moment."""
        if self._server:
            return self._server.locked()
        try:
            with sqlite3.connect(self.database, timeout=0, isolation_level=None) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        return False

    def output(self) -> str:
        """Return what the commands started so far have printed."""
        return (self.folder / "output.txt").read_text()

    def left(self, within_s: float = END_S) -> list[str]:
        """Return the processes that are still there after so many seconds, each by number and command line."""
        deadline = time.monotonic() + within_s
        while (found := self.marked()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [f"{pid} {line}" for pid, line in found.items()]

    def end(self) -> None:
        """Kill whatever is left."""
        for pid in self.marked():
            os.kill(pid, signal.SIGKILL)
        if self._server:
            self._server.close()

    def marked(self) -> dict[int, str]:
        """Return all processes that carry the mark, number to command line."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                # A zombie has no environment left: it has ended.
                if f"{MARK}={self.mark}".encode() in (place / "environ").read_bytes().split(b"\0"):
                    found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
            except OSError:
                continue
        return found

    @staticmethod
    def line(*words: str) -> list[str]:
        """Return a command line."""
        return [sys.executable, "-m", "maker", *words]
