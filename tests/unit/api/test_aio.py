"""The async service: start, await, stream, stop, resume, and what happens to those who give up waiting."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job as row_job
from row_tasks import write_rows

import maker
from maker.errors import BadInput, JobError, RunHeld, RunNotFound
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


# --- the loop, places, and the end ---


async def longest_gap(work: Any) -> float:
    """Return for how long, at most, the loop was held up while something was awaited, in seconds."""
    longest, over = 0.0, False

    async def tick() -> None:
        nonlocal longest
        while not over:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - before - 0.005)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await work
    over = True
    await ticking
    return longest


def test_a_start_does_not_hold_the_loop_up(hanoi: Job, store: str, tmp_path: Path) -> None:
    """A plugin that takes its time to import, or a call that waits for another process, takes a thread's time."""

    async def work() -> float:
        async with maker.Service(store=store) as service:
            # What is imported once, and the making of the database, is done with.
            await (await service.start(hanoi(3))).result()
            gaps = []
            for number in range(3):
                # A busy machine may hold anything up: the best of three tells what the service does.
                path = tmp_path / f"slow_{number}.py"
                path.write_text("import time; time.sleep(0.4)\nfrom decomposers.hanoi import Hanoi\n")
                job = hanoi(3, task={"decomposer": f"{path}:Hanoi"})
                gaps.append(await longest_gap(service.start(job)))
            return min(gaps)

    assert asyncio.run(work()) < 0.05


def test_starts_beyond_max_runs_are_seen_to_wait(hanoi: Job, store: str, caplog: pytest.LogCaptureFixture) -> None:
    """A start without a place is counted and logged; it begins when there is one. One given up makes no run."""

    async def work() -> None:
        async with maker.Service(store=store, max_runs=1) as service:
            first = await service.start(hanoi(12, model=SLOW))
            waiting = [asyncio.create_task(service.start(hanoi(3), [f"run.name={name}"])) for name in "ab"]
            while service.pending < 2:
                await asyncio.sleep(0.01)
            waiting[0].cancel()
            await first.stop()
            second = await waiting[1]
            assert (await second.result()).status == "done"
            assert service.pending == 0

    asyncio.run(work())
    assert [report.name for report in maker.runs(store=store)] == ["b", ""]
    logged = [(record.msg, vars(record)["pending"]) for record in caplog.records if record.msg == "run_waiting"]
    assert logged == [("run_waiting", 1), ("run_waiting", 2)]


def test_closing_ends_whatever_a_run_has_raised(hanoi: Job, store: str) -> None:
    """What the program has handled is not raised again; nothing works on, no thread is left, twice is once."""
    before = set(threading.enumerate())

    class Lost(BaseException):
        pass

    async def work() -> None:
        service = maker.Service(store=store)
        good = await service.start(hanoi(12, model=SLOW))
        bad = await service.start(hanoi(5), ["model.latency_s=0.05"])
        bad._stop.is_set = lambda: (_ for _ in ()).throw(Lost())  # type: ignore[method-assign]
        with pytest.raises(Lost):
            await bad.result()
        await asyncio.gather(service.close(), service.close())
        await service.close()
        assert (await good.result()).status == "paused"
        for call in (service.start(hanoi(3)), service.resume("last"), service.cancel("x"), anext(service.results("x"))):
            with pytest.raises(BadInput, match="the service is closed"):
                await call
        left = [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("maker")]
        assert left == []

    asyncio.run(work())


def test_starts_and_a_close_at_once(hanoi: Job, store: str) -> None:
    """Each start ends with a run that is paused or done, or is refused; none is left working."""
    before = set(threading.enumerate())

    async def work() -> list[Any]:
        service = maker.Service(store=store, max_runs=2)
        starts = [asyncio.create_task(service.start(hanoi(12, model=SLOW))) for _ in range(5)]
        while not any(start.done() for start in starts):
            await asyncio.sleep(0.005)
        await service.close()
        return await asyncio.gather(*starts, return_exceptions=True)

    ends = asyncio.run(work())
    assert all(isinstance(end, maker.RunHandle | BadInput) for end in ends), ends
    assert {report.status for report in maker.runs(store=store)} == {"paused"}
    # A thread that was just renewing a lease ends with that, and nobody waits for it for longer than a second.
    until = time.monotonic() + 30
    while left := [one for one in set(threading.enumerate()) - before if one.name.startswith("maker")]:
        assert time.monotonic() < until, left
        time.sleep(0.05)


def test_a_loop_that_ends_leaves_no_run_working(hanoi: Job, store: str) -> None:
    """A program that does not close its service, and ends its loop, can end: its runs pause."""

    async def work() -> str:
        return (await maker.Service(store=store).start(hanoi(12, model=SLOW))).run_id

    run_id = asyncio.run(work())
    until = time.monotonic() + 10
    while queries.show(run_id, store=store).status == "running" and time.monotonic() < until:
        time.sleep(0.05)
    assert queries.show(run_id, store=store).reason == "stopped"


def test_two_services_of_one_store(hanoi: Job, store: str) -> None:
    """They work side by side; a run that one of them holds the other one does not take."""

    async def work() -> list[maker.RunReport]:
        async with maker.Service(store=store) as one, maker.Service(store=store) as other:
            held = await one.start(hanoi(12, model=SLOW))
            with pytest.raises(RunHeld):
                await other.resume(held.run_id)
            runs = [await service.start(hanoi(5)) for service in (one, other)]
            return [await run.result() for run in runs]

    assert [report.status for report in asyncio.run(work())] == ["done", "done"]


# --- what else a service does ---


def test_a_service_does_what_scripts_do(hanoi: Job, store: str) -> None:
    """Fork, retry, cancel and prune, awaited; what ends a run takes it by its whole id or name."""

    async def work() -> None:
        async with maker.Service(store=store) as service:
            run = await service.start(hanoi(4, vote={"k": 3, "max_votes": 3}, model={"p": 0.85}))
            stuck = await run.result()
            assert "is undecided" in stuck.reason
            again = await service.retry(stuck.run_id, ["vote.max_votes=1000"], outcomes=["undecided"])
            done = await again.result()
            assert (done.status, done.run_id) == ("done", stuck.run_id)
            forked = await service.fork(done.run_id, 3, ["run.name=other"])
            assert (forked.status, forked.forked_at) == ("paused", 3)
            with pytest.raises(RunNotFound, match="whole id or name"):
                await service.cancel(forked.run_id[:-1])
            assert (await service.cancel("other")).status == "cancelled"
            with pytest.raises(RunNotFound, match="is empty"):
                await service.prune("")
            assert (await service.prune(forked.run_id)).run_id == forked.run_id
            assert [report.run_id for report in maker.runs(store=store)] == [done.run_id]

    asyncio.run(work())


def test_scripts_do_the_same(hanoi: Job, store: str) -> None:
    """The public functions of the same names, from the package."""
    done = maker.run(hanoi(4))
    forked = maker.fork(done.run_id, 3, store=store)
    assert maker.cancel(forked.run_id, store=store).status == "cancelled"
    maker.prune(forked.run_id, store=store)
    with pytest.raises(RunNotFound):
        maker.prune("", store=store)
    assert [report.run_id for report in maker.runs(store=store)] == [done.run_id]


def test_results_of_a_map_are_read(tmp_path: Path) -> None:
    """All that is settled, or from a row on; who stops reading leaves nothing open."""
    write_rows(tmp_path / "rows.csv", range(2500))
    made = row_job(tmp_path)
    report = maker.run(made)
    url = made["store"]["url"]

    async def work() -> list[RowResult]:
        async with maker.Service(store=url) as service:
            first = service.results(report.run_id, start=2400)
            assert (await anext(first)).row == 2400
            await first.aclose()
            return [row async for row in service.results("last")]

    assert asyncio.run(work()) == list(maker.results(report.run_id, store=url)) == list(results("last", store=url))


@pytest.mark.parametrize("inside", ["a thread", "a running loop"])
def test_a_run_works_anywhere(inside: str, hanoi: Job) -> None:
    """In a thread of the program's own, and, as in a notebook, in the thread of a loop that is running."""

    async def notebook() -> maker.RunReport:
        return maker.run(hanoi(4))

    async def thread() -> maker.RunReport:
        return await asyncio.to_thread(maker.run, hanoi(4))

    assert asyncio.run(thread() if inside == "a thread" else notebook()).status == "done"


@pytest.mark.posix
def test_an_interrupt_in_a_running_loop_pauses_the_run(hanoi: Job, store: str) -> None:
    """As in a notebook, whose loop runs when a cell is interrupted: what is decided is kept, and the run says why."""
    heard: list[StepsDecided] = []

    def interrupt(event: Any) -> None:
        if isinstance(event, StepsDecided):
            heard.append(event)
            if len(heard) == 1:
                os.kill(os.getpid(), signal.SIGINT)

    async def notebook() -> None:
        maker.run(hanoi(6, model={"latency_s": 0.05}, vote={"k": 8}), on_event=interrupt)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(notebook())
    finally:
        loop.close()
        signal.signal(signal.SIGINT, before)
    report = queries.show("last", store=store)
    assert (report.status, report.reason) == ("paused", "interrupted")
    assert maker.resume("last", ["model.latency_s=0"], store=store).status == "done"
