"""Resumes the newest run of a database for one step, and prints how long that took after the imports were done.

python -m benchmarks.shared.resume_once DATABASE
"""

from __future__ import annotations

import argparse
import email.parser  # noqa: F401 - what importlib.metadata reads entry points with
import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

# All that the resume of a simulated run loads by itself: what is still imported later is counted and printed.
import sqlalchemy.dialects.sqlite  # noqa: F401

import decomposers.hanoi  # noqa: F401
import maker
import maker.api
import maker.models.simulated
import maker.swarm.local
import voters.first_to_ahead_by_k  # noqa: F401
from maker.lifecycle.events import Event, StepsDecided


def resume(database: Path) -> tuple[float, int]:
    """Resume for one step; returns the seconds to its commit, and the steps that the run then has."""
    first: list[float] = []

    def tell(event: Event) -> None:
        if isinstance(event, StepsDecided) and not first:
            first.append(time.perf_counter())

    began = time.perf_counter()
    report = maker.resume("last", store=f"sqlite:///{database}", limit_steps=1, on_event=tell)
    return first[0] - began, report.steps


def read_last(database: Path) -> float:
    """Open a database and read the last row of its log; returns the seconds that took."""
    began = time.perf_counter()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("SELECT * FROM maker_step ORDER BY chain DESC, idx DESC LIMIT 1").fetchone()
        return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("database", type=Path)
    parser.add_argument("--bare", action="store_true", help="only open the database and read the last row of its log")
    options = parser.parse_args()
    if options.bare:
        print(json.dumps({"seconds": read_last(options.database)}))
        return
    loaded = set(sys.modules)
    seconds, steps = resume(options.database)
    print(json.dumps({"seconds": seconds, "steps": steps, "imported": sorted(set(sys.modules) - loaded)}))


if __name__ == "__main__":
    main()
