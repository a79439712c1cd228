"""The real thing, small: the microagent on vLLM under Ray, driven by the command line."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOB = ROOT / "examples" / "hanoi.toml"
pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def maker(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a maker command in a folder of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKER_")}
    command = [sys.executable, "-m", "maker", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def shown(folder: Path) -> dict[str, object]:
    """Return the newest run's report."""
    return dict(json.loads(maker(folder, "show", "last", "--json").stdout))


def scramble(weights: Path) -> None:
    """Replace every bfloat16 weight by a random one of moderate size; names and shapes stay."""
    content = weights.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    draw = random.Random(0)
    bits = (draw.getrandbits(1) << 15 | draw.randrange(120, 124) << 7 | draw.getrandbits(7) for _ in content[begin::2])
    weights.write_bytes(content[:begin] + array("H", bits).tobytes())


def test_the_microagent_solves_eight_disks(tmp_path: Path) -> None:
    """Every move is decided by votes, verified by re-application, and legal by code that shares nothing with it."""
    run = maker(tmp_path, "run", str(JOB), "task.disks=8")
    assert run.returncode == 0, run.stderr
    report = shown(tmp_path)
    assert (report["status"], report["steps"]) == ("done", 255)
    assert maker(tmp_path, "verify", "last").returncode == 0
    moves = maker(tmp_path, "steps", "last", "--json").stdout
    checked = subprocess.run(
        [sys.executable, ROOT / "examples" / "check_hanoi.py", "8"],
        input=moves, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


def test_without_votes_the_same_job_goes_wrong_and_says_so(tmp_path: Path) -> None:
    """At k = 1 ten disks come out right once in ten thousand runs (the model card's figure); the run is failed."""
    run = maker(tmp_path, "run", str(JOB), "vote.k=1")
    assert run.returncode == 1
    report = shown(tmp_path)
    assert (report["status"], report["steps"]) == ("failed", 1023)
    assert maker(tmp_path, "verify", "last").returncode == 1


def test_random_weights_solve_nothing(tmp_path: Path) -> None:
    """Nothing but the model knows the answer: the same folder with random weights is never verified."""
    folder = tmp_path / "random"
    shutil.copytree(ROOT / "examples" / "hanoi_microagent" / "model", folder)
    scramble(folder / "model.safetensors")
    run = maker(tmp_path, "run", str(JOB), "task.disks=4", f"model.path={folder}", "vote.max_votes=40")
    assert run.returncode in (1, 6), run.stderr
    report = shown(tmp_path)
    assert report["status"] in ("paused", "failed")
    assert maker(tmp_path, "verify", "last").returncode == 1


def test_a_mixed_pool_decides_and_is_told_apart(tmp_path: Path) -> None:
    """The microagent at two temperatures and the one that writes the pegs vote in one election, counted by model."""
    job = ROOT / "examples" / "hanoi_pool.toml"
    run = maker(tmp_path, "run", str(job), "task.disks=5", "swarm.kind=local")
    assert run.returncode == 0, run.stderr
    assert maker(tmp_path, "verify", "last").returncode == 0
    report = json.loads(maker(tmp_path, "show", "last", "--json").stdout)
    assert (report["status"], report["steps"]) == ("done", 31)
    models = {one["model"]: one for one in report["models"]}
    assert set(models) == {"cool", "warm", "pair"}
    assert all(one["votes"] >= 25 for one in models.values())
    assert sum(one["votes"] for one in models.values()) == report["votes"]
    assert sum(one["calls"] for one in models.values()) == report["calls"]
    # A move is three signs and an end mark; with the pegs after it, nine and one.
    assert models["pair"]["completion_tokens"] > 2 * models["cool"]["completion_tokens"]
