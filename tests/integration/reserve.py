"""Says what workers reserve on a cluster of two nodes whose GPUs are numbers alone. Prints one line of JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.cluster_utils import Cluster

from maker import api
from maker.errors import ModelUnusable
from maker.lifecycle import session
from maker.swarm.ray import RaySwarm

NODE = {"object_store_memory": 80_000_000}
JOB = {"task": {"decomposer": "hanoi", "disks": 3}, "model": {"kind": "simulated"}}


def main() -> None:
    head = {**NODE, "num_cpus": 2, "num_gpus": 3, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(**NODE, num_cpus=2, num_gpus=4, resources={"TPU": 2})
    found = {
        "auto": swarm(cluster, ("GPU", "CPU"), replicas=None, cpus=0.5, gpus=2.0),
        "named": swarm(cluster, ("GPU", "TPU"), resources={"TPU": 1.0}),
        "none": swarm(cluster, resources={"TPUs": 2.0}),
        "many": swarm(cluster, replicas=3, cpus=0.0, gpus=3.0),
        "wide": swarm(cluster, gpus=5.0),
        "apart": swarm(cluster, replicas=2, gpus=3.0, resources={"TPU": 1.0}),
    }
    cluster.shutdown()
    print(json.dumps(found))


def swarm(
    cluster: Cluster,
    names: tuple[str, ...] = (),
    *,
    replicas: int | None = 1,
    cpus: float = 1.0,
    gpus: float = 0.0,
    resources: Mapping[str, float] | None = None,
) -> Any:
    """Open a swarm; returns how many workers it has and what is free beside them, or why there are none."""
    spec = session.worker_spec(api.load_job(JOB))
    try:
        opened = RaySwarm(
            spec, replicas=replicas, most=0, cpus=cpus, gpus=gpus, resources=resources or {}, address=cluster.address
        )
    except ModelUnusable as error:
        return f"{error.message}; {error.fix}"
    while len(opened.ready) < len(opened._replicas):
        opened.collect(60.0)
    found = {"ready": len(opened.ready), "free": settled(names)}
    opened.close()
    return found


def settled(names: tuple[str, ...]) -> dict[str, float]:
    """Return what is free, once it has not changed for a second: it is known a while after it was taken."""
    found, since = free(names), time.monotonic()
    while time.monotonic() - since < 1:
        time.sleep(0.1)
        if (now := free(names)) != found:
            found, since = now, time.monotonic()
    return found


def free(names: tuple[str, ...]) -> dict[str, float]:
    there = ray.available_resources()
    return {name: there.get(name, 0.0) for name in names}


if __name__ == "__main__":
    main()
