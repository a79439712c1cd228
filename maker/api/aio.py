"""The interface for services: runs in threads, awaited and watched from an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from itertools import chain, islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

from maker import api
from maker.core.logs import logger
from maker.errors import BadInput, JobError, RunHeld
from maker.job.file import DEFAULT_STORE
from maker.job.job import Job
from maker.job.keywords import JobKeywords, ServiceKeywords
from maker.lifecycle import admin
from maker.lifecycle.events import Event, RunEnded, RunStarted
from maker.lifecycle.following import LOOK_S as LOOK_AT_RUN_S
from maker.lifecycle.following import Follower
from maker.lifecycle.limits import Rate, limit, limits
from maker.lifecycle.queries import RunReport, runs, show
from maker.lifecycle.rows import LOOK_S, RowFeed, RowResult, results
from maker.lifecycle.waits import OpenWait, answer, settle_effect, waits
from maker.store.backend.database import Database, open_database, shown_url
from maker.store.queued import DEFAULT_QUEUE
from maker.store.runs import find_run
from maker.store.shared_limits import SharedLimit

if TYPE_CHECKING:
    from maker.store.admission import HostConnection

log = logger("maker")
T = TypeVar("T")
SHORT_AT_ONCE = 8
"""Loads, forks, cancels and the like that a `Service` does at a time."""
ROWS_AT_ONCE = 1000
"""Rows that are held in memory at a time."""


class RunHandle:
    """One run that a `Service` works on, or follows through the store. Made by `Service.start`, `resume` and `get`."""

    def __init__(
        self, run_id: str, store: str, task: asyncio.Future[RunReport], stop: threading.Event, hub: _Hub
    ) -> None:
        self.run_id = run_id
        self._store = store
        self._task = task
        self._stop = stop
        self._hub = hub

    async def result(self) -> RunReport:
        """Wait until this service's work on the run is over; raises what stopped it.

        Of a run that is followed, until it rests: it is over, or paused with no worker to go on with it.
        """
        return await asyncio.shield(self._task)

    async def report(self) -> RunReport:
        """Return how the run stands now."""
        return await asyncio.to_thread(show, self.run_id, store=self._store)

    async def stop(self) -> RunReport:
        """Pause the run, and wait until that is committed. `Service.resume` goes on.

        A run that is followed goes on: only the following ends.
        """
        self._stop.set()
        return await self.result()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what is committed from now on, and `RunEnded` at the end; raises what stopped the run.

        Events wait in memory until they are read: read them, or do not ask for them. Of a run that is followed,
        `StepsDecided` counts what was committed between two looks, and has no records.
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
        after it until the service's work on the run is over.

        Raises:
            BadInput: The run's task has no rows.
        """
        database = await asyncio.to_thread(open_database, self._store, create=False)
        try:
            feed = await asyncio.to_thread(lambda: RowFeed(database, find_run(database, self.run_id)))
            over = False
            while not over:
                over = self._task.done()
                news = chain(feed.news(), feed.rest()) if over else feed.news()
                while batch := await asyncio.to_thread(list, islice(news, ROWS_AT_ONCE)):
                    for row in batch:
                        yield row
                if not over:
                    await asyncio.wait({self._task}, timeout=LOOK_S)
        finally:
            await asyncio.to_thread(database.close)
        await self.result()


class Service:
    """Works on runs in the background of an event loop.

        async with maker.Service(store="sqlite:///runs.db") as service:
            run = await service.start("job.toml")
            report = await run.result()

    Leaving the block pauses what still runs. No call holds the loop up: what takes time is done in threads.

    Args:
        store: The database of all its runs.
        max_runs: Most runs at a time; each takes a thread. More starts wait, see `pending`.
    """

    def __init__(self, *, store: str = DEFAULT_STORE, max_runs: int = 32) -> None:
        self._store = store
        self._most = max_runs
        self._threads = ThreadPoolExecutor(max_runs, thread_name_prefix="maker-run")
        # Runs must not keep what is short from being done, nor the program's own threads either.
        self._short = ThreadPoolExecutor(SHORT_AT_ONCE, thread_name_prefix="maker-service")
        self._calls: set[asyncio.Future[Any]] = set()
        self._runs: dict[asyncio.Future[RunReport], threading.Event] = {}
        self._followed: dict[asyncio.Future[RunReport], threading.Event] = {}
        self._handles: dict[str, RunHandle] = {}
        self._database: Database | None = None
        self._opening = threading.Lock()
        self._closed = False

    @property
    def pending(self) -> int:
        """How many starts and resumes wait for one of ``max_runs`` places. Each is logged as ``run_waiting``, too."""
        return max(0, len(self._runs) - self._most)

    async def start(
        self,
        job: api.JobLike,
        overrides: Iterable[str] = (),
        *,
        run_id: str | None = None,
        limit_steps: int | None = None,
        **keywords: Unpack[ServiceKeywords],
    ) -> RunHandle:
        """Start a run; returns once it is in the store. Takes, and raises before that, what `maker.run` does.

        With ``run_id`` the same call again returns the same run, whichever program started it: its end if it is over;
        its handle if this service works on it; a handle that follows it if another process does. Else it goes on here.
        """
        loaded = await self._call(partial(self._load, job, tuple(overrides), **keywords))
        try:
            return await self._begin(partial(api.run_unless_held, loaded, run_id, limit_steps=limit_steps))
        except RunHeld as error:
            # A pilot may be held as well.
            if run_id is None or error.facts.get("run_id") != run_id:
                raise
            return await self.get(run_id)

    async def enqueue(
        self,
        job: api.JobLike,
        overrides: Iterable[str] = (),
        *,
        run_id: str | None = None,
        queue: str = DEFAULT_QUEUE,
        priority: int = 0,
        key: str | None = None,
        due: datetime | None = None,
        connection: HostConnection | None = None,
        **keywords: Unpack[ServiceKeywords],
    ) -> str:
        """Put a run into a queue, for a worker to claim; returns its id. See `maker.enqueue`.

        ``connection`` is used in another thread, and by nobody else until this returns.
        """
        loaded = await self._call(partial(self._load, job, tuple(overrides), **keywords))
        put = partial(api.enqueue, loaded, run_id=run_id, queue=queue, priority=priority, key=key, due=due)
        return await self._call(partial(put, connection=connection))

    async def get(self, run_id: str) -> RunHandle:
        """Return the handle of a stored run: this service's own if it works on it, else one that follows the run."""
        follower = await self._call(lambda: Follower(self._opened(), run_id))
        return self._handles.get(follower.report.run_id) or self._following(follower)

    async def runs(
        self, *, status: str = "", name: str = "", since: datetime | None = None, limit: int = 50
    ) -> list[RunReport]:
        """Return the newest runs, newest first. See `maker.runs`."""
        return await self._call(partial(runs, store=self._store, limit=limit, status=status, name=name, since=since))

    async def resume(self, run_id: str, overrides: Iterable[str] = ()) -> RunHandle:
        """Go on with a run; returns once it is held. Raises what `maker.resume` raises before that."""
        return await self._begin(partial(api.resume, run_id, list(overrides), store=self._store))

    async def retry(self, run_id: str, overrides: Iterable[str] = (), *, outcomes: Collection[str] = ()) -> RunHandle:
        """Vote again on a run's unresolved steps; returns once it is held, as `resume`. See `maker.retry`."""
        return await self._begin(
            partial(api.retry, run_id, list(overrides), outcomes=tuple(outcomes), store=self._store)
        )

    async def fork(
        self, run_id: str, at: int, overrides: Iterable[str] = (), *, repeat_effects: bool = False
    ) -> RunReport:
        """Create a run that shares another one's steps before ``at``; `resume` works on it. See `maker.fork`."""
        forked = partial(admin.fork, run_id, at, list(overrides), store=self._store, repeat_effects=repeat_effects)
        return await self._call(forked)

    async def cancel(self, run_id: str) -> RunReport:
        """End a run for good, whoever works on it. Takes a whole id or name. See `maker.cancel`."""
        return await self._call(partial(admin.cancel, run_id, store=self._store))

    async def prune(self, run_id: str) -> RunReport:
        """Delete a run; returns its last report. Takes a whole id or name. See `maker.prune`."""
        return await self._call(partial(admin.prune, run_id, store=self._store))

    async def answer(self, run_id: str, name: str, value: Any, *, by: str | None = None) -> OpenWait:
        """Answer what a run waits for; one that nobody works on goes on with `resume`. See `maker.answer`."""
        return await self._call(partial(answer, run_id, name, value, by=by, store=self._store))

    async def settle_effect(
        self, run_id: str, at: str, *, done: Any = None, again: bool = False, by: str | None = None
    ) -> OpenWait:
        """Say what came of an effect in doubt. See `maker.settle_effect`."""
        return await self._call(partial(settle_effect, run_id, at, done=done, again=again, by=by, store=self._store))

    async def waits(self, run_id: str = "") -> list[OpenWait]:
        """Return what can be answered, oldest first: of one run, or of all. See `maker.waits`."""
        return await self._call(lambda: list(waits(run_id, store=self._store)))

    async def limit(
        self,
        key: str,
        *,
        requests_per_minute: Rate = None,
        tokens_per_minute: Rate = None,
        concurrency: Rate = None,
        max_cost: float | Literal["none"] | None = None,
    ) -> SharedLimit:
        """Say what all workers of the store together may use whose jobs name this key; return it. See `maker.limit`."""
        stated = partial(
            limit, key, requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute,
            concurrency=concurrency, max_cost=max_cost, store=self._store,
        )  # fmt: skip
        return await self._call(stated)

    async def limits(self) -> list[SharedLimit]:
        """Return the shared limits of the store, by key, with what is used of them now. See `maker.limits`."""
        return await self._call(partial(limits, store=self._store))

    async def results(self, run_id: str, *, start: int = 0) -> AsyncIterator[RowResult]:
        """Yield what is settled of a map's rows by now, in the order of the input. See `maker.results`.

        `RunHandle.rows` goes on while the run does.
        """
        # Who stops reading may do so while a thread reads on: the end waits for it.
        found, turn = results(run_id, store=self._store, start=start), threading.Lock()

        def following() -> list[RowResult]:
            with turn:
                return list(islice(found, ROWS_AT_ONCE))

        def end() -> None:
            with turn:
                found.close()

        try:
            while batch := await self._call(following):
                for row in batch:
                    yield row
        finally:
            await asyncio.to_thread(end)

    async def close(self) -> None:
        """Pause all that runs, and wait for it. Nothing begins any more; closing again does nothing.

        What stopped a run is raised by its handle, not here.
        """
        self._closed = True
        for stop in [*self._runs.values(), *self._followed.values()]:
            stop.set()
        while working := [*self._runs, *self._followed, *self._calls]:
            await asyncio.wait(working)
        self._threads.shutdown()
        self._short.shutdown()
        if self._database is not None:
            self._database.close()

    async def __aenter__(self) -> Service:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    def _load(self, job: api.JobLike, overrides: Iterable[str], **keywords: Unpack[ServiceKeywords]) -> Job:
        if not isinstance(job, Job):
            return api.load_job(job, [*overrides, f"store.url={self._store}"], **keywords)
        if keywords:
            raise JobError(
                f"{next(iter(keywords))!r} comes too late: the job is loaded already", fix="give it to load_job"
            )
        if job.store.url != self._store:
            raise JobError(
                f"the job uses the store {shown_url(job.store.url)}, but the service uses {shown_url(self._store)}",
                fix="load the job with the service's store",
            )
        return job

    async def _call(self, work: Callable[..., T], *args: Any) -> T:
        """Do something short in a thread. Who stops waiting for it does not stop it: `close` waits for its end."""
        self._refuse_closed()
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(self._short, partial(context.run, work, *args))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        call.add_done_callback(_heard)
        return await asyncio.shield(call)

    async def _begin(self, work: Callable[..., RunReport]) -> RunHandle:
        self._refuse_closed()
        loop = asyncio.get_running_loop()
        hub = _Hub(loop, stop := threading.Event())
        # With the context of who starts it: the run's span is a child of the span that is current here.
        context = contextvars.copy_context()
        begun = partial(_unless_stopped, partial(work, on_event=hub.publish, stop=stop), stop)
        task = loop.run_in_executor(self._threads, partial(context.run, begun))
        self._runs[task] = stop
        if self.pending:
            log.warning("run_waiting", max_runs=self._most, pending=self.pending)
        # Before the others are told: who hears that the run is over finds its place free.
        task.add_done_callback(self._runs.pop)
        task.add_done_callback(_heard)
        task.add_done_callback(hub.close)
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
        handle = self._handles[first.run_id] = RunHandle(first.run_id, self._store, task, stop, hub)
        task.add_done_callback(lambda _: self._handles.pop(handle.run_id, None))
        return handle

    def _following(self, follower: Follower) -> RunHandle:
        hub = _Hub(asyncio.get_running_loop(), stop := threading.Event())
        task = asyncio.ensure_future(self._follow(follower, hub, stop))
        self._followed[task] = stop
        task.add_done_callback(self._followed.pop)
        task.add_done_callback(_heard)
        task.add_done_callback(hub.close)
        return RunHandle(follower.report.run_id, self._store, task, stop, hub)

    async def _follow(self, follower: Follower, hub: _Hub, stop: threading.Event) -> RunReport:
        while not follower.over:
            await asyncio.sleep(LOOK_AT_RUN_S)
            if stop.is_set():
                break
            for event in await self._call(follower.look):
                hub.publish(event)
        return follower.report

    def _opened(self) -> Database:
        """Return the store, open, for all that follow runs."""
        with self._opening:
            self._database = self._database or open_database(self._store, create=False)
            return self._database

    def _refuse_closed(self) -> None:
        if self._closed:
            raise _closed()


def _closed() -> BadInput:
    return BadInput("the service is closed", fix="call it within its `async with` block, or make another one")


def _unless_stopped(work: Callable[[], RunReport], stop: threading.Event) -> RunReport:
    """Begin with a run that has waited for its place, unless it is not wanted any more."""
    if stop.is_set():
        raise _closed()
    return work()


def _heard(task: asyncio.Future[Any]) -> None:
    """Take what a task raised as heard: who awaits it is told, and nobody need await it."""
    if not task.cancelled():
        task.exception()


async def arun(
    job: api.JobLike,
    overrides: Iterable[str] = (),
    *,
    limit_steps: int | None = None,
    **keywords: Unpack[JobKeywords],
) -> RunReport:
    """Start a run and wait until it is done, failed or paused: `maker.run` for an event loop, which goes on meanwhile.

    Who is cancelled while waiting pauses the run. Takes, and raises, what `maker.run` does.
    """
    load = partial(api.load_job, job, tuple(overrides), **keywords)
    loaded = await asyncio.to_thread(load)
    async with Service(store=loaded.store.url, max_runs=1) as service:
        run = await service.start(loaded, limit_steps=limit_steps)
        return await run.result()


Engine = Service
"""The name of `Service` in version 0.1."""


class _Hub:
    """Carries events from the writer's thread to the loop's subscribers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
        self._loop = loop
        self._stop = stop
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
        try:
            self._loop.call_soon_threadsafe(self._spread, event)
        except RuntimeError:
            # The loop is closed, and its service was not: nobody is left to tell, nor to stop the run. It pauses.
            self._stop.set()

    def close(self, _task: asyncio.Future[RunReport]) -> None:
        self._spread(None)

    def _spread(self, event: Event | None) -> None:
        for queue in self._queues:
            queue.put_nowait(event)
