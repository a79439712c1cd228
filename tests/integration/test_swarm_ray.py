"""Real Ray: the same log as in one process, errors that arrive as they were raised, nothing left running."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import Commands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TASK = """
from decomposers.function import Done, Truth, ask, task


@task(state=int, action=int)
def count(state: int):
    return Done({"counted": state}) if state >= 300 else ask(f"{state} + 1 = ")


@count.start
def _start() -> int:
    return 0


@count.apply
def _apply(state: int, action: int) -> int:
    return state + 1


@count.oracle
def _oracle(prompt: str) -> Truth:
    number = int(prompt.split()[0])
    return Truth((str(number + 1),), (str(number + 2), "one more"))
"""
JOB = """
[task]
decomposer = "count.py:count"
[model]
kind = "simulated"
p = 0.8
rivals = 2
[vote]
k = 3
"""
FORK = """
[task]
decomposer = "hanoi"
disks = 9
form = "tree"
[model]
kind = "simulated"
p = 0.9
[vote]
k = 3
"""
DOOMED = """
import os
import sys

from decomposers.hanoi import Hanoi


class Doomed(Hanoi):
    name = "doomed"

    def oracle(self):
        try:
            os.close(os.open("first", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            print("no device is left", file=sys.stderr, flush=True)
            os._exit(3)
        return super().oracle()
"""
SAME = ("status", "steps", "votes", "red_flags", "disputed", "calls", "requests", "digest", "result")


class Place(Commands):
    """A folder with a job in it, where the command line and other programs run with a mark in their environment."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write("count.py", TASK)
        self.write("job.toml", JOB)

    def maker(self, *words: str, code: int = 0) -> str:
        """Run the command line, which must end with this exit code; return what it prints, errors included."""
        # What starts Ray is a fresh process: Ray looks at it to make workers that are like it.
        done = self.run(*words, fresh="swarm.kind=ray" in words, timeout_s=200)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def program(self, text: str) -> str:
        """Run a program that must succeed; return what it prints."""
        self.write("program.py", text)
        done = subprocess.run(
            [sys.executable, "program.py"], cwd=self.folder, env=self.env, capture_output=True, text=True,
            timeout=200, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def show(self) -> dict[str, Any]:
        """Return how the newest run stands."""
        shown: dict[str, Any] = self.json("show", "last")
        return shown


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return a folder with a job; what its processes leave running is ended after the test."""
    made = Place(tmp_path)
    yield made
    made.end()


def test_a_file_plugin_gives_the_same_log_under_ray(place: Place) -> None:
    """A job of a file plugin is the same locally and under Ray, to the last vote; nothing is left running."""
    logs = []
    for kind in ("local", "ray"):
        printed = place.maker("run", "job.toml", f"swarm.kind={kind}")
        place.maker("verify", "last")
        shown = place.show()
        logs.append(({name: shown[name] for name in SAME}, place.maker("steps", "last", "--json")))
        assert "is done" in printed
    assert logs[0] == logs[1]
    assert logs[0][0]["red_flags"] > 0
    assert logs[0][0]["disputed"] > 0
    assert not place.left()


def test_a_run_paused_locally_goes_on_under_ray(place: Place) -> None:
    """Where the work is done may change in the middle of a run; the log does not show it."""
    place.maker("run", "job.toml")
    whole = place.show()
    place.maker("run", "job.toml", "--limit-steps", "120", code=5)
    place.maker("resume", "last", "swarm.kind=ray", "--limit-steps", "100", code=5)
    assert place.show()["steps"] == 220
    place.maker("resume", "last", "swarm.kind=local")
    shown = place.show()
    assert {name: shown[name] for name in SAME} == {name: whole[name] for name in SAME}


def test_a_killed_worker_is_replaced(place: Place) -> None:
    """The actor's process is killed: another one goes on from what is committed, and the run ends as without that.

    The terminal, the log, and who watches the run from another process are told of it.
    """
    place.maker("run", "job.toml")
    whole = place.show()
    place.forget()
    process = place.start("--log", "log.jsonl", "run", "job.toml", "swarm.kind=ray", "model.latency_s=0.03")
    place.wait_for(20, process)
    workers = [pid for pid, line in place.marked().items() if line.startswith("ray::_RayWorker")]
    assert len(workers) == 1, place.marked()
    watcher = place.start("watch", "last", stdout=subprocess.PIPE)
    assert watcher.stdout is not None
    watcher.stdout.readline()
    os.kill(workers[0], signal.SIGKILL)
    assert process.wait(timeout=120) == 0, place.output()
    assert "worker 0 was lost and a new one is starting" in " ".join(watcher.communicate(timeout=30)[0].split())
    log = [json.loads(line) for line in (place.folder / "log.jsonl").read_text().splitlines()]
    begun = [(record["worker"], record["place"].rpartition(":")[2]) for record in log if "opened_s" in record]
    assert (len(begun), begun[0], begun[1][0]) == (2, (0, str(workers[0])), 1)
    assert [record["worker"] for record in log if record["event"] == "worker_lost"] == [0]
    assert not [name for record in log for name in record if "ray" in name]
    told = " ".join(place.output().split())
    assert (
        "worker 0 was lost and a new one is starting; 1 chains continue from their last committed step: The actor died"
        in told
    )
    assert "Traceback" not in told
    shown = place.show()
    kept = [name for name in SAME if name not in ("calls", "requests")]
    assert {name: shown[name] for name in kept} == {name: whole[name] for name in kept}
    assert shown["resumes"] == 0
    assert not place.left()


def part_of_ray(place: Place, name: str) -> int:
    """Return the process of a part of Ray; an agent comes up after its node, and is known as a child of it.

    An agent writes its title over its environment, so that it may carry no mark.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = marked = place.marked()
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(entry.read_text().rpartition(")")[2].split()[1]) in marked:
                    lines = {**lines, int(entry.parent.name): (entry.parent / "cmdline").read_text().replace("\0", " ")}
        if found := [pid for pid, line in lines.items() if name in line]:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"Ray has started no {name}:\n{place.output()}")


@pytest.mark.parametrize("part", ["ray::DashboardAgent", "ray::RuntimeEnvAgent", "/raylet/raylet "])
def test_a_ray_that_loses_a_part_pauses_the_run(place: Place, part: str) -> None:
    """An agent is killed, which takes the node with it, or the node itself: the run pauses within a minute and says so.

    A resume starts another Ray, and the run ends as without that.
    """
    process = place.start("run", "job.toml", "swarm.kind=ray", "model.latency_s=0.05")
    place.wait_for(20, process)
    os.kill(part_of_ray(place, part), signal.SIGKILL)
    assert process.wait(timeout=60) == 7, place.output()
    told = " ".join(place.output().split())
    assert "Ray has no node left" in told
    assert "is paused; continue with `maker resume" in told
    assert "Traceback" not in told
    assert place.show()["status"] == "paused"
    place.maker("resume", "last", "model.latency_s=0")
    assert place.show()["status"] == "done"
    assert not place.left()


def test_a_worker_that_dies_again_and_again_is_given_up(place: Place) -> None:
    """A step that takes its worker down each time pauses the run after three deaths, with the last words."""
    (place.folder / "count.py").write_text(
        TASK.replace("return state + 1", "return state + 1 if state < 7 else __import__('os')._exit(3)")
    )
    printed = place.maker("run", "job.toml", "swarm.kind=ray", code=7)
    told = " ".join(printed.split())
    assert "a worker's process died 3 times without deciding a step; the last time: The actor died" in told
    assert "is paused; continue with `maker resume" in told
    shown = place.show()
    assert shown["status"] == "paused"
    assert "died 3 times" in shown["reason"]
    assert not place.left()


def test_a_place_that_fails_again_and_again_is_given_up(place: Place) -> None:
    """Of two workers one dies whenever it opens its model: its place is given up, with its last words shown."""
    place.write("doomed.py", DOOMED)
    place.write("doomed.toml", FORK.replace('"hanoi"', '"doomed.py:Doomed"\nsegment = 5'))
    process = place.start("run", "doomed.toml", "swarm.kind=ray", "swarm.replicas=2", "swarm.chains=4", "swarm.cpus=.1",
                          "model.latency_s=0.2")  # fmt: skip
    assert process.wait(timeout=120) == 0, place.output()
    losses = [line for line in place.output().splitlines() if " was lost and " in line]
    assert [line.partition(" was lost and ")[2].partition("; 0 chains continue")[0] for line in losses] == [
        "a new one is starting", "a new one is starting", "it is not replaced",
    ]  # fmt: skip
    assert all("The actor died" in line and line.endswith("its last output: no device is left") for line in losses), (
        losses
    )
    assert place.show()["status"] == "done"
    assert not place.left()


def test_an_engine_that_stops_is_its_workers_loss(place: Place) -> None:
    """What the model raises in one worker ends neither the others nor the run, until no place is left."""
    text = """
from pathlib import Path

from maker import api
from maker.lifecycle import session
from maker.job.probe import first_state
from maker.voting.messages import ChainAt
from maker.errors import MakerError, ModelFailed, ModelUnusable
from maker.models.simulated import SimulatedModel
from maker.swarm.interface import Gone
from maker.swarm.ray import RaySwarm
from maker.swarm.messages import Orders

job = api.load_job({"task": {"decomposer": "hanoi", "disks": 5}, "model": {"kind": "simulated"}})
spec = session.worker_spec(job)
chain = ChainAt(0, (), 0, 0, b"", first_state(job))


class Stops(SimulatedModel):
    def poll(self, wait_s):
        raise ModelFailed("the engine stopped")


def stops():
    return Stops(job.model, job.decomposer.oracle())


def opens_once():
    if Path("opened").exists():
        raise ModelUnusable("no memory is left")
    Path("opened").touch()
    return stops()


def never():
    raise ModelUnusable("there is no such model")


for open_model in (stops, opens_once, never):
    swarm = RaySwarm(spec._replace(open_model=open_model), replicas=1, most=0, cpus=1, gpus=0, resources={})
    served = set()
    try:
        while True:
            for worker in set(swarm.ready) - served:
                served.add(worker)
                swarm.give(worker, Orders(chains=(chain,)))
            for news in swarm.collect(5.0):
                if isinstance(news, Gone):
                    print(open_model.__name__, news.worker, news.reason, news.replaced)
    except MakerError as error:
        print(open_model.__name__, type(error).__name__, error.message)
    swarm.close()
"""
    lost = "WorkerLost a worker's process died 3 times without deciding a step; the last time:"
    assert place.program(text).splitlines() == [
        "stops 0 the engine stopped True", "stops 1 the engine stopped True", f"stops {lost} the engine stopped",
        "opens_once 0 the engine stopped True", "opens_once 1 no memory is left True",
        f"opens_once {lost} no memory is left",
        "never ModelUnusable there is no such model",
    ]  # fmt: skip


def test_replicas_share_the_work(place: Place) -> None:
    """Three workers leave the log of one."""
    place.write("fork.toml", FORK)
    place.maker("run", "fork.toml")
    alone = place.show()
    place.maker("run", "fork.toml", "swarm.kind=ray", "swarm.replicas=3", "swarm.cpus=0.1")
    shown = place.show()
    assert {name: shown[name] for name in SAME} == {name: alone[name] for name in SAME}
    place.maker("verify", "last")
    printed = place.maker("run", "fork.toml", "swarm.kind=ray", "swarm.replicas=900", code=2)
    assert "900 workers need 900 CPU, but Ray has" in printed
    assert not place.left()


@pytest.mark.parametrize("begun", [False, True], ids=["starting", "stepping"])
def test_ctrl_c_pauses_and_leaves_nothing(place: Place, begun: bool) -> None:
    """Ctrl-C reaches the whole foreground group: exit 130, paused, nothing left running, and the run goes on later."""
    process = place.start("run", "job.toml", "swarm.kind=ray", "model.latency_s=0.03")
    place.wait_for(20 if begun else 0, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130, place.output()
    assert "Traceback" not in place.output()
    assert place.show()["status"] == "paused"
    assert not place.left()
    place.maker("resume", "last", "swarm.kind=local", "model.latency_s=0")
    place.maker("verify", "last")


def test_a_task_that_raises_in_a_worker_is_told(place: Place) -> None:
    """What a task's own code raises in a worker arrives with its step and its words, and pauses the run."""
    (place.folder / "count.py").write_text(
        TASK.replace("return state + 1", "return state + 1 if state < 7 else 1 // 0")
    )
    printed = place.maker("run", "job.toml", "swarm.kind=ray", code=7)
    assert "step 7: count: apply raised ZeroDivisionError" in printed
    assert (place.show()["status"], place.show()["steps"]) == ("paused", 7)


def test_a_worker_that_cannot_open_its_model_is_told(place: Place) -> None:
    """A model that no worker can open: exit 2 in words, nothing left running."""
    (place.folder / "count.py").write_text(TASK.partition("@count.oracle")[0])
    printed = place.maker("run", "job.toml", "swarm.kind=ray", code=2)
    assert "oracle" in printed
    assert not place.left()


JOB_IN_PROGRAM = """
job = {
    "task": {"decomposer": "hanoi", "disks": 5},
    "model": {"kind": "simulated", "p": 0.9},
    "vote": {"k": 4},
    "swarm": {"kind": "ray"},
}
"""


def test_a_program_keeps_its_signal_handlers_and_its_ray(place: Place) -> None:
    """A run in a program ends the Ray that it started, leaves one that was there, and touches no signal handler."""
    text = f"""
import logging
import signal

import ray

import maker
{JOB_IN_PROGRAM}
signs = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)
signal.signal(signal.SIGTERM, lambda sign, frame: None)
handlers = [signal.getsignal(sign) for sign in signs]
handled = list(logging.getLogger().handlers)

assert maker.run(job).status == "done"
assert [signal.getsignal(sign) for sign in signs] == handlers
assert logging.getLogger().handlers == handled
assert not ray.is_initialized()

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
handlers = [signal.getsignal(sign) for sign in signs]
mine = ray.put("mine")
reports = [maker.run(job), maker.run(job)]
assert [report.status for report in reports] == ["done", "done"]
assert [signal.getsignal(sign) for sign in signs] == handlers
assert ray.is_initialized()
assert ray.get(mine) == "mine"
print("well", *{{report.digest for report in reports}})
"""
    words = place.program(text).split()
    assert words[0] == "well"
    assert len(words) == 2
    assert not place.left()


def test_two_runs_at_once_share_one_ray(place: Place) -> None:
    """Two runs of a service work under one Ray at a time, which ends with the last of them."""
    text = f"""
import asyncio

import ray

import maker
{JOB_IN_PROGRAM}

async def main():
    async with maker.Service(store="sqlite:///maker.db") as engine:
        runs = [await engine.start(job, [f"run.seed={{seed}}"]) for seed in (1, 2)]
        for run in runs:
            report = await run.result()
            assert report.status == "done", report
            assert maker.verify(report.run_id).right
    assert not ray.is_initialized()
    print("well")


asyncio.run(main())
"""
    assert place.program(text).split() == ["well"]
    assert not place.left()
