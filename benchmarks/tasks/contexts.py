"""A tree of problems 14 levels deep, whose prompts keep to a budget a level: how long they are, depth by depth.

    python -m benchmarks.tasks.contexts [--depth 14] [--svg benchmarks/tasks/contexts.svg] [--seed 20261122] [--verify]

The task adds the numbers from 1 to 2^depth, by halves; every second half is told what the first one came to. A
simulated model plans, solves and composes, right in nine samples of ten. The tree is run with a budget that holds all
of it, and with one half as large, in which the levels above are cut. Prompts are measured as the store holds them,
system part and all, and compared with what the run's result says of them. Exits 0 if no prompt is above the budget of
its depth, and both runs are right; with --verify, if their logs verify too.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.shared.comparing import table
from benchmarks.shared.options import make_parser, read_options
from decomposers.recursive import Recursive
from maker import api
from maker.lifecycle import queries
from maker.plugin import Oracle, Truth

GOAL = "the sum of all whole numbers from {low} up to and including {high}"
PROBLEM = re.compile(r"^Problem: the sum of all whole numbers from (\d+) up to and including (\d+)$", re.MULTILINE)
PART = re.compile(r"^Part: .* => (\d+)$", re.MULTILINE)
ATOMIC = json.dumps({"atomic": True})
CONCLUSION = 12
"""Bytes that a sum of the task may have."""
BASE = 700
BUDGETS = {"all of it": 160, "cut": 80}
"""Bytes a level: what every level of this task takes at most, and half of that."""
MEASURE = """
    WITH RECURSIVE held (id, depth) AS (
        SELECT id, 0 FROM maker_chain WHERE parent IS NULL
        UNION ALL SELECT c.id, held.depth + 1 FROM maker_chain c JOIN held ON c.parent = held.id)
    SELECT held.depth, COUNT(*), MAX(length(CAST(s.body AS BLOB)) + length(CAST(t.body AS BLOB))),
           AVG(length(CAST(s.body AS BLOB)) + length(CAST(t.body AS BLOB)))
    FROM maker_prompt p JOIN held ON held.id = p.chain
    JOIN maker_text t ON t.digest = p.prompt JOIN maker_text s ON s.digest = p.system
    GROUP BY held.depth ORDER BY held.depth
"""
TRANSCRIPT = "SELECT SUM(length(CAST(action AS BLOB))) FROM maker_step WHERE tally != x''"
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 360, 70, 20, 20, 50


class Sums(Recursive[str, str]):
    """Adds a range of numbers; knows the truth of its own prompts, for the simulated model."""

    name = "sums"

    def oracle(self) -> Oracle:
        """Return what is right and wrong."""
        return truth


def truth(prompt: str) -> Truth:
    """Return what is right and wrong for a prompt; a wrong plan leaves a number out."""
    found = PROBLEM.search(prompt)
    if found is None:
        raise ValueError(f"a prompt without a problem: {prompt[-200:]!r}")
    low, high = map(int, found.groups())
    if prompt.endswith("Plan: "):
        return Truth((_plan(low, high, 1),), (_plan(low, high, 2),)) if high > low else Truth((ATOMIC,), ())
    total = sum(map(int, PART.findall(prompt))) if prompt.endswith("Result: ") else (low + high) * (high - low + 1) // 2
    return Truth((str(total),), (str(total + 1), str(total + 10)))


def _plan(low: int, high: int, gap: int) -> str:
    middle = (low + high) // 2
    first = {"name": "a", "goal": GOAL.format(low=low, high=middle)}
    second = {"name": "b", "goal": GOAL.format(low=middle + gap, high=high), "needs": ["a"]}
    return json.dumps({"parts": [first, second], "compose": "add"})


class Depth(NamedTuple):
    """The prompts of one depth: how many, the longest and the mean in bytes, and what is allowed."""

    prompts: int
    longest: int
    mean: float
    budget: int


class Run(NamedTuple):
    """A tree: what it was right in, its prompts by depth, and what it left behind."""

    name: str
    right: bool
    report: Any
    depths: list[Depth]
    transcript: int
    state: int
    store_mb: float


def run(name: str, options: argparse.Namespace, folder: Path) -> Run:
    """Run the tree with the bytes a level of a name, and measure its prompts."""
    level, last = BUDGETS[name], 2**options.depth
    database = folder / f"{level}.db"
    store = f"sqlite:///{database}"
    task = {
        "decomposer": f"{__file__}:Sums", "problem": GOAL.format(low=1, high=last), "max_depth": options.depth,
        "base_bytes": BASE, "level_bytes": level, "conclusion_bytes": CONCLUSION, "operations": ["add"],
    }  # fmt: skip
    report = api.run(
        {
            "run": {"seed": options.seed},
            "task": task,
            "model": {"kind": "simulated", "p": 0.9, "malformed": 0.02},
            "vote": {"voter": "voters.first_to_ahead_by_k:FirstToAheadByK", "k": 8, "max_votes": 1000},
            "store": {"url": store, "samples": "all"},
        }
    )
    problem = queries.verify("last", store=store).problem if options.verify else ""
    return measured(name, options.depth, report, problem, database)


def measured(name: str, depth: int, report: Any, problem: str, database: Path) -> Run:
    """Return a run's prompts as its store holds them, and whether the run is right and says the same of them."""
    with closing(sqlite3.connect(database)) as connection:
        told = connection.execute(MEASURE).fetchall()
        (transcript,) = connection.execute(TRANSCRIPT).fetchone()
        (state,) = connection.execute("SELECT MAX(length(CAST(state AS BLOB))) FROM maker_snapshot").fetchone()
    depths = [Depth(count, longest, mean, BASE + at * BUDGETS[name]) for at, count, longest, mean in told]
    if report.result is None or problem:
        sys.exit(f"{name}: the run is {report.status}: {report.reason or problem}")
    right = report.result["answer"] == str(2**depth * (2**depth + 1) // 2)
    right = right and report.result["prompt_bytes"]["largest"] == [one.longest for one in depths]
    return Run(name, right, report, depths, transcript, state, database.stat().st_size / 1e6)


def main() -> int:
    """Run both trees; 0 if all is as it should be."""
    parser = make_parser(__doc__)
    parser.add_argument("--depth", type=int, default=14)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--svg", type=Path, default=Path(__file__).with_suffix(".svg"))
    parser.add_argument("--verify", action="store_true", help="verify both logs, which takes longer than the runs")
    options = read_options(parser, depth=3, svg=None)
    with tempfile.TemporaryDirectory() as folder:
        runs = [shown(run(name, options, Path(folder))) for name in BUDGETS]
    if options.svg is not None:
        options.svg.write_text(drawn(runs), encoding="utf-8")
        print(f"\n{options.svg}")
    within = all(found.longest <= found.budget for one in runs for found in one.depths)
    return 0 if options.smoke or (within and all(one.right for one in runs)) else 1


def shown(one: Run) -> Run:
    """Print what a run came to, and its prompts by depth; returns it."""
    report = one.report
    print(f"\n{one.name}: {report.result['plan']['nodes']:,} nodes, {report.steps:,} steps, {report.votes:,} votes;")
    print(f"{report.wall_s:.0f} s, {'right, and says so of its prompts' if one.right else 'WRONG'}.")
    print(f"The longest state has {one.state:,} bytes, the store {one.store_mb:.0f} MB.")
    print(f"All decided actions, one after the other, have {one.transcript:,} bytes.")
    rows = [(str(at), f"{found.prompts:,}", f"{found.longest:,}", f"{found.mean:,.0f}", f"{found.budget:,}")
            for at, found in enumerate(one.depths)]  # fmt: skip
    table("bytes of prompts", ("depth", "prompts", "longest", "mean", "budget"), rows)
    return one


def drawn(runs: Sequence[Run]) -> str:
    """Return a plot of the longest prompts and the budgets by depth."""
    most = max(found.budget for one in runs for found in one.depths)
    top = -(-most // 1000) * 1000
    last = max(1, max(len(one.depths) for one in runs) - 1)

    def at(depth: int, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * depth / last
        return f"{x:.1f},{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="Longest prompt and budget by depth">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for value in range(0, top + 1, 1000):
        x, y = at(0, value).split(",")
        parts.append(f'<path d="M{x} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{value:,}</text>')
    for depth in range(0, last + 1, 2):
        x, _ = at(depth, 0).split(",")
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{depth}</text>')
    lines = [
        (f"{what}, {BUDGETS[one.name]} bytes a level", values, f'stroke="{colour}" stroke-width="2" {dash}')
        for one, colour in zip(runs, ("#1b6ca8", "#c2571a"), strict=True)
        for what, values, dash in (
            ("budget", [found.budget for found in one.depths], 'stroke-dasharray="5 4"'),
            ("longest prompt", [found.longest for found in one.depths], ""),
        )
    ]
    for number, (name, values, stroke) in enumerate(lines):
        points = " ".join(at(depth, value) for depth, value in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" {stroke}/>')
        # The key stands where no line is: they all rise from the lower left.
        line = TOP + 20 + 20 * number
        parts.append(f'<path d="M{LEFT + 16} {line}h36" {stroke}/>')
        parts.append(f'<text x="{LEFT + 60}" y="{line + 4}">{name}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">depth of the node</text>'
    )
    parts.append(
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">bytes of a prompt</text>'
    )
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    sys.exit(main())
