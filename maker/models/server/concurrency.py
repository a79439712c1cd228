"""How many requests a server gets at once: as many as bring more answers, and no more than it answers in time. Pure.

The limit adapts in rounds. It starts low and doubles, as a TCP window does, as long as that brings more choices a
second: a server that draws one sample at a time draws no faster for a longer queue, one that batches does. As TCP Vegas
does, it looks at how long requests wait, not only at those that are lost, for a request that is given up may be billed.
Where one is lost all the same, the server gets one request at a time, until it answers again; where one is refused as
one too many, half as many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

FIRST = 2
"""The limit to begin with: few enough for a server that needs half the timeout for each request, one after another."""
GAIN = 0.05
"""By what share twice the limit must raise the choices a second, and a limit between by its part of that."""
TOO_SLOW = "times in a row, though it was asked for one reply at a time"
"""What the failure says of requests to a server that answers nothing within the timeout."""
TOO_LATE = "no reply within "
"""What the failure of a request begins with that was given up."""
TIMEOUT_FACTOR = 4
"""How many times the timeout is proposed in its place: all that is known is that it is not enough."""
NEAR = 0.75
"""The part of the timeout that is used: no limit is tried that makes replies take longer where it brings nothing."""
CUTS = 4
"""So many requests at least must be cut off in a row, of all that are under way, to tell a server that is down."""
LONGEST = 64
"""Rounds double in length with each limit that brought nothing, up to this factor: what varies is seen as such then."""


class Flight(NamedTuple):
    """A request under way: when it was sent, and how many choices it asks for."""

    at_s: float
    choices: int


@dataclass(slots=True)
class _Round:
    """What was seen since the limit was set.

    ``peak`` is the most requests that were under way, ``ended`` how many ended that were sent in this round,
    ``choices`` how many were answered, ``waited_s`` how long all that were under way waited, summed over choices.
    """

    began_s: float
    peak: int
    ended: int = 0
    choices: int = 0
    waited_s: float = 0.0


class Concurrency:
    """Says how many requests may be under way at once, from what became of those before.

    Times are the caller's, in seconds; they must not decrease. Not thread-safe.

    Args:
        most: The highest limit.
        timeout_s: After how long a request is given up.

    Attributes:
        limit: How many may be under way now.
        proven: The limit without what is only tried: it is known to bring more than a lower one.
        single: Whether a request is to ask for one choice only: one for more was given up that was alone.
        latency_s: How long a choice took, on average, in the last round; None before its end.
        silent: How many times in a row the server left all that it had without a reply, or cut it off.
        silent_s: When the first of these was.
    """

    def __init__(self, most: int, timeout_s: float) -> None:
        self._most = most
        self._timeout_s = timeout_s
        self.limit = self.proven = min(FIRST, most)
        self.single = False
        self.latency_s: float | None = None
        self.silent = 0
        self.silent_s = -math.inf
        self._lost_choices = 1
        self._known = FIRST
        self._cuts = 0
        self._rate = 0.0
        self._length = 1
        self._least_s = math.inf
        self._newest_s = -math.inf
        self._fell_s = -math.inf
        self._under_way = 0
        self._load = 0
        self._changed_s = 0.0
        self._round = _Round(0.0, 0)

    def send(self, choices: int, now_s: float) -> Flight:
        """Take note of a request that is sent now."""
        self._change(1, choices, now_s)
        self._round.peak = max(self._round.peak, self._under_way)
        return Flight(now_s, choices)

    def leave(self, flight: Flight, now_s: float) -> None:
        """Take note of the end of a request that tells nothing of how fast the server is."""
        self._change(-1, -flight.choices, now_s)

    def answer(self, flight: Flight, now_s: float) -> None:
        """Take note of an answer."""
        self._change(-1, -flight.choices, now_s)
        latency_s = now_s - flight.at_s
        self.silent = self._cuts = 0
        self.single = self.single and latency_s * self._lost_choices > NEAR * self._timeout_s
        self._newest_s = max(self._newest_s, flight.at_s)
        self._least_s = min(self._least_s, latency_s)
        self._round.choices += flight.choices
        self._end(flight, now_s)

    def reply_in_vain(self, flight: Flight, now_s: float) -> None:
        """Take note of a reply that is of no use: the server is not silent, and nothing is known of how fast it is."""
        self._change(-1, -flight.choices, now_s)
        self.silent = self._cuts = 0

    def time_out(self, flight: Flight, now_s: float) -> None:
        """Take note of a request that was given up.

        If one is answered that was sent later, this one took too long by itself. Else the server is busy with what came
        before, or silent, and more requests would only be more to wait for.
        """
        self._change(-1, -flight.choices, now_s)
        if flight.at_s < self._fell_s:
            return
        if self._newest_s > flight.at_s:
            self._end(flight, now_s)
            return
        self._fall_silent(now_s)
        if flight.choices > 1 and self.silent > 1:
            self.single, self._lost_choices = True, flight.choices

    def cut(self, flight: Flight, now_s: float) -> None:
        """Take note of a request that was cut off; one after another without an answer are a server that is down."""
        self._change(-1, -flight.choices, now_s)
        self._cuts += 1
        if flight.at_s >= self._fell_s and self._cuts >= max(CUTS, self.limit):
            self._fall_silent(now_s)

    def refuse(self, flight: Flight, now_s: float) -> None:
        """Take note of a request that the server refused as one too many (HTTP 429).

        What is only tried is taken back, else the limit is halved: once for all that were under way.
        """
        self._change(-1, -flight.choices, now_s)
        if flight.at_s < self._fell_s:
            return
        if self.limit > self.proven:
            self._length = min(LONGEST, 2 * self._length)
            self._fall(self.proven, now_s)
        else:
            self._fall(max(1, self.limit // 2), now_s)

    def _fall_silent(self, now_s: float) -> None:
        if not self.silent and self._newest_s > -math.inf:
            # As TCP's slow start does, it comes back to half of what was, whatever the latency.
            self._known = max(self._known, self.proven) // 2
        self.silent_s = self.silent_s if self.silent else now_s
        self.silent += 1
        self._least_s, self._length = math.inf, 1
        self._fall(1, now_s)

    def _change(self, requests: int, choices: int, now_s: float) -> None:
        self._round.waited_s += self._load * (now_s - max(self._changed_s, self._round.began_s))
        self._changed_s = now_s
        self._under_way += requests
        self._load += choices

    def _end(self, flight: Flight, now_s: float) -> None:
        if flight.at_s < self._round.began_s:
            return
        self._round.ended += 1
        if self._round.ended >= self._length * self.limit and self._round.choices:
            self._end_round(now_s)

    def _end_round(self, now_s: float) -> None:
        this = self._round
        self._round = _Round(now_s, self._under_way)
        # By Little's law: a mean over the replies would be that of the lucky ones, which come first.
        self.latency_s = latency_s = this.waited_s / this.choices
        queued_s = latency_s - self._least_s
        if latency_s > NEAR * self._timeout_s and queued_s > self._least_s and self.limit > FIRST:
            self._length = min(LONGEST, 2 * self._length)
            self._fall(max(FIRST, self.limit // 2), now_s)
        elif this.peak >= self.limit and now_s > this.began_s:
            self._judge(this.choices / (now_s - this.began_s), latency_s)

    def _judge(self, rate: float, latency_s: float) -> None:
        """Keep a limit that was tried or go back, and set the next one to try."""
        queued_s = latency_s - self._least_s
        if self.limit > self.proven:
            # What is due to chance alone costs most where requests already wait for a good part of the timeout.
            gain = GAIN + queued_s / self._timeout_s / 2
            if rate <= self._rate * (1 + gain * (self.limit / self.proven - 1)):
                self.limit = self.proven
                self._length = min(LONGEST, 2 * self._length)
                return
            self._length = 1
        self.proven, self._rate = self.limit, rate
        safe = max(self._known, self._safe(latency_s))
        if self.limit == 1 and safe < 2 and self._length < LONGEST:
            # Two at once may be one too many, and one request at a time tells nothing of that: it is tried seldom.
            self._length = LONGEST
        else:
            self.limit = max(self.limit, min(self._most, 2 * self.limit, max(2, safe)))

    def _safe(self, latency_s: float) -> int:
        """Return the highest limit with which replies come in time, if each request waits for all others before it."""
        if self.limit == 1:
            return 2 if 2 * latency_s <= NEAR * self._timeout_s else 1
        room_s, others = NEAR * (self._timeout_s - self._least_s), self.limit - 1
        queued_s = max(latency_s - self._least_s, room_s / self._most)
        return 1 + int(others * room_s / queued_s)

    def _fall(self, limit: int, now_s: float) -> None:
        self.limit = self.proven = limit
        self._fell_s, self._round = now_s, _Round(now_s, self._under_way)
