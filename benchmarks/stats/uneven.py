"""Steps that are not alike: the pair microagent at temperature 1, calibrated, planned and run; the naive k beside it.

    python -m benchmarks.stats.uneven [--disks 12] [--votes 40] [--closer 400]

`maker calibrate` asks every step of the chain, and those on which votes differed again; `maker plan` says which k the
run needs. Then the run is made with that k, and with the k that the formula takes the mean error to need, as if steps
were alike. It takes about half an hour on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import maker
from benchmarks.shared.checkout import EXAMPLES
from benchmarks.shared.comparing import table
from benchmarks.shared.models import microagent
from benchmarks.shared.options import make_parser, read_options
from maker.lifecycle.queries import show
from maker.stats.race import least_k

MODEL = EXAMPLES / "hanoi_microagent" / "pair_model"


def job(options: Namespace, folder: Path, **vote: Any) -> dict[str, dict[str, Any]]:
    """Return the job: moves with the pegs after them, one chain."""
    return {
        "task": {"decomposer": "hanoi", "disks": options.disks, "answer": "move+state"},
        "model": microagent(MODEL, options, temperature=1.0),
        "vote": {"max_votes": 1000} | vote,
        "swarm": {"kind": "local"},
        "store": {"url": f"sqlite:///{folder}/uneven.db"},
    }


def outcome(options: Namespace, folder: Path, k: int) -> tuple[str, ...]:
    """Make a run with a given k; return the cells of its line."""
    run = maker.run(job(options, folder, k=k))
    report = maker.report(run.run_id, store=f"sqlite:///{folder}/uneven.db")
    alarms = sorted({str(one.alarm.statistic) for one in report.alarms})
    pegs = (run.result or {}).get("pegs", "-")
    return (str(k), run.status, pegs, f"{run.calls:,}", f"{run.red_flags:,}", f"{run.disputed:,}", ", ".join(alarms))


def main() -> int:
    """Calibrate, plan, run both; print what each says."""
    parser = make_parser(__doc__)
    parser.add_argument("--disks", type=int, default=12)
    parser.add_argument("--votes", type=int, default=40)
    parser.add_argument("--closer", type=int, default=400)
    options = read_options(parser, disks=4, votes=10, closer=20)
    steps = 2**options.disks - 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = job(options, folder, k="auto", target=0.95)
        kept = maker.calibrate(settings, steps=steps, votes=options.votes, closer=options.closer)
        one = kept.calibration.classes["move+state"]
        plan = maker.plan(maker.load_job(settings))
        shown = plan.classes[0]
        mean = one.right / (one.right + one.wrong)
        naive = least_k(mean, steps, 0.95)
        seconds = sum(show(run, store=settings["store"]["url"]).wall_s for run in kept.calibration.runs)
        found = [
            (
                "steps asked",
                f"{one.steps:,} of {steps:,}, {options.votes} times; doubtful ones {options.closer} times more",
            ),
            ("samples, seconds", f"{kept.calibration.samples:,}, {seconds:,.0f}"),
            ("p", f"{shown.p.estimate:.5f} [{shown.p.low:.5f} to {shown.p.high:.5f}]"),
            ("valid", f"{one.valid:.4f}"),
            ("steps with a wrong vote", f"{sum(n for _, wrong, n in one.closer or one.heard if wrong):,}"),
            ("planned k", str(shown.k)),
            ("P(run right)", "{1:.4f} [{0:.4f} to {2:.4f}]".format(*plan.margins.right)),
            ("the same if steps were alike", "{1:.4f} [{0:.4f} to {2:.4f}]".format(*plan.margins.alike)),
            ("k by the mean", str(naive)),
        ]
        table("calibrated and planned", ("", ""), found)
        runs = [outcome(options, folder, k) for k in (shown.k, naive)]
        table("run", ("k", "status", "pegs", "calls", "flags", "disputed", "alarms"), runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
