"""What models have in common that ask servers: a worker submits and polls, an event loop in a thread does the rest."""

from __future__ import annotations

import asyncio
import math
import time
from abc import abstractmethod
from queue import Empty, SimpleQueue
from threading import Thread
from typing import ClassVar, Generic, TypeVar

from maker.models.interface import Model
from maker.models.server_settings import ServerSettings
from maker.types import Failed, Finished, Request

P = TypeVar("P")


class LoopModel(Model, Generic[P]):
    """A model whose requests an event loop sends. What is put into ``_results`` is returned by `poll`.

    ``_open`` are the requests that somebody waits for, by id: the worker's thread alone writes it.

    Args:
        settings: The ``[model]`` table.
    """

    AT_ONCE: ClassVar[float] = math.inf
    """So many replies a poll returns at most."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._open: dict[int, P] = {}
        self._results: SimpleQueue[Finished | Failed | BaseException] = SimpleQueue()
        self._loop = asyncio.new_event_loop()

    def poll(self, wait_s: float) -> list[Finished | Failed]:
        """Return what has come in; wait up to ``wait_s`` for the first. Returns at once if nothing is open.

        Raises an error that the loop has put among the results.
        """
        deadline = time.monotonic() + wait_s
        answers: list[Finished | Failed] = []
        while self._open and len(answers) < self.AT_ONCE:
            try:
                left = 0.0 if answers else deadline - time.monotonic()
                result = self._results.get(timeout=left) if left > 0 else self._results.get_nowait()
            except Empty:
                break
            if isinstance(result, BaseException):
                raise result
            # A cancelled request may have been answered before the loop knew of the cancellation.
            if self._open.pop(result.id, None) is not None:
                answers.append(result)
        return answers

    def reply_tokens(self, request: Request) -> int:
        """Return the most tokens that one reply can take, hidden reasoning included."""
        return self._settings.with_room(request).max_tokens

    def close(self) -> None:
        """End what is in work as `_shut` does, and then the thread. May be called again."""
        self._open.clear()
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin_loop(self, name: str) -> None:
        """Start the loop's thread, once all is there that it uses."""
        self._thread = Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @abstractmethod
    async def _shut(self) -> None:
        """End what is in work, and close the connections."""
