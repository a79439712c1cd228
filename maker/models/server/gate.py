"""Lets tasks of one event loop through, as many at a time as a limit allows that may change."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Gate:
    """A semaphore whose bound may change; tasks go through in order of arrival, but for those that go on.

    Args:
        limit: Returns how many may be through now. A higher one counts from the next time that a task leaves.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._through = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def through(self, *, goes_on: bool) -> AsyncIterator[None]:
        """Wait until the limit lets the task through, and hold its place.

        Args:
            goes_on: The task has been through before, and goes before those that only begin.
        """
        await self._enter(goes_on)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, goes_on: bool) -> None:
        if self._through < self._limit():
            self._through += 1
            return
        place = asyncio.get_running_loop().create_future()
        if goes_on:
            self._waiting.appendleft(place)
        else:
            self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                # It was let through in the moment in which its task was cancelled.
                self._leave()
            raise

    def _leave(self) -> None:
        self._through -= 1
        while self._waiting and self._through < self._limit():
            place = self._waiting.popleft()
            if not place.done():
                self._through += 1
                place.set_result(None)
