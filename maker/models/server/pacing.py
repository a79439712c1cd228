"""Rate limits for a server: requests and tokens a minute, and pauses between tries. Pure: no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_S = 60.0
_LEAST_S = 0.1
_MOST_S = 8.0
_FIRST_S = 0.5


@dataclass(slots=True)
class Taken:
    """A request's use of the limits: when it was sent, and its tokens; the most it may cost, until `Pace.correct`."""

    at_s: float
    tokens: int


class Pace:
    """Keeps requests and tokens within their limits in every minute, with a sliding window.

    A request counts for 60 s from when it is sent, with the most tokens that it may cost until its real count is known.
    A request that alone may exceed the limit goes when nothing else is in the window. Times are the caller's; they must
    not decrease.

    Args:
        requests: Most requests in any minute; None for no limit.
        tokens: Most tokens in any minute; None for no limit.
    """

    def __init__(self, requests: int | None, tokens: int | None) -> None:
        self._requests = requests
        self._tokens = tokens
        self._window: deque[Taken] = deque()
        self._sum = 0
        self._held_until = 0.0

    def wait_s(self, tokens: int, now_s: float) -> float:
        """Return how long a request must wait at most, 0 if it may go now; a correction may shorten it."""
        held_s = max(0.0, self._held_until - now_s)
        if self._requests is None and self._tokens is None:
            return held_s
        while self._window and self._window[0].at_s + WINDOW_S <= now_s:
            self._sum -= self._window.popleft().tokens
        count, used, due_s = len(self._window), self._sum, 0.0
        for taken in self._window:
            if self._fits(count, used + tokens):
                break
            count, used, due_s = count - 1, used - taken.tokens, taken.at_s + WINDOW_S - now_s
        return max(held_s, due_s)

    def take(self, tokens: int, now_s: float) -> Taken:
        """Count a request that is sent now."""
        taken = Taken(now_s, tokens)
        if self._requests is not None or self._tokens is not None:
            self._window.append(taken)
            self._sum += tokens
        return taken

    def correct(self, taken: Taken, tokens: int) -> None:
        """Replace a request's worst count by its real one; does nothing if the request has left the window."""
        if self._window and taken.at_s >= self._window[0].at_s:
            self._sum += tokens - taken.tokens
        taken.tokens = tokens

    def hold(self, until_s: float) -> None:
        """Send nothing before ``until_s``, as the server has asked."""
        self._held_until = max(self._held_until, until_s)

    def _fits(self, others: int, tokens: int) -> bool:
        if self._requests is not None and others >= self._requests:
            return False
        return self._tokens is None or tokens <= self._tokens


def pause_s(tries: int, luck: float) -> float:
    """Return how long to wait after ``tries`` failed tries: a uniform draw below .5, 1, 2, 4, 8, 8 … seconds.

    The first three tries together wait at most 1.5 s.

    Args:
        tries: How many have failed, at least 1.
        luck: A uniform draw from [0, 1).
    """
    most_s = min(_MOST_S, _FIRST_S * 2.0 ** min(tries - 1, 10))
    return _LEAST_S + luck * (most_s - _LEAST_S)
