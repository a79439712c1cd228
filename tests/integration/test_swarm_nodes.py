"""Ray on several nodes: killed actors and nodes, addresses, what the workers are sent and what not."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Commands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILL_NODES, RESERVE, CARRY = (Path(__file__).parent / f"{name}.py" for name in ("kill_nodes", "reserve", "carry"))
JOB = """
[task]
decomposer = "hanoi"
disks = 11
form = "tree"
segment = 6
[model]
kind = "simulated"
p = 0.99
latency_s = {latency_s}
[vote]
k = 3
[swarm]
chains = 2
"""
SAME = ("status", "steps", "votes", "red_flags", "disputed", "digest", "result")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Commands]:
    """Return a folder; what its processes leave running is ended after the test."""
    made = Commands(tmp_path)
    yield made
    made.end()


def test_killed_actors_and_nodes_change_nothing(place: Commands) -> None:
    """An actor is killed, then a node of two; a new one takes its place. The log is that of one worker at home."""
    place.write("job.toml", JOB.format(latency_s=0))
    place.good("run", "job.toml")
    whole = place.json("show", "last")
    place.write("job.toml", JOB.format(latency_s=0.09))
    process = place.start("job.toml", "sqlite:///maker.db", program=(str(KILL_NODES),))
    assert process.wait(timeout=200) == 0, place.output()
    found = json.loads(place.output().splitlines()[-1])
    shown = place.json("show", found["run"])
    assert {name: shown[name] for name in SAME} == {name: whole[name] for name in SAME}
    assert shown["resumes"] == 0
    assert found["told"] == shown["steps"], "a step was committed twice, or not told"
    assert "verifies" in place.good("verify", found["run"])
    assert len(found["gone"]) == 3
    assert all(chains and replaced and "actor" in reason for reason, chains, replaced in found["gone"])
    waited = [one for one in found["waiting"] if "the 1 nodes of Ray that live have 2 CPU" in one]
    assert len(waited) == 2
    assert all(one.startswith("a worker needs 1 CPU; ") for one in waited)
    assert not place.left()


def silent(kind: str) -> socket.socket:
    """Return a socket on which nobody, something that says nothing, or a server of HTTP answers."""
    line = socket.socket()
    line.bind(("127.0.0.1", 0))
    if kind != "nobody":
        line.listen()
    if kind == "web":
        threading.Thread(target=refuse, args=(line,), daemon=True).start()
    return line


def refuse(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            line.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nobody", "Connection refused"),
        ("silent", "timed out"),
        ("web", "something else than a Ray cluster answers there"),
    ],
)
def test_an_address_that_does_not_answer_is_told(place: Commands, kind: str, said: str) -> None:
    """Ray alone would try for two minutes and end the process. The run is there, and goes on elsewhere."""
    place.write("job.toml", JOB.format(latency_s=0))
    with silent(kind) as line:
        address = f"127.0.0.1:{line.getsockname()[1]}"
        began = time.monotonic()
        done = place.run("run", "job.toml", "swarm.kind=ray", "--ray-address", address, fresh=True)
        took_s = time.monotonic() - began
        resumed = place.run("resume", "last", "--ray-address", address, fresh=True)
    for one in (done, resumed):
        told = " ".join((one.stdout + one.stderr).split())
        assert one.returncode == 7
        assert f"Ray cannot be reached at {address}: " in told
        assert said in told
        assert "start a cluster with `ray start --head`" in told
        assert "Traceback" not in told
    assert took_s < 15
    place.good("resume", "last", "swarm.kind=local", "swarm.address=")


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "127.0.0.1", "head:port"])
def test_an_address_is_a_host_and_a_port(place: Commands, address: str) -> None:
    place.write("job.toml", JOB.format(latency_s=0))
    done = place.run("run", "job.toml", "swarm.kind=ray", "--ray-address", address, fresh=True)
    assert "an address must be HOST:PORT" in " ".join(done.stderr.split())


def test_what_a_worker_reserves_is_looked_for_on_one_node(place: Commands) -> None:
    """GPUs of a model that is spread over several, resources of any name, all GPUs taken; what is not there is said."""
    process = place.start(program=(str(RESERVE),))
    assert process.wait(timeout=120) == 0, place.output()
    found = json.loads(place.output().splitlines()[-1])
    assert found["auto"] == {"ready": 3, "free": {"GPU": 1.0, "CPU": 2.5}}
    assert found["named"] == {"ready": 1, "free": {"GPU": 7.0, "TPU": 1.0}}
    assert found["none"] == "a worker needs 2 TPUs, but Ray has 0; lower swarm.resources.TPUs"
    assert found["many"].startswith("3 workers need 9 GPU, but Ray has 7; lower swarm.gpus or swarm.replicas")
    assert "a worker needs 1 CPU, 5 GPU, on one node; the 2 nodes of the cluster have room for 0" in found["wide"]
    assert "on one node; the 2 nodes of the cluster have room for 1; lower a worker's" in found["apart"]
    assert not place.left()


def test_workers_get_the_three_packages_and_no_secret(place: Commands) -> None:
    """On nodes that have no maker of their own a run ends as at home; its key and its store are on no disk."""
    for name in ("maker", "decomposers", "voters"):
        place.write(f"{name}.py", "raise ImportError('this node has none')\n")
    nodes = place.folder / "nodes"
    nodes.mkdir()
    for file in place.folder.glob("*.py"):
        file.rename(nodes / file.name)
    process = place.start(str(nodes), program=(str(CARRY),))
    assert process.wait(timeout=200) == 0, place.output()
    found = json.loads(place.output().splitlines()[-1])
    assert "this node has none" in found["alone"]
    assert found["digests"][0] == found["digests"][1]
    assert found["answered"] > 0
    assert found["with_key"] == []
    assert "the environment variable SECOND_KEY, which model.key_env names, is not set" in found["no_key"]
    assert "export SECOND_KEY=… (on a Ray cluster before `ray start` on every node)" in found["no_key"]
    assert not place.left()
