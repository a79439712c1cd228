"""Plans that a model proposes: a planner that errs is mended by its own votes, and by nobody else's.

    python -m benchmarks.tasks.plans [--products 200] [--digits 6] [--seed 20261122]

Products of two random factors by examples/multiply_plan, with a simulated model: its plans are right with p = .6, its
products of digits and its sums with .99, and all wrong ones are alike. Each product is run with several margins of the
planner and of the solver; then again with a solver that is another model (p = .95), to compare what was planned. Prints
the share of right products with its interval (Clopper and Pearson, 95 %), beside what the margins lead one to expect.
Exits 0 if every share is within four standard deviations of that, and no plan depends on the solver.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.shared.checkout import EXAMPLES
from benchmarks.shared.comparing import table
from benchmarks.shared.options import make_parser, read_options
from maker import api
from maker.stats.bounds import share_at_most
from maker.stats.race import step_right

JOB = EXAMPLES / "multiply_plan" / "multiply.py"
PLAN, STEP, OTHER = 0.6, 0.99, 0.95
CONFIDENCE = 0.975
"""Of each end of an interval: 95 % of both together."""


class Way(NamedTuple):
    """How products are run: the margins of planner, solver and composer, and which model is the solver."""

    planner: int
    solver: int
    model: str = "one"


WAYS = (Way(1, 1), Way(1, 4), Way(1, 20), Way(4, 4), Way(17, 1), Way(17, 4), Way(17, 4, "other"))


class Outcome(NamedTuple):
    """One product: whether it came out right, the digest of its plans, how many plans there were, and calls."""

    right: bool
    digest: str
    nodes: int
    calls: int


class Tried(NamedTuple):
    """A way, what came of it, and how many right products were to be expected."""

    way: Way
    outcomes: list[Outcome]
    expected: float
    wall_s: float

    @property
    def off(self) -> float:
        """How many standard deviations the number of right ones is from what was to be expected."""
        n, p = len(self.outcomes), min(max(self.expected, 1e-9), 1 - 1e-9)
        return (sum(one.right for one in self.outcomes) - n * p) / math.sqrt(n * p * (1 - p))

    def row(self) -> tuple[str, ...]:
        """Return the cells of its line."""
        n, right = len(self.outcomes), sum(one.right for one in self.outcomes)
        low, high = 1 - share_at_most(n - right, n, CONFIDENCE), share_at_most(right, n, CONFIDENCE)
        calls = sum(one.calls for one in self.outcomes) / n
        return (
            f"planner {self.way.planner}, solver {self.way.solver}, model {self.way.model}",
            f"{right} of {n}", f"{right / n:.1%}", f"{low:.1%} to {high:.1%}", f"{self.expected:.1%}",
            f"{calls:,.0f}", f"{self.wall_s:.0f} s",
        )  # fmt: skip


def job(problem: str, way: Way, seed: int, store: str) -> dict[str, Mapping[str, Any]]:
    """Return a job for one product."""
    model = {"kind": "simulated", "p": STEP, "p_by_class": {"plan": PLAN}, "rivals": 1}
    members = {"one": model, "other": model | {"p": OTHER}}
    turn = {"rotation": ["one"]}
    return {
        "run": {"seed": seed},
        "task": {"decomposer": f"{JOB}:Multiply", "problem": problem},
        "model": {"kind": "pool", "rotation": ["one"], "members": members},
        "vote": {"voter": "voters.first_to_ahead_by_k:FirstToAheadByK", "k": way.solver, "max_votes": 10_000},
        "roles": {
            "decomposer": turn | {"k": way.planner},
            "composer": turn | {"k": way.solver},
            "solver": {"rotation": [way.model], "k": way.solver},
        },
        "store": {"url": store, "samples": "none"},
    }


def chance(problem: tuple[int, int], way: Way) -> float:
    """Return the probability that a product comes out right: every plan that can be wrong, every answer, every sum."""
    many, few = (sum(digit != "0" for digit in str(factor)) for factor in (problem[1], problem[0]))
    plans = (many > 1) + (few > 1) * many
    solver = STEP if way.model == "one" else OTHER
    planned, composed = step_right(PLAN, way.planner) ** plans, step_right(STEP, way.solver) ** plans
    return float(planned * composed * step_right(solver, way.solver) ** (many * few))


def tried(way: Way, products: Sequence[tuple[int, int]], seed: int, folder: Path) -> Tried:
    """Run all products one way."""
    store, began, outcomes = f"sqlite:///{folder}/plans.db", time.perf_counter(), []
    for number, (a, b) in enumerate(products):
        report = api.run(job(f"{a} * {b}", way, seed + number, store))
        if report.status != "done":
            sys.exit(f"{a} * {b}: the run is {report.status}: {report.reason}")
        plan = report.result["plan"]
        outcomes.append(Outcome(report.result["answer"] == a * b, plan["digest"], plan["nodes"], report.calls))
    expected = sum(chance(product, way) for product in products) / len(products)
    return Tried(way, outcomes, expected, time.perf_counter() - began)


def main() -> int:
    """Run all ways; 0 if all is as expected."""
    parser = make_parser(__doc__)
    parser.add_argument("--products", type=int, default=200)
    parser.add_argument("--digits", type=int, default=6)
    parser.add_argument("--seed", type=int, default=20261122)
    options = read_options(parser, products=2, digits=2)
    draw, low, high = random.Random(options.seed), 10 ** (options.digits - 1), 10**options.digits - 1
    products = [(draw.randint(low, high), draw.randint(low, high)) for _ in range(options.products)]
    with tempfile.TemporaryDirectory() as folder:
        found = {way: tried(way, products, options.seed, Path(folder)) for way in WAYS}
    heads = ("k", "right", "share", "95 %", "expected", "calls a product", "wall")
    title = f"{options.products} products of {options.digits} by {options.digits} digits, seed {options.seed}"
    table(title, heads, [one.row() for one in found.values()])
    same, other = found[Way(17, 4)], found[Way(17, 4, "other")]
    alike = sum(a.digest == b.digest for a, b in zip(same.outcomes, other.outcomes, strict=True))
    print(f"\nwith another model as the solver, {alike} of {len(products)} digests of plans are the same")
    off = [one.way for one in found.values() if abs(one.off) > 4]
    print(f"off by more than four standard deviations: {off or 'none'}")
    return 0 if options.smoke or (alike == len(products) and not off) else 1


if __name__ == "__main__":
    sys.exit(main())
