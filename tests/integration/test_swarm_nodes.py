"""Ray on several nodes: actors and nodes that are killed, addresses, what the workers are sent and what they are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Commands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILL_NODES = Path(__file__).parent / "kill_nodes.py"
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
    place.write("job.toml", JOB.format(latency_s=0.06))
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
    assert len(found["waiting"]) == 2
    assert all("a worker needs 1 CPU; the 1 nodes of Ray that live have 2 CPU" in one for one in found["waiting"])
    assert not place.left()
