"""The formulas that plans rest on, beside what the real engine does with a simulated model whose truth is known.

    python -m benchmarks.stats.theory [--seed 20261122] [--scale 1.0]

Each line is a run, or many, of the local swarm through `maker.api`; its figure is compared with the formula's within
four standard deviations of its own n.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.shared.comparing import table
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.tasks.known_steps import job
from maker import RunReport, api
from maker.stats.mixture import beta_failure, beta_votes
from maker.stats.race import run_right, step_right, votes_per_step


class Line(NamedTuple):
    """A number of the theory, what was measured, over how many, and its standard deviation there."""

    what: str
    theory: float
    measured: float
    n: int
    sigma: float

    def row(self) -> tuple[str, ...]:
        """Return the cells of its line."""
        off = (self.measured - self.theory) / self.sigma
        verdict = "" if abs(off) <= 4 else "OFF"
        return (self.what, f"{self.theory:.5g}", f"{self.measured:.5g}", f"{self.n:,}", f"{off:+.1f}", verdict)


class Bench:
    """Holds runs, each with a seed of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._url = f"sqlite:///{folder}/theory.db"
        self._seed = seed

    def run(self, steps: Sequence[int], ks: Sequence[int], **model: Any) -> RunReport:
        """Return how one run ended."""
        self._seed += 1
        return api.run(job(tuple(steps), tuple(ks), model, self._seed, self._url))

    def failures(self, what: str, failure: float, steps: int, k: int, **model: Any) -> Line:
        """Return the share of steps that a run decided wrongly."""
        report = self.run([steps], [k], **model)
        wrong = sum(report.result["wrong"])
        return Line(what, failure, wrong / steps, steps, math.sqrt(failure * (1 - failure) / steps))

    def calls(self, what: str, calls: float, sigma: float, steps: int, k: int, **model: Any) -> Line:
        """Return the calls a step; ``sigma`` is that of one step, at most."""
        report = self.run([steps], [k], **model)
        return Line(what, calls, report.calls / steps, steps, sigma / math.sqrt(steps))

    def right(self, what: str, right: float, runs: int, steps: Sequence[int], ks: Sequence[int], **model: Any) -> Line:
        """Return the share of runs that were right from end to end."""
        done = sum(self.run(steps, ks, **model).status == "done" for _ in range(runs))
        return Line(what, right, done / runs, runs, math.sqrt(right * (1 - right) / runs))


def copied(p: float, c: float, k: int) -> float:
    """Return the failure of a race in which a vote is, with chance c, the step's common draw, right with p."""
    return 1 - p * step_right(c + (1 - c) * p, k) - (1 - p) * step_right((1 - c) * p, k)


def lines(bench: Bench, scale: float) -> list[Line]:
    """Hold all runs."""
    n, runs = int(20_000 * scale), max(10, int(100 * scale))
    nineteen, rho = np.array([math.log(19)]), np.array([1 / 21])
    beta = {k: float(beta_failure(nineteen, rho, k)[0]) for k in (3, 4, 6)}
    flagged = {"p": 0.98, "flag_right": 0.03, "flag_wrong": 0.6}
    return [
        bench.failures("p = .6, k = 3: a step wrong", 1 - step_right(0.6, 3), n, 3, p=0.6),
        bench.failures("p = .9, k = 2: a step wrong", 1 - step_right(0.9, 2), n, 2, p=0.9),
        bench.calls("p = .6, k = 5: votes a step", votes_per_step(0.6, 5), 14.0, n, 5, p=0.6),
        bench.calls("p = .9, k = 3: votes a step", votes_per_step(0.9, 3), 1.4, n, 3, p=0.9),
        bench.calls("p = .9, k = 3, half malformed: calls a step", 2 * votes_per_step(0.9, 3), 4.2, n, 3, p=0.9,
                    malformed=0.5),
        bench.failures("Beta(19, 1), k = 3: a step wrong", beta[3], n, 3, p=0.95, rho=1 / 21),
        bench.failures("... k = 4, not the 7.7e-6 of its mean p", beta[4], 4 * n, 4, p=0.95, rho=1 / 21),
        bench.calls("... k = 4: votes a step", float(beta_votes(nineteen, rho, 4)[0]), 2.5, n, 4, p=0.95, rho=1 / 21),
        bench.right("... s = 300, k = 4: a run right", (1 - beta[4]) ** 300, runs, [300], [4], p=0.95, rho=1 / 21),
        bench.right("... s = 300, k = 6: a run right", (1 - beta[6]) ** 300, runs, [300], [6], p=0.95, rho=1 / 21),
        bench.right("p = .9, s = 300, k = 3: a run right", run_right(0.9, 3, 300), runs, [300], [3], p=0.9),
        bench.right("budget: 270 of p = .99, 30 of .7, k = (3, 9)", run_right(0.99, 3, 270) * run_right(0.7, 9, 30),
                    runs, [270, 30], [3, 9], p_by_class={"c0": 0.99, "c1": 0.7}),
        bench.right("... k = 4 for all", run_right(0.99, 4, 270) * run_right(0.7, 4, 30),
                    runs, [270, 30], [4, 4], p_by_class={"c0": 0.99, "c1": 0.7}),
        bench.failures("raw error .02, no flags, k = 1: a step wrong", 0.02, n, 1, p=0.98),
        bench.failures("... flags on 60 % of wrong, 3 % of right", 1 - 0.9506 / 0.9586, n, 1, **flagged),
        bench.calls("... calls a step at k = 4", votes_per_step(0.9506 / 0.9586, 4) / 0.9586, 0.8, n, 4, **flagged),
        bench.failures("a common draw in .2 of the votes, k = 3", copied(0.9, 0.2, 3), n, 3, p=0.9, common=0.2),
        bench.failures("... in .5", copied(0.9, 0.5, 3), n, 3, p=0.9, common=0.5),
        bench.failures("... in all", 0.1, n, 3, p=0.9, common=1.0),
        bench.failures("p = .45, one rival, k = 9", 1 - step_right(0.45, 9), n // 4, 9, p=0.45),
    ]  # fmt: skip


def main() -> int:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--scale", type=float, default=1.0)
    options = read_options(parser, scale=0.01)
    print(f"seed {options.seed}, scale {options.scale:g}")
    with tempfile.TemporaryDirectory() as folder:
        found = lines(Bench(Path(folder), options.seed), options.scale)
    table("theory and engine", ("", "theory", "measured", "n", "sigmas off", ""), [line.row() for line in found])
    return int(any(line.row()[-1] for line in found) and not options.smoke)


if __name__ == "__main__":
    sys.exit(main())
