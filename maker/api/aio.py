"""The interface for services: runs in threads, awaited and watched from an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any

from maker import api
from maker.errors import JobError, MakerError
from maker.job.file import DEFAULT_STORE
from maker.job.job import Job
from maker.lifecycle.events import Event, RunEnded, RunStarted
from maker.lifecycle.queries import RunReport
from maker.lifecycle.rows import LOOK_S, RowFeed, RowResult
from maker.store.backend.database import open_database, shown_url
from maker.store.runs import find_run

ROWS_AT_ONCE = 1000
"""Rows that `RunHandle.rows` holds at a time."""


class RunHandle:
    """One run that a `Service` works on. Made by `Service.start` and `Service.resume`."""

    def __init__(
        self, run_id: str, store: str, task: asyncio.Future[RunReport], stop: threading.Event, hub: _Hub
    ) -> None:
        self.run_id = run_id
        self._store = store
        self._task = task
        self._stop = stop
        self._hub = hub

    async def result(self) -> RunReport:
        """Wait until this service's work on the run is over; raises what stopped it."""
        return await asyncio.shield(self._task)

    async def stop(self) -> RunReport:
        """Pause the run, and wait until that is committed. `Service.resume` goes on."""
        self._stop.set()
        return await self.result()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what is committed from now on, and `RunEnded` at the end; raises what stopped the run.

        Events wait in memory until they are read: read them, or do not ask for them.
        """
        with self._hub.subscribe() as queue:
            over = self._task.done()
            while not over and (event := await queue.get()) is not None:
                if not isinstance(event, RunEnded):
                    yield event
        report = await self.result()
        yield RunEnded(report.run_id, report.status, report.reason, report.result)

    async def rows(self) -> AsyncIterator[RowResult]:
        """Yield what becomes of a map's rows, in the order of the input, as it is settled; raises what stopped the run.

        All rows from the first on, read from the store: none waits in memory. A row that is late holds back the rows
        after it.

        Raises:
            BadInput: The run's task has no rows.
        """
        with contextlib.closing(await asyncio.to_thread(open_database, self._store, create=False)) as database:
            feed = await asyncio.to_thread(lambda: RowFeed(database, find_run(database, self.run_id)))
            over = False
            while not over:
                over = self._task.done()
                news = feed.news()
                while batch := await asyncio.to_thread(list, islice(news, ROWS_AT_ONCE)):
                    for row in batch:
                        yield row
                if not over:
                    await asyncio.wait({self._task}, timeout=LOOK_S)
        await self.result()


class Service:
    """Works on runs in the background of an event loop.

        async with maker.Service(store="sqlite:///runs.db") as service:
            run = await service.start("job.toml")
            report = await run.result()

    Leaving the block pauses what still runs.

    Args:
        store: The database of all its runs.
        max_runs: Most runs at a time; each takes a thread.
    """

    def __init__(self, *, store: str = DEFAULT_STORE, max_runs: int = 32) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(max_runs, thread_name_prefix="maker-run")
        self._handles: list[RunHandle] = []
        self._stops: set[threading.Event] = set()

    async def start(
        self, job: api.JobLike, overrides: Iterable[str] = (), *, limit_steps: int | None = None
    ) -> RunHandle:
        """Start a run; returns once it is in the store. Raises what `maker.run` raises before that."""
        if not isinstance(job, Job):
            job = api.load_job(job, [*overrides, f"store.url={self._store}"])
        elif job.store.url != self._store:
            raise JobError(
                f"the job uses the store {shown_url(job.store.url)}, but the service uses {shown_url(self._store)}",
                fix="load the job with the service's store",
            )
        return await self._begin(partial(api.run, job, limit_steps=limit_steps))

    async def resume(self, run_id: str, overrides: Iterable[str] = ()) -> RunHandle:
        """Go on with a run; returns once it is held. Raises what `maker.resume` raises before that."""
        return await self._begin(partial(api.resume, run_id, list(overrides), store=self._store))

    async def close(self) -> None:
        """Pause all that runs, and wait for it."""
        for stop in self._stops:
            stop.set()
        for handle in self._handles:
            with contextlib.suppress(MakerError):
                await handle.result()
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)

    async def __aenter__(self) -> Service:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _begin(self, work: Callable[..., RunReport]) -> RunHandle:
        loop = asyncio.get_running_loop()
        hub, stop = _Hub(loop), threading.Event()
        # With the context of who starts it: the run's span is a child of the span that is current here.
        context = contextvars.copy_context()
        task = loop.run_in_executor(self._threads, partial(context.run, work, on_event=hub.publish, stop=stop))
        task.add_done_callback(hub.close)
        self._stops.add(stop)
        task.add_done_callback(lambda _: self._stops.discard(stop))
        try:
            with hub.subscribe() as queue:
                first = await queue.get()
        except asyncio.CancelledError:
            # Nobody would hold the run that is starting: it pauses as soon as it can.
            stop.set()
            raise
        if not isinstance(first, RunStarted):
            await task
            raise RuntimeError("a run ended without having started")
        handle = RunHandle(first.run_id, self._store, task, stop, hub)
        self._handles = [other for other in self._handles if not other._task.done()] + [handle]
        return handle


Engine = Service
"""The name of `Service` in version 0.1."""


class _Hub:
    """Carries events from the writer's thread to the loop's subscribers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queues: list[asyncio.Queue[Event | None]] = []

    @contextlib.contextmanager
    def subscribe(self) -> Any:
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queues.append(queue)
        try:
            yield queue
        finally:
            self._queues.remove(queue)

    def publish(self, event: Event) -> None:
        # A loop that is closed has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._spread, event)

    def close(self, _task: asyncio.Future[RunReport]) -> None:
        self._spread(None)

    def _spread(self, event: Event | None) -> None:
        for queue in self._queues:
            queue.put_nowait(event)
