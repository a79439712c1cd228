"""A workflow in a file on Ray: its functions are sent by value, its effects are done where the run is driven."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Commands

TASK = """
from __future__ import annotations

import os

from pydantic import BaseModel

import maker

class Word(BaseModel):
    text: str
    length: int

def place() -> int:
    return os.getpid()

async def measure(run: maker.Run, text: str) -> Word:
    return Word(text=text, length=await run.ask(f"Length of {text}?", int, truth=len(text)))

@maker.workflow
async def words(run: maker.Run, text: str) -> dict[str, object]:
    found = await run.map(measure, text.split())
    longest = max(found, key=lambda word: word.length)
    first = await run.effect(place)
    good = await run.wait("good", bool)
    return {"longest": longest.text, "first": first, "good": good}
"""
JOB = """[task]
decomposer = "words.py:words"
text = "a few short words of differing lengths"
[model]
kind = "simulated"
p = 0.9
[vote]
k = 4
[swarm]
kind = "ray"
replicas = 2
cpus = 0.1
"""


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[Commands]:
    """Return the command line in a folder with a workflow."""
    commands = Commands(tmp_path)
    commands.write("words.py", TASK)
    commands.write("job.toml", JOB)
    yield commands
    commands.end()


def test_a_workflow_runs_on_ray(maker: Commands) -> None:
    """Children on two workers, types that only annotations name, an effect, a person; and the log verifies."""
    assert maker.run("run", "job.toml", fresh=True, timeout_s=200).returncode == 8
    assert maker.run("answer", "last", "good", "yes").returncode == 0
    assert maker.run("resume", "last", timeout_s=200).returncode == 0
    result = json.loads(maker.run("show", "last", "--json").stdout)["result"]
    assert (result["longest"], result["good"]) == ("differing", True)
    assert maker.run("verify", "last").returncode == 0
