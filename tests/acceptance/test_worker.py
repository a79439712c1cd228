"""``maker worker``: kills, signals, other code, and queues that nobody serves."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from processes import Commands

import maker as library
from maker.lifecycle import queries

TRUTH = """from maker.plugin import Truth

def truth(prompt):
    right = str(int(prompt) % 3)
    return Truth((right,), tuple({"0", "1", "2"} - {right}))
"""
BOTH = pytest.mark.parametrize("commands_in", ["sqlite", "pgbouncer"], indirect=True)


def job(maker: Commands, disks: int = 6, latency_s: float = 0.02) -> dict[str, Any]:
    """Return a job that takes a second or two."""
    return {
        "task": {"decomposer": "hanoi", "disks": disks},
        "model": {"kind": "simulated", "p": 0.95, "latency_s": latency_s},
        "vote": {"k": 3},
        "store": {"url": maker.store, "durability": "strict"},
    }


@pytest.fixture
def waiting(maker: Commands) -> Iterator[list[str]]:
    """Return the ids of six runs that wait."""
    yield [library.enqueue(job(maker), [f"run.seed={n}"], run_id=f"order-{n}") for n in range(6)]


def until(maker: Commands, status: str, count: int, within_s: float = 60.0) -> None:
    """Wait until so many runs have a status."""
    deadline = time.monotonic() + within_s
    while len(queries.runs(store=maker.store, status=status)) < count:
        assert time.monotonic() < deadline, maker.output()
        time.sleep(0.05)


def test_rows_are_accepted_as_the_job_says(maker: Commands) -> None:
    """As `maker run` does. Labels that do not fit are told; the run is done all the same."""
    (maker.folder / "truth.py").write_text(TRUTH)
    rows = [f"r{row},{row}" for row in range(300)]
    (maker.folder / "rows.csv").write_text("\n".join(["id,text", *rows]) + "\n")
    (maker.folder / "labels.csv").write_text(
        "\n".join(["id,answer", *(f"r{row},{row % 3}" for row in range(90))]) + "\n"
    )
    (maker.folder / "wrong.csv").write_text("id,answer\nno such row,1\n")
    task = {
        "decomposer": "map", "input": str(maker.folder / "rows.csv"), "template": "{{text}}", "id_column": "id",
        "truth": f"{maker.folder}/truth.py:truth",
    }  # fmt: skip
    told = {"task": task, "model": {"kind": "simulated", "p": 0.95}, "vote": {"k": 2}}
    for name, file in (("fits", "labels.csv"), ("fails", "wrong.csv")):
        accept = {"error": 0.1, "labels": str(maker.folder / file), "shuffled": True}
        library.enqueue(told | {"store": {"url": maker.store}, "accept": accept}, run_id=name)
    worker = maker.start("worker", "--store", maker.store)
    until(maker, "done", 2)
    deadline = time.monotonic() + 60
    while "no rows are accepted" not in maker.output() and time.monotonic() < deadline:
        time.sleep(0.1)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    assert "run fits: " in maker.output()
    assert (maker.folder / "accept-fits" / "accepted.jsonl").read_text().count("\n") > 200
    assert "maker: run fails: no rows are accepted: " in maker.output()


@BOTH
def test_a_killed_workers_runs_move(maker: Commands, waiting: list[str]) -> None:
    """SIGKILL amid the work: the other worker takes its runs over; each is done once, to the log it would have had."""
    one, other = (maker.start("worker", "--store", maker.store, "--concurrency", "2") for _ in range(2))
    until(maker, "running", 4)
    one.send_signal(signal.SIGKILL)
    one.wait()
    until(maker, "done", 6)
    reports = {report.run_id: report for report in queries.runs(store=maker.store)}
    assert sorted(reports) == waiting
    assert sum(report.resumes for report in reports.values()) == 2
    for number, run_id in enumerate(waiting):
        assert queries.verify(run_id, store=maker.store).right
        alone = library.run(job(maker, latency_s=0), [f"run.seed={number}"])
        assert reports[run_id].digest == alone.digest
    other.send_signal(signal.SIGTERM)
    assert other.wait(timeout=30) == 0, maker.output()
    assert maker.output().count("is done") >= 4


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_is_drained(maker: Commands, waiting: list[str], sign: signal.Signals) -> None:
    """What is in work is paused in time, and waits for another worker; exit code 0."""
    worker = maker.start("worker", "--concurrency", "2", "--grace", "0.2")
    until(maker, "running", 2)
    time.sleep(0.3)
    began = time.monotonic()
    worker.send_signal(sign)
    assert worker.wait(timeout=30) == 0, maker.output()
    assert time.monotonic() - began < 10
    told = maker.output()
    assert "claiming no more runs; those in work have 0.2 s to end, then they pause" in told
    assert {report.status for report in queries.runs(store=maker.store)} == {"pending"}
    assert [report.steps > 0 for report in reversed(queries.runs(store=maker.store))][:3] == [True, True, False]


def test_a_queue_that_nobody_serves(maker: Commands, waiting: list[str]) -> None:
    """Ls and show say so, with the command that would; watch waits for whoever comes, and cancel ends a run."""
    listed = maker.good("ls", "--status", "pending")
    start = "start one with `maker worker --queue default`"
    assert listed.splitlines()[-1] == f"no worker serves queue 'default', where 6 of these runs wait; {start}"
    shown = maker.good("show", "order-3")
    assert "run order-3: pending" in shown
    assert "waits in queue 'default'; no worker serves it now; start one with `maker worker --queue default`" in shown
    assert maker.json("show", "order-3")["queue"]["claims"] == 0
    assert "is cancelled" in maker.good("cancel", "order-3")
    watcher = maker.start("watch", "order-0", "--every", "0.1")
    worker = maker.start("worker", "--concurrency", "4")
    assert watcher.wait(timeout=60) == 0, maker.output()
    until(maker, "done", 5)
    worker.terminate()
    assert worker.wait(timeout=30) == 0
    assert maker.run("show", "order-3").stdout.startswith("run order-3: cancelled")


def test_a_worker_with_other_code(maker: Commands) -> None:
    """It says which run it leaves, and why, once; the run says who left it. A worker with the code ends it."""
    task = (
        "from decomposers.function import Done, Truth, ask, task\n"
        "@task(state=int, action=int)\n"
        "def count(state):\n"
        "    return Done('VERSION') if state == 3 else ask(f'After {state}? ')\n"
        "@count.start\n"
        "def _():\n"
        "    return 0\n"
        "@count.apply\n"
        "def _(state, action):\n"
        "    return state + 1\n"
        "@count.oracle\n"
        "def _(prompt):\n"
        "    return Truth(('7',), ('8',))\n"
    )
    path = maker.write("mine.py", task.replace("VERSION", "old"))
    tables = {**job(maker), "task": {"decomposer": f"{path}:count"}}
    library.enqueue(tables, run_id="a")
    maker.write("mine.py", task.replace("VERSION", "new"))
    worker = maker.start("worker")
    time.sleep(0.5)
    library.enqueue(job(maker, disks=2), run_id="b")
    until(maker, "done", 1)
    time.sleep(1.5)
    worker.terminate()
    assert worker.wait(timeout=30) == 0
    told = maker.output()
    assert told.count("maker: run a waits again: run a was started with another task or voter") == 1, told
    assert "could not go on with it: run a was started with another task" in maker.good("show", "a")
    maker.write("mine.py", task.replace("VERSION", "old"))
    worker = maker.start("worker")
    until(maker, "done", 2)
    worker.terminate()
    assert worker.wait(timeout=30) == 0
    assert maker.json("show", "a")["result"] == "old"


def test_a_database_that_is_not_there(maker: Commands) -> None:
    """A worker makes a SQLite file, as a run does; what cannot be a store, or a number, is told with exit code 2."""
    for words in (("--store", "mysql://x/y"), ("--concurrency", "0"), ("--queue", ""), ("--limit", "0")):
        done = maker.run("worker", *words)
        assert done.returncode == 2, done
        assert "Traceback" not in done.stderr
    worker = maker.start("worker")
    deadline = time.monotonic() + 30
    while not maker.database.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    worker.terminate()
    assert worker.wait(timeout=30) == 0, maker.output()
