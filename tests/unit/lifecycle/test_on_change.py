"""Runs whose code changes while they rest: refused, pinned to the code they began with, or going on with the new."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import maker
from maker.engine.causes import STOPPED
from maker.errors import BadInput, JobError, RunHeld, RunIdTaken, RunNotResumable
from maker.lifecycle import queries
from maker.lifecycle.control import take
from maker.lifecycle.events import CodeChanged
from maker.lifecycle.following import Follower
from maker.store.backend.database import open_database, upgrade_database
from maker.store.queue import claim
from maker.store.runs import find_run, release

COUNT = """
from decomposers.function import Done, Truth, ask, task

@task(state=list[int], action=int)
def count(state):
    return Done({"sum": sum(state), "by": "OLD"}) if len(state) == 6 else ask(f"After {len(state)}? ")

@count.start
def _(limit: int = 6):
    return [1]

@count.apply
def _(state, action):
    return [*state, action]

@count.oracle
def _(prompt):
    return Truth(("7",), ("8",))
"""
NEWER = COUNT.replace("OLD", "NEW").replace("After {len(state)}?", "What follows {len(state)}?")
FLOW = """
import maker

@maker.workflow
async def ticket(run: maker.Run, copies: int = 1) -> list[int]:
    first = await run.ask("How many?", int, truth=3)
    many = await run.map("Twice {}?", [1, 2, 3], int, truth=lambda one: 2 * one)
    parts = await run.gather(*(run.child(part, number) for number in many))
    last = await run.ask("And OLD?", int, truth=9)
    return [first, *many, *parts, last]

async def part(run: maker.Run, number: int) -> int:
    once = await run.ask(f"First of {number}?", int, name="part", truth=number)
    return once + await run.ask(f"Second of {number}?", int, name="part", truth=1)
"""


def job_of(file: Path, url: str, name: str, **run: Any) -> dict[str, dict[str, Any]]:
    return {
        "run": run,
        "task": {"decomposer": f"{file}:{name}"},
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 2},
        "store": {"url": url, "samples": "all"},
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with a task of six steps."""
    path = tmp_path / "counting.py"
    path.write_text(COUNT)
    return path


@pytest.fixture
def database(database_url: str) -> str:
    """Return the URL of an upgraded database, of each kind."""
    upgrade_database(database_url)
    return database_url


def test_refuse_says_what_to_do(file: Path, store: str) -> None:
    """By default other code is refused, with both ways to go on."""
    begun = maker.run(job_of(file, store, "count"), limit_steps=2)
    file.write_text(NEWER)
    with pytest.raises(RunNotResumable, match="decomposer_source was") as caught:
        maker.resume(begun.run_id, store=store)
    assert f"`maker resume {begun.run_id} run.on_change=migrate`" in str(caught.value)
    file.write_text(COUNT)
    assert maker.resume(begun.run_id, store=store).status == "done"


def test_migrate_goes_on_with_the_new_code(file: Path, database: str) -> None:
    """Given at the resume, it keeps the steps so far; the log verifies, and tells where the code changed."""
    begun = maker.run(job_of(file, database, "count"), limit_steps=2)
    file.write_text(NEWER)
    heard: list[object] = []
    done = maker.resume(begun.run_id, ["run.on_change=migrate"], store=database, on_event=heard.append)
    assert (done.status, done.result) == ("done", {"sum": 36, "by": "NEW"})
    (told,) = (one for one in heard if isinstance(one, CodeChanged))
    assert (told.run_id, told.number, told.step) == (begun.run_id, 0, 2)
    assert "decomposer_source was" in told.changed
    changed = [one for one in done.events if one["kind"] == "code_changed"]
    assert [one["step"] for one in changed] == [2]
    verified = queries.verify(begun.run_id, store=database)
    assert (verified.right, verified.not_asked, verified.steps) == (True, 2, 5), verified.problem
    file.write_text(NEWER.replace("NEW", "NEWEST"))
    assert "the task has changed" in queries.verify(begun.run_id, store=database).problem


def test_the_digest_takes_in_the_change(file: Path, store: str) -> None:
    """The same answers without the change have another digest, and another place of it is found."""
    begun = maker.run(job_of(file, store, "count"), limit_steps=2)
    file.write_text(COUNT + "\n# a remark\n")
    done = maker.resume(begun.run_id, ["run.on_change=migrate"], store=store)
    plain = maker.run(job_of(file, store, "count"))
    assert plain.result == done.result
    assert plain.digest != done.digest
    opened = open_database(store, create=False)
    with opened.write() as connection:
        connection.exec_driver_sql("UPDATE maker_change SET places = replace(places, '[2,', '[3,')")
    opened.close()
    assert (
        "changes of code" in queries.verify(begun.run_id, store=store).problem
        or "digest" in queries.verify(begun.run_id, store=store).problem
    )


@pytest.mark.parametrize("after", range(1, 11))
def test_a_workflow_migrates_anywhere(tmp_path: Path, store: str, after: int) -> None:
    """Between its own steps, within a map, and within children: each step is asked once, and the log verifies."""
    file = tmp_path / "flow.py"
    file.write_text(FLOW)
    begun = maker.run(job_of(file, store, "ticket"), limit_steps=after)
    assert begun.status == "paused", begun.reason
    file.write_text(FLOW.replace("And OLD?", "And NEW?").replace('name="part"', 'name="piece"'))
    done = maker.resume(begun.run_id, ["run.on_change=migrate"], store=store)
    assert (done.status, done.result) == ("done", [3, 2, 4, 6, 3, 5, 7, 9])
    verified = queries.verify(begun.run_id, store=store)
    assert verified.right, verified.problem
    assert verified.not_asked == begun.steps
    assert [one.kind for one in queries.steps(begun.run_id, store=store)].count("ask") == 5


WAITS = """
import maker

@maker.workflow
async def ticket(run: maker.Run) -> list[object]:
    first = await run.ask("How many?", int, truth=3)
    both = await run.gather(run.wait("approve", bool, prompt="OLD?"), run.ask("Meanwhile?", int, truth=4))
    return [first, *both, await run.ask("And OLD?", int, truth=9)]
"""


@pytest.mark.parametrize("answered_before", [True, False])
def test_a_run_migrates_while_it_waits(tmp_path: Path, store: str, answered_before: bool) -> None:
    """The answer is taken, whether it was given before or after; another wait in its place is refused."""
    file = tmp_path / "waits.py"
    file.write_text(WAITS)
    begun = maker.run(job_of(file, store, "ticket"))
    assert begun.reason == "waits for approve"
    file.write_text(WAITS.replace('"approve"', '"sign"'))
    with pytest.raises(RunNotResumable, match="it has begun wait 'approve', and now it asks for 'sign'"):
        maker.resume(begun.run_id, ["run.on_change=migrate"], store=store)
    if answered_before:
        maker.answer(begun.run_id, "approve", True, by="ann", store=store)
    file.write_text(WAITS.replace("OLD", "NEW"))
    done = maker.resume(begun.run_id, ["run.on_change=migrate"], store=store)
    if not answered_before:
        assert done.reason == "waits for approve"
        maker.answer(begun.run_id, "approve", True, by="ann", store=store)
        done = maker.resume(begun.run_id, store=store)
    assert (done.status, done.result) == ("done", [3, True, 4, 9])
    verified = queries.verify(begun.run_id, store=store)
    assert verified.right, verified.problem


@pytest.mark.parametrize("answered_before", [True, False])
def test_a_run_migrates_while_a_person_is_asked_about_a_step(file: Path, store: str, answered_before: bool) -> None:
    """The answer decides the step that votes of the earlier code left open, by the new code's reading of it."""
    vote = {"k": 3, "max_votes": 4, "on_undecided": "ask"}
    asked = job_of(file, store, "count") | {"model": {"kind": "simulated", "p": 0.55}, "vote": vote}
    begun = maker.run(asked)
    assert begun.reason.startswith("waits for step-"), begun.reason
    (wait,) = maker.waits(begun.run_id, store=store)
    if answered_before:
        maker.answer(begun.run_id, wait.name, 7, by="ann", store=store)
    file.write_text(NEWER)
    report = maker.resume(begun.run_id, ["run.on_change=migrate"], store=store)
    while report.status == "paused":
        (wait,) = maker.waits(begun.run_id, store=store)
        maker.answer(begun.run_id, wait.name, 7, by="ann", store=store)
        report = maker.resume(begun.run_id, store=store)
    assert report.status == "done"
    assert report.result["by"] == "NEW"
    assert queries.verify(begun.run_id, store=store).problem == ""
    # Whose votes were cast, and by whose code, is no excuse for a changed sample.
    opened = open_database(store, create=False)
    with opened.write() as connection:
        connection.exec_driver_sql("UPDATE maker_sample SET candidate = '8' WHERE candidate = '7' AND idx = 0")
    opened.close()
    assert "sample" in queries.verify(begun.run_id, store=store).problem


def test_a_workflow_that_asks_something_else_is_refused(tmp_path: Path, store: str) -> None:
    """What the log answers must be asked as it was; the refusal has both questions, and nothing has changed."""
    file = tmp_path / "flow.py"
    file.write_text(FLOW)
    begun = maker.run(job_of(file, store, "ticket"), limit_steps=3)
    file.write_text(FLOW.replace("How many?", "How few?"))
    with pytest.raises(RunNotResumable, match=r"asked 'How many\?' before, and now it asks 'How few\?'") as caught:
        maker.resume(begun.run_id, ["run.on_change=migrate"], store=store)
    assert begun.run_id in str(caught.value)
    file.write_text(FLOW)
    done = maker.resume(begun.run_id, store=store)
    assert (done.status, queries.verify(begun.run_id, store=store).not_asked) == ("done", 0)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("state=list[int]", "state=dict[str, int]", "step 2: the state before it|the state before step 2"),
        ("def count(state)", "def counts(state)", "has no 'count'"),
        ("from decomposers", "raise RuntimeError('no network')\nfrom decomposers", "no network"),
        ("limit: int = 6", "most: int = 6", r"task\.limit: there is no such setting"),
    ],
)
def test_code_that_cannot_go_on(file: Path, store: str, old: str, new: str, told: str) -> None:
    """The refusal says why, and the run goes on once its code is back."""
    begun = maker.run(job_of(file, store, "count"), limit_steps=2)
    changed = COUNT.replace(old, new)
    file.write_text(changed.replace("@count", "@counts") if "counts" in changed else changed)
    with pytest.raises(BadInput, match=told):
        maker.resume(begun.run_id, ["run.on_change=migrate"], store=store)
    file.write_text(COUNT)
    assert maker.resume(begun.run_id, store=store).result == {"sum": 36, "by": "OLD"}


def test_what_is_not_code_stays_refused(file: Path, store: str) -> None:
    """Parameters, seeds and models are no code: migrate lets none of them change."""
    begun = maker.run(job_of(file, store, "count"), limit_steps=2)
    for word, told in (("task.limit=7", "task: limit was 6, is 7"), ("run.seed=4", "seed was 0, is 4")):
        with pytest.raises(RunNotResumable, match=told):
            maker.resume(begun.run_id, ["run.on_change=migrate", word], store=store)


def test_migrate_twice_and_never_back_by_itself(file: Path, store: str) -> None:
    """A second change is another one; a process with code that the run has left goes on only when told so by hand."""
    begun = maker.run(job_of(file, store, "count", on_change="migrate"), limit_steps=1)
    file.write_text(NEWER)
    assert maker.resume(begun.run_id, store=store, limit_steps=1).status == "paused"
    file.write_text(NEWER.replace("NEW", "NEWEST"))
    assert maker.resume(begun.run_id, store=store, limit_steps=1).status == "paused"
    file.write_text(COUNT)
    done = maker.resume(begun.run_id, store=store)
    assert (done.status, done.result["by"]) == ("done", "OLD")
    verified = queries.verify(begun.run_id, store=store)
    assert (verified.right, verified.not_asked) == (True, 3), verified.problem


def test_pin_goes_on_with_the_code_it_began_with(file: Path, database: str) -> None:
    """Changed or gone, the file is taken from the store: at a resume, by verify, and for the steps' listing."""
    begun = maker.run(job_of(file, database, "count", on_change="pin"), limit_steps=2)
    file.write_text(NEWER)
    half = maker.resume(begun.run_id, store=database, limit_steps=1)
    assert half.status == "paused"
    file.unlink()
    done = maker.resume(begun.run_id, store=database)
    assert done.result == {"sum": 36, "by": "OLD"}
    assert queries.verify(begun.run_id, store=database).right
    assert [one.action for one in queries.steps(begun.run_id, store=database)] == [7] * 5


def test_an_answer_is_checked_with_the_code_that_is_kept(file: Path, store: str) -> None:
    """A person decides a step of a pinned run whose file has changed, as the run itself goes on."""
    job = job_of(file, store, "count", on_change="pin")
    job["model"] = {"kind": "simulated", "p": 0.5}
    job["vote"] = {"k": 2, "max_votes": 2, "on_undecided": "ask"}
    begun = maker.run(job)
    file.write_text(NEWER)
    (wait,) = maker.waits(begun.run_id, store=store)
    maker.answer(begun.run_id, wait.at, "@1", store=store)
    assert maker.resume(begun.run_id, store=store).steps > begun.steps
    assert queries.verify(begun.run_id, store=store).problem == ""


def test_who_follows_a_run_hears_of_its_new_code(file: Path, store: str) -> None:
    """The event's step is its own, and no place of a wait."""
    begun = maker.run(job_of(file, store, "count"), limit_steps=2)
    with closing(open_database(store, create=False)) as opened:
        follower = Follower(opened, begun.run_id)
        file.write_text(NEWER)
        maker.resume(begun.run_id, ["run.on_change=migrate"], store=store)
        (told,) = (one for one in follower.look() if isinstance(one, CodeChanged))
    assert (told.number, told.step) == (0, 2)


def test_a_pinned_workflow_in_another_process(tmp_path: Path, store: str) -> None:
    """Its step classes are read from the kept source, not from what the file holds by now."""
    file = tmp_path / "flow.py"
    file.write_text(FLOW)
    begun = maker.run(job_of(file, store, "ticket", on_change="pin"), limit_steps=6)
    file.write_text(FLOW.replace("How many?", "How few?").replace('name="part"', 'name="other"'))
    words = [sys.executable, "-m", "maker", "resume", begun.run_id, "--store", store]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ)
    assert ended.returncode == 0, ended.stderr
    assert "[3, 2, 4, 6, 3, 5, 7, 9]" in ended.stdout
    assert queries.verify(begun.run_id, store=store).right


def test_pin_from_a_resume_on(file: Path, store: str) -> None:
    """A run that began without it keeps what it still has; what has changed by then cannot be kept."""
    begun = maker.run(job_of(file, store, "count"), limit_steps=1)
    file.write_text(NEWER)
    with pytest.raises(RunNotResumable, match="decomposer_source was"):
        maker.resume(begun.run_id, ["run.on_change=pin"], store=store)
    file.write_text(COUNT)
    maker.resume(begun.run_id, ["run.on_change=pin"], store=store, limit_steps=1)
    file.write_text(NEWER)
    assert maker.resume(begun.run_id, store=store, limit_steps=1).status == "paused"
    done = maker.resume(begun.run_id, ["run.on_change=migrate"], store=store)
    assert done.result == {"sum": 36, "by": "NEW"}
    assert queries.verify(begun.run_id, store=store).not_asked == 3


def test_an_answer_to_a_pinned_run_is_checked_with_its_code(file: Path, store: str) -> None:
    """The code that is there now need not even load; a person decides all the same."""
    asked = {"k": 2, "max_votes": 2, "on_undecided": "ask"}
    job = job_of(file, store, "count", on_change="pin") | {"vote": asked, "model": {"kind": "simulated", "p": 0.5}}
    report = maker.run(job)
    file.write_text("raise RuntimeError")
    while report.status == "paused":
        for item in maker.review(report.run_id, store=store):
            maker.answer(report.run_id, item.at, "@1", by="ann", store=store)
        report = maker.resume(report.run_id, store=store)
    assert (report.status, report.result["by"]) == ("done", "OLD")
    assert report.answered > 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import beside\n", "it imports beside, a file"),
        ("def _later():\n    from beside import x\n", "it imports beside, a file"),
        ("from . import beside\n", r"it imports \., a file"),
        ("# " + "x" * 1_000_000, "1,000,000 are kept at most"),
    ],
)
def test_what_cannot_be_pinned_is_refused_at_the_start(file: Path, store: str, text: str, told: str) -> None:
    """With the reason, before there is a run."""
    (file.parent / "beside.py").write_text("x = 1\n")
    file.write_text(COUNT + ("\n" + text if "from . " not in text else f"\ndef _never():\n    {text}"))
    if text.startswith("import"):
        file.write_text(COUNT + f"\ndef _never():\n    {text}")
    with pytest.raises(JobError, match=told):
        maker.run(job_of(file, store, "count", on_change="pin"))
    with pytest.raises(BadInput):
        maker.runs(store=store)


def test_an_installed_module_cannot_be_pinned(store: str) -> None:
    """What stands in a package of others has no file of its own."""
    job = job_of(Path("x.py"), store, "x", on_change="pin") | {
        "task": {"decomposer": "fork_tasks:Tree", "shape": {"steps": [1]}}
    }
    with pytest.raises(JobError, match="stands in an installed module"):
        maker.run(job)


def test_maker_s_own_code_needs_no_pin(store: str) -> None:
    """A task and a voter of maker's are those of the installed version, pinned or not."""
    job = job_of(Path("x.py"), store, "x", on_change="pin") | {"task": {"decomposer": "hanoi", "disks": 3}}
    assert maker.run(job).status == "done"


@pytest.mark.parametrize("mode", ["pin", "migrate"])
def test_a_fork(file: Path, store: str, mode: str) -> None:
    """A fork of a pinned run has its code; one that migrates goes on with the new, from where it begins."""
    begun = maker.run(job_of(file, store, "count", on_change="pin" if mode == "pin" else "refuse"))
    file.write_text(NEWER)
    if mode == "migrate":
        with pytest.raises(RunNotResumable, match=r"run\.on_change=migrate"):
            maker.fork(begun.run_id, 3, store=store)
    forked = maker.fork(begun.run_id, 3, [f"run.on_change={mode}"], store=store)
    done = maker.resume(forked.run_id, store=store)
    assert (done.status, done.result["by"]) == ("done", "OLD" if mode == "pin" else "NEW")
    verified = queries.verify(done.run_id, store=store)
    assert (verified.right, verified.not_asked) == (True, 0 if mode == "pin" else 3), verified.problem
    if mode == "migrate":
        again = maker.fork(done.run_id, 4, store=store)
        assert maker.resume(again.run_id, store=store).status == "done"
        assert queries.verify(again.run_id, store=store).right


def test_a_fork_whose_original_has_gone_on_with_other_code(file: Path, store: str) -> None:
    """It verifies with its own code, and what it shares, which its original now says of other code, is not asked."""
    begun = maker.run(job_of(file, store, "count"), limit_steps=3)
    forked = maker.fork(begun.run_id, 2, store=store)
    file.write_text(NEWER)
    assert maker.resume(begun.run_id, ["run.on_change=migrate"], store=store).status == "done"
    file.write_text(COUNT)
    assert maker.resume(forked.run_id, store=store).result == {"sum": 36, "by": "OLD"}
    verified = queries.verify(forked.run_id, store=store)
    assert (verified.right, verified.not_asked) == (True, 2), verified.problem


def test_an_id_of_a_job_of_another_kind(file: Path, store: str, tmp_path: Path) -> None:
    """A task with functions of its own is compared with one that has none."""
    maker.run(job_of(file, store, "count"), run_id="a", limit_steps=1)
    (tmp_path / "rows.csv").write_text("id,text\n1,one\n")
    (tmp_path / "rules.py").write_text("def read(text):\n    return text\n")
    job = job_of(file, store, "count") | {
        "task": {
            "decomposer": "map", "input": str(tmp_path / "rows.csv"), "template": "{{text}}",
            "parse": f"{tmp_path / 'rules.py'}:read",
        }
    }  # fmt: skip
    with pytest.raises(RunIdTaken):
        maker.run(job, run_id="a")


def test_a_fork_that_pins_what_its_original_did_not(file: Path, store: str) -> None:
    """It keeps the code that is there then."""
    begun = maker.run(job_of(file, store, "count"), limit_steps=3)
    forked = maker.fork(begun.run_id, 2, ["run.on_change=pin"], store=store)
    file.unlink()
    assert maker.resume(forked.run_id, store=store).result == {"sum": 36, "by": "OLD"}


def test_the_same_id_after_a_deployment(file: Path, store: str) -> None:
    """`maker.run` of the same id goes on as the job says: refused, with the kept code, or with the new code."""
    maker.run(job_of(file, store, "count"), run_id="a", limit_steps=1)
    maker.run(job_of(file, store, "count", on_change="pin"), run_id="b", limit_steps=1)
    file.write_text(NEWER)
    with pytest.raises(RunIdTaken, match="migrate"):
        maker.run(job_of(file, store, "count"), run_id="a")
    done = maker.run(job_of(file, store, "count", on_change="migrate"), run_id="a")
    assert done.result == {"sum": 36, "by": "NEW"}
    kept = maker.run(job_of(file, store, "count", on_change="pin"), run_id="b")
    assert kept.result == {"sum": 36, "by": "OLD"}


def test_pruning_removes_what_was_kept(file: Path, store: str) -> None:
    """With the run its sources and changes go; those of another run stay."""
    begun = maker.run(job_of(file, store, "count", on_change="pin"), limit_steps=1)
    other = maker.run(job_of(file, store, "count", on_change="pin"), limit_steps=1)
    maker.prune(begun.run_id, store=store)
    file.unlink()
    assert maker.resume(other.run_id, store=store).status == "done"
    maker.prune(other.run_id, store=store)
    opened = open_database(store, create=False)
    with opened.read() as connection:
        for table in ("maker_source", "maker_change", "maker_text"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0, table  # noqa: S608
    opened.close()


# --- workers of a queue, and services ---


@contextmanager
def working(store: str) -> Iterator[None]:
    """Have a worker work in the block."""
    stop = threading.Event()
    thread = threading.Thread(target=lambda: maker.work_queue(store=store, stop=stop, grace_s=0.0))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("mode", "by"), [("pin", "OLD"), ("migrate", "NEW")])
def test_a_worker_with_newer_code(file: Path, database: str, mode: str, by: str) -> None:
    """It goes on with a run as the run says: by the code that the store keeps, or by its own."""
    job = job_of(file, database, "count", on_change=mode)
    maker.run(job, run_id="begun", limit_steps=2)
    maker.enqueue(job, run_id="fresh")
    file.write_text(NEWER)
    maker.enqueue(job_of(file, database, "count", on_change=mode), run_id="fresh")
    with working(database):
        wait_for(lambda: maker.show("fresh", store=database).status == "done")
    assert maker.show("fresh", store=database).result == {"sum": 36, "by": by}
    assert maker.run(job, run_id="begun").result == {"sum": 36, "by": by}
    assert all(queries.verify(run_id, store=database).right for run_id in ("begun", "fresh"))


def test_a_worker_never_takes_a_run_back_to_code_that_it_has_left(file: Path, store: str) -> None:
    """It sets the run aside, says why, and one with the newer code goes on."""
    job = job_of(file, store, "count", on_change="migrate")
    maker.enqueue(job, run_id="a")
    newer = job_of(file, store, "count", on_change="migrate")
    file.write_text(NEWER)
    opened = open_database(store, create=False)
    held = take(opened, find_run(opened, "a"), ExitStack(), claims=claim(opened, "default").claims)
    with held.resources:
        release(opened, held.lease, "paused", STOPPED)
    with opened.write() as connection:
        connection.exec_driver_sql("UPDATE maker_queue SET state = 'waiting'")
        connection.exec_driver_sql("UPDATE maker_run SET status = 'pending'")
    file.write_text(COUNT)
    with working(store):
        wait_for(lambda: "has left the code that this process has" in maker.show("a", store=store).reason)
    file.write_text(NEWER)
    with working(store):
        wait_for(lambda: maker.show("a", store=store).status == "done")
    opened.close()
    assert maker.run(newer, run_id="a").result == {"sum": 36, "by": "NEW"}


def test_an_argument_that_fits_its_type_no_more(tmp_path: Path, store: str) -> None:
    """The refusal names the run, the argument, its value and the type."""
    file = tmp_path / "flow.py"
    file.write_text(FLOW)
    job = job_of(file, store, "ticket")
    job["task"] |= {"copies": 2}
    begun = maker.run(job, limit_steps=3)
    file.write_text(FLOW.replace("copies: int = 1", "copies: bool = False"))
    with pytest.raises(JobError, match=rf"run {begun.run_id}: task\.copies = 2: .*boolean"):
        maker.resume(begun.run_id, ["run.on_change=migrate"], store=store)


def test_an_id_of_another_workflow(tmp_path: Path, store: str) -> None:
    """The refusal names both tasks."""
    file = tmp_path / "flow.py"
    file.write_text(FLOW + "\n\n@maker.workflow\nasync def other(run: maker.Run) -> int:\n    return 1\n")
    maker.run(job_of(file, store, "ticket"), run_id="a", limit_steps=1)
    with pytest.raises(RunIdTaken, match=r"task\.decomposer was .*flow\.py:ticket', is .*flow\.py:other'"):
        maker.run(job_of(file, store, "other", on_change="migrate"), run_id="a")


def test_an_error_inside_a_workflow_is_mended_and_goes_on(tmp_path: Path, store: str) -> None:
    """It names function, file and line, gives advice that fits, and the mended code keeps the steps."""
    file = tmp_path / "flow.py"
    broken = FLOW.replace("    last =", "    {}['x']\n    last =")
    file.write_text(broken)
    begun = maker.run(job_of(file, store, "ticket"))
    assert begun.status == "paused"
    line = broken.splitlines().index("    {}['x']") + 1
    assert f"ticket: next raised KeyError: 'x' (flow.py, line {line})" in begun.reason
    assert "parse" not in begun.reason
    assert "run.on_change=migrate" in begun.reason
    file.write_text(FLOW)
    done = maker.resume(begun.run_id, ["run.on_change=migrate"], store=store)
    assert (done.status, done.result[-1]) == ("done", 9)
    assert queries.verify(begun.run_id, store=store).right


def test_an_effect_that_takes_longer_than_a_lease(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is renewed meanwhile: nobody can take the run over, and the effect is done once."""
    lease_s = 3.0
    for place in ("keeper", "runs", "journal"):
        monkeypatch.setattr(f"maker.store.{place}.LEASE_S", lease_s, raising=False)
    file = tmp_path / "slow.py"
    file.write_text(
        "import pathlib\nimport time\nimport maker\n\n"
        "def send(folder: str) -> bool:\n"
        "    with open(folder + '/sent', 'a') as sent:\n"
        "        sent.write('x')\n"
        "    while not pathlib.Path(folder + '/go').exists():\n"
        "        time.sleep(0.05)\n"
        "    return True\n\n"
        "@maker.workflow\nasync def order(run: maker.Run, folder: str) -> bool:\n"
        "    return await run.effect(send, folder)\n"
    )
    job = job_of(file, store, "order")
    job["task"] |= {"folder": str(tmp_path)}
    ended: list[maker.RunReport] = []
    thread = threading.Thread(target=lambda: ended.append(maker.run(job, run_id="a")))
    thread.start()
    wait_for((tmp_path / "sent").exists)
    until = time.monotonic() + 2.5 * lease_s
    try:
        while time.monotonic() < until:
            assert maker.show("a", store=store).status == "running"
            with pytest.raises(RunHeld):
                maker.resume("a", store=store)
            time.sleep(0.2)
    finally:
        (tmp_path / "go").touch()
        thread.join(30)
    assert (ended[0].status, ended[0].result, (tmp_path / "sent").read_text()) == ("done", True, "x")
