"""The shipped tasks with their microagents on vLLM: at k = 1 mostly wrong, at the planned k right.

    python -m benchmarks.tasks.shipped [multiply] [sort] [signed] [connect] [guess] [--instances 200] [--seed 20261122]

Each line is that many random instances in one run, of ``signed`` a quarter as many (`shared/tasks/many.py`). A pilot
over steps of all of them, with the task's oracle, plans k for the target `EACH` an instance; then the run is made at
k = 1 and at the planned k, at the same temperature, and its results are compared with those of Python's own arithmetic,
sorting and search. Where no k is found, the refusal is printed. ``guess`` compares walks through graphs with
whole-answer guesses by a microagent of the same size, trained on the same graphs: as many guesses a graph are asked,
and their majority taken, as cost the tokens of a walk.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import maker
from benchmarks.shared.checkout import EXAMPLES, TASKS
from benchmarks.shared.comparing import table
from benchmarks.shared.models import microagent
from benchmarks.shared.options import add_parts, make_parser, read_options
from maker.errors import OutOfReach
from maker.stats.difficulty import clopper_pearson

AGENTS = EXAMPLES / "microagents"
EACH = 0.998
"""The target for one instance: a run of 200 is planned for 200 of it."""
VOTES = 20
"""On each step of the pilot."""
CLOSE = 0.05
"""How near the tokens of guesses are to come to those of walks, where five tries get there."""


class Line(NamedTuple):
    """A kind of instances: how one is drawn, and what is right of it; one in ``part`` of those asked for is made."""

    name: str
    of: str
    agent: str
    draw: Callable[[Random], dict[str, Any]]
    right: Callable[[dict[str, Any]], Any]
    part: int = 1


def digits(rng: Random, count: int) -> str:
    """Return a number of so many digits."""
    return str(rng.randrange(10 ** (count - 1), 10**count))


def product(count: int) -> Line:
    """Return products of two factors of so many digits."""
    return Line(
        f"{count} x {count} digits",
        "multiply",
        "multiply",
        lambda rng: {"a": digits(rng, count), "b": digits(rng, count)},
        lambda task: str(int(task["a"]) * int(task["b"])),
    )


def sorting(count: int, most: int) -> Line:
    """Return lists of so many numbers below ``most``."""
    return Line(
        f"{count} numbers below {most:,}",
        "sort",
        "compare",
        lambda rng: {"items": [str(rng.randrange(most)) for _ in range(count)]},
        lambda task: sorted(task["items"], key=int),
    )


def signed(count: int, most: int) -> Line:
    """Return lists of so many numbers from ``-most`` to ``most``, of which one in 20 is there again."""

    def draw(rng: Random) -> dict[str, Any]:
        again = count // 20
        items = [str(rng.randint(-most, most)) for _ in range(count - again)]
        items += rng.choices(items, k=again)
        rng.shuffle(items)
        return {"items": items}

    name = f"{count} numbers of {-most:,} to {most:,}"
    return Line(name, "sort", "compare", draw, lambda task: sorted(task["items"], key=int), part=4)


def graph(depth: int, form: str) -> Line:
    """Return bridge graphs of a depth, walked or guessed."""
    from decomposers.connect import ConnectParams
    from decomposers.connect.oracle import reached_from

    def right(task: dict[str, Any]) -> Any:
        drawn = ConnectParams.model_validate(task).graph()
        reached = reached_from(drawn)
        return next(target for target in drawn.targets if target in reached)

    name = f"depth {depth}, {'walk' if form == 'steps' else 'guess'}"
    agent = "walk" if form == "steps" else "guess"
    return Line(name, "connect", agent, lambda rng: {"depth": depth, "seed": rng.randrange(2**31), "form": form}, right)


LINES = {
    "multiply": [product(5), product(6), product(10)],
    "sort": [sorting(50, 1_000_000), sorting(50, 30)],
    "signed": [signed(500, 10_000)],
    "connect": [graph(depth, "steps") for depth in (2, 6, 12)],
}


class Outcome(NamedTuple):
    """A run of all instances: how many came out right, and what it took."""

    k: str
    right: int
    of: int
    steps: int
    calls: int
    disputed: int
    tokens: int
    seconds: float

    def cells(self, name: str) -> tuple[str, ...]:
        """Return the cells of its line."""
        low, high = clopper_pearson(self.right / self.of, self.of, 0.95)
        share = f"{self.right}/{self.of}"
        return (name, self.k, share, f"{low:.3f} to {high:.3f}", f"{self.steps:,}", f"{self.disputed:,}",
                f"{self.calls:,}", f"{self.tokens:,}", f"{self.seconds:.0f}")  # fmt: skip


HEADS = ("instances", "vote", "right", "95 %", "steps", "disputed", "calls", "tokens", "s")


def job(
    line: Line, instances: list[dict[str, Any]], folder: Path, options: Namespace, **vote: Any
) -> dict[str, dict[str, Any]]:
    """Return the job of a line's instances."""
    return {
        "task": {"decomposer": f"{TASKS / 'many.py'}:Many", "of": line.of, "instances": instances},
        "model": microagent(AGENTS / line.agent, options, temperature=1.0),
        "vote": {"max_votes": 2000} | vote,
        "swarm": {"kind": "local"},
        "store": {"url": f"sqlite:///{folder}/tasks.db"},
    }


def held(
    line: Line, instances: list[dict[str, Any]], folder: Path, options: Namespace, shown: str, **vote: Any
) -> Outcome:
    """Make one run; compare its results with what is right."""
    began = time.perf_counter()
    report = maker.run(job(line, instances, folder, options, **vote))
    seconds = time.perf_counter() - began
    if report.status != "done":
        raise SystemExit(f"{line.name}: run {report.run_id} is {report.status}: {report.reason}")
    found = [one["target"] if isinstance(one, dict) else one for one in report.result]
    right = sum(one == line.right(task) for one, task in zip(found, instances, strict=True))
    tokens = report.prompt_tokens + report.completion_tokens
    return Outcome(shown, right, len(found), report.steps, report.calls, report.disputed, tokens, seconds)


def planned(line: Line, instances: list[dict[str, Any]], folder: Path, options: Namespace) -> int:
    """Calibrate and plan; return k."""
    target = EACH ** len(instances)
    settings = job(line, instances, folder, options, k="auto", target=target)
    kept = maker.calibrate(settings, steps=options.pilot, votes=VOTES)
    kinds = [kind for one in kept.calibration.classes.values() for kind in one.kinds.items()]
    for kind, heard in kinds:
        print(f"{line.name}: {kind}: {heard.steps:,} steps asked, {heard.right:,} votes right, {heard.wrong:,} wrong")
    plan = maker.plan(maker.load_job(settings))
    (one,) = plan.classes
    low, estimate, high = one.p
    print(
        f"{line.name}: {one.asked:,} steps asked, p {estimate:.4f} [{low:.4f} to {high:.4f}]: k = {one.k}", flush=True
    )
    return one.k


def main() -> int:
    """Run the lines that are asked for; print them."""
    parser = make_parser(__doc__)
    add_parts(parser, [*LINES, "guess"])
    parser.add_argument("--pilot", type=int, default=2000, help="steps of the pilot that k is planned by")
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261122)
    options = read_options(parser, instances=2, pilot=100)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task in options.parts:
            rows = []
            for line in LINES["connect" if task == "guess" else task]:
                rng = Random(f"{options.seed} {line.name}")
                instances = [line.draw(rng) for _ in range(-(-options.instances // line.part))]
                try:
                    k = planned(line, instances, folder, options)
                except OutOfReach as refusal:
                    print(f"{line.name}: no plan: {refusal}", flush=True)
                    continue
                rows.append(held(line, instances, folder, options, "k = 1", k=1).cells(line.name))
                voted = held(line, instances, folder, options, f"k = {k}", k=k)
                rows.append(voted.cells(line.name))
                if task == "guess":
                    rows += guessed(line, instances, folder, options, voted.tokens)
            table(f"{task}, temperature 1, seed {options.seed}", HEADS, rows)
    return 0


def guessed(
    walk: Line, instances: list[dict[str, Any]], folder: Path, options: Namespace, tokens: int
) -> list[tuple[str, ...]]:
    """Return the lines of guesses at the same graphs: one a graph, and a majority for as many tokens as walks took."""
    line = graph(instances[0]["depth"], "guess")
    asked = [one | {"form": "guess"} for one in instances]
    one = held(line, asked, folder, options, "one guess", k=1)
    # A guess is a character and the end; a prompt is read again for each round of guesses at it, and rounds are known
    # only afterwards.
    n = min(1999, max(0, tokens - one.tokens) // (2 * len(asked)) | 1)
    for _ in range(5):
        many = held(line, asked, folder, options, f"majority of {n}", voter="majority", n=n)
        if abs(many.tokens / tokens - 1) <= CLOSE:
            break
        n = min(1999, round(n * tokens / many.tokens) | 1)
    return [one.cells(line.name), many.cells(line.name)]


if __name__ == "__main__":
    sys.exit(main())
