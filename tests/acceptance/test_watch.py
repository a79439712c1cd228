"""`maker watch`: what it prints of a run that another process works on, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
from itertools import pairwise

import pytest
from processes import Commands

JOB = """
[task]
decomposer = "hanoi"
disks = 8
[model]
kind = "simulated"
p = 0.95
latency_s = 0.03
[vote]
k = 3
"""
STEPS = 255
LINE = r"[\d,]+ of 255 steps, \d+ steps/s, [\d.]+ votes a step, \d+ flags, \d+ disputed"


@pytest.fixture
def running(maker: Commands) -> tuple[Commands, subprocess.Popen[str]]:
    """Return a folder, and the process that works on a run there for some seconds."""
    maker.write("job.toml", JOB)
    process = maker.start("run", "job.toml")
    maker.wait_for(5, process)
    return maker, process


def test_a_run_is_followed_to_its_end(running: tuple[Commands, subprocess.Popen[str]]) -> None:
    """Where there is no terminal: a line at the start, plain text, and at the end what `run` says; exit 0 when done."""
    maker, process = running
    done = maker.run("watch", "last", "--every", "0.2")
    assert process.wait(timeout=60) == 0
    run_id = maker.json("show", "last")["run_id"]
    first, *lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"run {run_id} is running, \d+ steps so far", first)
    assert f"run {run_id} is done" in lines
    assert maker.output().endswith("\n".join(lines[lines.index(f"run {run_id} is done") :]) + "\n")
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout


def test_as_json(running: tuple[Commands, subprocess.Popen[str]]) -> None:
    """`--json` prints a line at each change, of the keys of `show --json` without the settings; the last is the end."""
    maker, process = running
    done = maker.run("watch", "last", "--json", "--every", "0.1")
    assert process.wait(timeout=60) == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    shown = maker.json("show", "last")
    assert done.returncode == 0
    assert all(set(line) == set(shown) - {"settings", "disputed_steps"} for line in lines)
    assert all(one != other for one, other in pairwise(lines))
    assert [line["steps"] for line in lines] == sorted(line["steps"] for line in lines)
    assert len({line["steps"] for line in lines}) > 3
    assert lines[0]["status"] == "running"
    assert lines[-1] == {name: shown[name] for name in lines[-1]}
    assert (lines[-1]["status"], lines[-1]["steps"]) == ("done", STEPS)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=lambda sign: sign.name)
def test_an_interrupted_watcher(running: tuple[Commands, subprocess.Popen[str]], sign: signal.Signals) -> None:
    """Ctrl-C ends the watcher alone: exit 130; the run goes on to its end."""
    maker, process = running
    watcher = maker.start("watch", "last", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watcher.stdout is not None
    watcher.stdout.readline()
    watcher.send_signal(sign)
    _, said = watcher.communicate(timeout=30)
    assert watcher.returncode == 130
    run_id = maker.json("show", "last")["run_id"]
    assert said == f"stopped watching run {run_id}; the run itself continues\n"
    assert process.wait(timeout=60) == 0, maker.output()
    assert maker.json("show", "last")["resumes"] == 0


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["text", "json"])
def test_a_run_whose_process_dies(running: tuple[Commands, subprocess.Popen[str]], words: tuple[str, ...]) -> None:
    """After kill -9 of the run, the watcher says within a look that its process is gone, and exits 7."""
    maker, process = running
    watcher = maker.start("watch", "last", "--every", "0.2", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watcher.stdout is not None
    watcher.stdout.readline()
    process.kill()
    process.wait()
    told, said = watcher.communicate(timeout=30)
    assert (watcher.returncode, said) == (7, "")
    if words:
        last = json.loads(told.splitlines()[-1])
        assert (last["status"], "its process is gone" in last["reason"]) == ("paused", True)
    else:
        assert re.search(
            r"^run \S+ is paused: its process is gone; continue with `maker resume \S+`$", told, re.MULTILINE
        )
    maker.good("resume", "last", "model.latency_s=0")


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("model.p=1",), "done", 0),
        (("vote.k=1",), "failed", 1),
        (("--limit-steps", "3"), "paused", 5),
    ],
)
def test_a_run_that_is_over(maker: Commands, words: tuple[str, ...], status: str, code: int) -> None:
    """A run that nobody works on is told at once, as `run` told it, with the same exit code."""
    maker.write("job.toml", JOB)
    ended = maker.run("run", "job.toml", "model.latency_s=0", *words)
    watched = maker.run("watch", "last")
    assert ended.returncode == watched.returncode == code
    assert watched.stdout == ended.stdout
    assert f" is {status}" in watched.stdout.splitlines()[0]
    assert len(maker.run("watch", "last", "--json").stdout.splitlines()) == 1


def test_a_cancelled_run(maker: Commands) -> None:
    """A run that is cancelled while it is watched ends the watch: exit 5."""
    maker.write("job.toml", JOB)
    process = maker.start("run", "job.toml", "model.latency_s=0.1")
    maker.wait_for(5, process)
    watcher = maker.start("watch", "last", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watcher.stdout is not None
    run_id = watcher.stdout.readline().split()[1]
    maker.good("cancel", run_id)
    told, _ = watcher.communicate(timeout=30)
    assert watcher.returncode == 5
    assert f"run {run_id} is cancelled" in told
    process.wait(timeout=30)


def test_a_run_that_is_not_there(maker: Commands) -> None:
    """No such run, or no such store: told in words, exit 2; so is a period that is none."""
    maker.write("job.toml", JOB)
    assert "there is no database" in maker.run("watch", "last").stderr
    maker.good("run", "job.toml", "model.latency_s=0", "model.p=1")
    for words, said in ((("nosuch",), "holds no run 'nosuch'"), (("last", "--every", "0"), "--every")):
        done = maker.run("watch", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_plain_lines(maker: Commands) -> None:
    """Where there is no terminal, a line says every ten seconds how the run stands."""
    maker.write("job.toml", JOB)
    process = maker.start("run", "job.toml", "model.latency_s=0.07")
    maker.wait_for(5, process)
    lines = maker.good("watch", "last").splitlines()
    assert process.wait(timeout=60) == 0
    between = lines[1 : next(place for place, line in enumerate(lines) if line.endswith(" is done"))]
    assert between
    assert all(re.fullmatch(rf"{LINE}, \d+:\d\d left", line) for line in between), between


def test_a_live_display_on_a_terminal(running: tuple[Commands, subprocess.Popen[str]]) -> None:
    """On a terminal the display is that of `run`: drawn in place as the run goes on, and gone at the end."""
    maker, process = running
    ours, theirs = pty.openpty()
    env = {name: value for name, value in maker.env.items() if name not in ("NO_COLOR", "CI")}
    maker.env = env | {"TERM": "xterm-256color", "COLUMNS": "150", "LINES": "40"}
    watcher = maker.start("watch", "last", "--every", "0.2", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = ""
    while watcher.poll() is None or select.select([ours], [], [], 0)[0]:
        try:
            shown += os.read(ours, 65536).decode(errors="replace") if select.select([ours], [], [], 1.0)[0] else ""
        except OSError:
            # The other end is closed: Linux says so with an input/output error.
            break
    os.close(ours)
    assert watcher.wait(timeout=30) == 0
    assert process.wait(timeout=60) == 0
    assert len(set(re.findall(LINE, shown))) >= 3, shown[-2000:]
    assert "━" in shown
    assert "\x1b[2K" in shown
    assert "is done" in shown.rpartition("\x1b[2K")[2]
