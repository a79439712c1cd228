"""Talk to a provider of batches with patience: what fails for now is tried again, and nothing is submitted twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import BinaryIO, TypeVar

from maker.core.logs import logger
from maker.models.batch.hearing import Heard, Hearing
from maker.models.batch.parts import Part
from maker.models.batch.provider import BatchStatus, Provider, Unsure
from maker.models.server.faults import Lost, Refusal, Unbilled
from maker.models.server.pacing import pause_s
from maker.models.server_settings import ServerSettings
from maker.types import SentBatch

T = TypeVar("T")

FIRST_TRIES = 3
"""Tries for a server that has never answered: a mistyped URL must fail in seconds."""
OUT_OF_TOUCH_S = 3600.0
"""A batch that is out goes on without us: so long a server may be away before the run is paused, in seconds."""
APPEARS_S = 60.0
"""A batch that is not listed so long after it was submitted, in seconds, was never submitted."""

log = logger("maker")


class Sender:
    """Calls one provider.

    What stays wrong is raised as a `Refusal`, or as the last `Unbilled` or `Lost`.

    Args:
        provider: The provider.
        settings: The ``[model]`` table.
    """

    def __init__(self, provider: Provider, settings: ServerSettings) -> None:
        self._provider = provider
        self._settings = settings
        self.answered = False
        self.closing = False

    async def upload(self, lines: BinaryIO, tag: str) -> str:
        """Store the lines of a batch; returns the file's id. Repeated, it leaves a file that nobody uses."""
        return await self._patiently(lambda: self._provider.upload(lines, tag), self._settings.retry_s)

    async def create(self, batch: SentBatch, lines: BinaryIO) -> BatchStatus | None:
        """Submit a batch, once; returns None where nobody knows whether it was submitted."""
        until = time.monotonic() + self._settings.retry_s
        tries = 0
        while not self.closing:
            tries += 1
            try:
                return await self._provider.create(batch, lines)
            except Unbilled as fault:
                # Where the server itself has failed, it may have taken the batch.
                if fault.reached and not fault.crowded:
                    log.warning("batch_unsure", tag=batch.tag, error=str(fault))
                    return None
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(fault.wait_s or pause_s(tries, random.random()))
            except Lost as lost:
                log.warning("batch_unsure", tag=batch.tag, error=str(lost))
                return None
        return None

    async def find(self, batch: SentBatch) -> BatchStatus | None:
        """Return the batch with this tag, None if it was never submitted: it has had the time to appear then."""
        while True:
            try:
                found = await self._patiently(lambda: self._provider.find(batch), OUT_OF_TOUCH_S)
            except Unsure:
                await asyncio.sleep(self._settings.batch_poll_s)
                continue
            if found is not None or time.time() > batch.begun_at + APPEARS_S:
                return found
            await asyncio.sleep(min(self._settings.batch_poll_s, APPEARS_S / 10))

    async def look(self, batch_id: str) -> BatchStatus:
        """Return how a batch stands."""
        return await self._patiently(lambda: self._provider.look(batch_id), OUT_OF_TOUCH_S)

    async def cancel(self, batch_id: str) -> BatchStatus:
        """Have a batch ended before its time. May be repeated: one that is over refuses it, or says so."""
        return await self._patiently(lambda: self._provider.cancel(batch_id), self._settings.retry_s)

    async def hear(self, hearing: Hearing, status: BatchStatus, waiting: dict[str, Part]) -> Heard:
        """Return what a batch that is over has brought."""

        def read() -> Awaitable[Heard]:
            return hearing.hear(self._provider.results(status), waiting)

        return await self._patiently(read, OUT_OF_TOUCH_S)

    async def _patiently(self, call: Callable[[], Awaitable[T]], for_s: float) -> T:
        """Return what a call brings that may be repeated: it is, for so long."""
        until = time.monotonic() + for_s
        tries = 0
        while True:
            tries += 1
            try:
                found = await call()
            except (Unbilled, Lost) as fault:
                enough = time.monotonic() > until if self.answered else tries >= FIRST_TRIES
                if enough:
                    raise
                wait_s = fault.wait_s if isinstance(fault, Unbilled) else None
                await asyncio.sleep(wait_s or pause_s(tries, random.random()))
                continue
            except Refusal:
                self.answered = True
                raise
            self.answered = True
            return found
