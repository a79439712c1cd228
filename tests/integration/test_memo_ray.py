"""The memo on Ray: workers tell each other what is committed, and end in the answers of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Commands

TASK = '''
import os, time
from pathlib import Path
from maker.plugin import Decomposer, Done, Fork, Params, PydanticCodec, Step, StepClass, Truth

class RepeatsParams(Params):
    together: str = ""

class Repeats(Decomposer[list, str]):
    """Forty children of six steps each, all of which ask one of 24 questions; ``together`` waits for two workers."""
    name, version, Params = "repeats", 1, RepeatsParams
    def __init__(self, params):
        self.together = params.together
        self.state, self.action = PydanticCodec(list), PydanticCodec(str)
        self.kind = StepClass("letter", parse=str.strip)
        self.classes = (self.kind,)
    def start(self):
        return [None, 0]
    def next(self, state):
        child, done = state
        if child is None:
            return Done(done) if done == 40 else Fork(40, lambda state, i: [i, 0], lambda state, i, end: [None, i + 1])
        if self.together and not done:
            (Path(self.together) / str(os.getpid())).touch()
            until = time.monotonic() + 60
            while len(os.listdir(self.together)) < 2 and time.monotonic() < until:
                time.sleep(0.02)
        return Step(self.kind, f"{child % 4} {done}?") if done < 6 else Done(done)
    def apply(self, state, action):
        return [state[0], state[1] + 1]
    def prompts(self):
        return ""
    def oracle(self):
        return lambda prompt: Truth(("a",), ("b", "c"))
'''
JOB = """[task]
decomposer = "repeats.py:Repeats"
memo = "run"
[model]
kind = "simulated"
p = 0.4
latency_s = 0.01
[vote]
k = 1
"""


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[Commands]:
    """Return the command line in a folder with a task that repeats itself."""
    commands = Commands(tmp_path)
    commands.write("repeats.py", TASK)
    commands.write("job.toml", JOB)
    yield commands
    commands.end()


def test_two_workers_end_in_the_answers_of_one(maker: Commands) -> None:
    """A model that is mostly wrong: the same answers step by step, logs that verify, and most of the work not done."""
    logs = []
    together = maker.folder / "together"
    together.mkdir()
    for words in (
        (),
        (f"task.together={together}", "swarm.kind=ray", "swarm.replicas=2", "swarm.cpus=0.1", "swarm.chains=2"),
    ):
        assert maker.run("run", "job.toml", *words, fresh=True, timeout_s=200).returncode == 0
        assert maker.run("verify", "last").returncode == 0
        told = json.loads(maker.run("show", "last", "--json").stdout)
        assert told["steps"] == 240
        assert 24 <= told["distinct"] <= 48
        steps = [json.loads(line) for line in maker.run("steps", "last", "--json").stdout.splitlines()]
        logs.append([(one["chain"], one["step"], one["action"]) for one in steps])
        workers = [one["steps"] for one in told["workers"]]
    assert logs[0] == logs[1]
    assert len(workers) == 2
    assert min(workers) > 0
