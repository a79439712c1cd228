"""Killed at any moment and resumed, a run is the run that nobody disturbed: step for step, vote for vote.

The task is such that no two logs are alike (see tasks/many.py), so a single sample drawn otherwise shows. The seed of
the moments is printed; MAKER_TEST_SEED sets another one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from processes import Commands

import maker as library
from maker.store.backend.database import open_database
from maker.store.chains import root_chain
from maker.store.log import StepRow, read_steps
from maker.store.runs import OVER, find_run
from maker.voting.seeds import ChainSeeds

TASK = Path(__file__).parent / "tasks" / "many.py"
SEED = int(os.environ.get("MAKER_TEST_SEED", "20261"))
STEPS = 400
PROMPTS = 4
KILLS = 20
INSIDE = 15
KILLS_PER_RUN = 5
LATENCY_S = {1: 0.016, 2: 0.0025}
"""What makes the stepping take some eight seconds, so that a start of one second is a small part of a run."""


class Log(NamedTuple):
    """All that a run left: its rows, with the digest of every step, and what `maker show` and `maker steps` say."""

    rows: list[StepRow]
    steps: list[dict[str, Any]]
    shown: dict[str, Any]


class Whole(NamedTuple):
    """An uninterrupted run: its log, seconds until its first step was committed, seconds for each step."""

    log: Log
    start_s: float
    step_s: float


def job(k: int, *, steps: int = STEPS, latency_s: float | None = None, swarm: str = "local") -> str:
    return f"""
        [task]
        decomposer = '{TASK}:Many'
        steps = {steps}
        [model]
        kind = "simulated"
        p = 0.6
        rivals = 6
        malformed = 0.05
        latency_s = {LATENCY_S[k] if latency_s is None else latency_s}
        [vote]
        k = {k}
        max_votes = 1000
        [swarm]
        kind = "{swarm}"
        """


def log_of(maker: Commands) -> Log:
    """Read a run that is done, and see that it verifies."""
    shown = maker.json("show", "last")
    assert shown["status"] == "done", shown
    maker.good("verify", "last")
    database = open_database(maker.store, create=False)
    rows = list(read_steps(database, root_chain(database, find_run(database, "last").key).key))
    return Log(rows, [json.loads(line) for line in maker.good("steps", "last", "--json").splitlines()], shown)


def assert_same(log: Log, expected: Log) -> None:
    """Compare two logs to the last vote, after seeing that the expected one could tell."""
    assert_telling(expected.steps)
    assert log.steps == expected.steps, first_difference(log.steps, expected.steps)
    assert log.rows == expected.rows
    same = ("steps", "votes", "red_flags", "disputed", "digest", "result")
    assert {name: log.shown[name] for name in same} == {name: expected.shown[name] for name in same}


def assert_telling(steps: list[dict[str, Any]]) -> None:
    """See that equal prompts drew different samples: a log in which they did not proves nothing about seeds."""
    tallies = {json.dumps([step["votes"], step["flags"]]) for step in steps}
    assert len(tallies) > 3 * PROMPTS, f"{len(tallies)} different tallies for {PROMPTS} different prompts"
    assert len({reason for step in steps for reason in step["flags"]}) == 4, "not every reason for a flag came up"


def first_difference(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> str:
    for one, other in zip(found, expected, strict=False):
        if one != other:
            return f"step {one['step']} is {one}, in the uninterrupted run {other}"
    return f"{len(found)} steps, {len(expected)} in the uninterrupted run"


def uninterrupted(maker: Commands, job_file: Path) -> Whole:
    """Run a job undisturbed in a new database, and clock it from outside."""
    maker.forget()
    began = time.monotonic()
    process = maker.start("run", job_file.name)
    first = None
    while process.poll() is None:
        if first is None and (at := maker.standing()) and at.steps:
            first = time.monotonic() - began - at.steps / STEPS
        time.sleep(0.02)
    ended = time.monotonic() - began
    assert process.returncode == 0, maker.output()
    assert first is not None, "the run was over before it was seen"
    log = log_of(maker)
    print(f"uninterrupted: first step after {first:.1f} s, done after {ended:.1f} s, digest {log.shown['digest']}")
    return Whole(log, first, (ended - first) / STEPS)


class Killer:
    """Runs one job to its end through kills at moments drawn evenly over what is left of it.

    Even kills end the driver alone, odd ones its whole process group.
    """

    def __init__(self, maker: Commands, draw: random.Random) -> None:
        self._maker = maker
        self._draw = draw
        self.kills = self.inside = self.early = 0

    def work(self, job_file: Path, whole: Whole) -> None:
        """Start a run and go on until it is done, through a few kills."""
        self._maker.forget()
        stop_at = self.kills + KILLS_PER_RUN
        while (at := self._maker.standing()) is None or at.status not in OVER:
            process = self._maker.start(*(("resume", "last") if at else ("run", job_file.name)))
            if self.kills < stop_at:
                self._kill(process, whole.start_s + (STEPS - (at.steps if at else 0)) * whole.step_s)
            else:
                process.wait(timeout=120)
                assert process.returncode == 0, self._maker.output()

    def _kill(self, process: subprocess.Popen[str], left_s: float) -> None:
        after_s = self._draw.uniform(0, left_s)
        group = self.kills % 2 == 1
        self.kills += 1
        try:
            assert process.wait(timeout=after_s) == 0, self._maker.output()
        except subprocess.TimeoutExpired:
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
        at = self._maker.standing()
        inside = at is not None and at.status not in OVER
        self.inside += inside
        self.early += at is None
        who = "the group" if group else "the driver"
        print(f"kill {self.kills:2} of {who} after {after_s:5.2f} of {left_s:5.2f} s: {at or 'no run yet'}")


class Part:
    """One job in a folder of its own: undisturbed, then through kills.

    Args:
        maker: The command line in an empty folder.
        k: The votes that a step is decided by.
        swarm: Where the work is done.
    """

    def __init__(self, maker: Commands, k: int, swarm: str) -> None:
        self.maker = maker
        self.killer = Killer(self.maker, random.Random(f"{SEED} {swarm} {k}"))
        self._job_file = self.maker.write("job.toml", job(k, swarm=swarm))
        self._whole: Whole | None = None

    def work(self, kills: int) -> None:
        """Run the job as often as it takes until it was killed so often; compare each run with the undisturbed one."""
        self._whole = self._whole or uninterrupted(self.maker, self._job_file)
        while self.killer.kills < kills:
            self.killer.work(self._job_file, self._whole)
            assert_same(log_of(self.maker), self._whole.log)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("commands_in", "swarm"), [("sqlite", "local"), ("sqlite", "ray"), ("pgbouncer", "local")], indirect=["commands_in"]
)
def test_a_killed_and_resumed_run_is_the_uninterrupted_one(
    commands_in: Callable[[Path], Commands], tmp_path: Path, swarm: str
) -> None:
    """Twenty kills at evenly drawn moments, k = 1 and k = 2: every step, vote, flag, round and digest is the same."""
    print(f"seed of the moments: {SEED}, swarm: {swarm}")
    parts = []
    for k in (1, 2):
        folder = tmp_path / f"k{k}"
        folder.mkdir()
        parts.append(Part(commands_in(folder), k, swarm))
    # At once: both wait for the model nearly all the time.
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(lambda part: part.work(KILLS // 2), parts))
    last, counts = parts[-1], [part.killer for part in parts]
    # A kill may come before the run is stored or after its end; too many such, and there are some more.
    while sum(one.inside for one in counts) < INSIDE and sum(one.kills for one in counts) < 2 * KILLS:
        last.work(last.killer.kills + KILLS_PER_RUN)
    kills, inside, early = (sum(getattr(one, name) for one in counts) for name in ("kills", "inside", "early"))
    print(f"{kills} kills, {inside} inside a run, {early} before there was one")
    assert kills >= KILLS
    assert inside >= INSIDE
    assert not [line for part in parts for line in part.maker.left()]


@pytest.mark.slow
def test_local_and_ray_decide_alike(maker: Commands) -> None:
    """The same job gives the same log, to the last digest, in this process and under Ray."""
    logs = []
    for swarm in ("local", "ray"):
        maker.forget()
        maker.good("run", maker.write("job.toml", job(2, swarm=swarm, latency_s=0)).name)
        logs.append(log_of(maker))
    assert_same(logs[1], logs[0])
    assert not maker.left()


@pytest.mark.slow
def test_kills_while_the_database_is_made_lose_nothing(maker: Commands) -> None:
    """A process killed at the first sign of its database leaves one that the next process can use."""
    job_file = maker.write("job.toml", job(1, steps=20, latency_s=0))
    draw = random.Random(SEED)
    print(f"seed of the moments: {SEED}")
    unmade = 0
    # The first moment is the first sign of the file, so that one kill at least comes before the run is in it.
    for moment in (0.0, *(draw.uniform(0, 0.15) for _ in range(7))):
        maker.forget()
        process = maker.start("run", job_file.name)
        while not maker.database.exists():
            assert process.poll() is None, maker.output()
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        at = maker.standing()
        unmade += at is None
        maker.good(*(("resume", "last") if at and at.status not in OVER else ("run", job_file.name)))
        maker.good("verify", "last")
    assert unmade, "no kill came before the run was in the database"


@pytest.mark.slow
def test_kills_around_the_last_commit_lose_nothing(maker: Commands) -> None:
    """A process killed as its last steps are committed leaves a run that is done, or can be finished."""
    job_file = maker.write("job.toml", job(1, steps=60, latency_s=0.01))
    maker.good("run", job_file.name)
    expected = log_of(maker).rows
    for _ in range(6):
        maker.forget()
        process = maker.start("run", job_file.name)
        while not ((at := maker.standing()) and at.steps >= 55):
            assert process.poll() is None, maker.output()
        process.kill()
        process.wait()
        at = maker.standing()
        assert at is not None
        if at.status not in OVER:
            maker.good("resume", "last")
        assert log_of(maker).rows == expected


Rule = Callable[[Any, int, int, int, int], int]


def without_the_index() -> Rule:
    """Return the seed rule with the step index left out."""
    kept = ChainSeeds.at
    return lambda self, _index, epoch, rung, vote: kept(self, 0, epoch, rung, vote)


def by_count() -> Rule:
    """Return a seed rule that counts requests where it should name the step: right until the first resume."""
    kept = ChainSeeds.at

    def at(self: Any, _index: int, epoch: int, rung: int, vote: int) -> int:
        self.asked = getattr(self, "asked", -1) + 1
        return kept(self, self.asked, epoch, rung, vote)

    return at


@pytest.fixture
def in_process(tmp_path: Path) -> Iterator[Callable[[int | None], Log]]:
    """Return a function that runs the task in this process, broken off and resumed after so many steps if told to."""

    def work(broken_off: int | None) -> Log:
        url = f"sqlite:///{tmp_path}/{broken_off}.db"
        tables = {
            "task": {"decomposer": f"{TASK}:Many", "steps": STEPS},
            "model": {"kind": "simulated", "p": 0.6, "rivals": 6, "malformed": 0.05},
            "vote": {"k": 2, "max_votes": 1000},
            "store": {"url": url},
        }
        report = library.run(tables, limit_steps=broken_off)
        while report.status == "paused" and report.reason.startswith("reached the limit of"):
            report = library.resume(report.run_id, store=url, limit_steps=broken_off)
        assert report.status == "done", report.reason
        database = open_database(url, create=False)
        rows = list(read_steps(database, root_chain(database, find_run(database, "last").key).key))
        return Log(rows, [step.to_json() for step in library.steps("last", store=url)], report.to_json())

    yield work


def test_broken_off_and_resumed_in_process_is_the_same(in_process: Callable[[int | None], Log]) -> None:
    """The comparison passes with the real seed rule, broken off wherever."""
    whole = in_process(None)
    for broken_off in (37, 399):
        assert_same(in_process(broken_off), whole)


@pytest.mark.parametrize("rule", [without_the_index, by_count])
def test_the_comparison_fails_with_a_broken_seed_rule(
    in_process: Callable[[int | None], Log], monkeypatch: pytest.MonkeyPatch, rule: Callable[[], Rule]
) -> None:
    """A seed rule that omits the step index is caught: equal prompts draw equal samples, or a resume draws others."""
    monkeypatch.setattr(ChainSeeds, "at", rule())
    whole, resumed = in_process(None), in_process(37)
    with pytest.raises(AssertionError, match="different tallies" if rule is without_the_index else "uninterrupted"):
        assert_same(resumed, whole)
