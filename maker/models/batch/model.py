"""The model that asks in batches: a worker submits and polls, an event loop in the background does the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import ClassVar

from maker.models.batch.desk import Desk
from maker.models.batch.parts import Asked
from maker.models.batch.provider import Provider
from maker.models.batch.records import BatchRecords
from maker.models.server.loop_model import LoopModel
from maker.models.server_settings import ServerSettings
from maker.types import BatchNews, Failed, Request

QUIET_S = 1.0
"""When nothing more has been asked for so long, in seconds, all that was asked is one round."""


class BatchModel(LoopModel[Asked]):
    """Asks a provider of batches.

    What is submitted is collected, and sent once nothing more comes, or a batch is full. A request that a batch of the
    run holds already waits for that batch. `poll` raises what stopped the work: a limit that does not cover the next
    request, a store that takes no writes. `close` waits until a batch that is being submitted has its id committed.

    Args:
        settings: The ``[model]`` table.
        provider: Takes batches.
        records: Keeps them.
        run_id: The run's id: the tags of its batches begin with it.
        stays_s: For how long somebody stays who waits for a batch, in seconds; None: as long as it takes.
    """

    in_batches: ClassVar[bool] = True
    # A worker hears them before it looks up again.
    AT_ONCE: ClassVar[float] = 500

    def __init__(
        self,
        settings: ServerSettings,
        provider: Provider,
        records: BatchRecords,
        *,
        run_id: str,
        stays_s: float | None = None,
    ) -> None:
        super().__init__(settings)
        self._stays_s = stays_s
        self._inbox: deque[Asked] = deque()
        self._news: deque[BatchNews] = deque()
        self._desk = Desk(settings, provider, records, run_id, self._results.put, self._news.append)
        self._serving: asyncio.Task[None] | None = None
        self._begin_loop("maker-batches")
        self._loop.call_soon_threadsafe(self._begin)

    def submit(self, requests: Iterable[Request]) -> None:
        """Collect requests for the next round."""
        for request in requests:
            asked = self._open[request.id] = Asked(self._settings.with_room(request), [None] * request.n)
            self._inbox.append(asked)

    def cancel(self, ids: Iterable[int]) -> Collection[Failed]:
        """Wait for requests no more. Those of a batch that is out are billed with it, and not by themselves."""
        for i in ids:
            if (asked := self._open.pop(i, None)) is not None:
                asked.dropped = True
        return ()

    def most_n(self, model: int) -> int:
        """Return how many replies one request may ask for."""
        return self._settings.most_n

    def batch_news(self) -> Sequence[BatchNews]:
        """Return what became of batches since the last call."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def rests(self) -> str:
        """Return the batches that are waited for, if nothing else was to be done for as long as somebody stays."""
        if self._stays_s is None or self._inbox or not self._results.empty():
            return ""
        return self._desk.waits_for(self._stays_s)

    # Everything below runs in the loop's thread.

    def _begin(self) -> None:
        self._serving = self._loop.create_task(self._serve())

    async def _serve(self) -> None:
        # An error that is lost here would leave the worker waiting for ever.
        try:
            self._desk.take_up()
            quiet_since = self._loop.time()
            while True:
                # What a worker has not heard yet may lead to further requests.
                if self._inbox or (self._open and not self._results.empty()):
                    quiet_since = self._loop.time()
                    while self._inbox:
                        self._desk.take(self._inbox.popleft())
                await self._desk.work(quiet=self._loop.time() - quiet_since >= QUIET_S)
                await asyncio.sleep(QUIET_S / 10)
        except Exception as error:  # noqa: BLE001 - `poll` raises it
            self._results.put(error)

    async def _shut(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
            with suppress(asyncio.CancelledError):
                await self._serving
        await self._desk.close()
