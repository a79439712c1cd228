"""The monitor of a run that is killed: it goes on counting where it was, and says what it found to whoever looks."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

from processes import Commands

SEED = 20262
KILLS = 6
STEPS = 1023
JOB = """
[task]
decomposer = "hanoi"
disks = 10
[model]
kind = "simulated"
p = 0.95
common = 0.45       # so many samples say what the others say of the same prompt
latency_s = 0.006   # so that no kill comes after the end, however fast the machine
[run]
seed = 1            # with 0 and 2 there is no alarm, the run is too short
[vote]
k = 3
max_votes = 1000
"""
LINE = f"""
[task]
decomposer = '{Path(__file__).parent / "tasks" / "line.py"}:Line'
[model]
kind = "simulated"
p = 0.95
common = 0.45
latency_s = 0.006
[run]
seed = 1            # its alarm comes with step 128
[vote]
k = 3
max_votes = 1000
[store]
durability = "strict"
samples = "all"
[monitor]
policy = "decorrelate"
"""
TOLD = "alarm: steps of class move (longest): a step has 11 losing votes; with 20 losing votes on 128 steps"


def alarms(shown: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: one[name] for name in one if name != "at"} for one in shown["events"] if one["kind"] == "alarm"]


def test_a_killed_run_raises_the_same_alarms_at_the_same_counts(tmp_path: Path) -> None:
    """Killed with SIGKILL again and again, a run counts every vote once, and finds what an undisturbed one finds."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole, killed = Commands(tmp_path / "whole"), Commands(tmp_path / "killed")
    print("seed", SEED)
    try:
        for one in (whole, killed):
            one.write("job.toml", JOB)
        undisturbed, process = whole.start("run", "job.toml"), killed.start("run", "job.toml")
        for kill, steps in enumerate(sorted(random.Random(SEED).sample(range(STEPS // 20, STEPS * 9 // 10), KILLS))):
            killed.wait_for(steps, process, resumes=kill)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process = killed.start("resume", "last")
        assert {process.wait(120), undisturbed.wait(120)} <= {0, 1}, killed.output()
        expected, shown = whole.json("show", "last"), killed.json("show", "last")
        text = killed.good("show", "last")
    finally:
        whole.end()
        killed.end()
    assert shown["resumes"] == KILLS
    assert (shown["steps"], shown["digest"]) == (STEPS, expected["digest"])
    assert alarms(shown) == alarms(expected)
    assert [(one["statistic"], one["steps"]) for one in alarms(shown)] == [("longest", 128), ("dispersion", 256)]
    assert shown["monitor"] == expected["monitor"]
    assert shown["monitor"][0]["steps"] == STEPS
    assert TOLD in text
    assert f"monitor move: {shown['monitor'][0]['losing_votes']:,} losing votes on" in text


def test_an_alarm_is_told_to_whoever_looks(maker: Commands) -> None:
    """On the terminal of the run, when it ends, in the log file, and to another process that watches."""
    maker.write("job.toml", JOB)
    # Some eight seconds to the alarm: whoever watches has begun to look by then.
    slow = ("model.latency_s=0.06", "--limit-steps", "140")
    process = maker.start("--log", "run.jsonl", "run", "job.toml", *slow)
    maker.wait_for(1, process)
    watched = maker.run("watch", "last", "--every", "0.1").stdout
    assert process.wait(60) == 5, maker.output()
    assert watched.count(TOLD) == maker.output().count(TOLD) == 2, "when it is raised, and at the end"
    records = [json.loads(line) for line in (maker.folder / "run.jsonl").read_text().splitlines()]
    (record, *_) = [one for one in records if one["event"] == "alarm"]
    assert (record["level"], record["step_class"], record["statistic"]) == ("warning", "move", "longest")
    assert record["text"].startswith(TOLD.rpartition("): ")[2])


def test_a_run_that_an_alarm_has_paused_is_resumed(maker: Commands) -> None:
    """It says what was found and what to do; `maker resume` goes on to the next alarm or the end."""
    maker.write("job.toml", JOB)
    paused = maker.run("run", "job.toml", "monitor.policy=pause", "model.latency_s=0.001")
    assert paused.returncode == 4
    assert "is paused: alarm of the vote monitor on steps of class move (longest)" in paused.stdout
    assert "See them with `maker steps --disputed`" in paused.stdout
    done = maker.run("resume", "last", "monitor.policy=warn")
    assert f"{STEPS:,} steps" in done.stdout, done.stdout + done.stderr


def test_a_killed_run_goes_on_decorrelated(tmp_path: Path) -> None:
    """Strict, and killed with SIGKILL before, at and after the alarm, a run is the undisturbed one to the last vote."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole, killed = Commands(tmp_path / "whole"), Commands(tmp_path / "killed")
    try:
        for one in (whole, killed):
            one.write("job.toml", LINE)
        undisturbed, process = whole.start("run", "job.toml"), killed.start("run", "job.toml")
        for steps in (60, 128, 200):
            killed.wait_for(steps, process)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process = killed.start("resume", "last")
        assert (process.wait(120), undisturbed.wait(120)) == (0, 0), killed.output()
        expected, shown = whole.json("show", "last"), killed.json("show", "last")
        killed.good("verify", "last", fresh=True)
        asked = [killed.json("show", "last", "--step", str(step))["samples"] for step in (127, 128, 299)]
    finally:
        whole.end()
        killed.end()
    assert (shown["digest"], shown["monitor"]) == (expected["digest"], expected["monitor"])
    assert [event["kind"] for event in shown["events"]] == [event["kind"] for event in expected["events"]]
    words = [None, "In words 1: ", "In words 2: "]
    assert [[one["system"] for one in samples[:3]] for samples in asked] == [[None] * 3, words, words]
