"""Runs a job on a cluster of two nodes, kills an actor and then a whole node under it, and says what became of it.

    python kill_nodes.py JOB STORE

Prints one line of JSON. A program of its own, so that it starts and ends a Ray that is nobody else's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

import maker
from maker.lifecycle.events import Event, StepsDecided, WorkerGone, WorkerWaiting

NODE = {"num_cpus": 2, "object_store_memory": 80_000_000}
QUICK = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_timeout_ms": 1000}
"""With Ray's own figures a node is known to be dead after a quarter of a minute and more."""
PATIENCE_S = 60.0


class Told:
    """What a run has told so far; `until` waits for more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.steps = 0
        self.gone: list[WorkerGone] = []
        self.waiting: list[WorkerWaiting] = []

    def take(self, event: Event) -> None:
        with self._changed:
            if isinstance(event, StepsDecided):
                self.steps += event.steps
            elif isinstance(event, WorkerGone):
                self.gone.append(event)
            elif isinstance(event, WorkerWaiting):
                self.waiting.append(event)
            self._changed.notify_all()

    def until(self, what: str, true: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, PATIENCE_S), (
                f"not within {PATIENCE_S} s: {what}; {self.steps} steps, {self.waiting}, {self.gone}"
            )


def main() -> None:
    job, store = sys.argv[1:]
    cluster = Cluster(
        initialize_head=True, head_node_args={**NODE, "include_dashboard": False, "_system_config": QUICK}
    )
    cluster.add_node(**NODE)
    told, stop = Told(), threading.Event()
    words = [f"store.url={store}", "swarm.kind=ray", "swarm.replicas=4", f"swarm.address={cluster.address}"]
    # Ray starts nodes in the main thread alone.
    with ThreadPoolExecutor(1) as other:
        run = other.submit(maker.run, job, words, on_event=told.take, stop=stop)
        try:
            kill(cluster, told)
        except BaseException:
            stop.set()
            raise
        report = run.result()
    cluster.shutdown()
    found = {
        "run": report.run_id,
        "told": told.steps,
        "gone": [(event.reason, event.chains, event.replaced) for event in told.gone],
        "waiting": [event.reason for event in told.waiting],
    }
    print(json.dumps(found))


def kill(cluster: Cluster, told: Told) -> None:
    """Kill an actor's process, then a node; add another node when it is told that the workers have no place."""
    (lost,) = cluster.worker_nodes
    told.until("all workers at work", lambda: told.steps > 100)
    os.kill(next(workers(cluster.head_node)), signal.SIGKILL)
    told.until("the actor's loss", lambda: len(told.gone) == 1)
    began = told.steps
    told.until("more steps", lambda: told.steps > began + 100)
    cluster.remove_node(lost, allow_graceful=False)
    told.until("the node's losses", lambda: len(told.gone) == 3)
    # On a busy machine some have been slow to start before.
    told.until("that workers wait", lambda: sum("1 nodes of Ray" in one.reason for one in told.waiting) == 2)
    cluster.add_node(**NODE)


def workers(node: Any) -> Iterator[int]:
    """Yield the processes of a node's actors."""
    raylet = node.all_processes["raylet"][0].process.pid
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet and (place / "cmdline").read_bytes().startswith(b"ray::_RayWorker"):
                yield int(place.name)
        except OSError:
            continue


if __name__ == "__main__":
    main()
