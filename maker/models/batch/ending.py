"""End batches that nobody wants any more, at their provider, and read what they have cost by then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from maker.models.batch.hearing import Hearing
from maker.models.batch.provider import BatchStatus, Phase, Provider, Unsure
from maker.models.batch.providers import provider_of
from maker.models.batch.sending import Sender
from maker.models.dialects.dialect import dialect_of
from maker.models.server.faults import Lost, Refusal, Unbilled
from maker.models.server_settings import ServerSettings
from maker.types import NO_USAGE, BatchState, SentBatch, Usage

WAIT_S = 30.0
"""So long a provider may take to end its batches, in seconds; all are ended at the same time."""
LOOK_S = 0.5


class EndedBatch(NamedTuple):
    """How a batch stands that was to be ended.

    ``batch`` is HEARD where it is over, with ``usage`` for what it has answered; VOID where nothing was asked. Else
    ``trouble`` says why it may go on. ``said`` is the provider's word for how it stands.
    """

    batch: SentBatch
    said: str = ""
    usage: Usage = NO_USAGE
    trouble: str = ""


def end_batches(settings: ServerSettings, batches: Sequence[SentBatch], *, wait_s: float = WAIT_S) -> list[EndedBatch]:
    """Cancel batches, and return what each has cost, in their order. Blocks.

    Raises `ModelUnusable` if the key cannot be read.
    """
    # The caller may be in an event loop of its own.
    with ThreadPoolExecutor(1, thread_name_prefix="maker-batches") as thread:
        return thread.submit(asyncio.run, _end_all(settings, batches, wait_s)).result()


async def _end_all(settings: ServerSettings, batches: Sequence[SentBatch], wait_s: float) -> list[EndedBatch]:
    provider = provider_of(settings)
    try:
        return await asyncio.gather(*(_Ending(provider, settings, batch).end(wait_s) for batch in batches))
    finally:
        await provider.close()


class _Ending:
    """Ends one batch."""

    def __init__(self, provider: Provider, settings: ServerSettings, batch: SentBatch) -> None:
        self._sender = Sender(provider, settings)
        self._settings = settings
        self._batch = batch
        self._said = ""

    async def end(self, wait_s: float) -> EndedBatch:
        try:
            async with asyncio.timeout(wait_s):
                return await self._ended()
        except TimeoutError:
            trouble = f"it is {self._said}" if self._said else "the provider has not answered"
        except Unsure:
            trouble = "whether it was submitted is not known yet"
        except (Unbilled, Lost, Refusal) as fault:
            trouble = str(fault)
        return EndedBatch(self._batch, self._said, trouble=trouble)

    async def _ended(self) -> EndedBatch:
        batch = self._batch
        status = await (self._sender.look(batch.id) if batch.id else self._sender.find(batch))
        if status is not None:
            self._note(status)
            status = await self._over(status)
        if status is None or status.phase is Phase.REFUSED:
            return EndedBatch(self._batch._replace(state=BatchState.VOID), self._said)
        hearing = Hearing(batch, dialect_of(self._settings), self._settings)
        heard = await self._sender.hear(hearing, status, {})
        return EndedBatch(self._batch._replace(state=BatchState.HEARD), self._said, heard.usage)

    async def _over(self, status: BatchStatus) -> BatchStatus:
        """Cancel the batch unless it is over, and return how it stands when it is."""
        refusal = None
        if status.phase is Phase.WORKING:
            try:
                status = await self._sender.cancel(status.id)
            except Refusal as error:
                # It may have ended a moment ago.
                refusal = error
                status = await self._sender.look(status.id)
        while status.phase is Phase.WORKING:
            if refusal is not None:
                raise refusal
            self._note(status)
            await asyncio.sleep(LOOK_S)
            status = await self._sender.look(status.id)
        self._note(status)
        return status

    def _note(self, status: BatchStatus) -> None:
        self._said = status.said
        self._batch = self._batch._replace(id=status.id, state=BatchState.SENT)
