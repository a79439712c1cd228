"""`maker calibrate`, `maker plan` and k = "auto" from the command line: a new user's way, and what is refused."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from processes import Commands

JOB = """[task]
decomposer = "hanoi"
disks = 9
[model]
kind = "simulated"
p = 0.9
[vote]
k = "auto"
target = 0.95
"""


@pytest.fixture
def job(maker: Commands) -> Path:
    path = maker.folder / "job.toml"
    path.write_text(JOB)
    return path


def test_from_a_pilot_to_a_run_that_says_what_was_claimed(maker: Commands, job: Path) -> None:
    pilot = maker.run("calibrate", "job.toml", "--steps", "500", "--votes", "8")
    assert pilot.returncode == 0, pilot.stderr
    assert "right answers come from the task's oracle" in pilot.stdout
    assert "the samples are in run " in pilot.stdout
    plan = maker.run("plan", "job.toml")
    assert plan.returncode == 0, plan.stderr
    assert "P(all steps are right) = 0.9" in plan.stdout
    assert "assuming that the run's steps are like the pilot's, and that the task's oracle is right" in plan.stdout
    told = json.loads(maker.run("plan", "job.toml", "--json").stdout)
    k = told["margins"]["k"]["move"]
    assert 4 <= k <= 6
    assert not {"calls", "tokens", "unproven"} & told["margins"].keys()
    ran = maker.run("run", "job.toml")
    assert ran.returncode == 0, ran.stderr
    assert f"k of move = {k} from calibration 1" in ran.stderr
    right = "all are right with P >= " if told["shown"]["right"] >= 1e-4 else "that all are right is not shown"
    # Both numbers stand where the run begins, and where it is shown.
    for page in (plan.stdout, ran.stderr, maker.run("show", "last").stdout):
        assert "if steps that the pilot has not heard are like those it has" in page
        assert f"of {told['shown']['steps']:,} steps are decided wrongly; {right}" in page
    shown = json.loads(maker.run("show", "last", "--json").stdout)
    assert shown["settings"]["vote"]["k"] == {"move": k}
    assert shown["settings"]["vote"]["plan"]["right"] == told["margins"]["right"]
    # What was planned is claimed in the report, and the pilot's own run claims nothing.
    claim = json.loads(maker.run("report", "last", "--json").stdout)["claim"]
    assert claim["made"]


def test_a_pilot_is_shown_as_one(maker: Commands, job: Path) -> None:
    assert maker.run("calibrate", "job.toml", "--steps", "20", "--votes", "4").returncode == 0
    pilot = json.loads(maker.run("ls", "--json").stdout)["run_id"]
    shown = maker.run("show", pilot).stdout
    assert "poll   votes = 2, steps = 20, rounds = 2" in shown
    assert "first-to-ahead-by-k" not in shown.split("monitor")[0]


def test_what_is_counted_and_printed_before_there_is_a_plan(maker: Commands, job: Path) -> None:
    """A margin that was set on the command line is said to be from there; a dry run says what its figures are for."""
    printed = maker.run("run", "job.toml", "vote.k.move=4", "--print-config").stdout.splitlines()
    (line,) = [line for line in printed if line.startswith("vote.k ")]
    assert line.split(maxsplit=1)[1] == '{"move": 4}                      command line'
    assert maker.run("init", "map", "rows").returncode == 0
    dry = maker.run("run", "rows/job.toml", "vote.k=auto", "--dry-run")
    assert dry.returncode == 0
    assert "the figures assume k = 3; `maker plan rows/job.toml` finds the k you need" in dry.stderr


def test_a_sweep_names_the_cheapest(maker: Commands, job: Path) -> None:
    words = ("--sweep", "model.p=0.8,0.95")
    pilots = maker.run("calibrate", "job.toml", "--steps", "400", "--votes", "10", *words)
    assert pilots.returncode == 0, pilots.stderr
    assert pilots.stdout.count("calibration ") == 2
    plan = maker.run("plan", "job.toml", *words)
    assert plan.returncode == 0, plan.stderr
    assert "cheapest: model.p=0.95" in plan.stdout
    refused = maker.run("plan", "job.toml", "--sweep", "model.p=")
    assert refused.returncode == 2
    assert "--sweep model.p= has no values" in refused.stderr


def test_a_pool_is_told_by_member(maker: Commands, job: Path) -> None:
    members = 'model.members={good={kind="simulated",p=1.0},poor={kind="simulated",p=0.0}}'
    (maker.folder / "pool.toml").write_text('[task]\ndecomposer = "hanoi"\ndisks = 5\n[model]\nkind = "pool"\n')
    pilot = maker.run("calibrate", "pool.toml", members, "--steps", "31", "--votes", "2")
    assert pilot.returncode == 0, pilot.stderr
    assert "move: good: 31 right, 0 wrong (1.0000 right), 0 flagged" in pilot.stdout
    assert "move: poor: 0 right, 31 wrong (0.0000 right), 0 flagged" in pilot.stdout


def test_what_cannot_be_planned_ends_with_one(maker: Commands, job: Path) -> None:
    assert maker.run("calibrate", "job.toml", "model.p=0.45", "--steps", "300").returncode == 0
    plan = maker.run("plan", "job.toml", "model.p=0.45")
    assert plan.returncode == 1
    assert "the right answer is not the most frequent one" in plan.stderr
    assert maker.run("run", "job.toml", "model.p=0.45").returncode == 1
    shown = maker.run("ls", "--json").stdout.splitlines()
    # The second one has looked closer at steps whose right answer did not lead.
    assert [json.loads(line)["name"] for line in shown] == ["pilot of hanoi"] * 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("plan", "job.toml"), "there is no calibration of this task with this model: there is no database"),
        (("plan", "job.toml", "vote.target=0"), "vote.target = 0: Input should be greater than 0"),
        (("plan", "job.toml", "vote.target=1"), "vote.target = 1: Input should be less than 1"),
        (("run", "job.toml", "vote.target=1.5"), "vote.target = 1.5: Input should be less than 1"),
        (("calibrate", "job.toml", "--labels", "none.jsonl"), "the labels none.jsonl cannot be read"),
        (("calibrate", "job.toml", "--labels", "contradict.jsonl"), "labels, lines 1 and 2 contradict each other"),
        (("calibrate", "job.toml", "--steps", "0"), "--steps"),
        (("run", "job.toml", "poll.votes=3"), "there is no table [poll]"),
    ],
)
def test_bad_input_ends_with_two_and_creates_nothing(
    words: tuple[str, ...], told: str, maker: Commands, job: Path
) -> None:
    (maker.folder / "contradict.jsonl").write_text('{"reply": "1AC"}\n{"reply": "1AB"}\n')
    ended = maker.run(*words)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not maker.database.exists()


@pytest.mark.slow
def test_a_pilot_that_is_interrupted_goes_on(maker: Commands, job: Path) -> None:
    words = ("calibrate", "job.toml", "model.latency_s=0.05", "swarm.chains=8", "--steps", "500", "--votes", "3")
    begun = maker.start(*words)
    while not maker.database.exists() or maker.standing() is None:
        time.sleep(0.1)
    time.sleep(1.0)
    begun.send_signal(signal.SIGINT)
    begun.wait(timeout=60)
    told = (maker.folder / "output.txt").read_text()
    assert begun.returncode == 130, told
    assert "is paused; give the same command again to continue it" in told
    again = maker.run(*words)
    assert again.returncode == 0, again.stderr
    runs = [json.loads(line) for line in maker.run("ls", "--json").stdout.splitlines()]
    # The newest one has looked closer at steps whose right answer did not lead.
    assert [(run["status"], run["resumes"]) for run in runs] == [("done", 0), ("done", 1)]
