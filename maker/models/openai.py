"""Any OpenAI-compatible server: an event loop in the background sends and retries, the worker polls a queue."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from maker.errors import ModelUnusable
from maker.models.door import Model
from maker.models.openai_wire import (
    SHOWN_CHARS,
    Reply,
    Unreadable,
    advice,
    body,
    complaint,
    endpoint,
    read,
    retry_after_s,
    split,
)
from maker.models.settings import OpenAISettings
from maker.types import Failed, Finished, Request

_PASSING = frozenset({408, 409, 425, 429})
"""Refusals that a later try may not meet; so are all of 500 and above."""

_OF_THE_PROMPT = frozenset({400, 413, 422})
"""Refusals that another prompt may not meet: this one is too long, say."""

_FIRST_TRIES = 3
"""Tries for a server that has never answered: a mistyped URL is to fail in seconds, not after ``retry_s``."""

_RETRY_AFTER_CAP_S = 30.0
_CONNECT_S = 5.0

_backoff = wait_random_exponential(multiplier=0.5, max=8, min=0.1)
"""Seconds before the next try, drawn evenly below .5, 1, 2, 4, 8, 8 …: three first tries take 1.5 s at most."""


class _Fault(Exception):
    """A try that failed and may be repeated."""

    def __init__(self, what: str, *, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class _Refusal(Exception):
    """What cannot be had. Becomes a `Failed`."""

    def __init__(
        self,
        reason: str,
        *,
        fix: str = "",
        unusable: bool,
        billed: tuple[int, int] = (0, 0),
        of_prompt: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.unusable = unusable
        self.billed = billed
        self.of_prompt = of_prompt


class OpenAIModel(Model):
    """Asks a server over HTTP.

    A request for more than ``max_n`` replies becomes several HTTP requests with shifted seeds. It is answered when all
    of them are in, so the order of arrival never shows, and fails when one of them does. Tokens are the server's own
    count where it reports one (see `maker.models.openai_wire.read`); tries that failed are not counted, as no server
    says what they cost.

    Args:
        settings: The ``[model]`` table. The key is read from the environment variable ``key_env`` now.

    Raises:
        ModelUnusable: The variable is not set, or the URL cannot be read. A missing server shows in `poll`, not here.
    """

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._key = _key(settings.key_env)
        self._url = endpoint(settings)
        self._client = _client(settings, self._key)
        self._answered = False
        self._open: set[int] = set()
        self._results: SimpleQueue[Finished | Failed | BaseException] = SimpleQueue()
        # Below this line: touched by the loop's thread alone.
        self._tasks: dict[int, asyncio.Task[Finished | Failed]] = {}
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(settings.concurrency)
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
        """Return how many replies one HTTP request may ask for."""
        return self._settings.max_n

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
            if task := self._tasks.get(i):
                task.cancel()

    async def _shut(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _answer(self, request: Request) -> Finished | Failed:
        parts = [self._loop.create_task(self._part(part)) for part in split(request, max_n=self._settings.max_n)]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        replies: list[Reply] = []
        refusals: list[_Refusal] = []
        for part in parts:
            if part.cancelled():
                continue
            error = part.exception()
            if isinstance(error, _Refusal):
                refusals.append(error)
            else:
                replies.append(part.result())
        prompt = sum(reply.prompt_tokens for reply in replies) + sum(refusal.billed[0] for refusal in refusals)
        spoken = sum(reply.completion_tokens for reply in replies) + sum(refusal.billed[1] for refusal in refusals)
        if refusals:
            first = refusals[0]
            return Failed(request.id, first.reason, first.fix, first.unusable, prompt, spoken, first.of_prompt)
        return Finished(request.id, tuple(s for reply in replies for s in reply.samples), prompt, spoken)

    async def _part(self, part: Request) -> Reply:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Fault),
            wait=_wait_s,
            stop=self._is_enough,
            retry_error_callback=self._give_up,
        )
        return await retrying(self._once, part)

    async def _once(self, part: Request) -> Reply:
        try:
            # httpx's own timeouts are for each read: a server that drips bytes would never meet them.
            async with self._slots, asyncio.timeout(self._settings.timeout_s):
                response = await self._client.post(self._url, json=body(part, self._settings))
        except TimeoutError as error:
            raise _Fault(f"no reply within {self._settings.timeout_s:g} s") from error
        except httpx.RequestError as error:
            raise _Fault(self._shown(f"{type(error).__name__}: {error}")) from error
        return self._judged(response, part)

    def _judged(self, response: httpx.Response, part: Request) -> Reply:
        if not response.is_success:
            self._raise_status(response)
        try:
            reply = read(_decoded(response.text), part)
        except Unreadable as error:
            raise _Refusal(
                f"{self._url} answered {response.status_code}, but {error}: {self._shown(response.text)!r}",
                fix="model.url must be the base address of an OpenAI-compatible server; it often ends in /v1",
                unusable=not self._answered,
                billed=(error.prompt_tokens, error.completion_tokens),
            ) from error
        self._answered = True
        return reply

    def _raise_status(self, response: httpx.Response) -> None:
        status = response.status_code
        said = self._shown(complaint(_decoded(response.text)) or response.text)
        if status in _PASSING or status >= 500:
            wait_s = retry_after_s(response.headers.get("retry-after"))
            # Whoever says "too many" or "later" is there.
            self._answered = self._answered or status == 429 or wait_s is not None
            raise _Fault(f"HTTP {status}: {said}", wait_s=wait_s)
        reason = f"{self._url} refused the request: HTTP {status}: {said}"
        raise _Refusal(reason, fix=advice(status, self._settings), unusable=True, of_prompt=status in _OF_THE_PROMPT)

    def _is_enough(self, state: RetryCallState) -> bool:
        if not self._answered and state.attempt_number >= _FIRST_TRIES:
            return True
        spent = state.seconds_since_start or 0.0
        return spent + state.upcoming_sleep > self._settings.retry_s

    def _give_up(self, state: RetryCallState) -> Reply:
        error = state.outcome.exception() if state.outcome else None
        spent = state.seconds_since_start or 0.0
        raise _Refusal(
            f"{self._url} failed {state.attempt_number} tries in {spent:.1f} s; the last: {error}",
            fix=f"check that a server runs at {self._settings.url}; model.retry_s says for how long to retry",
            unusable=not self._answered,
        )

    def _shown(self, text: str) -> str:
        # The key goes first: a cut or joined line could leave a part of it that is no longer recognised.
        if self._key:
            text = text.replace(self._key, "[key]").replace(json.dumps(self._key)[1:-1], "[key]")
        return " ".join(text.split())[:SHOWN_CHARS]


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _Fault) and error.wait_s is not None:
        return min(error.wait_s, _RETRY_AFTER_CAP_S) + _backoff(state) / 10
    return _backoff(state)


def _key(name: str) -> str:
    if not name:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise ModelUnusable(
            f"the environment variable {name}, which model.key_env names, is not set",
            fix=f"export {name}=…, on a Ray cluster before `ray start` on every node; or clear model.key_env for a "
            "server that wants no key",
            variable=name,
        )
    if not (key.isascii() and key.isprintable()):
        raise ModelUnusable(f"the key in the environment variable {name} holds characters that no header can carry")
    return key


def _client(settings: OpenAISettings, key: str) -> httpx.AsyncClient:
    try:
        host = httpx.URL(settings.url).host
    except httpx.InvalidURL as error:
        raise ModelUnusable(f"model.url cannot be read: {settings.url!r}: {error}") from error
    return httpx.AsyncClient(
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=httpx.Timeout(settings.timeout_s, connect=min(settings.timeout_s, _CONNECT_S)),
        limits=httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency),
        # A proxy of the environment cannot reach this machine's own loopback.
        trust_env=not (host in ("localhost", "::1") or host.startswith("127.")),
    )
