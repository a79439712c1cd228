"""What maps over data keep of what they promise, and what a row costs.

Each part prints its figures, and the goals that they are held against; the exit code is 1 where one is missed.

- ``killed``: 100,000 rows, easy, hard, hopeless and broken ones, by the simulated model; once undisturbed, once killed
  with -9 five times at random moments and resumed: outcomes add up, no row is lost or there twice, the files are the
  same to the byte, and the errors those of theory;
- ``served``: 10,000 rows by a model behind HTTP, whose own count of calls and tokens is held against the ledger;
- ``odd``: 1,000 input files, a row of 1 MB, and values with braces, quotes, newlines, emoji and NUL;
- ``sizes``: speed and peak memory of ``run``, ``results`` and ``verify`` at 10^4, 10^5 and 10^6 rows;
- ``speed``: rows a second beside the steps of a chain, and a resume after a kill at nine tenths;
- ``waiting``: how busy a map keeps a server of a given latency and number of slots, beside chains.

    python -m benchmarks.recovery.maps [part …] [--rows 100000] [--served-rows 10000] [--kills 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.shared.comparing import Goal, print_goals
from benchmarks.shared.maps.kills import killed, served
from benchmarks.shared.maps.odd import odd
from benchmarks.shared.maps.speed import sizes, speed, waiting
from benchmarks.shared.options import add_parts, make_parser, read_options
from benchmarks.shared.watching import exit_with

PARTS: dict[str, Callable[[argparse.Namespace, Path], list[Goal]]] = {
    "killed": killed, "served": served, "odd": odd, "sizes": sizes, "speed": speed, "waiting": waiting,
}  # fmt: skip


def read_command_line() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = make_parser(__doc__)
    add_parts(parser, PARTS)
    parser.add_argument("--rows", type=int, default=100_000, help="of most parts (%(default)s)")
    parser.add_argument("--served-rows", type=int, default=10_000, help="of served: each request is one over HTTP")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="of that part")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3, help="of speed; medians are shown")
    parser.add_argument("--files", type=int, default=1000, help="of odd, with ten rows each")
    parser.add_argument("--asked", type=int, default=4000, help="rows, and steps of chains, of waiting")
    parser.add_argument("--latency", type=float, default=1.0, help="of waiting: seconds of an answer")
    parser.add_argument("--seed", type=int, default=20262, help="of the moments of the kills")
    parser.add_argument("--folder", type=Path, help="where databases go; the system's temporary folder by default")
    return read_options(
        parser, rows=400, served_rows=400, sizes=[200], kills=1, rounds=1, files=20, asked=50, latency=0.02
    )


def main() -> int:
    """Measure and print; returns the exit code."""
    options = read_command_line()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    goals: list[Goal] = []
    for part in options.parts:
        print(f"… {part}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="maker-maps-") as name:
            goals += PARTS[part](options, Path(name))
    return print_goals(goals, options)


if __name__ == "__main__":
    exit_with(main)
