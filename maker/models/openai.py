"""Any OpenAI-compatible server: an event loop in the background sends and retries, the worker polls a queue."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from maker.models.interface import Model
from maker.models.openai_http import Http, Lost, Refusal, Unbilled
from maker.models.openai_wire import Reply
from maker.models.pacing import Pace, Taken, pause_s
from maker.models.settings import OpenAISettings
from maker.types import Failed, Finished, Request, Sample

_FIRST_TRIES = 3
"""Tries for a server that has never answered: a mistyped URL is to fail in seconds, not after ``retry_s``."""


@dataclass(slots=True)
class _Told:
    """What has come of a request so far; ``waited_s`` is how long its present try stood in line, which is no fault."""

    samples: list[Sample] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    retries: int = 0
    waited_s: float = 0.0

    def bill(self, reply: Reply) -> None:
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.cached_tokens += reply.cached_tokens


class OpenAIModel(Model):
    """Asks a server over HTTP.

    A request is one HTTP request, but for a server that ignores or refuses ``n``: what it is asked for then is made up
    of HTTP requests for one reply each, with shifted seeds, and later requests are for one. Tokens are the server's own
    count where it reports one (see `maker.models.openai_wire.read`).

    A try that was certainly not billed (no connection; HTTP 408, 409, 425, 429 and from 500 on, but for a gateway's
    504) is repeated here, after a Retry-After where the server sends one. One that was sent and brought nothing that
    can vote (cut off, too late, half a body, the reply of another model) comes back as lost, and waits a while when it
    is asked again.

    Args:
        settings: The ``[model]`` table. The key is read from the environment variable ``key_env`` now.

    Raises:
        ModelUnusable: The variable is not set, or the URL cannot be read. A missing server shows in `poll`, not here.
    """

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._http = Http(settings)
        self._open: set[int] = set()
        self._results: SimpleQueue[Finished | Failed | BaseException] = SimpleQueue()
        # Written by the loop's thread alone, from here on.
        self._answered = False
        self._most_taken = 1
        self._one_each = False
        self._losses: dict[int, int] = {}
        self._tasks: dict[int, asyncio.Task[Finished | Failed]] = {}
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._pace = Pace(settings.requests_per_minute, settings.tokens_per_minute)
        self._line = asyncio.Lock()
        self._eased = asyncio.Event()
        self._thread = Thread(target=self._loop.run_forever, name="maker-openai", daemon=True)
        self._thread.start()

    def submit(self, requests: Iterable[Request]) -> None:
        """Hand requests to the event loop; at most ``concurrency`` HTTP requests are in flight."""
        batch = list(requests)
        self._open.update(request.id for request in batch)
        self._loop.call_soon_threadsafe(self._start, batch)

    def poll(self, wait_s: float) -> list[Finished | Failed]:
        """Return all that has come in; wait up to ``wait_s`` for the first. Returns at once if nothing is open."""
        deadline = time.monotonic() + wait_s
        answers: list[Finished | Failed] = []
        while self._open:
            try:
                left = 0.0 if answers else deadline - time.monotonic()
                result = self._results.get(timeout=left) if left > 0 else self._results.get_nowait()
            except Empty:
                break
            if isinstance(result, BaseException):
                raise result
            # A cancelled request may have come in before the loop heard of it.
            if result.id in self._open:
                self._open.remove(result.id)
                answers.append(result)
        return answers

    def bills(self, model: int) -> bool:
        """Yes: what the server has begun it may bill."""
        return True

    def most_n(self, model: int) -> int:
        """Return how many replies one HTTP request may ask for: one, of a server that has been seen to take no n."""
        return 1 if self._one_each else self._settings.max_n

    def worst_tokens(self, request: Request) -> int:
        """Return the most tokens that a request can cost.

        Where no request for so many replies has been answered in full yet, it may have to be made up of requests for
        one each, and the prompt be billed with each.
        """
        worst = super().worst_tokens(request)
        if request.n <= self._most_taken:
            return worst
        return request.n * super().worst_tokens(request._replace(n=1))

    def cancel(self, ids: Iterable[int]) -> None:
        """Drop requests, and the HTTP requests for them; what the server has begun it may bill."""
        dropped = [i for i in ids if i in self._open]
        self._open.difference_update(dropped)
        if dropped:
            self._loop.call_soon_threadsafe(self._drop, dropped)

    def close(self) -> None:
        """Drop all requests, close the connections and end the thread. May be called again."""
        self._open.clear()
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # Everything below runs in the loop's thread.

    def _start(self, requests: list[Request]) -> None:
        for request in requests:
            task = self._loop.create_task(self._answer(request))
            self._tasks[request.id] = task
            task.add_done_callback(partial(self._deliver, request.id))

    def _deliver(self, request_id: int, task: asyncio.Task[Finished | Failed]) -> None:
        self._tasks.pop(request_id, None)
        if not task.cancelled():
            # An error nobody foresaw belongs to the caller; lost here, it would leave the worker waiting for ever.
            self._results.put(task.exception() or task.result())

    def _drop(self, ids: list[int]) -> None:
        for i in ids:
            self._losses.pop(i, None)
            if task := self._tasks.get(i):
                task.cancel()

    async def _shut(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.close()

    async def _answer(self, request: Request) -> Finished | Failed:
        told = _Told()
        if losses := self._losses.get(request.id, 0):
            # A server that is ill is not to be hammered by those who ask again.
            await asyncio.sleep(pause_s(losses, random.random()))
        try:
            await self._collect(request, told)
        except Lost as lost:
            return self._failed_lost(request, lost, told)
        except Refusal as refusal:
            told.prompt_tokens += refusal.billed[0]
            told.completion_tokens += refusal.billed[1]
            failed = self._failed(request, refusal.reason, refusal.fix, refusal.unusable, told)
            calls = request.n if refusal.billed[1] else failed.calls
            return failed._replace(calls=calls, refused=refusal.of_prompt)
        self._losses.pop(request.id, None)
        spent = (told.prompt_tokens, told.completion_tokens, told.cached_tokens, told.retries)
        return Finished(request.id, tuple(told.samples), *spent)

    async def _collect(self, request: Request, told: _Told) -> None:
        """Ask for a request's samples: in one HTTP request, or in one each where the server takes no n."""
        one_each = self._one_each
        while (got := len(told.samples)) < request.n:
            part = request._replace(n=1, seed=request.seed + got) if one_each else request
            try:
                reply = await self._tried(part, told)
            except Refusal as refusal:
                if part.n == 1 or not refusal.of_n:
                    raise
                one_each = True
                told.retries += 1
                continue
            told.samples += reply.samples
            if part.n == 1:
                self._one_each = self._one_each or (one_each and request.n > 1)
            elif len(reply.samples) > 1 or part.n <= self._most_taken:
                self._most_taken = max(self._most_taken, len(reply.samples))
                return
            one_each = True

    async def _tried(self, part: Request, told: _Told) -> Reply:
        told.waited_s = 0.0
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Unbilled),
            wait=_wait_s,
            stop=self._is_enough,
            before_sleep=_count_retry,
            retry_error_callback=self._give_up,
        )
        reply: Reply = await retrying(self._once, part, told)
        self._answered = True
        told.bill(reply)
        return reply

    async def _once(self, part: Request, told: _Told) -> Reply:
        came_s, cost = self._loop.time(), super().worst_tokens(part)
        async with self._slots:
            taken = await self._turn(cost)
            told.waited_s += taken.at_s - came_s
            try:
                reply = await self._http.post(part)
                cost = reply.prompt_tokens + reply.completion_tokens
            except Unbilled as fault:
                cost = 0
                self._answered = self._answered or fault.alive
                if fault.crowded and fault.wait_s and fault.wait_s <= self._settings.retry_s:
                    self._pace.hold(self._loop.time() + fault.wait_s)
                raise
            except Refusal as refusal:
                cost = sum(refusal.billed)
                raise
            finally:
                self._pace.correct(taken, cost)
                self._eased.set()
        return reply

    async def _turn(self, tokens: int) -> Taken:
        """Wait until the limits let a request go, in order of arrival."""
        async with self._line:
            while (wait_s := self._pace.wait_s(tokens, self._loop.time())) > 0:
                self._eased.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._eased.wait()
            return self._pace.take(tokens, self._loop.time())

    def _failed_lost(self, request: Request, lost: Lost, told: _Told) -> Failed:
        losses = self._losses[request.id] = self._losses.get(request.id, 0) + 1
        hopeless = not self._answered and losses >= _FIRST_TRIES
        reason = str(lost) if losses == 1 else f"{self._http.url} failed {losses} tries; the last: {lost}"
        if lost.told is not None:
            told.bill(lost.told)
            told.samples += lost.told.samples
        return self._failed(request, reason, lost.fix, hopeless, told)._replace(lost=True)

    def _failed(self, request: Request, reason: str, fix: str, unusable: bool, told: _Told) -> Failed:
        spent = (told.prompt_tokens, told.completion_tokens)
        return Failed(request.id, reason, fix, unusable, *spent, retries=told.retries, calls=len(told.samples))

    def _is_enough(self, state: RetryCallState) -> bool:
        if not self._answered and state.attempt_number >= _FIRST_TRIES:
            return True
        return _tried_for_s(state) + state.upcoming_sleep > self._settings.retry_s

    def _give_up(self, state: RetryCallState) -> Reply:
        error = state.outcome.exception() if state.outcome else None
        raise Refusal(
            f"{self._http.url} failed {state.attempt_number} tries in {_tried_for_s(state):.1f} s; the last: {error}",
            fix=f"check that a server runs at {self._settings.url}; model.retry_s sets how long to retry",
            unusable=not self._answered,
        )


def _tried_for_s(state: RetryCallState) -> float:
    """Return for how long something was tried, less what it stood in line."""
    told: _Told = state.args[1]
    return (state.seconds_since_start or 0.0) - told.waited_s


def _count_retry(state: RetryCallState) -> None:
    told: _Told = state.args[1]
    told.retries += 1


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    drawn_s = pause_s(state.attempt_number, random.random())
    if isinstance(error, Unbilled) and error.wait_s is not None:
        return error.wait_s + drawn_s / 10
    return drawn_s
