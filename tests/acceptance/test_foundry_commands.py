"""`maker export --format sft`, `maker train` and `maker exam`: a new user's way, and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import Commands

JOB = """[task]
decomposer = "hanoi"
disks = 6
[model]
kind = "simulated"
p = 0.95
[vote]
k = 5
"""
SMALL = ("--hidden", "32", "--layers", "1", "--heads", "1", "--batch", "16", "--exam", "20")


@pytest.fixture
def job(maker: Commands) -> Path:
    path = maker.folder / "job.toml"
    path.write_text(JOB)
    return path


@pytest.mark.slow
@pytest.mark.torch
def test_a_task_makes_a_microagent(maker: Commands, job: Path) -> None:
    """The folder holds what vLLM serves and a card, whose figures `exam` prints again."""
    made = maker.run("train", "job.toml", "--out", "model", "--steps", "20", *SMALL)
    assert made.returncode == 0, made.stderr
    assert "batch 20 of 20: loss" in made.stderr
    assert "model: " in made.stdout and "MB, trained in" in made.stdout
    assert "move: examined on 20 prompts that training never showed" in made.stdout
    folder = maker.folder / "model"
    files = {"README.md", "card.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert files <= {path.name for path in folder.iterdir()}
    again = maker.run("exam", "model", "job.toml", "--exam", "20", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == json.loads((folder / "card.json").read_text())["classes"]
    taken = maker.run("train", "job.toml", "--out", "model")
    assert (taken.returncode, "replace it with --force" in taken.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.torch
def test_a_run_makes_a_microagent(maker: Commands, job: Path) -> None:
    """The steps of a verified run are examples, judged by the run's own decisions."""
    assert maker.run("run", "job.toml").returncode == 0
    export = maker.run("export", "last", "--format", "sft", "--out", "lessons.jsonl")
    assert export.returncode == 0, export.stderr
    assert "verifies: 63 steps in lessons.jsonl" in export.stdout
    assert maker.run("export", "last", "--format", "sft").stdout == (maker.folder / "lessons.jsonl").read_text()
    made = maker.run("train", "lessons.jsonl", "--out", "model", "--steps", "20", *SMALL[:-2])
    assert made.returncode == 0, made.stderr
    assert "Judged by the run's own decisions, which may be wrong" in made.stdout
    assert json.loads((maker.folder / "model" / "card.json").read_text())["origin"]["lessons"] == "lessons.jsonl"
    assert made.stdout.endswith(maker.run("exam", "model", "lessons.jsonl").stdout)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "job.toml"), "Missing option '--out'"),
        (("train", "none.toml", "--out", "m"), "none.toml"),
        (("train", "none.jsonl", "--out", "m"), "none.jsonl cannot be read"),
        (("train", "job.toml", "--out", "m", "--steps", "0"), "--steps"),
        (("train", "job.toml", "--out", "m", "--slip", "0.7"), "slip = 0.7"),
        (("train", "job.toml", "--out", "m", "--hidden", "30"), "hidden = 30 cannot be divided by 4 heads"),
        (("train", "job.toml", "--out", "m", "--temperatures", "warm"), "--temperatures warm"),
        (("train", "job.toml", "--out", "."), "is not a microagent"),
        (("train", "lessons.jsonl", "task.disks=3", "--out", "m"), "'task.disks=3' sets nothing"),
        (("train", "silent.toml", "--out", "m"), "the task letters gives no training examples"),
        (("exam", "none", "job.toml"), "there is no model in none"),
        (("export", "last", "--format", "sft"), "there is no database"),
    ],
)
def test_what_cannot_be_done_is_told(maker: Commands, job: Path, words: tuple[str, ...], said: str) -> None:
    """Exit code 2, one message, and nothing is left."""
    (maker.folder / "silent.py").write_text(SILENT)
    (maker.folder / "silent.toml").write_text(JOB.replace('"hanoi"\ndisks = 6', '"silent.py:Letters"'))
    before = {path.name for path in maker.folder.iterdir()}
    done = maker.run(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in maker.folder.iterdir()} - before <= {"__pycache__"}


SILENT = """
from maker.plugin import Decomposer, Done, Params, PydanticCodec, Step, StepClass

class Letters(Decomposer):
    name, version, Params = "letters", 1, Params
    def __init__(self, params):
        self.state = self.action = PydanticCodec(int)
        self.kind = StepClass("letter", parse=int, max_tokens=8)
        self.classes = (self.kind,)
    def start(self): return 0
    def next(self, state): return Step(self.kind, "a number") if state < 3 else Done(state)
    def apply(self, state, action): return state + 1
"""


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_model(maker: Commands, job: Path, number: signal.Signals) -> None:
    """Training ends at once with exit code 130, and nothing is there."""
    process = maker.start("train", "job.toml", "--out", "model", "--steps", "100000", *SMALL)
    until = time.monotonic() + 90
    while "batch 101 of" not in (maker.folder / "output.txt").read_text():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    try:
        assert process.wait(30) == 130
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert not list(maker.folder.glob("model*"))
