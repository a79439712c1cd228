"""Forking runs through the command line: killed with -9 again and again, resumed, and the same as if nobody had."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import Commands

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "examples" / "check_hanoi.py"
TREE = ROOT / "tests" / "unit" / "fork_tasks.py"
SEED = int(os.environ.get("MAKER_TEST_SEED", "20262"))
DISKS = 12
SAME = ("status", "steps", "votes", "red_flags", "disputed", "digest", "result")

HANOI = f"""
    [task]
    decomposer = "hanoi"
    disks = {DISKS}
    form = "tree"
    segment = 4
    [model]
    kind = "simulated"
    p = 0.9
    malformed = 0.05
    [vote]
    k = 7
    """

PLANS = f"""
    [task]
    decomposer = '{ROOT / "examples" / "multiply_plan" / "multiply.py"}:Multiply'
    problem = "{"738429156" * 3} * {"918273645" * 3}"
    plan_tokens = 4000
    base_bytes = 8000
    conclusion_bytes = 60
    [model]
    kind = "simulated"
    p = 0.9
    malformed = 0.05
    [model.p_by_class]
    plan = 0.7
    [vote]
    k = 6
    max_votes = 1000
    [roles.decomposer]
    k = 9
    """
"""A product of 27 digits by 27: 757 nodes."""

SHAPE = {
    "steps": [3, 2, 1],
    "forks": [
        {"singles": 1500},
        {"children": [{"steps": [2, 1], "forks": [{"singles": 40}]}, {"steps": [30], "forks": []}] * 15},
    ],
}
NESTED = f"""
    [task]
    decomposer = '{TREE}:Tree'
    [model]
    kind = "simulated"
    p = 0.8
    malformed = 0.05
    rivals = 3
    [vote]
    k = 2
    max_votes = 1000
    """


def job(text: str, **task: Any) -> str:
    words = "".join(f"{name} = {value}\n" for name, value in task.items())
    return text.replace("[task]\n", f"[task]\n{words}")


def toml(value: Any) -> str:
    """Write a value of JSON as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(inner)}" for name, inner in value.items()) + "}"
    return "[" + ", ".join(map(toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def log_of(maker: Commands) -> tuple[str, dict[str, Any]]:
    """Return a run's steps, as they are printed, and how it stands, after seeing that it verifies."""
    maker.good("verify", "last")
    shown = maker.json("show", "last")
    return maker.good("steps", "last", "--json"), {name: shown[name] for name in SAME}


def killed(maker: Commands, name: str, steps: int, words: list[str]) -> int:
    """Work on a job to its end, and kill it some times on the way; return how often it was killed."""
    draw = random.Random(SEED)
    print(f"seed of the moments: {SEED}")
    kills = 0
    for share in (0.02, 0.3, 0.6, 0.9):
        command = ("resume", "last", *words) if kills else ("run", name, *words)
        process = maker.start(*command)
        maker.wait_for(int(steps * (share + draw.uniform(0, 0.08))), process)
        (os.killpg if kills % 2 else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        at = maker.standing()
        print(f"kill {kills} at {at}")
        assert at is not None
        assert at.status == "running"
    maker.good("resume", "last", "model.latency_s=0")
    return kills


@pytest.mark.slow
def test_a_killed_tree_of_hanoi_is_right(maker: Commands) -> None:
    """Killed four times, 256 segments of 12 disks end as the undisturbed ones, verify, and are right by the rules."""
    name = maker.write("job.toml", HANOI).name
    maker.good("run", name)
    expected = log_of(maker)
    assert expected[1]["steps"] == 2**DISKS - 1
    maker.forget()
    assert killed(maker, name, 2**DISKS - 1, ["model.latency_s=0.01", "swarm.chains=16"]) == 4
    found = log_of(maker)
    assert found == expected
    checked = subprocess.run(
        [sys.executable, str(CHECK), str(DISKS)], input=found[0], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
@pytest.mark.parametrize("commands_in", ["sqlite", "pgbouncer"], indirect=True)
def test_killed_forks_within_forks_are_the_undisturbed_ones(maker: Commands) -> None:
    """Killed four times, in a window of 7, each step committed before the next: every vote is the undisturbed run's."""
    name = maker.write("job.toml", job(NESTED, shape=toml(SHAPE))).name
    maker.good("run", name)
    expected = log_of(maker)
    maker.forget()
    words = ["model.latency_s=0.002", "swarm.chains=7", "store.durability=strict"]
    assert killed(maker, name, expected[1]["steps"], words) == 4
    assert log_of(maker) == expected
    tallies = {json.dumps([step["votes"], step["flags"]]) for step in map(json.loads, expected[0].splitlines())}
    assert len(tallies) > 30


@pytest.mark.slow
def test_a_killed_tree_of_plans_is_the_undisturbed_one(maker: Commands) -> None:
    """Killed four times, a tree whose plans were voted on has the plans, the answer and the log of one that was not."""
    name = maker.write("job.toml", PLANS).name
    maker.good("run", name)
    expected = log_of(maker)
    assert expected[1]["steps"] == 2 * 757
    assert expected[1]["result"]["answer"] == int("738429156" * 3) * int("918273645" * 3)
    maker.forget()
    assert killed(maker, name, expected[1]["steps"], ["model.latency_s=0.02", "swarm.chains=16"]) == 4
    assert log_of(maker) == expected
