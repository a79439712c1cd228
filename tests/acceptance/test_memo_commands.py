"""The memo from the command line: decided ahead, killed on the way, taken by runs, and told to whoever asks."""

from __future__ import annotations

import json
import signal
import time

import pytest
from processes import Commands

JOB = """[task]
decomposer = "hanoi"
disks = 7
memo = "store"
[model]
kind = "simulated"
p = 0.9
[vote]
k = 8
"""


@pytest.fixture
def job(maker: Commands) -> str:
    (maker.folder / "job.toml").write_text(JOB)
    return "job.toml"


def test_a_second_run_asks_nobody_and_says_so(maker: Commands, job: str) -> None:
    """What was decided ahead and by the first run is taken by the second one, which `verify` follows to its sources."""
    ahead = maker.run("precompute", job, "--steps", "50")
    assert ahead.returncode == 0, ahead.stderr
    assert "of 50 steps 50 were decided by " in ahead.stdout
    assert ", 0 were known already, 0 are undecided" in ahead.stdout
    assert maker.run("run", job).returncode == 0
    first = json.loads(maker.run("show", "last", "--json").stdout)
    assert (first["steps"], first["reused"], first["distinct"]) == (127, 50, 127)
    assert "127 steps, of which 127 were taken from the memo: 127 distinct decisions" in maker.run("run", job).stdout
    second = json.loads(maker.run("show", "last", "--json").stdout)
    assert (second["status"], second["calls"], second["votes"], second["models"]) == ("done", 0, 0, [])
    assert second["saved_calls"] == first["calls"] + first["saved_calls"]
    lines = maker.run("steps", "last").stdout.splitlines()
    assert len(lines) == 127
    assert all(" from the memo, decided in run " in line for line in lines)
    verified = maker.run("verify", "last")
    assert verified.returncode == 0, verified.stdout
    report = json.loads(maker.run("report", "last", "--json").stdout)
    assert (report["reused"], report["outside"], report["whole"]["steps"]) == (127, 127, 127)
    # The first run is needed now.
    refused = maker.run("prune", first["run_id"])
    assert refused.returncode == 2
    assert f"{second['run_id']} reused its decisions" in refused.stderr


def test_another_word_or_model_takes_nothing(maker: Commands, job: str) -> None:
    assert maker.run("run", job).returncode == 0
    for word in ("model.p=0.91", "task.prompt=english", "vote.k=9"):
        assert maker.run("run", job, word).returncode == 0
        told = json.loads(maker.run("show", "last", "--json").stdout)
        assert (told["reused"], told["calls"] > 0) == (0, True)


def test_killed_it_goes_on_and_ends_as_if_nothing_had_been(maker: Commands, job: str) -> None:
    """A foresight that is killed is taken up again; its run takes what both lives have decided."""
    slow = ("task.disks=9", "model.latency_s=0.02")
    # A few at a time: it takes seconds, and is killed within the first of them.
    process = maker.start("precompute", job, "--steps", "400", *slow, "swarm.chains=8")
    while maker.standing() is None or maker.standing().steps < 20:  # type: ignore[union-attr]
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = maker.run("precompute", job, "--steps", "400", *slow)
    assert again.returncode == 0, again.stderr
    assert "of 400 steps 400 were decided" in again.stdout
    assert [json.loads(line)["resumes"] for line in maker.run("ls", "--json").stdout.splitlines()] == [1]
    assert maker.run("run", job, *slow).returncode == 0
    told = json.loads(maker.run("show", "last", "--json").stdout)
    assert (told["steps"], told["reused"]) == (511, 400)
    assert maker.run("verify", "last").returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "job.toml", "task.memo=yes"), "task.memo = 'yes': there is no such memo"),
        (("precompute", "job.toml", "task.memo=off"), 'task.memo = "off"'),
        (("precompute", "job.toml", "--steps", "0"), "--steps"),
        (("precompute", "job.toml", "--labels", "none.jsonl"), "the labels none.jsonl cannot be read"),
        (("run", "job.toml", "foresight.steps=3"), "there is no table [foresight]"),
    ],
)
def test_bad_input_ends_with_two_and_creates_nothing(
    maker: Commands, job: str, words: tuple[str, ...], told: str
) -> None:
    ended = maker.run(*words)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert not maker.database.exists()
