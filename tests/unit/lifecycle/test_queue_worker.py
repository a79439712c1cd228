"""A queue's worker: what it claims, what becomes of runs that stop, and how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import maker
from maker.engine import outside
from maker.engine.causes import INTERRUPTED, LIMIT, STOPPED, undecided
from maker.errors import BadInput
from maker.lifecycle import queries, queue_worker
from maker.lifecycle.events import Event, RunEnded, RunStarted
from maker.lifecycle.queue_worker import LONGEST_WAIT_S, MOST_FAULTS, Verdict, verdict, wait_s
from maker.store.backend.database import open_database
from maker.store.outside import wakes_at
from maker.store.queue import claim, serve, settle
from maker.store.queued import NEVER

Job = Callable[..., dict[str, dict[str, Any]]]
TASK = """
from decomposers.function import Done, Truth, ask, task

@task(state=list[int], action=int)
def count(state):
    return Done("{end}") if len(state) == 3 else ask(f"After {{len(state)}}? ")

@count.start
def _():
    return [1]

@count.apply
def _(state, action):
    return [*state, action]

@count.oracle
def _(prompt):
    return Truth(("7",), ("8",))
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_worker, "LOOK_S", 0.05)


@contextmanager
def working(store: str, **options: Any) -> Iterator[list[Event]]:
    """Have a worker work in the block; gives the beginnings and ends of its runs. It is drained at the end."""
    stop, heard = threading.Event(), list[Event]()

    def note(event: Event) -> None:
        if isinstance(event, RunStarted | RunEnded):
            heard.append(event)

    options = {"grace_s": 0.0, "on_event": note} | options
    thread = threading.Thread(target=lambda: maker.work_queue(store=store, stop=stop, **options))
    thread.start()
    try:
        yield heard
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def all_are(store: str, status: str) -> Callable[[], bool]:
    """Return what says whether every run has a status."""
    return lambda: {report.status for report in maker.runs(store=store)} == {status}


def test_a_worker_ends_every_run(hanoi: Job, store: str) -> None:
    """Each is what it would be in the foreground, by priority, at most as many at a time as it may."""
    for number in range(5):
        maker.enqueue(hanoi(4), [f"run.seed={number}"], run_id=f"r{number}", priority=number)
    with working(store) as heard:
        wait_for(all_are(store, "done"))
    assert [event.run_id for event in heard] == [f"r{n}" for n in (4, 4, 3, 3, 2, 2, 1, 1, 0, 0)]
    assert [event.resumed for event in heard if isinstance(event, RunStarted)] == [False] * 5
    reports = maker.runs(store=store)
    assert {(one.resumes, one.queue) for one in reports} == {(0, None)}
    for number in (0, 3):
        assert queries.verify(f"r{number}", store=store).right
        alone = maker.run(hanoi(4, store={"url": f"{store}2"}), [f"run.seed={number}"])
        assert queries.show(f"r{number}", store=store).digest == alone.digest


def test_who_hears_of_ends_gets_reports(hanoi: Job, store: str) -> None:
    """Once a run's work; what the hearer raises is no fault of the run."""
    ended = []

    def hear(report: maker.RunReport) -> None:
        ended.append(report)
        raise ValueError("it cannot hear")

    for number in range(2):
        maker.enqueue(hanoi(3), [f"run.seed={number}"], run_id=f"r{number}")
    with working(store, on_end=hear):
        wait_for(lambda: len(ended) == 2)
        wait_for(all_are(store, "done"))
    assert {(one.run_id, one.status) for one in ended} == {("r0", "done"), ("r1", "done")}
    assert {one.queue and one.queue["note"] for one in maker.runs(store=store)} == {None}


def test_several_at_a_time(hanoi: Job, store: str) -> None:
    """Four places work side by side; a limit per key holds within them."""
    for number in range(6):
        maker.enqueue(hanoi(4, model={"latency_s": 0.02}), run_id=f"r{number}", key="ab"[number % 2])
    most: list[int] = []

    def look() -> bool:
        running = [one for one in maker.runs(store=store) if one.status == "running"]
        keys = [one.queue["key"] for one in running if one.queue is not None]
        most.append(max((keys.count(key) for key in "ab"), default=0))
        return all_are(store, "done")()

    with working(store, concurrency=4, limit_per_key=1) as heard:
        wait_for(look)
    assert max(most) == 1
    starts = [place for place, event in enumerate(heard) if isinstance(event, RunStarted)]
    ends = [place for place, event in enumerate(heard) if isinstance(event, RunEnded)]
    assert starts[1] < ends[0], "two keys are worked on side by side"


def test_a_drain_pauses_what_is_in_work(hanoi: Job, store: str) -> None:
    """A run that would take longer waits for another worker, which ends it to the same log."""
    maker.enqueue(hanoi(6, model={"latency_s": 0.05}), run_id="a")
    with working(store):
        wait_for(lambda: queries.show("a", store=store).steps > 2)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    told = queries.show("a", store=store)
    assert told.status == "pending"
    assert told.reason.startswith("waits in queue 'default'; no worker serves it now")
    with working(store) as heard:
        wait_for(all_are(store, "done"))
    done = queries.show("a", store=store)
    assert (done.resumes, done.queue) == (1, None)
    assert isinstance(heard[0], RunStarted)
    assert heard[0].resumed
    assert done.digest == maker.run(hanoi(6)).digest


def test_a_drain_lets_short_runs_end(hanoi: Job, store: str) -> None:
    """Within the grace, what is in work ends; nothing more is claimed."""
    for run_id in "ab":
        maker.enqueue(hanoi(3, model={"latency_s": 0.05}), run_id=run_id)
    with working(store, grace_s=30.0):
        wait_for(lambda: queries.show("a", store=store).status == "running")
    assert [(one.run_id, one.status) for one in maker.runs(store=store)] == [("b", "pending"), ("a", "done")]


def task_file(folder: Path, end: str) -> Path:
    """Write a task whose code is another one for each ``end``."""
    path = folder / "mine.py"
    path.write_text(TASK.format(end=end))
    return path


def test_a_worker_with_other_code_leaves_the_run(hanoi: Job, store: str, tmp_path: Path) -> None:
    """It stays, and says who refused it and why; others of its code are not even tried; all else goes on.

    A worker that has the code goes on at once: the run itself waits for nothing.
    """
    job = hanoi(3, task={"decomposer": f"{task_file(tmp_path, 'old')}:count", "disks": None})
    del job["task"]["disks"]
    for run_id in "ab":
        maker.enqueue(job, run_id=run_id, priority=1)
    maker.enqueue(hanoi(3), run_id="other")
    task_file(tmp_path, "new")
    with working(store):
        wait_for(lambda: queries.show("other", store=store).status == "done")
        time.sleep(0.3)
    told = queries.show("a", store=store)
    assert told.status == "pending"
    assert "could not go on with it: run a was started with another task or voter: decomposer_source was" in told.reason
    assert [queries.show(one, store=store).queue["claims"] for one in "ab"] == [1, 0]  # type: ignore[index]
    task_file(tmp_path, "old")
    with working(store):
        wait_for(all_are(store, "done"))
    assert queries.show("a", store=store).result == "old"


def test_a_fault_is_tried_again_later(hanoi: Job, store: str) -> None:
    """A run that a fault has stopped waits, and says why; the others do not wait for it."""
    maker.enqueue(hanoi(3), run_id="a", priority=1)
    maker.enqueue(hanoi(3), run_id="b")
    with closing(open_database(store, create=False)) as database:
        found = claim(database, "default")
        assert found is not None
        ends = queue_worker.after_fault(found.faults, "the server is away")
        settle(database, found, again=ends.again, wait_s=ends.wait_s, faults=ends.faults, note=ends.note)
    with working(store):
        wait_for(lambda: queries.show("b", store=store).status == "done")
        time.sleep(0.2)
    told = queries.show("a", store=store)
    assert told.status == "pending"
    assert told.reason.startswith("waits in queue 'default'; due at ")
    assert "UTC; the server is away; no worker serves it now" in told.reason


def report(reason: str, status: str = "paused", steps: int = 5) -> maker.RunReport:
    """Return a report of a run that rests."""
    made = object.__new__(maker.RunReport)
    for name, value in (("status", status), ("reason", reason), ("steps", steps)):
        object.__setattr__(made, name, value)
    return made


@pytest.mark.parametrize(
    ("ended", "faults", "expected"),
    [
        (report("", status="done"), 0, Verdict(False)),
        (report("cancelled", status="cancelled"), 0, Verdict(False)),
        (report(STOPPED), 3, Verdict(True)),
        (report(INTERRUPTED), 0, Verdict(True)),
        (report(f"{LIMIT}max_calls is reached"), 0, Verdict(False, note=f"{LIMIT}max_calls is reached")),
        (report(undecided(3, "move", "x")), 0, Verdict(False, note=undecided(3, "move", "x"))),
        (report("no server", steps=5), 0, Verdict(True, 5.0, 1, "no server")),
        (report("no server", steps=5), 3, Verdict(True, 40.0, 4, "no server")),
        (report("no server", steps=6), 3, Verdict(True, 5.0, 1, "no server")),
        (report("no server", steps=5), MOST_FAULTS - 1, Verdict(False, 600.0, MOST_FAULTS, "no server")),
    ],
)
def test_what_becomes_of_a_claim(ended: maker.RunReport, faults: int, expected: Verdict) -> None:
    """Stopped runs wait for a worker, faults wait longer each time, and what needs a person leaves the queue."""
    assert verdict(ended, faults=faults, steps=5) == expected


def test_waits_double_up_to_ten_minutes() -> None:
    """5 s, 10 s, 20 s and so on."""
    assert [wait_s(faults) for faults in range(9)] == [5, 10, 20, 40, 80, 160, 320, LONGEST_WAIT_S, LONGEST_WAIT_S]


def test_a_run_that_needs_a_person_leaves_the_queue(hanoi: Job, store: str) -> None:
    """A limit pauses it; it is not claimed again, and is resumed by hand."""
    maker.enqueue(hanoi(4, limits={"max_calls": 12}), run_id="a")
    with working(store) as heard:
        wait_for(all_are(store, "paused"))
        time.sleep(0.3)
    told = queries.show("a", store=store)
    assert told.queue is not None
    assert (len(heard), told.queue["state"], told.queue["claims"]) == (2, "left", 1)
    assert maker.resume("a", ["limits.max_calls=1000"], store=store).status == "done"


def test_a_run_in_work_is_cancelled(hanoi: Job, store: str) -> None:
    """`cancel` asks the worker's process; the place is free for the next."""
    maker.enqueue(hanoi(8, model={"latency_s": 0.05}), run_id="a")
    maker.enqueue(hanoi(3), run_id="b")
    with working(store):
        wait_for(lambda: queries.show("a", store=store).steps > 0)
        assert maker.cancel("a", store=store).status == "cancelled"
        wait_for(lambda: queries.show("b", store=store).status == "done")


def test_a_worker_that_is_there_serves_its_queue_alone(hanoi: Job, store: str) -> None:
    """From its first look until it is told to end; one that died does not count."""
    maker.enqueue(hanoi(3), run_id="other", queue="other")
    later = datetime(2100, 1, 1, tzinfo=UTC)
    maker.enqueue(hanoi(3), run_id="mine", due=later)

    def served(run_id: str) -> bool:
        place = queries.show(run_id, store=store).queue
        return place is not None and bool(place["served"])

    with working(store):
        wait_for(lambda: served("mine"))
        assert not served("other")
    assert not served("mine")
    with closing(open_database(store, create=False)) as database:
        serve(database, "default")
        assert served("mine")
        with database.write() as connection:
            connection.exec_driver_sql("UPDATE maker_queue_worker SET holder = replace(holder, ' ', ' 9')")
        assert served("mine"), "one of another machine counts until its lease is over"
        with database.write() as connection:
            connection.exec_driver_sql("UPDATE maker_queue_worker SET until = 0.5")
    assert not served("mine")


def test_bad_numbers(store: str) -> None:
    """Told before the store is opened."""
    for options in ({"concurrency": 0}, {"limit": 0}, {"limit_per_key": -1}, {"queue": ""}, {"grace_s": float("nan")}):
        with pytest.raises(BadInput):
            maker.work_queue(store=store, **options)  # type: ignore[arg-type]


def waiting_job(store: str, name: str, **task: Any) -> dict[str, Any]:
    """Return a job of a workflow that waits."""
    return {
        "task": {"decomposer": f"tests.unit.workflow_tasks:{name}", **task},
        "model": {"kind": "simulated", "p": 0.95},
        "vote": {"k": 3},
        "store": {"url": store},
    }


def test_a_run_that_waits_sleeps_in_its_queue_until_it_is_answered(tmp_path: Path) -> None:
    """No worker holds it meanwhile, and nobody need resume it."""
    store = f"sqlite:///{tmp_path}/q.db"
    run_id = maker.enqueue(waiting_job(store, "order", folder=str(tmp_path)))
    with working(store) as heard:
        wait_for(lambda: len(list(maker.waits(store=store))) == 1 and not claimed(store))
        assert maker.show(run_id, store=store).status == "paused"
        time.sleep(0.3)
        assert sum(isinstance(event, RunStarted) for event in heard) == 1
        maker.answer(run_id, "approve", True, by="ann", store=store)
        wait_for(all_are(store, "done"))
    assert maker.show(run_id, store=store).result == [7, "A", "B", True, True]
    assert len((tmp_path / "sent").read_text().splitlines()) == 1


def test_a_run_that_sleeps_goes_on_at_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker claims it then."""
    monkeypatch.setattr(outside, "STAY_S", 0.0)
    store = f"sqlite:///{tmp_path}/q.db"
    run_id = maker.enqueue(waiting_job(store, "patient", seconds=0.5))
    with working(store) as heard:
        wait_for(all_are(store, "done"))
    assert maker.show(run_id, store=store).result == "one: nobody has answered word"
    assert sum(isinstance(event, RunStarted) for event in heard) == 3


def test_when_a_run_that_waits_has_something_to_go_on_with(tmp_path: Path) -> None:
    """When it is answered, also just before its claim is settled; else at its next deadline, or never."""
    store = f"sqlite:///{tmp_path}/q.db"
    first = maker.run(waiting_job(store, "two_waits"))
    maker.run(waiting_job(store, "patient", seconds=1000.0))
    with closing(open_database(store, create=False)) as database:
        with database.read() as connection:
            assert wakes_at(connection, 1) == NEVER
            assert wakes_at(connection, 2) == pytest.approx(time.time() + 1000, abs=60)
        maker.answer(first.run_id, "left", "l", store=store)
        with database.read() as connection:
            assert wakes_at(connection, 1) <= time.time()


def claimed(store: str) -> bool:
    """Say whether a worker holds a run's place."""
    return any(report.queue and report.queue["state"] == "claimed" for report in maker.runs(store=store))
