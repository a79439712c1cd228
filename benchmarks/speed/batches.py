"""A map asked in batches, whose process is killed and whose provider fails: what it decides, pays and asks twice.

    python -m benchmarks.speed.batches [clean faulty] [--rows 100000] [--p 0.99] [--k 3]

``clean`` asks all rows in batches, and a tenth of them one request at a time: what each costs, how many rows the first
round decides, how much memory the process takes.

``faulty`` asks them of a provider that takes a while, gives results in another order, refuses files above some bytes
(HTTP 413), lets batches expire and be cancelled half-done, fails some lines, and loses the reply that names a batch.
The process is killed (SIGKILL) five times: while it uploads, when a batch is created whose id it has not heard, while
it waits, while it reads results, and in the second round. Afterwards the ledger must be the provider's bill, and no
request may have been answered twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import maker
from benchmarks.shared.checkout import ROOT, environment
from benchmarks.shared.comparing import Goal, print_goals, table
from benchmarks.shared.options import add_parts, make_parser, read_options
from maker.stats.race import step_right, votes_per_step
from maker.testing import BatchServer, LineError

ANSWERS = ("yes", "no")
PRICES = {"prompt_price": 0.15, "completion_price": 0.6, "batch_prompt_price": 0.075, "batch_completion_price": 0.3}
LIVE_SHARE = 10
"""One row of so many is asked one request at a time as well."""
KILLS = (("POST files", 2), ("POST batches", 2), ("GET batches", 8), ("GET files", 1), ("POST batches", 6))
"""When the process is killed: at the end of this call of its kind, before it hears of it."""
SPREAD = 4.0
"""Standard deviations that a figure may be away from what theory says."""


def main() -> int:
    """Run the parts that the command line names."""
    parser = make_parser(__doc__)
    add_parts(parser, PARTS)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--p", type=float, default=0.99, help="how often a reply is right")
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--bytes", type=int, default=5_000_000, help="of a file that the faulty provider takes")
    parser.add_argument("--takes", type=float, default=2.0, help="seconds that its batches take")
    options = read_options(parser, rows=600, bytes=60_000, takes=0.2)
    goals: list[Goal] = []
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            goals += PARTS[part](options, Path(folder))
    return print_goals(goals, options)


def clean(options: argparse.Namespace, folder: Path) -> list[Goal]:
    """Ask all rows in batches, and some one by one."""
    with BatchServer(Replies(options.p)) as server:
        write_job(folder, server.url, options, batch=True)
        began = time.perf_counter()
        report = run(folder, "run", "job.toml")
        took_s = time.perf_counter() - began
        most_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        first = first_round(folder, options.k)
        live = folder / "live"
        live.mkdir()
        some = argparse.Namespace(**vars(options) | {"rows": max(1, options.rows // LIVE_SHARE)})
        write_job(live, server.url, some, batch=False)
        alone = run(live, "run", "job.toml")
        table(
            f"{options.rows:,} rows, p = {options.p}, k = {options.k}",
            ("", "rows", "requests", "calls", "cost", "cost of 1,000 rows"),
            [costs("in batches", options.rows, report), costs("one by one", some.rows, alone)],
        )
        print(f"  batches of {', '.join(f'{size:,}' for size in server.sizes)} requests; {took_s:.0f} s")
        ratio = (report["cost"] / options.rows) / (alone["cost"] / some.rows)
        return [
            Goal("cost of batches against single requests", 0.55, ratio, least=False),
            Goal("rows that the first round decides", 0.95, first),
            Goal("memory of the process", None, most_mib, " MiB"),
            *paid(report, server),
        ]


def faulty(options: argparse.Namespace, folder: Path) -> list[Goal]:
    """Ask all rows of a provider that fails, and kill the process now and then."""
    kills = Kills()
    with BatchServer(
        Replies(options.p), takes_s=options.takes, most_bytes=options.bytes, error=line_error,
        ends=lambda number: {3: "expired", 7: "cancelled"}.get(number, "completed"),
        loses=lambda number: number % 5 == 4, seen=kills.seen,
    ) as server:  # fmt: skip
        write_job(folder, server.url, options, batch=True)
        words, sessions = ["run", "job.toml"], 0
        while True:
            sessions += 1
            ended = kills.run(folder, words)
            if ended in (0, 3) or sessions > 3 * len(KILLS):
                break
            words = ["resume", "last", "--store", "sqlite:///runs.db"]
        report = maker.show("last", store=f"sqlite:///{folder / 'runs.db'}").to_json()
        print(f"\n{len(kills.done)} kills in {sessions} sessions: {', '.join(kills.done)}")
        print(f"  batches of {', '.join(f'{size:,}' for size in server.sizes)} requests; bill: {server.bill}")
        return [
            Goal("kills", len(KILLS), len(kills.done)),
            Goal("rows without a decision", 0, options.rows - report["steps"], least=False),
            *as_theory_says(options, report, folder),
            *paid(report, server),
        ]


PARTS: dict[str, Callable[[argparse.Namespace, Path], list[Goal]]] = {"clean": clean, "faulty": faulty}


class Replies:
    """Replies that are right as often as they should be, whatever the order: by the prompt and the seed alone."""

    def __init__(self, p: float) -> None:
        self._p = p

    def __call__(self, prompt: str, seed: int) -> str:
        """Return the reply to a prompt."""
        return ANSWERS[(number_in(prompt) + (random.Random(f"{prompt} {seed}").random() >= self._p)) % 2]


def number_in(prompt: str) -> int:
    """Return the number of a prompt's row."""
    return int(prompt.rpartition(" ")[2])


def line_error(prompt: str, times: int) -> LineError | None:
    """Fail one line of fifty when it is asked first."""
    return LineError(500, "the server had an error") if not times and number_in(prompt) % 50 == 1 else None


class Kills:
    """Kills the process that works on the run, each time that the next of `KILLS` is due."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def seen(self, call: str, number: int) -> None:
        """Kill the process if this is its moment."""
        with self._lock:
            if len(self.done) < len(KILLS) and self._process is not None:
                moment, at = KILLS[len(self.done)]
                if call == moment and number >= at:
                    self.done.append(f"{call} {number}")
                    with suppress(ProcessLookupError):
                        os.kill(self._process.pid, signal.SIGKILL)
                    self._process = None

    def run(self, folder: Path, words: list[str]) -> int:
        """Run a command until it ends, or is killed; returns its exit code."""
        with (folder / "output.txt").open("ab") as output:
            process = subprocess.Popen(command(words), cwd=folder, env=environment(), stdout=output, stderr=output)
            with self._lock:
                self._process = process
            return process.wait()


def costs(what: str, rows: int, report: dict[str, Any]) -> tuple[str, ...]:
    """Return a line of the table: what a run has cost."""
    cost = report["cost"]
    return (
        what,
        f"{rows:,}",
        f"{report['requests']:,}",
        f"{report['calls']:,}",
        f"{cost:.4f}",
        f"{1000 * cost / rows:.5f}",
    )


def paid(report: dict[str, Any], server: BatchServer) -> list[Goal]:
    """Return how the ledger and the provider's bill compare."""
    bill = server.bill
    names = ("requests", "calls", "prompt_tokens", "completion_tokens")
    apart = sum(abs(report[name] - getattr(bill, name)) for name in names)
    return [
        Goal("ledger less bill: requests, calls, tokens", 0, apart, least=False),
        Goal("requests answered twice", 0, bill.twice, least=False),
    ]


def as_theory_says(options: argparse.Namespace, report: dict[str, Any], folder: Path) -> list[Goal]:
    """Return how far right answers and votes are from what theory says, in standard deviations."""
    right = sum(
        row.answer == {"answer": ANSWERS[row.row % 2]}
        for row in maker.results("last", store=f"sqlite:///{folder / 'runs.db'}")
    )
    share, votes = step_right(options.p, options.k), votes_per_step(options.p, options.k)
    of_rows = max(1e-9, share * (1 - share) / options.rows) ** 0.5
    # A vote against the answer takes two more to make up for it.
    of_votes = 2 * (4 * options.p * (1 - options.p) * options.k / options.rows) ** 0.5
    found = report["votes"] / options.rows
    print(f"  right: {right:,} of {options.rows:,} (theory {share:.6f}); votes a row: {found:.4f} (theory {votes:.4f})")
    return [
        Goal("right rows, deviations from theory", SPREAD, abs(right / options.rows - share) / of_rows, least=False),
        Goal("votes, deviations from theory", SPREAD, abs(found - votes) / of_votes, least=False),
    ]


def first_round(folder: Path, k: int) -> float:
    """Return the share of rows that were decided with the fewest votes."""
    rows = list(maker.results("last", store=f"sqlite:///{folder / 'runs.db'}"))
    return sum(sum(row.votes.values()) == k for row in rows) / len(rows)


def write_job(folder: Path, url: str, options: argparse.Namespace, *, batch: bool) -> None:
    """Write a map's job and its rows."""
    rows = "".join(f'{{"id": "r{number}", "text": "item {number}"}}\n' for number in range(options.rows))
    (folder / "rows.jsonl").write_text(rows)
    prices = "\n".join(f"{name} = {price}" for name, price in PRICES.items())
    asked = "batch = true\nbatch_poll_s = 0.5" if batch else "concurrency = 32"
    (folder / "job.toml").write_text(
        f"""[task]
decomposer = "map"
input = "rows.jsonl"
template = "Is it even? {{{{text}}}}"
id_column = "id"
[model]
kind = "openai"
url = "{url}"
name = "m"
retry_s = 5
{asked}
{prices}
[vote]
k = {options.k}
[store]
url = "sqlite:///runs.db"
"""
    )


def command(words: list[str]) -> list[str]:
    """Return a command of maker's."""
    return [sys.executable, "-m", "maker", *words]


def run(folder: Path, *words: str) -> dict[str, Any]:
    """Run a command of maker's to its end; returns the run's report."""
    done = subprocess.run(command(list(words)), cwd=folder, env=environment(), capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    report: dict[str, Any] = json.loads(
        json.dumps(maker.show("last", store=f"sqlite:///{folder / 'runs.db'}").to_json())
    )
    return report


if __name__ == "__main__":
    sys.path.append(str(ROOT))
    raise SystemExit(main())
