"""Decorrelated votes under real Ray: a worker that takes a lost one's place asks as the lost one did."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest
from processes import Commands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TASK = Path(__file__).parents[1] / "acceptance" / "tasks" / "line.py"
JOB = f"""
[task]
decomposer = '{TASK}:Line'
[model]
kind = "simulated"
p = 0.95
common = 0.45
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
ALARM = 128


def varied(maker: Commands) -> list[int]:
    """Return the steps of the newest run of which a vote was asked in other words."""
    with sqlite3.connect(maker.database) as connection:
        query = "SELECT DISTINCT idx FROM maker_sample WHERE system IS NOT NULL ORDER BY idx"
        return [idx for (idx,) in connection.execute(query)]


def test_a_worker_in_a_lost_ones_place_asks_as_it_did(tmp_path: Path) -> None:
    """Strict, and killed under Ray after the alarm, a run is that of one undisturbed process, to the last vote."""
    maker = Commands(tmp_path)
    try:
        maker.write("job.toml", JOB)
        maker.good("run", "job.toml")
        whole = maker.json("show", "last")
        assert varied(maker) == list(range(ALARM, 300))
        maker.forget()
        process = maker.start("run", "job.toml", "swarm.kind=ray", "model.latency_s=0.03")
        maker.wait_for(ALARM + 10, process)
        workers = [pid for pid, line in maker.marked().items() if line.startswith("ray::_RayWorker")]
        os.kill(workers[0], signal.SIGKILL)
        assert process.wait(timeout=120) == 0, maker.output()
        assert "worker 0 was lost and a new one is starting" in " ".join(maker.output().split())
        assert varied(maker) == list(range(ALARM, 300))
        shown = maker.json("show", "last")
        assert (shown["digest"], shown["monitor"]) == (whole["digest"], whole["monitor"])
        maker.good("verify", "last", fresh=True)
    finally:
        maker.end()
