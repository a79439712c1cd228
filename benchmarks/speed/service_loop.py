"""Many runs in one event loop: how long the loop is held up, and what is left when the service is closed.

    python -m benchmarks.speed.service_loop [--runs 50] [--clients 20] [--steps 1000]

So many runs of a workflow are started in one `maker.Service`, each asks ``--steps`` questions of a simulated model with
10 ms latency; so many clients read the events of one run each. A task of the loop sleeps 5 ms again and again: by how
much it is late is how long the loop was held up. A quarter of the runs is cancelled under way. Then the service is
closed, and the threads that are left are counted.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import threading
import time
from argparse import Namespace
from contextlib import suppress
from typing import Any

import maker
from benchmarks.shared.comparing import Goal, number, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.tasks import questions
from benchmarks.shared.watching import exit_with
from maker import Service

TICK_S = 0.005


async def tick(late_s: list[float]) -> None:
    """Sleep again and again; keep by how much each sleep was too long."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(TICK_S)
        late_s.append(time.perf_counter() - began - TICK_S)


async def listen(run: Any) -> int:
    """Read a run's events to their end; returns how many there were."""
    count = 0
    async for event in run.events():
        event.to_json()
        count += 1
    return count


async def work(options: Namespace, store: str) -> tuple[list[float], int, int]:
    """Run, listen and cancel; returns how late the loop was, how many events were read, how many runs are done."""
    late_s: list[float] = []
    job = {
        "task": {"decomposer": f"{questions.__file__}:count", "steps": options.steps},
        "model": {"kind": "simulated", "p": 0.95, "latency_s": 0.01}, "vote": {"k": 3}, "store": {"url": store},
    }  # fmt: skip
    async with Service(store=store, max_runs=options.runs) as service:
        await (await service.start(job)).result()
        ticking = asyncio.create_task(tick(late_s))
        runs = [await service.start(job) for _ in range(options.runs)]
        clients = [asyncio.create_task(listen(run)) for run in runs[: options.clients]]
        for run in runs[-max(1, options.runs // 4) :]:
            # One that is done already is none to cancel.
            with suppress(maker.MakerError):
                await service.cancel(run.run_id)
        ended = await asyncio.gather(*(run.result() for run in runs))
        events = sum(await asyncio.gather(*clients))
        ticking.cancel()
    return late_s, events, sum(one.status == "done" for one in ended)


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--steps", type=int, default=1000)
    options = read_options(parser, runs=4, clients=2, steps=20)
    before = set(threading.enumerate())
    # As docs/python.md advises: `Service` was imported by its name, which loads all that it needs, and what is loaded
    # is frozen. Else the garbage collection walks it again and again, and the loop waits.
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        late_s, events, done = asyncio.run(work(options, f"sqlite:///{folder}/loop.db"))
    left = [one for one in threading.enumerate() if one not in before]
    late_ms = sorted(1000 * late for late in late_s)
    table(
        "loop",
        ("runs done", "events read", "late, median ms", "late, 99 % ms", "late, most ms", "threads left"),
        [(f"{done}/{options.runs}", str(events), number(statistics.median(late_ms)),
          number(late_ms[int(0.99 * len(late_ms))]), number(late_ms[-1]), str(len(left)))],
    )  # fmt: skip
    goals = [
        Goal("the loop is held up", 50, late_ms[-1], " ms", least=False),
        Goal("threads left", 0, len(left), "", least=False),
    ]
    return print_goals(goals, options)


if __name__ == "__main__":
    exit_with(main)
