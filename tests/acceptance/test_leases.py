"""Who may write to a run: one process at a time, and none that has slept through its lease."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import Any

import pytest
from processes import Commands

from maker.store.backend.postgres import IDLE_S

JOB = """
    [task]
    decomposer = "hanoi"
    disks = 12
    [model]
    kind = "simulated"
    p = 0.99
    latency_s = 0.005
    [vote]
    k = 3
    """


EITHER = pytest.mark.parametrize("commands_in", ["sqlite", "pgbouncer"], indirect=True)


def stop_between_commits(process: subprocess.Popen[str], maker: Commands) -> None:
    """Stop a process at a moment when it holds no lock of the database."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        if not maker.locked():
            return
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.05)


def stop_within_a_commit(process: subprocess.Popen[str], maker: Commands) -> None:
    """Stop a process at a moment when it holds a lock of the database."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        if maker.locked():
            return
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(random.uniform(0, 0.01))


@EITHER
def test_a_live_holder_keeps_its_run(maker: Commands) -> None:
    """Of two processes that resume one run, one works; the other says who holds it and leaves it alone."""
    maker.write("job.toml", JOB)
    process = maker.start("run", "job.toml")
    maker.wait_for(20, process)
    other = maker.run("resume", "last")
    assert other.returncode == 2
    assert f"process {process.pid} on " in other.stderr and "is working on run" in other.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert maker.json("show", "last")["resumes"] == 0


@EITHER
def test_a_dead_holder_is_taken_over(maker: Commands) -> None:
    """A killed process's run is free at once."""
    maker.write("job.toml", JOB)
    process = maker.start("run", "job.toml")
    maker.wait_for(20, process)
    process.kill()
    process.wait()
    assert maker.run("resume", "last", "--limit-steps", "5").returncode == 5
    assert maker.json("show", "last")["resumes"] == 1


SHORT_LEASE_S = 5.0
SHORT = f"""
from maker.store import lease
lease.LEASE_S = {SHORT_LEASE_S}
from maker.cli import main
main()
"""


def taken_over(maker: Commands, within_s: float) -> dict[str, Any]:
    """Take a sleeping process's run over as soon as that is allowed, for 50 steps; returns how the run stands then."""
    began = time.monotonic()
    while (taken := maker.run("resume", "last", "--limit-steps", "50")).returncode == 2:
        assert "is working on run" in taken.stderr
        assert time.monotonic() - began < within_s
        time.sleep(0.2)
    assert taken.returncode == 5, taken.stderr
    shown: dict[str, Any] = maker.json("show", "last")
    return shown


def assert_silent_since(before: dict[str, Any], process: subprocess.Popen[str], maker: Commands) -> None:
    """See that a process that has woken up wrote nothing and said why, and that the run can be finished."""
    assert process.wait(30) == 1
    assert "another process has taken over this run; this process has written nothing since" in maker.output()
    assert maker.json("show", "last") == before
    assert maker.run("resume", "last", "model.latency_s=0").returncode == 0
    maker.good("verify", "last")


@pytest.mark.slow
@EITHER
def test_a_holder_that_slept_writes_nothing(maker: Commands) -> None:
    """A process that was stopped for three lease times loses its run; when it wakes it writes nothing, and says why."""
    maker.write("job.toml", JOB)
    process = maker.start("run", "job.toml", program=("-c", SHORT))
    maker.wait_for(20, process)
    stop_between_commits(process, maker)
    began = time.monotonic()
    before = taken_over(maker, 2 * SHORT_LEASE_S)
    time.sleep(max(0.0, 3 * SHORT_LEASE_S - (time.monotonic() - began)))
    process.send_signal(signal.SIGCONT)
    assert_silent_since(before, process, maker)


@pytest.mark.slow
@pytest.mark.parametrize("commands_in", ["pgbouncer"], indirect=True)
def test_a_holder_that_sleeps_within_a_commit_keeps_nobody_out(maker: Commands) -> None:
    """A server gives up the transaction of a process that was stopped within it: another takes the run over."""
    maker.write("job.toml", JOB)
    process = maker.start("run", "job.toml", "store.durability=strict", program=("-c", SHORT))
    maker.wait_for(20, process)
    stop_within_a_commit(process, maker)
    before = taken_over(maker, IDLE_S + 2 * SHORT_LEASE_S)
    process.send_signal(signal.SIGCONT)
    assert_silent_since(before, process, maker)


@EITHER
def test_a_run_is_cancelled_under_its_process(maker: Commands) -> None:
    """The process that works on a cancelled run stops by itself; what it decided stays, and nobody can take it up."""
    maker.write("job.toml", JOB)
    process = maker.start("run", "job.toml")
    maker.wait_for(20, process)
    run_id = maker.json("show", "last")["run_id"]
    refused = maker.run("cancel", "last")
    assert refused.returncode == 2
    assert f"'last' stands for run {run_id}" in refused.stderr
    assert f"run {run_id} is cancelled" in maker.good("cancel", run_id, fresh=True)
    assert process.wait(30) == 5
    shown = maker.json("show", run_id)
    assert (shown["status"], shown["reason"]) == ("cancelled", "cancelled")
    assert shown["steps"] >= 20
    assert maker.run("resume", run_id).returncode == 2
    assert maker.run("prune", "last").returncode == 2
    maker.good("prune", run_id, fresh=True)
    assert maker.run("show", run_id).returncode == 2
