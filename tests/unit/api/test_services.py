"""What services do with runs under ids of their own, in queues, and in other programs' hands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import maker
from maker.errors import BadInput, RunIdTaken, RunNotFound
from maker.lifecycle import queries
from maker.lifecycle.events import RunEnded, StepsDecided

Job = Callable[..., dict[str, dict[str, Any]]]
SLOW = {"latency_s": 0.02}


def test_a_service_starts_a_run_once(hanoi: Job, store: str) -> None:
    """Twice at once, again while it is in work, and again when it is over: one run, one handle while it is at work."""

    async def work() -> None:
        async with maker.Service(store=store) as service:
            job = hanoi(4, model=SLOW)
            one, two = await asyncio.gather(*(service.start(job, run_id="order-17") for _ in range(2)))
            three = await service.start(job, run_id="order-17")
            assert {one.run_id, two.run_id, three.run_id} == {"order-17"}
            with pytest.raises(RunIdTaken, match=r"task\.disks was 4, is 5"):
                await service.start(hanoi(5), run_id="order-17")
            reports = [await run.result() for run in (one, two, three)]
            over = await (await service.start(job, run_id="order-17")).result()
            assert reports == [over] * 3
            assert (over.status, over.resumes) == ("done", 0)
            assert [run.run_id for run in await service.runs()] == ["order-17"]

    asyncio.run(work())


def test_a_run_in_another_services_hands_is_followed(hanoi: Job, store: str) -> None:
    """Its events are counted, its result is awaited; who stops following does not stop it."""

    async def work() -> None:
        async with maker.Service(store=store) as one, maker.Service(store=store) as other:
            job = hanoi(6, model=SLOW, store={"durability": "strict"})
            held = await one.start(job, run_id="a")
            followed = await other.start(job, run_id="a")
            given_up = await other.get("a")
            assert await one.get("a") is held
            assert (await given_up.stop()).status == "running"
            before = (await followed.report()).steps
            events = [event async for event in followed.events()]
            report = await followed.result()
            assert report.digest == (await held.result()).digest
            *steps, last = events
            assert isinstance(last, RunEnded)
            assert last.status == report.status == "done"
            heard = sum(event.steps for event in steps if isinstance(event, StepsDecided))
            assert 63 - before <= heard + 15
            assert heard > 0

    asyncio.run(work())


def test_a_paused_run_of_another_service_goes_on(hanoi: Job, store: str) -> None:
    """A service that was closed has paused its run; the next one's start ends it."""

    async def begin() -> None:
        async with maker.Service(store=store) as service:
            await service.start(hanoi(5, model=SLOW), run_id="a")

    async def end() -> maker.RunReport:
        async with maker.Service(store=store) as service:
            return await (await service.start(hanoi(5), run_id="a")).result()

    asyncio.run(begin())
    assert queries.show("a", store=store).status == "paused"
    report = asyncio.run(end())
    assert (report.status, report.steps, report.resumes) == ("done", 31, 1)


def test_a_queued_run_is_followed_to_its_end(hanoi: Job, store: str) -> None:
    """From nobody's hands to a worker's, through a drain, to another worker's: the handle waits for its end."""

    def worker(stop: threading.Event) -> threading.Thread:
        made = threading.Thread(target=lambda: maker.work_queue("q", store=store, stop=stop, grace_s=0))
        made.start()
        return made

    async def work() -> maker.RunReport:
        async with maker.Service(store=store) as service:
            run_id = await service.enqueue(hanoi(6, model=SLOW), run_id="a", queue="q", priority=1, key="k")
            run = await service.get(run_id)
            waiting = asyncio.create_task(run.result())
            first, second = threading.Event(), threading.Event()
            thread = worker(first)
            while (await run.report()).steps < 2:
                await asyncio.sleep(0.02)
            first.set()
            await asyncio.to_thread(thread.join)
            assert (await run.report()).status == "pending"
            assert not waiting.done()
            thread = worker(second)
            report = await waiting
            second.set()
            await asyncio.to_thread(thread.join)
            return report

    report = asyncio.run(work())
    assert (report.status, report.steps, report.resumes) == ("done", 63, 1)


def test_a_shared_limit_is_stated_and_seen(store: str) -> None:
    """As `maker.limit` and `maker.limits` do, with the service's store."""

    async def work() -> None:
        async with maker.Service(store=store) as service:
            stated = await service.limit("acme", requests_per_minute=60, max_cost=2.5)
            assert (stated.requests_per_minute, stated.concurrency, stated.max_cost) == (60, None, 2.5)
            await service.limit("acme", requests_per_minute="none")
            assert [one.requests_per_minute for one in await service.limits()] == [None]
            with pytest.raises(BadInput, match="cannot be the key"):
                await service.limit("a key")

    asyncio.run(work())
    assert [one.key for one in maker.limits(store=store)] == ["acme"]


def test_closing_ends_every_following(hanoi: Job, store: str) -> None:
    """A run that nobody claims does not keep a service from closing; its handle tells how it stood."""
    before = set(threading.enumerate())

    async def work() -> maker.RunReport:
        async with maker.Service(store=store) as service:
            await service.enqueue(hanoi(3), run_id="a")
            run = await service.get("a")
        with pytest.raises(BadInput, match="the service is closed"):
            await service.get("a")
        return await run.result()

    assert asyncio.run(work()).status == "pending"
    assert not [one for one in set(threading.enumerate()) - before if one.name.startswith("maker")]


def test_runs_are_listed_and_found(hanoi: Job, store: str) -> None:
    """By status, name and time; a run that is not there is told as such."""

    async def work() -> None:
        async with maker.Service(store=store) as service:
            then = datetime.now(UTC)
            await service.enqueue(hanoi(3), ["run.name=mail"], run_id="a")
            await (await service.start(hanoi(3), ["run.name=letters"], run_id="b")).result()
            assert [run.run_id for run in await service.runs(status="pending")] == ["a"]
            assert [run.run_id for run in await service.runs(name="letter")] == ["b"]
            assert [run.run_id for run in await service.runs(since=then)] == ["b", "a"]
            assert [run.run_id for run in await service.runs(limit=1)] == ["b"]
            assert (await service.cancel("a")).status == "cancelled"
            with pytest.raises(RunNotFound):
                await service.get("nosuch")

    asyncio.run(work())
