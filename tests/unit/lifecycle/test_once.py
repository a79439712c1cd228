"""Runs under ids that their users give: one run, however often it is started or put into a queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job as row_job
from row_tasks import write_rows
from sqlalchemy import create_engine, text

import maker
from maker.errors import BadInput, JobError, RunIdTaken, RunNotFound
from maker.lifecycle import queries
from maker.lifecycle.events import Event, RunEnded, RunStarted, StepsDecided
from maker.store.backend.database import open_database

Job = Callable[..., dict[str, dict[str, Any]]]


def test_the_same_id_and_job_is_one_run(hanoi: Job, store: str) -> None:
    """A second call returns the report of the first, and asks no model; it is the run that it would be without."""
    first = maker.run(hanoi(4), run_id="order-17")
    again = maker.run(hanoi(4), run_id="order-17")
    assert (first.run_id, first.status, first.resumes) == ("order-17", "done", 0)
    assert again == queries.show("order-17", store=store)
    assert (again.calls, again.wall_s) == (first.calls, first.wall_s)
    assert maker.run(hanoi(4)).digest == first.digest
    assert queries.verify("order-17", store=store).right


def test_a_paused_run_goes_on(hanoi: Job, store: str) -> None:
    """The call that found it paused ends it, with where and how the job says now: its model is another one's."""
    assert maker.run(hanoi(4), run_id="a", limit_steps=3).status == "paused"
    done = maker.run(hanoi(4, model={"latency_s": 0.0001}), run_id="a")
    assert (done.status, done.steps, done.resumes) == ("done", 15, 1)
    assert done.settings["model"]["latency_s"] == 0.0001
    assert done.digest == maker.run(hanoi(4)).digest


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"task": {"disks": 5}}, "task.disks was 4, is 5"),
        ({"vote": {"k": 4}}, "vote.k was 3, is 4"),
        ({"limits": {"max_calls": 7}}, "limits.max_calls was None, is 7"),
        ({"run": {"seed": 2, "name": "x"}}, "run.seed was 0, is 2; run.name was '', is 'x'"),
        ({"model": {"p": 0.8}}, "model: p was 0.9, is 0.8"),
    ],
)
def test_another_job_is_refused(hanoi: Job, tables: dict[str, Any], told: str) -> None:
    """With what was, and what is; started or put into a queue, whether the run is over or not."""
    maker.run(hanoi(4), run_id="a", limit_steps=2)
    for _ in range(2):
        with pytest.raises(RunIdTaken) as caught:
            maker.run(hanoi(4, **tables), run_id="a")
        assert caught.value.message == f"run a is another job's: {told}"
        with pytest.raises(RunIdTaken):
            maker.enqueue(hanoi(4, **tables), run_id="a")
        maker.run(hanoi(4), run_id="a")


def test_settings_that_a_resume_has_changed_are_not_another_job(hanoi: Job, store: str) -> None:
    """Who raises a limit by hand does not make the program's next start of the run fail."""
    maker.run(hanoi(4, limits={"max_calls": 12}), run_id="a")
    maker.resume("a", ["limits.max_calls=20"], store=store)
    again = maker.run(hanoi(4, limits={"max_calls": 12}), run_id="a")
    assert (again.status, again.settings["limits"]["max_calls"]) == ("paused", 12)
    assert maker.run(hanoi(4, limits={"max_calls": 20}), run_id="b").status == "paused"


@pytest.mark.parametrize("run_id", ["", "last", "a b", "-a", "a/b", "x" * 101, "ä", "a\n"])
def test_what_cannot_be_an_id(hanoi: Job, run_id: str) -> None:
    """It is told before anything is stored."""
    for call in (maker.run, maker.enqueue):
        with pytest.raises(BadInput, match="cannot be a run id"):
            call(hanoi(3), run_id=run_id)


def test_long_ids_are_found_whole(hanoi: Job, store: str) -> None:
    """Two ids that differ in their last character are two runs; a beginning of both is neither."""
    long = "x" * 99
    for end in "ab":
        maker.enqueue(hanoi(3), run_id=long + end)
    assert queries.show(long + "a", store=store).run_id == long + "a"
    with pytest.raises(RunNotFound, match="stands for several runs"):
        queries.show(long, store=store)


def test_two_starts_at_once_are_one_run(hanoi: Job, store: str) -> None:
    """One works on it, the others follow it to its end; all return the same."""
    reports: list[maker.RunReport] = []
    begin = threading.Barrier(4)

    def start() -> None:
        begin.wait()
        reports.append(maker.run(hanoi(4, model={"latency_s": 0.02}), run_id="a"))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 4
    assert {(one.status, one.resumes, one.digest) for one in reports} == {("done", 0, reports[0].digest)}
    assert len(maker.runs(store=store)) == 1


def test_what_a_follower_hears(hanoi: Job, store: str) -> None:
    """It hears of the beginning, of as many steps as there are in all, and of the end; a stop ends the following."""
    job = hanoi(6, model={"latency_s": 0.02}, store={"durability": "strict"})
    worker = threading.Thread(target=lambda: maker.run(job, run_id="a"))
    worker.start()
    while not maker_has_steps(store):
        time.sleep(0.01)
    stop = threading.Event()
    stop.set()
    assert maker.run(job, run_id="a", stop=stop).status == "running"
    heard: list[Event] = []
    report = maker.run(job, run_id="a", on_event=heard.append)
    worker.join()
    first, *steps, last = heard
    assert isinstance(first, RunStarted)
    assert all(isinstance(event, StepsDecided) and not list(event.records()) for event in steps)
    assert first.steps + sum(event.steps for event in steps if isinstance(event, StepsDecided)) == 63
    assert last == RunEnded("a", "done", "", report.result)


def maker_has_steps(store: str) -> bool:
    """Say whether the run "a" is at work."""
    try:
        return queries.show("a", store=store).steps > 0
    except maker.MakerError:
        return False


@pytest.mark.plan
def test_a_planned_job_keeps_its_margins(hanoi: Job, store: str) -> None:
    """A plan that a later calibration changes does not make it another job's."""
    easy = {"p": 0.97}
    maker.calibrate(hanoi(8, model=easy), steps=200, votes=20)
    job = hanoi(8, model=easy, vote={"k": "auto", "target": 0.9})
    first = maker.run(job, run_id="a")
    maker.calibrate(hanoi(8, model=easy, run={"seed": 5}), steps=100, votes=8)
    again = maker.run(job, run_id="a")
    assert (again.digest, again.settings["vote"]) == (first.digest, first.settings["vote"])
    with pytest.raises(RunIdTaken, match=r"vote\.target was 0\.9, is 0\.8"):
        maker.run(hanoi(8, model=easy, vote={"k": "auto", "target": 0.8}), run_id="a")


def test_a_job_with_a_row_error_needs_its_pilot_first(tmp_path: Path) -> None:
    """A pilot asks the model, which a queue's caller must not wait for: the message says what to put in."""
    write_rows(tmp_path / "rows.csv", range(30))
    made = row_job(tmp_path)
    made["vote"] = {"row_error": 0.2}
    with pytest.raises(BadInput, match="takes a pilot") as caught:
        maker.enqueue(made)
    assert "maker.pilot(job)" in caught.value.fix


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ({"queue": " "}, "cannot be the name of a queue"),
        ({"queue": "a\0b"}, "cannot be the name of a queue"),
        ({"key": "k" * 201}, "cannot be a key"),
        ({"priority": 2**31}, "the priority is 2147483648"),
        ({"due": datetime(2030, 1, 1)}, "2030-01-01T00:00:00 has no time zone"),
    ],
)
def test_a_place_that_no_queue_has(hanoi: Job, place: dict[str, Any], told: str) -> None:
    """Told before anything is written."""
    with pytest.raises(BadInput, match=told):
        maker.enqueue(hanoi(3), **place)


def test_what_waits_is_shown(hanoi: Job, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole run is there; ls and show say that nobody serves its queue, and what would."""
    from maker.cli.display import print_runs

    soon = datetime(2100, 1, 2, 3, 4, 5, tzinfo=UTC)
    for run_id, due in (("a", None), ("b", soon)):
        assert maker.enqueue(hanoi(4), run_id=run_id, queue="my mail", priority=2, key="acme", due=due) == run_id
    told = queries.show("a", store=store)
    assert (told.status, told.steps, told.settings["task"]["disks"]) == ("pending", 0, 4)
    assert told.reason == (
        "waits in queue 'my mail'; no worker serves it now; start one with `maker worker --queue 'my mail'`"
    )
    assert told.queue == {
        "queue": "my mail", "key": "acme", "priority": 2, "due": 0.0, "state": "waiting", "claims": 0, "note": "",
        "served": False,
    }  # fmt: skip
    assert "due at 2100-01-02 03:04:05 UTC" in queries.show("b", store=store).reason
    print_runs(queries.runs(store=store), filtered=False)
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("no worker serves queue 'my mail', where 2 of these runs wait; start one with `maker worker")
    verified = queries.verify("a", store=store)
    assert (verified.problem, verified.whole, verified.steps) == ("", False, 0)


def test_a_run_that_waits_is_resumed_by_hand(hanoi: Job, store: str) -> None:
    """A person who does not want to wait for a worker begins it."""
    maker.enqueue(hanoi(4), run_id="a")
    assert maker.resume("a", store=store).status == "done"
    maker.enqueue(hanoi(4), run_id="b")
    assert maker.run(hanoi(4), run_id="b").status == "done"
    maker.enqueue(hanoi(4), run_id="c")
    assert maker.cancel("c", store=store).status == "cancelled"
    assert maker.enqueue(hanoi(4), run_id="c") == "c"
    assert maker.show("c", store=store).status == "cancelled"


def test_in_the_callers_transaction(hanoi: Job, store: str) -> None:
    """An order and its run are kept together, or not at all."""
    open_database(store, create=True).close()
    engine = create_engine(store)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (number integer)"))
    with pytest.raises(ZeroDivisionError), engine.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        maker.enqueue(hanoi(3), run_id="order-1", connection=connection)
        raise ZeroDivisionError
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (2)"))
        maker.enqueue(hanoi(3), run_id="order-2", connection=connection)
        with pytest.raises(RunIdTaken):
            maker.enqueue(hanoi(4), run_id="order-2", connection=connection)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT number FROM orders")).scalars().all() == [2]
    engine.dispose()
    assert [report.run_id for report in maker.runs(store=store)] == ["order-2"]


def test_a_shared_limit_is_checked_in_the_callers_transaction(hanoi: Job, store: str) -> None:
    """As without a connection: a worker would only refuse the run later."""
    open_database(store, create=True).close()
    engine = create_engine(store)
    job = hanoi(3, limits={"shared": "acme"}) | {
        "model": {"kind": "openai", "url": "http://127.0.0.1:9/v1", "name": "m"}
    }
    with engine.begin() as connection, pytest.raises(JobError, match="has no such limit"):
        maker.enqueue(job, connection=connection)
    maker.limit("acme", max_cost=1.0, store=store)
    with engine.begin() as connection, pytest.raises(JobError, match="needs prices of m"):
        maker.enqueue(job, connection=connection)
    maker.limit("acme", max_cost="none", concurrency=3, store=store)
    with engine.begin() as connection:
        maker.enqueue(job, run_id="order-1", connection=connection)
    engine.dispose()
    assert [report.run_id for report in maker.runs(store=store)] == ["order-1"]


def test_runs_since(hanoi: Job, store: str) -> None:
    """Runs that were made then or later."""
    maker.enqueue(hanoi(3), run_id="a")
    time.sleep(0.02)
    then = datetime.now(UTC)
    maker.enqueue(hanoi(3), run_id="b")
    assert [one.run_id for one in maker.runs(store=store, since=then)] == ["b"]
    assert [one.run_id for one in maker.runs(store=store, since=then - timedelta(seconds=9))] == ["b", "a"]
    assert maker.runs(store=store, since=then + timedelta(seconds=9)) == []
