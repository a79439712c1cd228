"""What a yardstick prints: a JSON line for each tenth of its way, and at the end one with all that was measured."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from benchmarks.shared.yardsticks.database import Commits, folded_bytes

SEED = 20261121


class Outcome(NamedTuple):
    """How a yardstick did. ``tenths`` are the seconds at which each tenth of the steps was durable."""

    name: str
    steps: int
    seconds: float
    cpu_s: float = 0.0
    tenths: tuple[float, ...] = ()
    journal: str = ""
    synchronous: str = ""
    commits: int = 0
    bytes: int = 0
    peak_mb: float | None = None
    note: str = ""

    @property
    def speed(self) -> float:
        """Steps a second."""
        return self.steps / self.seconds if self.seconds else 0.0

    @property
    def cpu_us(self) -> float | None:
        """Microseconds of processor a step."""
        return self.cpu_s / self.steps * 1e6 if self.cpu_s else None

    @property
    def per_commit(self) -> float | None:
        """Steps a transaction."""
        return self.steps / self.commits if self.commits else None

    @property
    def bytes_step(self) -> float | None:
        """Bytes a step on the disk."""
        return self.bytes / self.steps if self.bytes else None

    @property
    def last_to_early(self) -> float | None:
        """The speed of the last tenth over that of the second; None where it did not come so far."""
        if len(self.tenths) < 10:
            return None
        return (self.tenths[1] - self.tenths[0]) / (self.tenths[9] - self.tenths[8])


class Laps:
    """Times a loop, and prints each tenth of it as it comes, so that a loop that is cut off has told how far it got."""

    def __init__(self, steps: int) -> None:
        self._every = max(1, steps // 10)
        self._next = self._every
        self.start()

    def start(self) -> None:
        """Begin to count the time."""
        self._began = time.perf_counter()
        self._worked = time.process_time()

    def note(self, done: int) -> None:
        """Say that so many steps are durable."""
        if done >= self._next:
            self._next += self._every
            print(json.dumps({"done": done, "seconds": self.seconds()}), flush=True)

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self._began

    def loop(self, journal: str, synchronous: str) -> Loop:
        """Return the whole loop's time, with the settings it ran with."""
        return Loop(self.seconds(), time.process_time() - self._worked, journal, synchronous)


class Loop(NamedTuple):
    """What a yardstick's loop returns: its time, its processor's time, and the settings it ran with."""

    seconds: float
    cpu_s: float
    journal: str
    synchronous: str


def arguments(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with what all yardsticks take."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where the database's folder is made; a temporary one by default")
    return parser


def measure(folder: Path | None, steps: int, loop: Callable[[Path], tuple[Loop, Callable[[], None]]]) -> None:
    """Run a loop on a new database and print its outcome, or what is not installed.

    ``loop`` returns its time and settings while its connections are open, and what closes them.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="yardstick-") as home:
        database = Path(home) / "yardstick.db"
        try:
            took, close = loop(database)
        except ImportError as error:
            print(json.dumps({"missing": error.name}))
            return
        with closing(Commits(database)) as counter:
            committed = counter.count()
            close()
        found = {
            "steps": steps,
            **took._asdict(),
            "commits": committed,
            "bytes": folded_bytes(database),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            / (2**20 if sys.platform == "darwin" else 2**10),
        }
        print(json.dumps(found), flush=True)
