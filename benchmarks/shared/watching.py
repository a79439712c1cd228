"""Runs ``maker`` as its users do, and watches the run from outside: its steps, its commits, its memory."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from benchmarks.shared.checkout import environment, program
from benchmarks.shared.yardsticks.database import Commits

DONE = (0, 3)
"""Exit codes of a run that is done, with or without all of its rows."""
RESTS = (*DONE, 1, 4, 5, 6, 7, 8)
"""Exit codes of a run that came to rest somehow."""
LOOK_S = 0.005
"""How often the commit counter is read, which takes no lock; steps are read only when it has changed."""
MEMORY_S = 0.05


class Refused(Exception):
    """The command did not do what the benchmark asked of it; holds what it said."""


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Run a benchmark and exit with what it returns; with a line in place of a traceback where it cannot go on."""
    try:
        sys.exit(main())
    except (Refused, RuntimeError) as failed:
        sys.exit(f"the benchmark cannot go on: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)


class Seen(NamedTuple):
    """How a run stood at one moment: seconds on our clock, steps, transactions, seconds of processor, memory in MB."""

    at_s: float
    steps: int
    commits: int
    cpu_s: float
    rss_mb: float


class Pace(NamedTuple):
    """How fast a part of a run was: steps a second, and microseconds of processor a step (0 without /proc)."""

    speed: float
    cpu_us: float


class Watched(NamedTuple):
    """A command that has ended: what it printed as JSON, how long it took, its peak memory, what was seen of it."""

    report: dict[str, Any]
    command_s: float
    peak_mb: float
    seen: Sequence[Seen]


@contextmanager
def maker(*words: str, folder: Path, output: IO[str] | int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    """Start ``maker`` in a folder; it is killed when the block ends and it is still there."""
    env = {name: value for name, value in environment().items() if not name.startswith(("MAKER_", "RAY_"))}
    errors = (folder / "errors.txt").open("w")
    with errors, subprocess.Popen(
        [sys.executable, "-m", "maker", *words],
        cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def serving(module: str, *words: str) -> Iterator[str]:
    """Start a server that is a module of the benchmarks; gives its address, the first line that it prints."""
    with subprocess.Popen(program(module, *words), env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def watch(*words: str, folder: Path) -> Watched:
    """Run ``maker … --json`` to its end and watch the database ``maker.db`` in its folder. Raises `Refused`."""
    began = time.perf_counter()
    with (folder / "output.txt").open("w+") as output, maker(*words, "--json", folder=folder, output=output) as process:
        looks = Looks(folder / "maker.db")
        while process.poll() is None:
            looks.look(process)
            time.sleep(LOOK_S)
        took = time.perf_counter() - began
        output.seek(0)
        printed = output.read()
    looks.close()
    if process.returncode not in RESTS or not printed.strip():
        raise Refused(failure(folder, process))
    return Watched(json.loads(printed), took, looks.peak_mb, looks.seen)


class Looks:
    """Looks at a run that another process works on. ``seen`` holds a row for each change."""

    def __init__(self, database: Path) -> None:
        self.seen: list[Seen] = []
        self.peak_mb = 0.0
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._commits = Commits(database)
        self._count = -1
        self._resumes = 0
        self._rss_mb = 0.0
        self._remember = 0.0

    def look(self, process: subprocess.Popen[str]) -> None:
        """Look once; cheap where nothing has changed. ``process`` is the one that works on the run."""
        now = time.perf_counter()
        if now >= self._remember:
            self._remember = now + MEMORY_S
            self._weigh(process.pid)
        count = self._commits.count()
        if count == self._count:
            return
        if (found := self._standing()) is not None:
            self._count = count
            steps, self._resumes = found
            self.seen.append(Seen(time.perf_counter(), steps, count, _cpu_s(process.pid), self._rss_mb))

    def until(self, steps: int, process: subprocess.Popen[str], resumes: int = 0) -> int:
        """Look until the run has so many steps, and as many resumes; returns how many steps.

        Raises `Refused` if the process ends before.
        """
        while True:
            # Before the look: what a process has written that ended meanwhile is seen.
            ended = process.poll() is not None
            self.look(process)
            if self.seen and self.seen[-1].steps >= steps and self._resumes >= resumes:
                return self.seen[-1].steps
            if ended:
                raise Refused(failure(self._database.parent, process))
            time.sleep(LOOK_S)

    def close(self) -> None:
        """Close the connection, and then what counts commits."""
        if self._connection is not None:
            self._connection.close()
        self._commits.close()

    def _standing(self) -> tuple[int, int] | None:
        """Return the steps and the resumes of the newest run, None where there is none yet."""
        if self._connection is None:
            if not self._database.exists():
                return None
            self._connection = sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10)
        try:
            row = self._connection.execute("SELECT steps, resumes FROM maker_run ORDER BY id DESC LIMIT 1").fetchone()
        except sqlite3.OperationalError:  # the tables are being made
            return None
        return tuple(row) if row else None

    def _weigh(self, pid: int) -> None:
        """Read the process's memory now and at its peak; both stay 0 where there is no /proc."""
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return
        found = {name: int(value.split()[0]) / 1024 for name, _, value in (line.partition(":") for line in lines)
                 if name in ("VmRSS", "VmHWM")}  # fmt: skip
        self._rss_mb = found.get("VmRSS", self._rss_mb)
        self.peak_mb = found.get("VmHWM", self.peak_mb)


def pace(seen: Sequence[Seen], low: int, high: int) -> Pace | None:
    """Return the pace between two counts of steps: from commit to commit, right to a look of 5 ms."""
    first = next((at for at in seen if at.steps >= low), None)
    last = next((at for at in seen if at.steps >= high), None)
    if first is None or last is None or last.steps <= first.steps:
        return None
    steps = last.steps - first.steps
    return Pace(steps / (last.at_s - first.at_s), (last.cpu_s - first.cpu_s) / steps * 1e6)


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def failure(folder: Path, process: subprocess.Popen[str]) -> str:
    """Return how a command ended that should not have, and what it has said; a signal's number is below 0."""
    return f"exit code {process.returncode}; it said: {said(folder) or 'nothing'}"


def said(folder: Path) -> str:
    """Return what a command that failed in a folder has said."""
    lines = (folder / "errors.txt").read_text().splitlines()
    told = [line.removeprefix("maker: ") for line in lines if line.startswith("maker: ")]
    return told[0] if told else " ".join(lines[-1:])
