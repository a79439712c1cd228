"""Workflows beside chains: steps a second, memory, a resume; and many runs that wait for people.

    python -m benchmarks.speed.workflows [--steps 100000] [--rounds 3] [--waiting 10000]

- Steps: one workflow function asks ``--steps`` questions, one after another; the chain decomposer decides as many moves
  of towers. Both with the simulated model, in processes of their own, in turn; medians of ``--rounds``.
- Resume: the workflow is cut off before its end, and a new process goes on: from the call to the first new step.
- Memory: the peak of the process at the whole number of steps, beside that at a tenth.
- Waiting: so many runs rest until somebody answers. How long `maker waits` takes to list them all, how long one answer
  takes, and the resume after it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import maker
from benchmarks.shared.comparing import Goal, number, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.tasks import questions
from benchmarks.shared.watching import Refused, exit_with

LEFT = 10
"""Steps that are left to do after the cut."""
RUN = """
import json, resource, sys, time
import maker
job, limit = json.loads(sys.argv[1]), int(sys.argv[2])
began = time.perf_counter()
report = maker.run(job, limit_steps=limit)
took = time.perf_counter() - began
print(json.dumps([report.run_id, report.steps, took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
RESUME = """
import json, sys, time
import maker
from maker.lifecycle.events import StepsDecided
first = []
began = time.perf_counter()
report = maker.resume(
    sys.argv[1], store=sys.argv[2],
    on_event=lambda event: first.append(time.perf_counter() - began) if isinstance(event, StepsDecided) else None,
)
print(json.dumps([report.status, first[0]]))
"""


class Ran(NamedTuple):
    """What a process says of a run: its id, its steps, seconds, and the peak of its memory in MB."""

    run_id: str
    steps: int
    took_s: float
    peak_mb: float


def job(store: str, **task: Any) -> dict[str, Any]:
    """Return a job with the simulated model."""
    return {"task": task, "model": {"kind": "simulated", "p": 0.99}, "vote": {"k": 3}, "store": {"url": store}}


def workflow(store: str, steps: int) -> dict[str, Any]:
    """Return the job of the workflow."""
    return job(store, decomposer=f"{questions.__file__}:count", steps=steps)


def told(code: str, *words: str) -> Any:
    """Return what a program prints, as JSON."""
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def ran(of: dict[str, Any], steps: int) -> Ran:
    """Run so many steps of a job in a process of its own."""
    return Ran(*told(RUN, json.dumps(of), str(steps)))


def steps_of(steps: int, rounds: int, folder: Path) -> list[Goal]:
    """Compare both ways to write a long task."""
    disks = max(2, (steps + 1).bit_length())
    chains, flows, resumes = [], [], []
    for round_ in range(rounds):
        store = f"sqlite:///{folder}/flow{round_}.db"
        chains.append(ran(job(f"sqlite:///{folder}/chain{round_}.db", decomposer="hanoi", disks=disks), steps - LEFT))
        flows.append(ran(workflow(store, steps), steps - LEFT))
        status, first_s = told(RESUME, flows[-1].run_id, store)
        if status != "done":
            raise Refused(f"the workflow is {status}")
        resumes.append(first_s)
    short = ran(workflow(f"sqlite:///{folder}/short.db", steps // 10), steps // 10)
    speeds = [statistics.median(one.steps / one.took_s for one in each) for each in (chains, flows)]
    peak = statistics.median(one.peak_mb for one in flows)
    table(
        "steps",
        ("", "steps", "steps/s", "peak MB", "resume s"),
        [
            ("chain", str(chains[0].steps), number(speeds[0]), number(chains[0].peak_mb), ""),
            ("workflow", str(flows[0].steps), number(speeds[1]), number(peak), number(statistics.median(resumes))),
            ("workflow", str(short.steps), number(short.steps / short.took_s), number(short.peak_mb), ""),
        ],
    )
    return [
        Goal("chain's speed over the workflow's", 1.5, speeds[0] / speeds[1], "", least=False),
        Goal("resume, to the first new step", 5, statistics.median(resumes), " s", least=False),
    ]


def waiting(runs: int, folder: Path) -> list[Goal]:
    """Let runs wait for people; list them, answer one, go on with it."""
    store = f"sqlite:///{folder}/waiting.db"
    began = time.perf_counter()
    ids = [maker.run(job(store, decomposer=f"{questions.__file__}:approval", ticket=one)).run_id for one in range(runs)]
    each_ms = 1000 * (time.perf_counter() - began) / runs
    began = time.perf_counter()
    listed = subprocess.run(
        [sys.executable, "-m", "maker", "waits", "--store", store], capture_output=True, text=True, check=True
    )
    list_s = time.perf_counter() - began
    if len(listed.stdout.splitlines()) != runs:
        raise Refused(f"{len(listed.stdout.splitlines())} waits are listed")
    began = time.perf_counter()
    maker.answer(ids[runs // 2], "approve", True, store=store)
    answer_s = time.perf_counter() - began
    began = time.perf_counter()
    if maker.resume(ids[runs // 2], store=store).result is not True:
        raise Refused("the answer did not arrive")
    resume_s = time.perf_counter() - began
    table(
        "waiting",
        ("runs", "each begun and left, ms", "`maker waits`, s", "answer, s", "resume, s"),
        [(str(runs), number(each_ms), number(list_s), number(answer_s), number(resume_s))],
    )
    return [
        Goal("`maker waits` lists them", 1, list_s, " s", least=False),
        Goal("one is answered", 1, answer_s, " s", least=False),
    ]


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = make_parser(__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--waiting", type=int, default=10_000)
    options = read_options(parser, steps=200, rounds=1, waiting=3)
    with tempfile.TemporaryDirectory() as folder:
        goals = steps_of(options.steps, options.rounds, Path(folder))
        goals += waiting(options.waiting, Path(folder))
    return print_goals(goals, options)


if __name__ == "__main__":
    exit_with(main)
