"""Ask a server over HTTP: an event loop in the background sends and retries, the worker polls a queue."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from maker.models.dialects.openai_reply import Reply
from maker.models.dialects.refusals import can_be_omitted, without_fields
from maker.models.interface import most_prompt_tokens
from maker.models.quota import Quota, Ticket
from maker.models.server.concurrency import TIMEOUT_FACTOR, TOO_SLOW, Concurrency
from maker.models.server.endpoints import Endpoints
from maker.models.server.faults import Lost, Refusal, Unbilled
from maker.models.server.gate import Gate
from maker.models.server.loop_model import LoopModel
from maker.models.server.openai_http import Http
from maker.models.server.pacing import Pace, Taken, pause_s
from maker.models.server.progress import Progress
from maker.models.server_settings import ServerSettings
from maker.types import ConcurrencyChange, EndpointChange, Failed, Finished, Request, ServerChange

_FIRST_TRIES = 3
"""Tries for a server that has never answered: a mistyped URL must fail in seconds, not after ``retry_s``."""
_SILENT_TRIES = 5
"""Timeouts in a row, of one request at a time, after which nothing more is sent to a server that has answered."""
_MOST_REFUSED = 8
"""So many fields of a request may be left out to find all that a server refuses."""
_LOOK_S = 0.2
"""A pause of a shared limit ends without a word: so often it is looked whether it has."""
_GATEWAY_S = 5.0
"""A gateway that gives a server up sooner has not waited for it: it tells nothing of how slow the server is."""


class OpenAIModel(LoopModel[Progress]):
    """Asks a server over HTTP.

    A request is one HTTP request, except for a server that ignores or refuses ``n``: then it is split into HTTP
    requests for one reply each, with shifted seeds, and later requests ask for one reply. Tokens are the server's own
    count if it reports one that can be right (see `maker.models.dialects.openai_reply.read`).

    A try that was certainly not billed (no connection; HTTP 408, 409, 425, 429, and 500 and above except a gateway's
    504) is repeated here, after the server's Retry-After if it sends one. A try that was sent but gave no usable reply
    (cut off, too late, half a body, the reply of another model) is returned as lost; when it is submitted again, it
    waits a while.

    How many HTTP requests are in flight adapts to how the server answers (see `maker.models.server.concurrency`). Where
    it does not answer even one at a time, for one reply each, all that is still to be sent fails.

    Where a server refuses a field of the request, such as ``temperature``, it is asked for one reply without, to see
    which others it refuses: all that are to be named in ``model.omit`` are told at once. That reply is billed, and gets
    no vote. Then everything fails.

    Args:
        settings: The ``[model]`` table. Its key and headers are read from their environment variables now.

    Raises:
        ModelUnusable: A variable is not set, or the URL cannot be read. A missing server shows in `poll`, not here.
    """

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._servers = [Http(one) for one in settings.endpoints()]
        self._endpoints = Endpoints(len(self._servers))
        # Who is asked, who has answered last, and why the one before is not asked any more.
        self._asked, self._serving, self._left_why = 0, 0, ""
        # Written by the worker's thread alone, in `poll`: what is reserved for a request and how it is sent must agree.
        self._split = False
        # Written by the loop's thread alone, from here on.
        self._answered = False
        self._most_taken = 1
        self._one_each = False
        self._replied_s = -math.inf
        self._last_lost = Lost("", fix="")
        self._refused: Refusal | None = None
        self._probing = asyncio.Lock()
        self._losses: dict[int, int] = {}
        # What `Progress.failing_s` is for requests that are submitted again.
        self._losing_s: dict[int, float] = {}
        self._tasks: dict[int, asyncio.Task[Finished | Failed]] = {}
        self._concurrency = Concurrency(settings.concurrency, settings.timeout_s)
        self._gate = Gate(lambda: self._concurrency.limit)
        self._told, self._fell = self._concurrency.proven, False
        self._changes: deque[ServerChange] = deque()
        self._pace = Pace(settings.requests_per_minute, settings.tokens_per_minute)
        self._quota: Quota | None = None
        self._line = asyncio.Lock()
        self._eased = asyncio.Event()
        self._begin_loop("maker-openai")

    def share(self, quota: Quota) -> None:
        """Send nothing that this part of a shared limit does not cover."""
        self._quota = quota
        quota.listen(self._look_again)

    def submit(self, requests: Iterable[Request]) -> None:
        """Hand requests to the event loop; at most ``concurrency`` HTTP requests are in flight."""
        begun = [(self._settings.with_room(request), Progress(self._split)) for request in requests]
        self._open.update((request.id, progress) for request, progress in begun)
        self._loop.call_soon_threadsafe(self._start, begun)

    def poll(self, wait_s: float) -> list[Finished | Failed]:
        """Return all that has come in, as `LoopModel` does, and heed how the server is to be asked from now on."""
        answers = super().poll(wait_s)
        self._split = self._concurrency.single
        return answers

    def changes(self) -> Sequence[ServerChange]:
        """Return what was noted since the last call."""
        return [self._changes.popleft() for _ in range(len(self._changes))]

    def most_n(self, model: int) -> int:
        """Return how many replies one HTTP request may ask for: one, if the server was seen to ignore or refuse n."""
        return 1 if self._one_each else self._settings.most_n

    def worst_tokens(self, request: Request) -> int:
        """Return the most tokens that a request can cost.

        Until a request for that many replies has been answered in full, and where a slow server is asked for single
        replies, it may have to be split into requests for one reply each, and the prompt be billed with each.
        """
        if request.n <= self._most_taken and not self._split:
            return super().worst_tokens(request)
        return request.n * super().worst_tokens(request._replace(n=1))

    def cancel(self, ids: Iterable[int]) -> Collection[Failed]:
        """Drop requests and their HTTP requests; the server may bill what was sent, and nothing else."""
        dropped = [i for i in ids if i in self._open]
        costs = [self._open.pop(i).drop(i) for i in dropped]
        if dropped:
            self._loop.call_soon_threadsafe(self._drop, dropped)
        return [cost for cost in costs if cost is not None]

    def _look_again(self) -> None:
        # Another member of a pool may have given something back when this one was closed.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._eased.set)

    # Everything below runs in the loop's thread.

    def _start(self, begun: list[tuple[Request, Progress]]) -> None:
        for request, progress in begun:
            task = self._loop.create_task(self._answer(request, progress))
            self._tasks[request.id] = task
            task.add_done_callback(partial(self._deliver, request.id))

    def _deliver(self, request_id: int, task: asyncio.Task[Finished | Failed]) -> None:
        self._tasks.pop(request_id, None)
        if not task.cancelled():
            # `poll` raises an unexpected error; lost here, it would leave the worker waiting forever.
            self._results.put(task.exception() or task.result())

    def _drop(self, ids: list[int]) -> None:
        for i in ids:
            self._losses.pop(i, None)
            self._losing_s.pop(i, None)
            if task := self._tasks.get(i):
                task.cancel()

    async def _shut(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            await server.close()

    async def _answer(self, request: Request, progress: Progress) -> Finished | Failed:
        if losses := self._losses.get(request.id, 0):
            # Do not hammer a failing server with repeated requests.
            await asyncio.sleep(pause_s(losses, random.random()))
        try:
            await self._collect(request, progress)
        except Lost as lost:
            return self._failed_lost(request, lost, progress)
        except Refusal as refusal:
            failed = progress.failed(request.id, refusal.reason, refusal.fix, unusable=refusal.unusable)
            alone = self._is_alone(progress.failing_s)
            return failed._replace(refused=refusal.of_prompt, alone=alone, reached=refusal.of_server)
        self._losses.pop(request.id, None)
        self._losing_s.pop(request.id, None)
        spent = (progress.prompt_tokens, progress.completion_tokens, progress.cached_tokens, progress.retries)
        samples = tuple(progress.samples)
        return Finished(request.id, samples, *spent, surplus=progress.calls - len(samples))

    async def _collect(self, request: Request, progress: Progress) -> None:
        """Fetch a request's samples: in one HTTP request, or in one each if the server needs it.

        It does if it does not support n, or is too slow for several replies within the timeout.
        """
        if self._refused is not None:
            raise self._refused
        one_each = self._one_each or progress.split
        while (got := len(progress.samples)) < request.n:
            part = request._replace(n=1, seed=request.seed + got) if one_each else request
            try:
                reply = await self._tried(part, progress)
            except Refusal as refusal:
                if can_be_omitted(refusal.field, self._settings):
                    raise await self._all_refused(part._replace(n=1), progress, refusal) from refusal
                if part.n == 1 or not refusal.of_n:
                    raise
                one_each = True
                progress.retries += 1
                continue
            if part.n == 1:
                self._one_each = self._one_each or (one_each and not progress.split and request.n > 1)
            elif len(reply.samples) > 1 or part.n <= self._most_taken:
                self._most_taken = max(self._most_taken, len(reply.samples))
                return
            one_each = True

    async def _all_refused(self, part: Request, progress: Progress, first: Refusal) -> Refusal:
        """Return a refusal that names all fields which the server does not take.

        It is asked without them, until it answers or refuses something else.
        """
        async with self._probing:
            if self._refused is None:
                names = [first.field]
                with suppress(Refusal):
                    while len(names) < _MOST_REFUSED:
                        try:
                            await self._tried(part, progress, without=tuple(names))
                        except Refusal as refusal:
                            if refusal.field in names or not can_be_omitted(refusal.field, self._settings):
                                raise
                            names.append(refusal.field)
                            continue
                        break
                self._refused = Refusal(
                    f"{first.reason} (it does not take: {', '.join(names)})",
                    fix=without_fields(names, self._settings),
                    unusable=True,
                )
        return self._refused

    async def _tried(self, part: Request, progress: Progress, *, without: Collection[str] = ()) -> Reply:
        """Return the reply to a part of a request. Without some of its fields its samples cannot vote."""
        progress.waited_s, progress.failing_s = 0.0, None
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Unbilled),
            wait=_wait_s,
            stop=self._is_enough,
            before_sleep=self._count_retry,
            retry_error_callback=self._give_up,
        )
        reply: Reply = await retrying(self._once, part, progress, without)
        self._answered = True
        self._replied_s = self._loop.time()
        return reply

    async def _once(self, part: Request, progress: Progress, without: Collection[str]) -> Reply:
        came_s, cost = self._loop.time(), most_prompt_tokens(part) + part.n * part.max_tokens
        # Else no request that is sent in parts would be complete before all have had all parts but the last.
        async with self._gate.through(goes_on=bool(progress.samples)):
            if self._is_silent or (part.n > 1 and self._concurrency.single):
                # Either it is not sent at all, or in parts for which more must be reserved.
                raise Lost(f"{self._http.url} is too slow for it", fix="")
            if not self._fails_for_all(progress):
                progress.waited_s += self._loop.time() - came_s
            came_s = self._loop.time()
            taken, ticket = await self._turn(cost)
            progress.waited_s += taken.at_s - came_s
            try:
                reply = await self._posted(part, progress, without)
                progress.take(reply, votes=not without)
                cost = reply.prompt_tokens + reply.completion_tokens
            except Unbilled as fault:
                cost = progress.unaccounted = 0
                self._answered = self._answered or fault.alive
                if fault.wait_s and fault.wait_s <= self._settings.retry_s:
                    self._hold(fault.wait_s, crowded=fault.crowded)
                raise
            except Refusal:
                cost = progress.unaccounted = 0
                raise
            except Lost as lost:
                if lost.reply is not None:
                    progress.take(lost.reply, votes=False)
                raise
            finally:
                self._pace.correct(taken, cost)
                if ticket is not None and self._quota is not None:
                    self._quota.leave(ticket, cost)
                self._eased.set()
        return reply

    async def _posted(self, part: Request, progress: Progress, without: Collection[str]) -> Reply:
        """Post a part of a request; what becomes of it decides who is asked, and how many may be in flight."""
        number = self._next_endpoint()
        load = self._concurrency
        flight, end, why = load.send(part.n, self._loop.time()), load.leave, ""
        try:
            reply = await self._servers[number].post(part, partial(progress.send, part.n), without=without)
            end = load.answer
            self._note_answer(number)
        except Lost as lost:
            if lost.cut:
                end = load.cut
            elif not lost.late:
                end = load.reply_in_vain
            elif self._loop.time() - flight.at_s >= min(self._settings.timeout_s, _GATEWAY_S):
                end = load.time_out
            self._last_lost, why = lost, str(lost)
            if lost.cut or lost.late:
                self._note_failure(number, lost)
            raise
        except Unbilled as fault:
            if fault.crowded:
                end, why = load.refuse, str(fault)
            if self._note_failure(number, fault, fault.wait_s or 0.0):
                # Nobody need wait for a server that is not asked any more.
                fault.wait_s = None
            raise
        finally:
            now_s = self._loop.time()
            end(flight, now_s)
            if load is self._concurrency:
                if load.silent and end == load.cut:
                    # A server that is down is asked now and then: each time may be billed.
                    self._pace.hold(now_s + pause_s(load.silent, random.random()))
                self._note_change(why)
        return reply

    @property
    def _http(self) -> Http:
        return self._servers[self._asked]

    def _next_endpoint(self) -> int:
        """Return the number of the server to ask; of another one than before it is not known how much it bears."""
        number = self._endpoints.choose(self._loop.time())
        if number != self._asked:
            self._asked = number
            self._concurrency = Concurrency(self._settings.concurrency, self._settings.timeout_s)
            self._told, self._fell = self._concurrency.proven, False
        return number

    def _note_failure(self, number: int, fault: Exception, wait_s: float = 0.0) -> bool:
        """Take note of a server's failure; returns whether it is left for another one."""
        left = self._endpoints.fail(number, self._loop.time(), wait_s)
        if left:
            self._left_why = str(fault)
        return left

    def _note_answer(self, number: int) -> None:
        self._endpoints.answer(number)
        # What was under way when a server was left may still be answered: it serves no more.
        if number != self._serving and number == self._asked:
            url, before = (self._servers[one].base for one in (number, self._serving))
            self._changes.append(EndpointChange(0, url, before, self._left_why if number else ""))
            self._serving = number

    def _note_change(self, why: str) -> None:
        """Note by how much the server's load has changed, if by half; that it rises at the start is no news."""
        told, now = self._told, self._concurrency.proven
        if 2 * now <= told or (self._fell and now >= 2 * told):
            reason = why or self._why_slow() if now < told else ""
            self._changes.append(ConcurrencyChange(0, now, told, reason, self._settings.timeout_s))
            self._told, self._fell = now, True
        elif not self._fell:
            self._told = max(told, now)

    def _why_slow(self) -> str:
        return f"replies take {self._concurrency.latency_s:.3g} s of {self._settings.timeout_s:g} s (timeout_s)"

    def _fails_for_all(self, progress: Progress) -> bool:
        """Say whether a request's tries fail, and nobody has been answered since the first of them."""
        return progress.failing_s is not None and self._replied_s < progress.failing_s

    @property
    def _is_silent(self) -> bool:
        """Whether the server does not even answer one request at a time, for as long as that is waited for."""
        if not self._answered or self._last_lost.late:
            return self._concurrency.silent >= (_SILENT_TRIES if self._answered else _FIRST_TRIES)
        return self._concurrency.silent > 0 and self._loop.time() - self._concurrency.silent_s > self._settings.retry_s

    def _hold(self, wait_s: float, *, crowded: bool) -> None:
        """Send nothing for as long as the server wants; nobody does who shares a limit with it."""
        if crowded:
            self._pace.hold(self._loop.time() + wait_s)
        if self._quota is not None:
            self._quota.pause(wait_s, time.monotonic())

    async def _turn(self, tokens: int) -> tuple[Taken, Ticket | None]:
        """Wait until the rate limits admit a request, in order of arrival."""
        if self._quota is None:
            async with self._line:
                await self._paced(tokens)
                return self._pace.take(tokens, self._loop.time()), None
        self._quota.wait(tokens)
        try:
            async with self._line:
                await self._paced(tokens)
                while (ticket := self._quota.take(tokens, time.monotonic())) is None:
                    await self._ease(_LOOK_S)
                    await self._paced(tokens)
                return self._pace.take(tokens, self._loop.time()), ticket
        finally:
            self._quota.forgo(tokens)

    async def _paced(self, tokens: int) -> None:
        while (wait_s := self._pace.wait_s(tokens, self._loop.time())) > 0:
            await self._ease(wait_s)

    async def _ease(self, wait_s: float) -> None:
        """Wait until something may have changed for who waits."""
        self._eased.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._eased.wait()

    def _failed_lost(self, request: Request, lost: Lost, progress: Progress) -> Failed:
        losses = self._losses[request.id] = self._losses.get(request.id, 0) + 1
        alone = self._is_alone(self._losing_s.setdefault(request.id, self._loop.time()))
        silent = self._is_silent
        reason = str(lost) if losses == 1 else f"{self._http.url} failed {losses} tries; the last: {lost}"
        fix = self._last_lost.fix
        if silent:
            reason = f"{self._http.url} failed {self._concurrency.silent} {TOO_SLOW}; the last: {self._last_lost}"
        if silent and self._last_lost.late:
            fix = (
                f"check that the server at {self._settings.url} works; if it is that slow, raise model.timeout_s, to "
                f"{TIMEOUT_FACTOR * self._settings.timeout_s:g} say; model.concurrency fell to 1 and cannot help"
            )
        hopeless = not self._answered and (silent or losses >= self._first_tries)
        failed = progress.failed(request.id, reason, fix, unusable=hopeless)
        return failed._replace(lost=hopeless or not silent, alone=alone, reached=True)

    def _is_alone(self, failing_s: float | None) -> bool:
        """Say whether the server answered others in the second half of a request's failed tries.

        What a server that dies had under way may still be answered in the first half.
        """
        return failing_s is not None and self._replied_s > (failing_s + self._loop.time()) / 2

    @property
    def _first_tries(self) -> int:
        return _FIRST_TRIES * len(self._servers)

    def _count_retry(self, state: RetryCallState) -> None:
        progress: Progress = state.args[1]
        progress.retries += 1
        if progress.failing_s is None:
            progress.failing_s = self._loop.time()

    def _is_enough(self, state: RetryCallState) -> bool:
        if not self._answered and state.attempt_number >= self._first_tries:
            return True
        return _tried_for_s(state) + state.upcoming_sleep > self._settings.retry_s

    def _give_up(self, state: RetryCallState) -> Reply:
        error = state.outcome.exception() if state.outcome else None
        reached = isinstance(error, Unbilled) and error.reached
        raise Refusal(
            f"{self._http.url} failed {state.attempt_number} tries in {_tried_for_s(state):.1f} s; the last: {error}",
            fix=f"check that a server runs at {self._settings.url}; model.retry_s sets how long to retry",
            # No request at all comes through where there is no connection.
            unusable=not self._answered or not reached,
            of_server=reached,
        )


def _tried_for_s(state: RetryCallState) -> float:
    """Return how long a request was tried, without its waiting for the limits."""
    progress: Progress = state.args[1]
    return (state.seconds_since_start or 0.0) - progress.waited_s


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    drawn_s = pause_s(state.attempt_number, random.random())
    if isinstance(error, Unbilled) and error.wait_s is not None:
        return error.wait_s + drawn_s / 10
    return drawn_s
