"""A worker's part of a limit that it shares with others: what it may send now, and what it wants. No clock."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from maker.types import Lot, SharedClaim, SharedGrant

VALID_S = 3.0
"""What is not used for so long is given back."""
SLOTS_S = 10.0
"""For so long a worker of which the store hears nothing keeps its places in flight, and may send into them."""
RECENT_S = 1.0
"""A worker wants twice as much as it has sent in so many seconds, beside what waits: one trip covers many requests."""


@dataclass(slots=True)
class _HeldLot:
    """What is left of a lot, and until when it may be used."""

    second: int
    requests: int
    tokens: int
    until_s: float


class Ticket(NamedTuple):
    """What a request in flight has taken of a shared limit: tokens, by the second in which they were granted."""

    tokens: tuple[Lot, ...]


class Quota:
    """Says which requests of one worker may be sent within a limit that it shares with other workers.

    Before its first grant none may. Thread-safe: models send from threads of their own, the worker talks to the store.
    Times are the caller's, in seconds, all of one clock that does not go back.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._wakers: list[Callable[[], None]] = []
        self._lots: deque[_HeldLot] = deque()
        self._received = 0
        self._slots = 0
        self._slots_until_s = -math.inf
        self._held_until_s = -math.inf
        self._pause_s = 0.0
        self._busy = 0
        self._waiting: deque[int] = deque()
        self._sent: deque[tuple[float, int]] = deque()
        self._peaks = (0, 0)
        self._peaks_s = -math.inf
        self._returned: Counter[tuple[int, str]] = Counter()

    def listen(self, wake: Callable[[], None]) -> None:
        """Call ``wake``, from any thread, when there is more to use."""
        self._wakers.append(wake)

    def wait(self, tokens: int) -> None:
        """Take note of a request that waits to be sent."""
        with self._lock:
            self._waiting.append(tokens)

    def forgo(self, tokens: int) -> None:
        """Take note that such a request waits no more: it goes, or it was cancelled."""
        with self._lock:
            self._waiting.remove(tokens)

    def take(self, tokens: int, now_s: float) -> Ticket | None:
        """Return what a request goes with that is sent now, None if it must wait; call `leave` when it is over."""
        with self._lock:
            self._expire(now_s)
            if now_s < self._held_until_s or self._busy >= self._slots or now_s >= self._slots_until_s:
                return None
            if not any(lot.requests for lot in self._lots) or sum(lot.tokens for lot in self._lots) < tokens:
                return None
            next(lot for lot in self._lots if lot.requests).requests -= 1
            taken, left = [], tokens
            for lot in self._lots:
                part = min(lot.tokens, left)
                lot.tokens, left = lot.tokens - part, left - part
                if part:
                    taken.append(Lot(lot.second, 0, part))
            self._busy += 1
            self._sent.append((now_s, tokens))
            self._note_peak(now_s)
            return Ticket(tuple(taken))

    def leave(self, ticket: Ticket, tokens: int) -> None:
        """Take note of the end of a request that has cost so many tokens."""
        with self._lock:
            self._busy -= 1
            spare = sum(lot.tokens for lot in ticket.tokens) - tokens
            for lot in reversed(ticket.tokens):
                # What it cost beyond what was taken counts in the last second of its lots.
                part = spare if spare < 0 else min(spare, lot.tokens)
                self._returned[lot.second, "tokens"] += part
                spare -= part
        self._wake()

    def pause(self, pause_s: float, now_s: float) -> None:
        """Send nothing for a while, and have all others told so: the server has asked for it."""
        with self._lock:
            self._held_until_s = max(self._held_until_s, now_s + pause_s)
            self._pause_s = max(self._pause_s, pause_s)

    def receive(self, grant: SharedGrant, now_s: float) -> None:
        """Take a grant in."""
        with self._lock:
            self._received = grant.number
            if grant.lot.requests or grant.lot.tokens:
                self._lots.append(_HeldLot(*grant.lot, now_s + VALID_S))
            self._slots, self._slots_until_s = grant.slots, now_s + SLOTS_S
            self._held_until_s = max(self._held_until_s, now_s + grant.pause_s)
        self._wake()

    def claim(self, now_s: float) -> SharedClaim:
        """Return how it stands, and what is given back: what was in one claim is in no other."""
        with self._lock:
            self._expire(now_s)
            while self._sent and self._sent[0][0] <= now_s - RECENT_S:
                self._sent.popleft()
            self._note_peak(now_s)
            # What is about to expire is replaced before it does.
            fresh = [lot for lot in self._lots if lot.until_s > now_s + VALID_S / 2]
            requests, tokens = self._wanted(fresh)
            claim = SharedClaim(
                self._received,
                requests,
                tokens,
                tuple(Lot(lot.second, lot.requests, lot.tokens) for lot in self._lots),
                self._waiting[0] if self._waiting else None,
                max(self._peaks),
                self._slots if now_s < self._slots_until_s else 0,
                self._busy,
                self._give_back(),
                self._pause_s,
            )
            self._pause_s = 0.0
            return claim

    def _wanted(self, fresh: Sequence[_HeldLot]) -> tuple[int, int]:
        """Return the requests and tokens that are wanted beyond lots: none before half of what is of use is gone.

        Several times what waits is of use, or who has little in flight would be held back by its first trips.
        """
        requests = 4 * len(self._waiting) + 2 * len(self._sent)
        tokens = 4 * sum(self._waiting) + 2 * sum(tokens for _, tokens in self._sent)
        held_requests, held_tokens = (sum(getattr(lot, name) for lot in fresh) for name in ("requests", "tokens"))
        if 2 * held_requests >= requests and 2 * held_tokens >= tokens:
            return 0, 0
        return max(0, requests - held_requests), max(0, tokens - held_tokens)

    def _give_back(self) -> tuple[Lot, ...]:
        seconds = sorted({second for second, _ in self._returned})
        lots = [Lot(one, self._returned[one, "requests"], self._returned[one, "tokens"]) for one in seconds]
        self._returned.clear()
        return tuple(lot for lot in lots if lot.requests or lot.tokens)

    def _expire(self, now_s: float) -> None:
        for lot in self._lots:
            if lot.until_s <= now_s:
                self._returned[lot.second, "requests"] += lot.requests
                self._returned[lot.second, "tokens"] += lot.tokens
        self._lots = deque(lot for lot in self._lots if lot.until_s > now_s and (lot.requests or lot.tokens))

    def _note_peak(self, now_s: float) -> None:
        """Note how many requests are in flight or wait; the most of the last second or two is what is wanted."""
        load = self._busy + len(self._waiting)
        if now_s - self._peaks_s >= RECENT_S:
            self._peaks, self._peaks_s = (self._peaks[1], load), now_s
        self._peaks = (self._peaks[0], max(self._peaks[1], load))

    def _wake(self) -> None:
        for wake in self._wakers:
            wake()
