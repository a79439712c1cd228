"""Random trees of chains, paused, resumed and retried at random: every log verifies, and ends as undisturbed.

Each tree, model and vote follow from one number. A run of it is interrupted at random steps, and resumed; what was
undecided or ended wrong is retried. `verify` must say yes whenever the run stands still. Without retries the log ends
as that of an undisturbed run, to the last digest; with retries, in the result of a run that makes no mistakes.

    python -m benchmarks.recovery.trees [--first 0] [--trees 200] [--seconds 300]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import maker
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.tasks.trees import Tree, TreeParams
from benchmarks.shared.watching import exit_with
from maker.errors import RunNotResumable
from maker.types import Fork, Step

LARGEST = 60
SMALLEST = 6
RETRIES = 8
AS_ASKED = "limit of"
SAME = ("status", "steps", "digest", "result")


class Wrong(Exception):
    """A log is not what it should be."""


def size(params: TreeParams) -> int:
    """Return about how many steps a tree has; of a large one, that it is large."""
    tree = Tree(params)
    todo, steps = [tree.start()], 0
    while todo and steps <= LARGEST:
        state = todo.pop()
        move = tree.next(state)
        if isinstance(move, Step):
            steps += 1
            if not state["leaf"]:
                todo.append(tree.apply(state, 0))
        elif isinstance(move, Fork):
            todo += [move.child(state, child) for child in range(move.count)]
            if move.then is not None:
                todo.append(move.then(state))
    return steps


def job(rng: random.Random, folder: Path) -> dict[str, Any]:
    """Return a random job of a tree that is neither tiny nor large."""
    while True:
        task: dict[str, Any] = {
            "shape": rng.randrange(10**6), "length": rng.choice([2, 5, 9]), "depth": rng.choice([1, 2, 3]),
            "width": rng.choice([1, 3, 6]), "repeat": rng.choice([0, 0, 7]), "lenient": rng.random() < 0.5,
        }  # fmt: skip
        if SMALLEST <= size(TreeParams(**task)) <= LARGEST:
            break
    if task["repeat"] and rng.random() < 0.7:
        task["memo"] = "run"
    return {
        "task": {"decomposer": "benchmarks.shared.tasks.trees:Tree", **task},
        "model": {"kind": "simulated", "p": rng.choice([0.5, 0.7, 0.95]), "rivals": rng.choice([1, 2])},
        "vote": {"k": rng.choice([1, 2, 3]), "max_votes": rng.choice([4, 8, 100])},
        "run": {"seed": rng.randrange(9)},
        "store": {"url": f"sqlite:///{folder}/maker.db", "samples": rng.choice(["none", "disputed", "all"])},
        "swarm": {"chains": rng.choice([1, 3, 50])},
        "monitor": {"policy": "off"},
    }


def check_tree(number: int, folder: Path) -> str:
    """Run one tree undisturbed, interrupted and retried; returns how it went. Raises `Wrong`."""
    rng = random.Random(number)
    made = job(rng, folder)
    url = made["store"]["url"]
    whole = maker.run(made)
    _verified(whole, url)
    broken = maker.run(made, limit_steps=rng.choice([1, 2, 5, 20]))
    pauses = 0
    while broken.status == "paused" and AS_ASKED in broken.reason:
        _verified(broken, url)
        pauses += 1
        broken = maker.resume(broken.run_id, store=url, limit_steps=rng.choice([1, 3, 20, 200]))
    _verified(broken, url)
    memo = "memo" in made["task"]
    if whole.status != "paused" and not memo:
        differs = [name for name in SAME if getattr(whole, name) != getattr(broken, name)]
        if differs:
            raise Wrong(f"after {pauses} pauses it ends otherwise than undisturbed: {', '.join(differs)}")
    return f"{whole.status}, {pauses} pauses, {_retried(made, broken, url)} retries"


def _retried(made: dict[str, Any], report: Any, url: str) -> int:
    """Retry until a run is done; returns how often. Its result is that of a run without mistakes."""
    retries = 0
    while report.status == "paused" and retries < RETRIES:
        retries += 1
        try:
            report = maker.retry(report.run_id, ["vote.max_votes=200"], store=url)
        except RunNotResumable:
            report = maker.resume(report.run_id, ["vote.max_votes=200"], store=url)
        _verified(report, url)
    if report.status == "done" and not made["task"]["lenient"] and "memo" not in made["task"]:
        flawless = maker.run(made | {"model": {"kind": "simulated", "p": 1.0}})
        if flawless.result != report.result:
            raise Wrong(f"after {retries} retries its result is {report.result!r}, not {flawless.result!r}")
    return retries


def _verified(report: Any, url: str) -> None:
    found = maker.verify(report.run_id, store=url)
    # One exception is documented: steps that have reused a decision which a later retry superseded.
    if found.problem and "superseded by a retry" not in found.problem:
        raise Wrong(f"a {report.status} run does not verify: {found.problem} (it stands: {report.reason})")


def read_command_line() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = make_parser(__doc__)
    parser.add_argument("--first", type=int, default=0, help="the number of the first tree")
    parser.add_argument("--trees", type=int, default=1_000_000, help="how many trees, at most")
    parser.add_argument("--seconds", type=float, default=300.0, help="for how long, at most")
    return read_options(parser, trees=3)


def main() -> int:
    """Check trees and print those that go wrong; returns 1 if any does."""
    options = read_command_line()
    until, wrong, number = time.monotonic() + options.seconds, 0, options.first
    while number < options.first + options.trees and time.monotonic() < until:
        with tempfile.TemporaryDirectory(prefix="maker-bench-") as name:
            try:
                check_tree(number, Path(name))
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is looked for
                wrong += 1
                print(f"tree {number}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        number += 1
    print(f"{number - options.first:,} trees, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    exit_with(main)
