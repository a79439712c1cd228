"""What the memo costs and saves: a run without it, one that remembers and meets nothing twice, one that takes all.

``python -m benchmarks.speed.memo`` walks the first moves of a tower by the simulated model, in alternation, and prints
medians of processor time and wall time by 1,000 steps.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.shared.options import make_parser, read_options
from maker import api
from maker.lifecycle.queries import RunReport


class Took(NamedTuple):
    """What a run took, in milliseconds by 1,000 steps."""

    cpu_ms: float
    wall_ms: float


def job(url: str, memo: str) -> dict[str, dict[str, Any]]:
    """Return the tower of 20 disks."""
    return {
        "task": {"decomposer": "decomposers.hanoi:Hanoi", "disks": 20, "memo": memo},
        "model": {"kind": "simulated", "p": 0.99},
        "vote": {"voter": "voters.first_to_ahead_by_k:FirstToAheadByK", "k": 3},
        "store": {"url": url},
    }


def walked(url: str, memo: str, steps: int) -> tuple[RunReport, Took]:
    """Walk so many steps; returns how the run stands, and what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    report = api.run(job(url, memo), limit_steps=steps)
    each = 1e6 / steps
    return report, Took((time.process_time() - cpu) * each, (time.perf_counter() - wall) * each)


def main() -> None:
    """Run it."""
    parser = make_parser(__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = read_options(parser, steps=200, rounds=1)
    found: dict[str, list[Took]] = {"off": [], "run, nothing repeats": [], "store, all is known": []}
    for _ in range(options.rounds):
        with TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'maker.db'}"
            found["off"].append(walked(url, "off", options.steps)[1])
            found["run, nothing repeats"].append(walked(url, "run", options.steps)[1])
            first, _ = walked(url, "store", options.steps)
            second, took = walked(url, "store", options.steps)
            if (second.reused, second.calls) != (first.steps, 0):
                raise SystemExit(f"run {second.run_id} took {second.reused} steps, and made {second.calls} calls")
            found["store, all is known"].append(took)
    print(f"{options.steps:,} steps, medians of {options.rounds} rounds in alternation, ms by 1,000 steps")
    for name, all_took in found.items():
        print(f"  {name:22} cpu {median(one.cpu_ms for one in all_took):7.1f}  wall "
              f"{median(one.wall_ms for one in all_took):7.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
