"""A limit that several processes share: by how much they pass it in their worst minute, and what sharing costs.

Each part prints its figures, and the goals that they are held against; the exit code is 1 where one is missed.

- ``together``: three runs in processes of their own, on one SQLite store, want more of a server than the shared limit
  allows, for longer than a minute. The server counts what it gets in every minute, and how much at once;
- ``cost``: one run alone on a server that answers all requests after 20 ms, without and with a shared limit that it
  does not reach, in turns.

    python -m benchmarks.speed.shared_limit [part …] [--seconds 130] [--rows 2000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import maker
from benchmarks.shared.comparing import Goal, print_goals, table
from benchmarks.shared.options import add_parts, make_parser, read_options
from benchmarks.shared.watching import exit_with, serving
from benchmarks.shared.watching import maker as command
from maker.store.rate_window import GRANT_S, WINDOW_S
from maker.testing import FakeReply, FakeServer, chat_completion

PROCESSES = 3
REQUESTS, AT_ONCE = 900, 12
"""The shared limit: a minute's requests, and requests in flight."""
MOST_CPU = 1.1
"""How much more processor a call may take under a shared limit: the time of a run varies more with what else runs."""
LEAST_USED = 0.9
"""The share of the first minute's requests that the workers together get to use."""


class Counting(FakeServer):
    """Answers after a moment, and notes when requests came and how many were in flight."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(self._count)
        self._delay_s = delay_s
        self._noting = threading.Lock()
        self._inside = 0
        self.most = 0

    def _count(self, body: Any) -> FakeReply:
        with self._noting:
            self._inside += 1
            self.most = max(self.most, self._inside)
        time.sleep(self._delay_s)
        with self._noting:
            self._inside -= 1
        return FakeReply(200, chat_completion(["even"] * body.get("n", 1)))


def together(options: argparse.Namespace, folder: Path) -> list[Goal]:
    """Let three processes want more than the limit."""
    store = f"sqlite:///{folder}/maker.db"
    folder.mkdir(parents=True)
    maker.limit("account", requests_per_minute=REQUESTS, concurrency=AT_ONCE, store=store)
    with Counting(0.05) as server, ExitStack() as stack:
        for number in range(PROCESSES):
            place = folder / str(number)
            write_job(place, server.url, 100_000, store, "account")
            stack.enter_context(command("run", "job.toml", folder=place))
        time.sleep(options.seconds)
        times = [one.at_s for one in server.requests]
        most = server.most
    worst, first = worst_minute(times), sum(at < times[0] + WINDOW_S for at in times) if times else 0
    grant = int(REQUESTS * GRANT_S / WINDOW_S)
    rows = [(f"{len(times):,}", f"{worst:,}", f"{REQUESTS:,}", f"{grant:,}", f"{most:,}", f"{AT_ONCE:,}")]
    table("requests", ("all", "worst minute", "limit", "one grant", "most in flight", "limit"), rows)
    return [
        Goal("requests beyond the limit in the worst minute", PROCESSES * grant, max(0, worst - REQUESTS), least=False),
        Goal("requests in flight beyond the limit", 0, max(0, most - AT_ONCE), least=False),
        Goal("share of the first minute's requests in use", LEAST_USED, first / REQUESTS),
    ]


def cost(options: argparse.Namespace, folder: Path) -> list[Goal]:
    """Run alone, with and without a limit that is not reached, in turns."""
    store = f"sqlite:///{folder}/maker.db"
    folder.mkdir(parents=True)
    maker.limit("account", requests_per_minute=10**6, tokens_per_minute=10**9, concurrency=1000, store=store)
    speeds: dict[str, list[float]] = {"": [], "account": []}
    cpus: dict[str, list[float]] = {"": [], "account": []}
    with serving("shared.slow_http", "--sample", "0.02", "--slots", "1000") as url:
        for turn in range(2 * options.rounds):
            # Which of them comes first changes from round to round: a machine is faster or slower for a while.
            key = ("", "account")[(turn + turn // 2) % 2]
            place = folder / str(turn)
            write_job(place, url, options.rows, store, key)
            began_s = time.process_time()
            report = maker.run(place / "job.toml")
            cpus[key].append((time.process_time() - began_s) / report.calls)
            speeds[key].append(report.calls / report.wall_s)
    rows = [(f"{key or 'alone'}, calls a second", *(f"{one:,.0f}" for one in found)) for key, found in speeds.items()]
    rows += [
        (f"{key or 'alone'}, ms of processor a call", *(f"{1e3 * one:.2f}" for one in found))
        for key, found in cpus.items()
    ]
    table("by round", ("", *map(str, range(1, options.rounds + 1))), rows)
    kept, cpu = (_median_ratio(found) for found in (speeds, cpus))
    return [
        Goal("throughput kept under a shared limit, median of the rounds", None, kept),
        Goal("processor time under a shared limit, median of the rounds", MOST_CPU, cpu, least=False),
    ]


def _median_ratio(found: dict[str, list[float]]) -> float:
    alone, shared = found.values()
    return statistics.median(one / other for one, other in zip(shared, alone, strict=True))


PARTS: dict[str, Callable[[argparse.Namespace, Path], list[Goal]]] = {"together": together, "cost": cost}


def worst_minute(times: list[float]) -> int:
    """Return the most requests of any minute."""
    window: deque[float] = deque()
    worst = 0
    for at in sorted(times):
        window.append(at)
        while window[0] <= at - WINDOW_S:
            window.popleft()
        worst = max(worst, len(window))
    return worst


def write_job(folder: Path, url: str, rows: int, store: str, key: str) -> None:
    """Write a map of short rows, each decided by one vote."""
    folder.mkdir()
    (folder / "rows.csv").write_text("number\n" + "".join(f"{row}\n" for row in range(rows)))
    shared = f'[limits]\nshared = "{key}"\n' if key else ""
    (folder / "job.toml").write_text(
        f'[task]\ndecomposer = "map"\ninput = "{folder}/rows.csv"\ntemplate = "Is {{{{number}}}} even?"\n'
        f'[model]\nkind = "openai"\nurl = "{url}"\nname = "m"\n[vote]\nk = 1\n[store]\nurl = "{store}"\n{shared}'
    )


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = make_parser(__doc__)
    add_parts(parser, PARTS)
    parser.add_argument("--seconds", type=float, default=130.0, help="how long the processes run in `together`")
    parser.add_argument("--rows", type=int, default=2000, help="of each turn in `cost`")
    parser.add_argument("--rounds", type=int, default=5)
    options = read_options(parser, seconds=6.0, rows=40, rounds=1)
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(prefix="maker-shared-") as folder:
        for part in options.parts:
            goals += PARTS[part](options, Path(folder) / part)
    return print_goals(goals, options)


if __name__ == "__main__":
    exit_with(main)
