"""Runs of Python objects: the same runs as of their names, resumed anywhere, in scripts, loops and notebooks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import maker
from decomposers.hanoi import hanoi
from decomposers.map import map_rows
from maker.errors import BadInput, JobError
from maker.plugin import Truth
from maker.testing import FakeServer, chat_completion
from tests.unit.workflow_tasks import Kind, count, ticket
from voters.bayes import bayes

ROOT = Path(__file__).parents[3]
SURE = maker.simulated(p=0.9)


def truth(prompt: str) -> Truth:
    """Say what is right."""
    return Truth(["yes"], ["no"])


def plausible(row: Any, answer: Any) -> str | None:
    """Allow all."""


def test_a_run_of_an_object_is_the_run_of_its_name(store: str) -> None:
    """The digest takes in fingerprint and votes; and the other can go on with it."""
    named = maker.run({
        "task": {"decomposer": "hanoi", "disks": 4}, "model": {"kind": "simulated", "p": 0.9}, "vote": {"k": 3},
        "store": {"url": store},
    })  # fmt: skip
    of_objects = maker.run(hanoi(disks=4), model=SURE, k=3, store=store)
    assert of_objects.digest == named.digest
    assert of_objects.settings == named.settings


def test_a_map_of_this_file_is_piloted_resumed_and_verified(tmp_path: Path, store: str) -> None:
    """Its functions are found by their names wherever maker looks for them, and are never loaded a second time."""
    rows = tmp_path / "rows.csv"
    rows.write_text("text\n" + "\n".join(f"row {i}" for i in range(300)) + "\n")
    asked = map_rows(input=str(rows), template="Is {{text}} a row?\n", check=plausible, truth=truth)
    cut = maker.run(asked, model=maker.simulated(p=0.97), row_error=0.05, store=store, limit_steps=50)
    assert cut.status == "paused"
    done = maker.resume(cut.run_id, store=store)
    assert done.result == {"rows": 300, "decided": 300}
    assert maker.verify(done.run_id, store=store).right
    whole = maker.run(
        {
            "task": {
                "decomposer": "map", "input": str(rows), "template": "Is {{text}} a row?\n",
                "check": f"{__file__}:plausible", "truth": f"{__file__}:truth",
            },
            "model": {"kind": "simulated", "p": 0.97}, "vote": {"row_error": 0.05}, "store": {"url": store},
        }
    )  # fmt: skip
    assert whole.digest == done.digest


def test_a_workflow_gives_its_result_typed(store: str) -> None:
    """Of a run that is done; `show` will do."""
    cut = maker.run(ticket("the printer"), model=SURE, k=4, store=store, limit_steps=2)
    with pytest.raises(BadInput, match=rf"run {cut.run_id} is paused: it has no result"):
        ticket.result_of(cut)
    maker.resume(cut.run_id, store=store)
    result = ticket.result_of(maker.show(cut.run_id, store=store))
    assert (result.kind, result.words) == (Kind.BUG, [3, 7])


SCRIPT = """\
import sys
import maker
from maker.plugin import Ballots, Decision, More, Params, Voter

class Two(Voter):
    name = "two"
    least = 2
    def __init__(self, params: Params) -> None: ...
    def decide(self, ballots: Ballots):
        standing = ballots.standing()
        if standing is None or standing.votes < 2:
            return More(2 - (standing.votes if standing else 0))
        return Decision(standing.leader, standing.votes - standing.rival)

@maker.workflow
async def counted(run: maker.Run, steps: int) -> int:
    return sum([await run.child(one, step) for step in range(steps)])

async def one(run: maker.Run, step: int) -> int:
    return await run.ask(f"One for {step}?", int, name="one", k=2, truth=1)

print("once", file=sys.stderr)
store = "sqlite:///objects.db"
if sys.argv[1:] == ["whole"]:
    report = maker.run(counted(6), model=maker.simulated(p=0.9), voter=Two, store=store)
elif sys.argv[1:] == ["cut"]:
    report = maker.run(counted(6), model=maker.simulated(p=0.9), voter=Two, store=store, limit_steps=2)
else:
    report = maker.resume(sys.argv[-1] if __name__ == "__main__" else "last", store=store)
    assert maker.verify(report.run_id, store=store).right
print(report.run_id, report.status, report.result, report.digest)
"""


def ran(cwd: Path, *arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    """Return a process of its own, which must end well."""
    done = subprocess.run(
        [sys.executable, *arguments], input=code, capture_output=True, text=True, check=False, cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_a_script_is_resumed_by_itself(tmp_path: Path) -> None:
    """What stands in it is found in it, and it runs once; who else would load it is told what to do first."""
    (tmp_path / "mine.py").write_text(SCRIPT)
    whole = ran(tmp_path, "mine.py", "whole").stdout.split()
    assert whole[1:3] == ["done", "6"]
    cut = ran(tmp_path, "mine.py", "cut").stdout.split()[0]
    refused = resumed(tmp_path, cut)
    assert refused.returncode == 2
    assert "mine.py works on a run while it is loaded for what it defines" in refused.stderr
    assert 'below `if __name__ == "__main__":`' in refused.stderr
    by_itself = ran(tmp_path, "mine.py", cut)
    assert (by_itself.stdout.split()[1:], by_itself.stderr.count("once")) == (whole[1:], 1)


def test_a_guarded_script_is_resumed_by_the_command_line(tmp_path: Path) -> None:
    """It loads the file, as for any task that is named by its file."""
    head, tail = SCRIPT.split('print("once"')
    body = "".join(f"    {line}\n" for line in f'print("once"{tail}'.splitlines())
    (tmp_path / "mine.py").write_text(f'{head}if __name__ == "__main__":\n{body}')
    whole = ran(tmp_path, "mine.py", "whole").stdout.split()
    cut = ran(tmp_path, "mine.py", "cut").stdout.split()[0]
    done = resumed(tmp_path, cut)
    assert done.returncode == 0, done.stderr
    assert whole[-1] in done.stdout
    assert "once" not in done.stderr


def resumed(cwd: Path, run_id: str) -> subprocess.CompletedProcess[str]:
    """Return what the command line does with a run."""
    return subprocess.run(
        [sys.executable, "-m", "maker", "resume", run_id, "--store", "sqlite:///objects.db", "--json"],
        capture_output=True, text=True, check=False, cwd=cwd, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip


NOTEBOOK = """\
import asyncio, linecache
import maker

def cell(source):
    name = f"<cell {len(linecache.cache)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    exec(compile(source, name, "exec"), globals())

cell('''
@maker.workflow
async def count(run: maker.Run, steps: int) -> int:
    return sum([await run.ask(f"One for {step}?", int, truth=1) for step in range(steps)])
''')

async def shell():
    report = maker.run(count(5), model=maker.simulated(p=0.9), store="sqlite:///cells.db", limit_steps=2)
    report = maker.resume(report.run_id, store="sqlite:///cells.db")
    again = await maker.arun(count(5), model=maker.simulated(p=0.9), store="sqlite:///cells.db")
    print(report.result, again.digest == report.digest, report.settings["task"]["decomposer"])
    cut = maker.run(count(5), model=maker.simulated(p=0.9), store="sqlite:///cells.db", limit_steps=2)
    cell('''
@maker.workflow
async def count(run: maker.Run, steps: int) -> int:
    return sum([await run.ask(f"1 for {step}?", int, truth=1) for step in range(steps)])
''')
    try:
        maker.resume(cut.run_id, store="sqlite:///cells.db")
    except maker.MakerError as error:
        print(error)

asyncio.run(shell())
"""


def test_a_notebook_runs_and_resumes_what_a_cell_defines(tmp_path: Path) -> None:
    """In the running loop as well; a cell that has changed is another task."""
    first, second = ran(tmp_path, "-", code=NOTEBOOK).stdout.splitlines()[:2]
    assert first == "5 True __main__:count"
    assert "was started with another task or voter: decomposer_source was" in second


def test_a_run_is_awaited_while_the_loop_goes_on(store: str) -> None:
    """`maker.run` blocks the loop, `maker.arun` does not; both end as they would without one."""
    slow = maker.simulated(p=0.9, latency_s=0.002)

    async def work() -> tuple[maker.RunReport, maker.RunReport, int]:
        looks = 0
        run = asyncio.create_task(maker.arun(count(20), model=slow, k=3, store=store))
        while not run.done():
            looks += 1
            await asyncio.sleep(0.01)
        return await run, maker.run(count(20), model=slow, k=3, store=store), looks

    awaited, blocked, looks = asyncio.run(work())
    assert awaited.status == "done"
    assert awaited.digest == blocked.digest
    assert looks > 3


def test_a_server_is_asked_within_a_running_loop(tmp_path: Path, store: str) -> None:
    """The model has a loop of its own."""
    (tmp_path / "rows.csv").write_text("text\na\nb\n")
    task = map_rows(input=str(tmp_path / "rows.csv"), template="Is {{text}} a letter?\n")

    async def work(url: str) -> list[Any]:
        model = maker.openai(url=url, name="m")
        blocked = maker.run(task, model=model, k=2, store=store)
        return [blocked.result, (await maker.arun(task, model=model, k=2, store=store)).result]

    with FakeServer(lambda body: (200, chat_completion(["yes"] * body.get("n", 1)))) as server:
        assert asyncio.run(work(server.url)) == [{"rows": 2, "decided": 2}] * 2


def test_who_is_cancelled_pauses_the_run(store: str) -> None:
    """And leaves no thread that goes on with it."""

    async def work() -> None:
        run = asyncio.create_task(maker.arun(count(10_000), model=maker.simulated(latency_s=0.005), store=store))
        while not any(report.steps for report in _runs(store)):
            await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(work())
    assert maker.show("last", store=store).status == "paused"


def _runs(store: str) -> list[Any]:
    try:
        return list(maker.runs(store=store))
    except maker.MakerError:
        return []


def test_a_service_takes_the_same_keywords(store: str) -> None:
    """But the store, which is its own."""

    async def work() -> maker.RunReport:
        async with maker.Service(store=store) as service:
            run = await service.start(hanoi(disks=4), model=SURE, voter=bayes(error=0.02))
            loaded = maker.load_job(hanoi(disks=4), model=SURE, store=store)
            with pytest.raises(JobError, match="'k' comes too late"):
                await service.start(loaded, k=3)
            return await run.result()

    report = asyncio.run(work())
    assert (report.status, report.settings["vote"]["voter"]) == ("done", "bayes")
    assert report.digest == maker.run(hanoi(disks=4), model=SURE, voter=bayes(error=0.02), store=store).digest


def test_steps_are_tried(store: str) -> None:
    """With keywords, too."""
    tried = list(maker.try_steps(hanoi(disks=4), model=SURE, k=2, count=2))
    assert len(tried) == 2
