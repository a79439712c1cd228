"""The model interface. It is synchronous: a worker submits requests and polls for replies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from maker.types import Failed, Finished, Request
from maker.voting.in_flight import unbounded

CHAT_OVERHEAD_TOKENS = 64
"""Upper bound of what chat templates add to a prompt of two messages, used for reservations only."""


class Model(ABC):
    """Draws replies. Not thread-safe: one worker drives it."""

    @abstractmethod
    def submit(self, requests: Iterable[Request]) -> None:
        """Accept requests; does not block."""

    @abstractmethod
    def poll(self, wait_s: float) -> list[Finished | Failed]:
        """Return the answers that have arrived.

        Returns at once if any is ready, and after ``wait_s`` seconds at the latest if the model waits for something
        outside. Every submitted request that is not cancelled is answered exactly once, in any order. A failure that
        was certainly not billed is retried here, within the configured time. One that may have been billed is returned
        as a `Failed` with ``lost``, and may be submitted again; any other failure is a plain `Failed`.
        """

    @abstractmethod
    def cancel(self, ids: Iterable[int]) -> None:
        """Drop requests; unknown and finished ids are ignored."""

    @abstractmethod
    def close(self) -> None:
        """Free the model's resources. May be called again."""

    def worst_tokens(self, request: Request) -> int:
        """Return the most tokens that a request can cost, for reservations.

        No tokenizer makes more tokens than the text has bytes.
        """
        prompt = len(request.system.encode()) + len(request.prompt.encode()) + CHAT_OVERHEAD_TOKENS
        return prompt + request.n * request.max_tokens

    def bills(self, model: int) -> bool:
        """Say whether a request that is cancelled in flight may still be billed; ``model`` as for `most_n`."""
        return False

    def most_n(self, model: int) -> int:
        """Return how many replies one request may ask for; ``model`` is the number in a pool."""
        return unbounded(model)
