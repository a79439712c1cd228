"""A cluster of two nodes whose actors and nodes are killed, against the same run undisturbed.

    python -m benchmarks.recovery.cluster_kills [--chains 200] [--moves 200] [--every 8]

Both nodes are raylets of this machine, with Ray's own timings; the head, where the run is driven from, lives on. An
actor and the other node are killed in turns, with SIGKILL, every so many seconds; a new node follows at once. Four
workers, a simulated model that answers after 50 ms.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ray.cluster_utils import Cluster

import maker
from benchmarks.shared.checkout import TOWERS
from benchmarks.shared.comparing import Goal, number, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from maker.lifecycle.events import Event, StepsDecided, WorkerGone
from maker.lifecycle.queries import RunReport

NODE = {"num_cpus": 2, "object_store_memory": 80_000_000}
SAME = ("steps", "votes", "red_flags", "disputed", "digest", "result")


class Watched:
    """One run, and what it told: the moments of its first and last commit, and its losses."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0
        self.gone: list[WorkerGone] = []
        self.kills: list[str] = []
        self.under_way = threading.Event()

    def take(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, StepsDecided):
            self.ended = time.perf_counter()
            self.began = self.began or self.ended
            self.under_way.set()
        elif isinstance(event, WorkerGone):
            self.gone.append(event)

    @property
    def wall_s(self) -> float:
        """Seconds between the first and the last commit."""
        return self.ended - self.began


def main() -> int:
    """Run both, print what differs."""
    parser = make_parser(__doc__)
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--every", type=float, default=8.0, help="seconds between kills")
    parser.add_argument(
        "--kills", type=int, default=sys.maxsize, help="at most; as many as there is time for by default"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = read_options(parser, chains=16, moves=20, every=1.0, kills=1)
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/kills.db"
        whole, first = measured(options, store, kills=0)
        killed, second = measured(options, store, kills=options.kills)
        verified = maker.verify(second.run_id, store=store).right
    rows = [(what, number(one.wall_s, " s"), str(len(one.kills)), str(len(one.gone)), number(report.steps),
             number(report.votes), number(report.calls), report.digest[:12])
            for what, one, report in (("undisturbed", whole, first), ("killed", killed, second))]  # fmt: skip
    table("runs", ("", "wall", "kills", "lost workers", "steps", "votes", "calls", "digest"), rows)
    moved = sum(event.chains for event in killed.gone)
    differ = sum(getattr(first, name) != getattr(second, name) for name in SAME)
    actors, nodes = (killed.kills.count(what) for what in ("actor", "node"))
    goals = [
        Goal("undisturbed wall time", 60, whole.wall_s, " s"),
        Goal("killed / undisturbed, wall time", 2, killed.wall_s / whole.wall_s, "x", least=False),
        Goal(f"of {', '.join(SAME)}: how many differ", 0, differ, least=False),
        Goal("logs that do not verify", 0, int(not verified), least=False),
        Goal("chains that went on elsewhere", 5, moved),
        Goal(f"losses told, of {actors} actors and {nodes} nodes of 2 workers", actors + nodes, len(killed.gone)),
        Goal("places given up", 0, sum(not event.replaced for event in killed.gone), least=False),
    ]
    print_goals(goals, options)
    return 0


def measured(options: argparse.Namespace, store: str, *, kills: int) -> tuple[Watched, RunReport]:
    """Run the job on a cluster of its own, with at most so many kills."""
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add_node(**NODE)
    watched = Watched()
    job = {
        "task": {"decomposer": TOWERS, "chains": options.chains, "moves": options.moves},
        "model": {"kind": "simulated", "p": 0.99, "latency_s": 0.05},
        "vote": {"k": 3},
        "swarm": {"kind": "ray", "replicas": 4, "chains": 8, "address": cluster.address},
        "store": {"url": store},
    }
    # Ray starts nodes in the main thread alone, so the run has another.
    with ThreadPoolExecutor(1) as other:
        run = other.submit(maker.run, job, on_event=watched.take)
        watched.under_way.wait()
        disturb(cluster, run, watched, options, kills)
        report = run.result()
    cluster.shutdown()
    if report.status != "done":
        raise SystemExit(f"the run is {report.status}: {report.reason}")
    print(f"{watched.wall_s:.0f} s, {report.steps:,} steps, {len(watched.gone)} losses", file=sys.stderr)
    return watched, report


def disturb(
    cluster: Cluster, run: Future[RunReport], watched: Watched, options: argparse.Namespace, kills: int
) -> None:
    """Kill an actor and a node in turns, until the run is over or so many are killed."""
    draw = random.Random(options.seed)
    while len(watched.kills) < kills:
        time.sleep(options.every)
        if run.done():
            return
        if len(watched.kills) % 2:
            (lost,) = cluster.worker_nodes
            cluster.remove_node(lost, allow_graceful=False)
            watched.kills.append("node")
            cluster.add_node(**NODE)
        elif alive := list(workers(cluster)):
            os.kill(draw.choice(alive), signal.SIGKILL)
            watched.kills.append("actor")


def workers(cluster: Cluster) -> Iterator[int]:
    """Yield the processes of the cluster's actors."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in raylets and (place / "cmdline").read_bytes().startswith(b"ray::_RayWorker"):
                yield int(place.name)
        except OSError:
            continue


if __name__ == "__main__":
    sys.exit(main())
