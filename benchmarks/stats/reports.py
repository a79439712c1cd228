"""Reports on simulated runs: what their number says and how often it is so, and what they take.

    python -m benchmarks.stats.reports [--runs 300] [--seed 0] [--disks 17]

A run is right if the task says so at its end: 127 steps of Hanoi, of which none may be wrong. Its report sees the votes
alone. The second table tells what the report on one long run takes, in seconds of the processor.
"""

from __future__ import annotations

import math
import tempfile
import time
from typing import Any, NamedTuple

from benchmarks.shared.comparing import table
from benchmarks.shared.options import make_parser, read_options
from maker import api
from maker.reporting.page import SHOWN, page
from maker.reporting.report import report
from maker.stats.race import run_right

DISKS = 7
STEPS = 2**DISKS - 1


class Kind(NamedTuple):
    """How the runs of a row vote."""

    p: float
    k: int
    rivals: int = 1


KINDS = (Kind(0.9, 3), Kind(0.8, 4), Kind(0.8, 3, rivals=3))


def job(store: str, disks: int, kind: Kind, seed: int) -> dict[str, dict[str, Any]]:
    """Return a run of Hanoi by a simulated model."""
    return {
        "run": {"seed": seed},
        "task": {"decomposer": "hanoi", "disks": disks},
        "model": {"kind": "simulated", "p": kind.p, "rivals": kind.rivals},
        "vote": {"k": kind.k, "max_votes": 10_000},
        "store": {"url": store},
    }


def calibration(store: str, kind: Kind, seeds: range) -> tuple[str, ...]:
    """Return a row: how often runs are right, and what their reports say."""
    expected = run_right(kind.p, kind.k, STEPS)
    right = held = 0
    estimates = []
    runs = len(seeds)
    for seed in seeds:
        done = api.run(job(store, DISKS, kind, seed))
        number = report(done.run_id, store=store, disputed=0).whole.right
        right += done.status == "done"
        if number is None:
            # Not shown: an alarm, or votes that settle nothing.
            continue
        held += number.low <= expected <= number.high
        estimates.append(number.value)
    share, shown = right / runs, max(1, len(estimates))
    error = 1.96 * math.sqrt(share * (1 - share) / runs)
    rivals = f"{kind.rivals} rival{'s' * (kind.rivals > 1)}"
    return (
        f"p = {kind.p}, k = {kind.k}, {rivals}", f"{share:.1%} ± {error:.1%}", f"{sum(estimates) / shown:.1%}",
        f"{expected:.1%}", f"{held / shown:.1%}" if kind.rivals == 1 else "–",
    )  # fmt: skip


def cost(store: str, disks: int) -> tuple[str, ...]:
    """Return a row: what the report on one run takes."""
    done = api.run(job(store, disks, Kind(0.99, 4), 0))
    began = time.process_time()
    found = report(done.run_id, store=store, disputed=SHOWN)
    read = time.process_time()
    size = len(page(found))
    written = time.process_time()
    return f"{found.steps:,}", f"{found.disputed_steps:,}", f"{read - began:.2f}", f"{written - read:.2f}", f"{size:,}"


def main() -> None:
    """Print both tables."""
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the others follow")
    parser.add_argument("--disks", type=int, default=17)
    options = read_options(parser, runs=3, disks=7)
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/maker.db"
        seeds = range(options.seed, options.seed + options.runs)
        rows = [calibration(store, kind, seeds) for kind in KINDS]
        heads = ("votes", "runs right", "mean of the numbers", "by p and the formula", "intervals that hold that")
        table(f"{options.runs} runs of {STEPS} steps each, and the number that their reports give", heads, rows)
        heads = ("steps", "disputed", "reading, s", "page, s", "characters")
        table("one report", heads, [cost(store, options.disks)])


if __name__ == "__main__":
    main()
