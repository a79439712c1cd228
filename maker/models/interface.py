"""The model door. Plain synchronous code: a worker submits requests and polls for replies."""

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
        """Take requests in; does not block."""

    @abstractmethod
    def poll(self, wait_s: float) -> list[Finished | Failed]:
        """Return what has come in.

        Returns at once if anything is ready, and after ``wait_s`` seconds at the latest where the model waits for
        something outside. Every submitted request that is not cancelled is answered exactly once, in any order.
        What failed on the way and was certainly not billed is retried here, within the configured time; what may have
        been billed is a `Failed` that is lost, and may be submitted again; what cannot be had is a `Failed`.
        """

    @abstractmethod
    def cancel(self, ids: Iterable[int]) -> None:
        """Drop requests; unknown and finished ids are ignored."""

    @abstractmethod
    def close(self) -> None:
        """Free what the model holds. May be called again."""

    def worst_tokens(self, request: Request) -> int:
        """Return the most tokens that a request can cost: a reservation's basis.

        No tokenizer makes more tokens than the text has bytes.
        """
        prompt = len(request.system.encode()) + len(request.prompt.encode()) + CHAT_OVERHEAD_TOKENS
        return prompt + request.n * request.max_tokens

    def bills(self, model: int) -> bool:
        """Say whether a request that is cancelled in flight may be billed all the same; ``model`` as below."""
        return False

    def most_n(self, model: int) -> int:
        """Return how many replies one request may ask for; ``model`` is the number in a pool."""
        return unbounded(model)
