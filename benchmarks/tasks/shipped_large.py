"""Single long runs of the shipped tasks: a product of 100 by 100 digits, killed and resumed, and lists of 500 items.

    python -m benchmarks.tasks.shipped_large [product] [sort] [--seed 20261122] [--digits 100] [--items 500]

``product`` starts `maker run` in a process of its own, kills it (SIGKILL) when a third of the steps are decided,
resumes it, and compares the result with Python's. ``sort`` sorts a random list, and one with duplicates, each with the
memo off and on; comparisons are counted beside those of a merge sort down to single items on the same list.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from random import Random
from typing import Any

import maker
from benchmarks.shared.checkout import EXAMPLES, environment
from benchmarks.shared.comparing import table
from benchmarks.shared.models import microagent
from benchmarks.shared.options import add_parts, make_parser, read_options
from maker.errors import MakerError
from maker.lifecycle.queries import show

AGENTS = EXAMPLES / "microagents"
K = {"product": 10, "sort": 5}
"""Margins: of 10,000 steps with p = .95, and 4,000 with p = .98, .004 and 1e-5 are expected to be wrong."""


def product(options: Namespace, folder: Path) -> list[tuple[str, ...]]:
    """Run a product, kill it, resume it; return the lines to print."""
    digits, rng = options.digits, Random(f"{options.seed} product")
    a, b = (rng.randrange(10 ** (digits - 1), 10**digits) for _ in range(2))
    store = f"sqlite:///{folder}/product.db"
    model = microagent(AGENTS / "multiply", options, temperature=1.0)
    (folder / "product.toml").write_text(
        f'[task]\ndecomposer = "multiply"\na = "{a}"\nb = "{b}"\n[model]\n'
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in model.items())
        + f'[vote]\nk = {K["product"]}\n[swarm]\nkind = "local"\n[store]\nurl = "{store}"\n'
    )
    began = time.perf_counter()
    command = [sys.executable, "-m", "maker"]
    quiet: dict[str, Any] = {"env": environment(), "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "run", str(folder / "product.toml")], **quiet)
    while process.poll() is None and _steps(store) < digits * digits // 3:
        time.sleep(0.05)
    if process.poll() is not None:
        raise SystemExit(f"the product's run ended before it was killed, with {process.returncode}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = _steps(store)
    subprocess.run([*command, "resume", "last", "--store", store], check=False, **quiet)
    seconds = time.perf_counter() - began
    report = show("last", store=store)
    _refuse_unfinished(report)
    right = report.result == str(a * b)
    verified = maker.verify(report.run_id, store=store).right
    return [
        ("killed at step", f"{killed:,}"),
        ("steps, votes, flags", f"{report.steps:,}, {report.votes:,}, {report.red_flags:,}"),
        ("disputed steps", f"{report.disputed:,}"),
        ("resumes", str(report.resumes)),
        ("tokens", f"{report.prompt_tokens + report.completion_tokens:,}"),
        ("verifies", str(verified)),
        ("product", "right" if right else "WRONG"),
        ("seconds", f"{seconds:.0f}"),
    ]


def _refuse_unfinished(report: maker.RunReport) -> None:
    if report.status != "done":
        raise SystemExit(f"run {report.run_id} is {report.status}: {report.reason}")


def _steps(store: str) -> int:
    try:
        return show("last", store=store).steps
    except MakerError:
        return 0


def merge_sort_comparisons(items: list[int]) -> int:
    """Return how many comparisons a merge sort down to single items takes."""
    if len(items) < 2:
        return 0
    half = len(items) // 2
    left, right = sorted(items[:half]), sorted(items[half:])
    count = merge_sort_comparisons(items[:half]) + merge_sort_comparisons(items[half:])
    while left and right:
        (left if left[0] <= right[0] else right).pop(0)
        count += 1
    return count


def sort(options: Namespace, folder: Path) -> list[tuple[str, ...]]:
    """Sort lists with the memo off and on; return the lines to print."""
    rows: list[tuple[str, ...]] = []
    items, model = options.items, microagent(AGENTS / "compare", options, temperature=1.0)
    for what, most in (("random", 1_000_000), ("with duplicates", items // 10)):
        rng = Random(f"{options.seed} {what}")
        numbers = [rng.randrange(most) for _ in range(items)]
        plain = merge_sort_comparisons(numbers)
        for memo in ("off", "run"):
            began = time.perf_counter()
            report = maker.run({
                "task": {"decomposer": "sort", "items": [str(number) for number in numbers], "memo": memo},
                "model": model,
                "vote": {"k": K["sort"]},
                "swarm": {"kind": "local"},
                "store": {"url": f"sqlite:///{folder}/sort.db"},
            })  # fmt: skip
            _refuse_unfinished(report)
            right = report.result == [str(number) for number in sorted(numbers)]
            seconds = time.perf_counter() - began
            rows.append((what, memo, "right" if right else "WRONG", f"{report.steps:,}", f"{report.steps / plain:.3f}",
                         f"{report.calls:,}", f"{report.disputed:,}", f"{seconds:.0f}"))  # fmt: skip
    return rows


def main() -> int:
    """Make the runs that are asked for."""
    parser = make_parser(__doc__)
    add_parts(parser, ["product", "sort"])
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--digits", type=int, default=100)
    parser.add_argument("--items", type=int, default=500)
    options = read_options(parser, digits=8, items=10)
    with tempfile.TemporaryDirectory() as name:
        if "product" in options.parts:
            table(f"a product of {options.digits} by {options.digits} digits, k = {K['product']}, seed {options.seed}",
                  ("", ""), product(options, Path(name)))  # fmt: skip
        if "sort" in options.parts:
            heads = ("list", "memo", "result", "comparisons", "of merge sort's", "calls", "disputed", "s")
            table(f"{options.items} numbers, k = {K['sort']}, seed {options.seed}", heads,
                  sort(options, Path(name)))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
