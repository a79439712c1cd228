"""How long a killed run takes to go on, by the length of its history, and by how many of its chains are open.

One simulated run is worked on by ``maker run``, killed with SIGKILL at each size, copied as it was left, and resumed
to grow to the next. Each copy is resumed for one step in a process of its own, and timed from the end of the imports
(``import maker``, the task's code, SQLAlchemy) to the commit of the first new step. Beside it stand the whole command
``maker resume last --limit-steps 1``, with Python's start and imports, and the yardstick: to open a copy of the same
killed database with Python's sqlite3, which brings its log in order, and read the last row.

    python -m benchmarks.recovery.resume [--sizes 10000 100000 1000000] [--open 1800] [--repeats 5] [--dbos]

``--open`` also kills and resumes runs whose root has forked into so many chains, of which each has a few steps and none
is done. ``--sizes`` without a number leaves the first part out.
``--dbos`` also kills and resumes a workflow of 10,000 durable steps of DBOS, from the extra ``bench``: half a minute.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.shared.checkout import TOWERS, environment, program
from benchmarks.shared.comparing import Goal, flush_s, number, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.watching import Looks, exit_with, maker, said
from benchmarks.shared.yardsticks.running import Missing

JOB = """\
[task]
decomposer = "hanoi"
disks = 24
form = "chain"
[model]
kind = "simulated"
p = 0.99
[vote]
k = 3
[swarm]
kind = "local"
"""
OPEN_JOB = """\
[task]
decomposer = "{towers}"
chains = {chains}
moves = 10000
[model]
kind = "simulated"
p = 0.99
[vote]
k = 3
[swarm]
kind = "local"
chains = {chains}
"""
OPEN_STEPS = 3
"""Steps that an open chain has, on average, or some more: it ends after 10,000, seconds later."""
GOAL_S = 1.0
OPEN_GOAL_MS = 1.0
"""Milliseconds to the first new step for each open chain: about two queries, and a resume needs none of each."""
GROWTH = 1.2
SLACK_S = 0.02
"""A resume does not grow with history where the longest takes at most a fifth, or 20 ms, more than the shortest: what
lies between two snapshots is up to 1,000 actions, and their number depends on where the run was killed."""
SLOWEST_YARDSTICK_S = 0.1
"""Opening a database and reading a row takes milliseconds on any disk; at a tenth of a second something else is busy
with it, and a resume measured beside that says nothing of maker."""
DBOS_STEPS = 10_000


class Sized(NamedTuple):
    """What was measured at one length of history: seconds. ``late`` are modules that a resume still imported."""

    steps: int
    resumes: list[float]
    commands: list[float]
    bare: list[float]
    late: list[str]


class Open(NamedTuple):
    """What was measured of a run with so many open chains."""

    chains: int
    found: Sized

    @property
    def chain_ms(self) -> float:
        """Milliseconds of a resume for each chain."""
        return statistics.median(self.found.resumes) / self.chains * 1e3


def grow(home: Path, size: int) -> Path:
    """Work on the run until it has so many steps, and kill it; returns a folder with a copy of what it left."""
    words = ["resume", "last"] if (home / "maker.db").exists() else ["run", "job.toml"]
    with closing(Looks(home / "maker.db")) as looks:
        with maker(*words, folder=home) as process:
            looks.until(size, process)
            process.send_signal(signal.SIGKILL)
            process.wait()
        # Before our own connection closes: the last one to close a database tidies its log away.
        return copied(home, home.parent / f"left-{size}")


def copied(home: Path, to: Path) -> Path:
    """Copy a database with its log; not the log's index, which is made anew by whoever opens it first."""
    to.mkdir()
    for name in ("maker.db", "maker.db-wal"):
        if (home / name).exists():
            shutil.copy(home / name, to / name)
    return to


def measured(left: Path, repeats: int) -> Sized:
    """Resume copies of a killed run, and open others, in turns."""
    found = Sized(0, [], [], [], [])
    for turn in range(repeats):
        once = _once(left, f"once-{turn}")
        found = found._replace(steps=once["steps"] - 1, late=once["imported"])
        found.resumes.append(once["seconds"])
        found.bare.append(_once(left, f"bare-{turn}", "--bare")["seconds"])
        found.commands.append(_command(left, f"command-{turn}"))
    return found


def opened(folder: Path, chains: int, repeats: int) -> Open:
    """Kill a run that has forked into so many chains, and resume it. Raises `RuntimeError` if they are not all open."""
    home = folder / "run"
    home.mkdir(parents=True)
    (home / "job.toml").write_text(OPEN_JOB.format(towers=TOWERS, chains=chains))
    left = grow(home, OPEN_STEPS * chains)
    with closing(sqlite3.connect(copied(left, left / "count") / "maker.db")) as connection:
        query = "SELECT count(*) FROM maker_chain WHERE parent IS NOT NULL AND status = 'running'"
        if (found := connection.execute(query).fetchone()[0]) != chains:
            raise RuntimeError(f"{found} chains are open, not {chains}")
    return Open(chains, measured(left, repeats))


def _once(left: Path, name: str, *words: str) -> Any:
    home = copied(left, left / name)
    command = program("shared.resume_once", str(home / "maker.db"), *words)
    done = subprocess.run(
        command, cwd=home, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    shutil.rmtree(home)
    return json.loads(done.stdout)


def _command(left: Path, name: str) -> float:
    home = copied(left, left / name)
    began = time.perf_counter()
    with maker("resume", "last", "--limit-steps", "1", folder=home) as process:
        process.wait()
    took = time.perf_counter() - began
    if "reached the limit" not in (last := _reason(home)):
        raise RuntimeError(f"the resumed run stands still for another reason: {last or said(home)}")
    shutil.rmtree(home)
    return took


def _reason(home: Path) -> str:
    with closing(sqlite3.connect(home / "maker.db")) as connection:
        return str(connection.execute("SELECT reason FROM maker_run").fetchone()[0])


def dbos(home: Path, steps: int) -> float:
    """Kill a workflow of DBOS after so many steps, and return the seconds to its first new one. Raises `Missing`."""
    database = home / "dbos.db"
    command = program("shared.yardsticks.dbos_resume")
    options: dict[str, Any] = {"cwd": home, "env": environment(), "text": True, "stdin": subprocess.DEVNULL}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "start", str(database)], **options) as process:
        try:
            for line in process.stdout or ():
                if json.loads(line)["done"] >= steps:
                    break
        finally:
            process.kill()
    done = subprocess.run([*command, "resume", str(database)], **options, check=False)
    if done.returncode:
        raise Missing(done.stderr.strip().splitlines()[-1])
    return float(json.loads(done.stdout)["seconds"])


def print_sizes(sizes: Sequence[Sized]) -> None:
    """Print a line for each length of history."""
    heads = ("steps before", "resume to first step", "slowest", "whole command", "bare open and read", "resume/bare")
    if sizes:
        table("a killed run goes on (medians)", heads, [(f"{found.steps:,}", *_times(found)) for found in sizes])
    if late := sorted({name for found in sizes for name in found.late}):
        print(f"  still imported within the time: {', '.join(late)}")


def print_open(forked: Sequence[Open]) -> None:
    """Print a line for each number of open chains."""
    heads = ("open chains", "resume to first step", "slowest", "whole command", "bare open and read", "resume/bare")
    rows = [(f"{one.chains:,}", *_times(one.found), number(one.chain_ms, " ms")) for one in forked]
    table("a killed run with open chains goes on (medians)", (*heads, "resume/chain"), rows)


def _times(found: Sized) -> list[str]:
    own, bare = statistics.median(found.resumes), statistics.median(found.bare)
    times = (own, max(found.resumes), statistics.median(found.commands), bare)
    return [*(f"{each * 1e3:,.1f} ms" for each in times), number(own / bare, "x")]


def goals(sizes: Sequence[Sized], forked: Sequence[Open]) -> list[Goal]:
    """Return each goal beside what was measured."""
    held = []
    if sizes:
        medians = [statistics.median(found.resumes) for found in sizes]
        allowed = max(GROWTH, 1 + SLACK_S / medians[0])
        grown = medians[-1] / medians[0] if len(sizes) > 1 else None
        held += [
            Goal("slowest median, seconds to the first new step", GOAL_S, max(medians), " s", least=False),
            Goal("longest history / shortest", allowed, grown, "x", least=False, why="it takes two sizes"),
        ]
    if forked:
        most = max(one.chain_ms for one in forked)
        held.append(Goal("resume of open chains, each", OPEN_GOAL_MS, most, " ms", least=False))
    return held


def read_command_line() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], help="steps before a kill"
    )
    parser.add_argument("--open", type=int, nargs="*", default=[], help="open chains of runs that have forked")
    parser.add_argument("--repeats", type=int, default=5, help="resumes of each size; medians are shown")
    parser.add_argument("--dbos", action="store_true", help=f"resume a workflow of {DBOS_STEPS:,} steps of DBOS too")
    parser.add_argument("--folder", type=Path, help="where the databases go; the system's temporary folder by default")
    return read_options(parser, sizes=[1000, 3000], open=[20], repeats=1)


def main() -> int:
    """Measure and print; returns the exit code."""
    options = read_command_line()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sizes: list[Sized] = []
    forked: list[Open] = []
    theirs = ""
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="maker-bench-") as name:
        home = Path(name) / "run"
        home.mkdir()
        (home / "job.toml").write_text(JOB)
        flush = flush_s(home)
        for size in sorted(options.sizes):
            print(f"… {size:,} steps", file=sys.stderr, flush=True)
            sizes.append(measured(grow(home, size), options.repeats))
        for chains in sorted(options.open):
            print(f"… {chains:,} open chains", file=sys.stderr, flush=True)
            forked.append(opened(Path(name) / f"open-{chains}", chains, options.repeats))
        if options.dbos:
            print("… DBOS", file=sys.stderr, flush=True)
            theirs = _told_dbos(Path(name))
    print(f"medians of {options.repeats} resumes each; writing and flushing a page takes {flush * 1e6:.0f} us here")
    print_sizes(sizes)
    if forked:
        print_open(forked)
    if theirs:
        print(theirs)
    print_goals(goals(sizes, forked), options)
    slowest = max((statistics.median(found.bare) for found in (*sizes, *(one.found for one in forked))), default=0.0)
    if slowest > SLOWEST_YARDSTICK_S and not options.smoke:
        print(f"\nthis run proves nothing: to open the database and read a row took {slowest * 1e3:.0f} ms")
        return 1
    return 0


def _told_dbos(home: Path) -> str:
    try:
        seconds = dbos(home, DBOS_STEPS)
    except Missing as missing:
        return f"  DBOS: did not run: {missing}"
    return f"  DBOS, a workflow killed after {DBOS_STEPS:,} durable steps: {seconds:,.2f} s to its first new one"


if __name__ == "__main__":
    exit_with(main)
