"""The async service: start, await, stream, stop, resume, and what happens to those who give up waiting."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job as row_job
from row_tasks import write_rows

import maker
from maker.errors import BadInput, JobError, RunHeld
from maker.lifecycle import queries
from maker.lifecycle.events import RunEnded, StepsDecided
from maker.lifecycle.rows import RowResult, results

Job = Callable[..., dict[str, dict[str, Any]]]
SLOW = {"latency_s": 0.01}


def test_a_run_is_awaited(hanoi: Job, store: str) -> None:
    """A run in the background ends as it would in the foreground."""

    async def work() -> maker.RunReport:
        async with maker.Service(store=store) as service:
            return await (await service.start(hanoi(5, vote={"k": 8}))).result()

    report = asyncio.run(work())
    assert (report.status, report.steps) == ("done", 31)
    assert report.digest == maker.run(hanoi(5, vote={"k": 8})).digest


def test_events_tell_every_committed_step_once(hanoi: Job, store: str) -> None:
    """Whoever watches from the start hears of every step in order, and of the end."""

    async def work() -> list[Any]:
        async with maker.Service(store=store) as service:
            run = await service.start(hanoi(5, model=SLOW, vote={"k": 8}))
            return [event async for event in run.events()]

    *steps, last = asyncio.run(work())
    heard = [record.step for event in steps if isinstance(event, StepsDecided) for record in event.records()]
    assert heard == list(range(heard[0], 31))
    assert isinstance(last, RunEnded)
    assert last.status == "done"


def test_rows_of_a_map_are_streamed_while_it_goes_on(tmp_path: Path) -> None:
    """Every row comes once, in the order of the input, the first before the run is over; and again to who asks anew."""
    write_rows(tmp_path / "rows.csv", range(2500))
    made = row_job(tmp_path, model={"latency_s": 0.01}, swarm={"chains": 32})

    async def work() -> tuple[list[RowResult], list[RowResult], bool]:
        async with maker.Service(store=made["store"]["url"]) as service:
            run = await service.start(made)
            first = await anext(aiter(run.rows()))
            early = queries.show(run.run_id, store=made["store"]["url"]).status == "running"
            assert first.row == 0
            return [row async for row in run.rows()], [row async for row in run.rows()], early

    rows, again, early = asyncio.run(work())
    assert early
    assert [row.row for row in rows] == list(range(2500))
    assert again == rows == list(results("last", store=made["store"]["url"]))


def test_rows_are_those_of_a_map(hanoi: Job, store: str) -> None:
    """Another task has none; a run that stops passes on why."""

    async def work() -> None:
        async with maker.Service(store=store) as service:
            run = await service.start(hanoi(5))
            with pytest.raises(BadInput, match="is not a map over rows"):
                await anext(aiter(run.rows()))

    asyncio.run(work())


def test_a_slow_listener_misses_nothing(hanoi: Job, store: str) -> None:
    """Events that wait when the run is over are still told."""

    async def work() -> list[int]:
        heard = []
        async with maker.Service(store=store) as service:
            run = await service.start(hanoi(5, model=SLOW, vote={"k": 8}))
            async for event in run.events():
                if isinstance(event, StepsDecided):
                    heard += [record.step for record in event.records()]
                    await asyncio.sleep(0.3)
        return heard

    heard = asyncio.run(work())
    assert heard == list(range(heard[0], 31))


def test_a_late_listener_hears_of_the_end(hanoi: Job, store: str) -> None:
    """Events of a run that is over are its end alone."""

    async def work() -> list[Any]:
        async with maker.Service(store=store) as service:
            run = await service.start(hanoi(3, vote={"k": 8}))
            await run.result()
            return [event async for event in run.events()]

    assert [type(event) for event in asyncio.run(work())] == [RunEnded]


def test_a_run_is_stopped_and_resumed(hanoi: Job, store: str) -> None:
    """A stop commits and pauses; a resume goes on to the same log."""

    async def work() -> tuple[maker.RunReport, maker.RunReport]:
        async with maker.Service(store=store) as service:
            run = await service.start(hanoi(6, model=SLOW, vote={"k": 8}))
            paused = await run.stop()
            resumed = await service.resume(paused.run_id, ["model.latency_s=0"])
            return paused, await resumed.result()

    paused, done = asyncio.run(work())
    assert (paused.status, done.status, done.resumes) == ("paused", "done", 1)
    assert done.digest == maker.run(hanoi(6, vote={"k": 8})).digest


def test_leaving_the_engine_pauses_what_runs(hanoi: Job, store: str) -> None:
    """Nothing works on behind the program's back, and nothing waits for a run of days."""

    async def work() -> list[str]:
        async with maker.Service(store=store) as service:
            return [(await service.start(hanoi(12, model=SLOW), ["run.seed=1"])).run_id for _ in range(2)]

    began = time.monotonic()
    started = asyncio.run(work())
    assert time.monotonic() - began < 10
    assert [queries.show(run_id, store=store).status for run_id in started] == ["paused", "paused"]


def test_a_start_that_is_given_up_leaves_no_run_working(hanoi: Job, store: str) -> None:
    """Who stops waiting for a start is not left with a run that nobody holds."""

    async def work() -> None:
        async with maker.Service(store=store) as service:
            starting = asyncio.create_task(service.start(hanoi(12, model=SLOW)))
            await asyncio.sleep(0)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting

    began = time.monotonic()
    asyncio.run(work())
    assert time.monotonic() - began < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("maker-run")]


def test_errors_reach_who_awaits(hanoi: Job, store: str) -> None:
    """A wrong job, a wrong store and a run that is held are raised where they were asked for."""

    async def work() -> None:
        async with maker.Service(store=store) as service:
            with pytest.raises(JobError):
                await service.start(hanoi(0))
            loaded = maker.load_job(hanoi(3), ["store.url=sqlite:///elsewhere.db"])
            with pytest.raises(JobError, match="store"):
                await service.start(loaded)
            run = await service.start(hanoi(12, model=SLOW))
            with pytest.raises(RunHeld):
                await service.resume(run.run_id)

    asyncio.run(work())
