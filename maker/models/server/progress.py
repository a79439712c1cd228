"""What a request to a server has brought and cost so far."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from threading import Lock

from maker.models.dialects.openai_reply import Reply
from maker.types import Failed, Sample


@dataclass(slots=True)
class Progress:
    """What a request has brought and cost so far. Both threads use it, the loop's and the one that cancels.

    ``unaccounted`` replies were sent for in a try of which nobody has said what it costs: it is under way, or was lost.
    ``waited_s`` is how long the present part waited to be sent, but for what the server itself let it wait by failing.
    ``failing_s`` is when the first try of the present part failed, on the loop's clock, None before.
    ``split`` says that what was reserved covers a request for each reply.
    """

    split: bool = False
    samples: list[Sample] = field(default_factory=list)
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    unaccounted: int = 0
    retries: int = 0
    waited_s: float = 0.0
    failing_s: float | None = None
    sent: bool = False
    dropped: bool = False
    lock: Lock = field(default_factory=Lock)

    def send(self, n: int) -> None:
        """Note that n replies are sent for now; a request that was dropped meanwhile is not sent any more."""
        with self.lock:
            if self.dropped:
                raise asyncio.CancelledError
            self.sent, self.unaccounted = True, n

    def take(self, reply: Reply, *, votes: bool) -> None:
        """Count a reply, and keep its samples if they may vote."""
        with self.lock:
            self.unaccounted = 0
            self.calls += reply.calls
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens
            self.cached_tokens += reply.cached_tokens
            if votes:
                self.samples += reply.samples

    def failed(self, request_id: int, reason: str, fix: str = "", *, unusable: bool = False) -> Failed:
        """Return a failure with what was spent."""
        spent = (self.prompt_tokens, self.completion_tokens)
        return Failed(
            request_id, reason, fix, unusable, *spent,
            retries=self.retries, calls=self.calls, unaccounted=self.unaccounted, cached_tokens=self.cached_tokens,
        )  # fmt: skip

    def drop(self, request_id: int) -> Failed | None:
        """Let nothing more be sent; return what was spent, None if nothing was sent."""
        with self.lock:
            self.dropped = True
            if not self.sent:
                return None
            if not (self.unaccounted or self.calls):
                # It waits to be sent again: its last try counts as the request.
                self.retries = max(0, self.retries - 1)
            return self.failed(request_id, "cancelled")
