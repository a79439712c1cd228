"""Steps a second by the number of workers: a simulated model that waits, and two vLLM engines beside one.

    python -m benchmarks.speed.scaling [--rounds 3] [--workers 1 2 4 8]
    python -m benchmarks.speed.scaling --vllm [--rounds 3] [--disks 14]

The simulated model answers after 20 ms and takes next to no processor; a worker has four chains in work, so that it is
the waiting that more workers share. An engine of `--vllm` has one thread, and each worker reserves one core. The speed
is that from a half to nine tenths of a run's steps: workers come one after another, and go so at the end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from typing import Any

import ray

import maker
from benchmarks.shared.checkout import HANOI_MODEL, TOWERS
from benchmarks.shared.comparing import Goal, number, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from maker.lifecycle.events import Event, StepsDecided

EIGHT = 7.0
"""The goal for eight workers beside one."""


def main() -> int:
    """Measure, in rounds over all numbers of workers; print medians and ratios."""
    parser = make_parser(__doc__)
    parser.add_argument("--vllm", action="store_true")
    parser.add_argument("--workers", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--moves", type=int, default=100, help="steps of a chain of the simulated model")
    parser.add_argument("--disks", type=int, default=14, help="disks of vLLM's tower")
    options = read_options(parser, workers=[1, 2], rounds=1, moves=5, disks=8)
    counts = options.workers or ([1, 2] if options.vllm else [1, 2, 4, 8])
    # Where each engine is to have one core, its threads are not to wait for one another on it.
    os.environ["OMP_NUM_THREADS"] = "1"
    loads = [os.getloadavg()[0]]
    ray.init(num_cpus=max(counts), include_dashboard=False, log_to_driver=False, configure_logging=False)
    found: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(options.rounds):
        for count in counts:
            found[count].append(speed(real(options, count) if options.vllm else simulated(options, count)))
            loads.append(os.getloadavg()[0])
            print(f"{count} workers: {found[count][-1]:,.0f} steps/s, load {loads[-1]:.1f}", file=sys.stderr)
    medians = {count: statistics.median(speeds) for count, speeds in found.items()}
    least = min(counts)
    each = {count: " ".join(number(one) for one in speeds) for count, speeds in found.items()}
    rows = [(str(count), number(one), number(one / medians[least]), each[count]) for count, one in medians.items()]
    kind = "vLLM" if options.vllm else "simulated model, 20 ms"
    table(f"{kind}: steps a second, medians of {options.rounds}", ("workers", "steps/s", "ratio", "each"), rows)
    print(f"\n  load of the machine, least and most: {min(loads):.1f}, {max(loads):.1f}")
    most = max(counts)
    goal = EIGHT if (least, most) == (1, 8) and not options.vllm else None
    ratio = Goal(f"{most} workers / {least}", goal, medians[most] / medians[least], "x")
    print_goals([ratio], options)
    return 0


def simulated(options: argparse.Namespace, workers: int) -> dict[str, Any]:
    """Return a job of 40 chains for each worker there is, four of them in work at a time."""
    return {
        "task": {"decomposer": TOWERS, "chains": 40 * workers, "moves": options.moves},
        "model": {"kind": "simulated", "p": 0.999, "latency_s": 0.02},
        "vote": {"k": 3},
        "swarm": {"kind": "ray", "replicas": workers, "chains": 4},
    }


def real(options: argparse.Namespace, workers: int) -> dict[str, Any]:
    """Return a job of the Hanoi microagent, on one core a worker."""
    return {
        "task": {"decomposer": "hanoi", "disks": options.disks, "form": "tree", "segment": options.disks - 7},
        "model": {"kind": "vllm", "path": str(HANOI_MODEL)},
        "vote": {"k": 3},
        "swarm": {"kind": "ray", "replicas": workers, "cpus": 1.0, "chains": 128 // workers},
    }


def speed(job: dict[str, Any]) -> float:
    """Run a job; returns the steps a second while all workers have work."""
    commits: list[tuple[float, int]] = []

    def note(event: Event) -> None:
        if isinstance(event, StepsDecided):
            commits.append((time.perf_counter(), event.steps))

    with tempfile.TemporaryDirectory() as folder:
        report = maker.run(job | {"store": {"url": f"sqlite:///{folder}/scaling.db"}}, on_event=note)
    if report.status != "done":
        raise SystemExit(f"the run is {report.status}: {report.reason}")
    moments, done = [], 0
    for moment, steps in commits:
        done += steps
        moments.append((moment, done))
    (began, first), (ended, last) = (
        next(one for one in moments if one[1] >= report.steps * share) for share in (0.5, 0.9)
    )
    return (last - first) / (ended - began)


if __name__ == "__main__":
    sys.exit(main())
