"""The model interface. It is synchronous: a worker submits requests and polls for replies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import ClassVar

from maker.models.quota import Quota
from maker.types import BatchNews, Failed, Finished, Request, ServerChange
from maker.voting.in_flight import unbounded

CHAT_OVERHEAD_TOKENS = 64
"""Upper bound of what chat templates add to a prompt of two messages, used for reservations only."""


def most_prompt_tokens(request: Request) -> int:
    """Return the most tokens that a request's prompt can have: no tokenizer makes more than the text has bytes."""
    # A prompt may hold half a surrogate pair, which nothing can send.
    return len((request.system + request.prompt).encode("utf-8", "surrogatepass")) + CHAT_OVERHEAD_TOKENS


class Model(ABC):
    """Draws replies. Not thread-safe: one worker drives it.

    Attributes:
        in_batches: Whether requests are sent in batches, for which nobody need wait: what they cost is told by
            `batch_news`, and not by the replies.
    """

    in_batches: ClassVar[bool] = False

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
    def cancel(self, ids: Iterable[int]) -> Collection[Failed]:
        """Drop requests; unknown and finished ids are ignored.

        Returns what those have cost that were sent to somebody who may bill them. The others cost nothing.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the model's resources. May be called again."""

    def worst_tokens(self, request: Request) -> int:
        """Return the most tokens that a request can cost, for reservations."""
        return most_prompt_tokens(request) + request.n * self.reply_tokens(request)

    def reply_tokens(self, request: Request) -> int:
        """Return the most tokens that one reply to a request can take, hidden reasoning included."""
        return request.max_tokens

    def changes(self) -> Sequence[ServerChange]:
        """Return what has changed of the servers since the last call.

        That is how many requests at once they get, where it fell or rose by half, and which endpoint answers.
        """
        return ()

    def share(self, quota: Quota) -> None:
        """Send no request to a server that is not covered by this part of a shared limit."""
        return

    def most_n(self, model: int) -> int:
        """Return how many replies one request may ask for; ``model`` is the number in a pool."""
        return unbounded(model)

    def batch_news(self) -> Sequence[BatchNews]:
        """Return what became of batches since the last call; of one that is over, not after its first reply."""
        return ()

    def rests(self) -> str:
        """Return what is waited for, in words, if nobody need wait for it; else ""."""
        return ""
