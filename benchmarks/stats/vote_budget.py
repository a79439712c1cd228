"""One budget for the votes of a map, spread by what votes are worth, against as many votes for every row alike.

    python -m benchmarks.stats.vote_budget [--rows 20000] [--seeds 5] [--engine 100000] [--null 60]

Three tables:

- **Equal votes**: rows of a mixture (80 % with p = .95, 15 % with .7, 5 % with .5, against one rival) race to a lead of
  k. The budget is a part of what all races take. Beside it stand: `vote.max_votes`, the same for all rows, chosen
  afterwards as the one that takes as many votes; a smaller k, for all rows; and rows one after the other until the
  votes are spent, as under `limits.max_calls`. Goals: the budget decides no fewer rows rightly than `max_votes` does (4
  sigma), and errors among its decided rows are no more than those of unlimited votes at the same k.
- **The monitor**: runs of rows that are alike, with a budget that stops a third of the open ones. Goal: alarms at no
  more than the nominal rate (`maker.stats.monitor.ALPHA`), within its binomial tail.
- **The engine**: a map with and without a budget, on the simulated model: processor time and memory. Goals: 1.6 times
  the processor time for each call, and as much memory and 64 MiB.
"""

from __future__ import annotations

import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import maker
from benchmarks.shared.comparing import Goal, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from maker.stats.monitor import ALPHA
from maker.stats.vote_allocation import OpenRows, allocate
from maker.stats.vote_worth import VoteWorth, likeliest_shares

MIXTURE = ((0.95, 0.80), (0.70, 0.15), (0.50, 0.05))
MOST = 100
PARTS = (0.85, 0.9, 0.95)
MEMORY_MIB, TIME_RATIO = 64, 1.6


class Outcome(NamedTuple):
    """What votes have come to: how many, rows decided rightly, rows decided wrongly."""

    votes: int
    right: int
    wrong: int


class Rows:
    """Rows that race to a lead of k; each row's votes are the same, whoever asks for them."""

    def __init__(self, rows: int, seed: int) -> None:
        draw = random.Random(seed)
        chances = [p for p, part in MIXTURE for _ in range(round(rows * part))]
        draw.shuffle(chances)
        self._votes = [[draw.random() < p for _ in range(MOST)] for p in chances]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._votes)

    def raced(self, row: int, k: int, most: int) -> tuple[int, int]:
        """Return a row's votes and lead where it stops: with a lead of k, or before it asks for more than ``most``."""
        lead = taken = 0
        while abs(lead) < k and taken + k - abs(lead) <= most:
            for vote in self._votes[row][taken : taken + k - abs(lead)]:
                lead, taken = lead + (1 if vote else -1), taken + 1
        return taken, lead

    def alike(self, k: int, most: int) -> Outcome:
        """Let every row take as many votes as it may."""
        return self.until(k, len(self) * MOST, most)

    def until(self, k: int, budget: int, most: int = MOST) -> Outcome:
        """Let rows race one after the other until the votes are spent."""
        votes = right = wrong = 0
        for row in range(len(self)):
            taken, lead = self.raced(row, k, most)
            if votes + taken > budget:
                break
            votes, right, wrong = votes + taken, right + (lead >= k), wrong + (lead <= -k)
        return Outcome(votes, right, wrong)

    def spread(self, k: int, budget: int) -> Outcome:
        """Spread a budget as the engine does: what a vote is worth is learned from the tallies."""
        leads, taken = [0] * len(self), [0] * len(self)
        asked: Sequence[int] = range(len(self))
        spent = 0
        while asked:
            for row in asked:
                needed = k - abs(leads[row])
                for vote in self._votes[row][taken[row] : taken[row] + needed]:
                    leads[row] += 1 if vote else -1
                taken[row], spent = taken[row] + needed, spent + needed
            groups: dict[tuple[int, int], list[int]] = {}
            tallies: dict[tuple[int, int], int] = {}
            for row, (votes, lead) in enumerate(zip(taken, leads, strict=True)):
                place = ((votes + abs(lead)) // 2, (votes - abs(lead)) // 2)
                tallies[place] = tallies.get(place, 0) + 1
                if abs(lead) < k:
                    groups.setdefault(place, []).append(row)
            worth = VoteWorth(likeliest_shares(tallies), k)
            open_rows = [OpenRows(*place, 0, MOST - sum(place), rows) for place, rows in groups.items()]
            asked = allocate(open_rows, worth, budget - spent).rows
        return Outcome(spent, sum(lead >= k for lead in leads), sum(lead <= -k for lead in leads))


def at_equal_votes(rows: Rows, k: int) -> Iterator[tuple[float, str, Outcome, Outcome]]:
    """Yield what each way comes to, by the part of all votes that it may take; with what all votes come to."""
    caps = [rows.alike(k, most) for most in range(k, MOST + 1)]
    smaller = [rows.alike(less, MOST) for less in range(1, k)]
    whole = caps[-1]
    for part in PARTS:
        budget = int(part * whole.votes)
        yield part, "budget", rows.spread(k, budget), whole
        below = max((one for one in caps if one.votes <= budget), key=lambda one: one.votes)
        above = min((one for one in caps if one.votes > budget), key=lambda one: one.votes)
        share = (budget - below.votes) / (above.votes - below.votes)
        between = Outcome(*(round(a + share * (b - a)) for a, b in zip(below, above, strict=True)))
        yield part, "max_votes", between, whole
        yield part, "smaller k", max((one for one in smaller if one.votes <= budget), key=lambda one: one.votes), whole
        yield part, "in order", rows.until(k, budget), whole


def compare(count: int, seeds: int) -> list[Goal]:
    """Print the ways at equal votes; returns the goals."""
    lines: list[tuple[str, ...]] = []
    behind, above = -math.inf, -math.inf
    for k in (3, 4, 5):
        found: dict[tuple[float, str], list[tuple[Outcome, Outcome]]] = {}
        for seed in range(seeds):
            for part, way, outcome, whole in at_equal_votes(Rows(count, seed), k):
                found.setdefault((part, way), []).append((outcome, whole))
        for (part, way), pairs in found.items():
            right, wrong, votes = (sum(getattr(one, name) for one, _ in pairs) for name in ("right", "wrong", "votes"))
            error, of_all = wrong / (right + wrong), sum(one.wrong for _, one in pairs) / (len(pairs) * count)
            lines.append((str(k), f"{part:.0%}", way, f"{votes / seeds:,.0f}", f"{right / seeds:,.0f}", f"{error:.2%}"))
            if way == "budget":
                same = sum(one.right for one, _ in found[part, "max_votes"])
                behind = max(behind, (same - right) / math.sqrt(count * seeds / 4))
                above = max(above, error - of_all)
    heads = ("k", "of all votes", "way", "votes", "rows right", "wrong of decided")
    table(f"{count:,} rows, means of {seeds} seeds", heads, lines)
    return [
        Goal("rows right less than with max_votes alike, in sigma, at most", 4, behind, least=False),
        Goal("errors among the decided above those of unlimited votes, at most", 0, max(0.0, above), least=False),
    ]


# --- the engine ---

TRUTH = """from maker.plugin import Truth
def truth(prompt):
    return Truth(["yes"], ["no"])
"""


def write_job(folder: Path, rows: int) -> dict[str, dict[str, object]]:
    """Write the input of a map; return its job."""
    (folder / "rows.csv").write_text("text\n" + "".join(f"row {number}\n" for number in range(rows)))
    (folder / "yes_task.py").write_text(TRUTH)
    return {
        "task": {
            "decomposer": "map", "input": str(folder / "rows.csv"), "template": "Is {{text}} a row?",
            "schema": {"enum": ["yes", "no"]}, "truth": str(folder / "yes_task.py") + ":truth",
        },
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 3},
        "store": {"url": f"sqlite:///{folder}/runs.db"},
    }  # fmt: skip


def watch(runs: int, rows: int = 1500) -> Goal:
    """Return how likely so many runs of rows that are alike raise an alarm under a budget, at the nominal rate."""
    alarms = 0
    with tempfile.TemporaryDirectory() as name:
        job = write_job(Path(name), rows)
        for seed in range(runs):
            budget = round(rows * (3 + 0.2 * (seed % 3 + 1)))
            report = maker.run(job | {"run": {"seed": seed}, "vote": {"k": 3, "budget": budget}})
            alarms += any(event["kind"] == "alarm" for event in report.events)
    tail = sum(math.comb(runs, n) * ALPHA**n * (1 - ALPHA) ** (runs - n) for n in range(alarms, runs + 1))
    return Goal(f"chance of {alarms} of {runs} runs with an alarm, or more", 0.001, tail)


def measure(rows: int, budget: int | None) -> None:
    """Make one run in this process; print its calls, processor seconds and MiB."""
    with tempfile.TemporaryDirectory() as name:
        job = write_job(Path(name), rows)
        before = time.process_time()
        report = maker.run(job | {"vote": {"k": 3} | ({} if budget is None else {"budget": budget})})
        used = time.process_time() - before
    print(report.calls, report.steps, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def engine(rows: int) -> list[Goal]:
    """Print what a budget costs the engine; returns the goals."""
    lines, found = [], []
    for words in ([], [str(round(3.3 * rows))], [str(100 * rows)]):
        command = [sys.executable, "-m", "benchmarks.stats.vote_budget", "--measure", str(rows), *words]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        calls, steps, used, mib = int(said[-4]), int(said[-3]), float(said[-2]), float(said[-1])
        found.append((used / calls, mib))
        budget = f"{int(words[0]):,}" if words else "none"
        lines.append((budget, f"{calls:,}", f"{steps:,}", f"{used:.1f}", f"{1e6 * used / calls:.0f}", f"{mib:.0f}"))
    heads = ("budget", "calls", "rows decided", "processor s", "us a call", "MiB")
    table(f"a map of {rows:,} rows", heads, lines)
    (plain, held), *others = found
    slowest, largest = max(one for one, _ in others), max(mib for _, mib in others)
    return [
        Goal("processor of a call over that without a budget", TIME_RATIO, slowest / plain, least=False),
        Goal("memory above that without a budget", MEMORY_MIB, largest - held, "MiB", least=False),
    ]


def main() -> int:
    """Compare, watch and measure; returns 1 where a goal is missed."""
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--engine", type=int, default=100_000)
    parser.add_argument("--null", type=int, default=60)
    parser.add_argument("--measure", type=int, nargs="+", help="rows and budget of one run in this process")
    options = read_options(parser, rows=400, seeds=1, engine=300, null=2)
    if options.measure:
        measure(options.measure[0], next(iter(options.measure[1:]), None))
        return 0
    goals = [*compare(options.rows, options.seeds), watch(options.null), *engine(options.engine)]
    return print_goals(goals, options)


if __name__ == "__main__":
    raise SystemExit(main())
