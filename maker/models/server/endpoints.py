"""Which of a model's endpoints is asked: the first that is not failing. Pure: no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

TRIES = 3
"""So many tries in a row that come to nothing, and an endpoint is left for the next one."""
PATIENCE_S = 2.0
"""An endpoint that has answered before is left when it has failed for so long: tries of one moment fail together."""
FIRST_AWAY_S, LONGEST_AWAY_S = 60.0, 600.0
"""How long an endpoint is left alone the first time, and at most: twice as long each time."""


@dataclass(slots=True)
class _Endpoint:
    """How an endpoint fares: tries that failed in a row, since when, and how often it was left without an answer."""

    answered: bool = False
    failures: int = 0
    failing_since_s: float = 0.0
    times_left: int = 0
    away_until_s: float = -math.inf


class Endpoints:
    """Says which endpoint is asked next, from what became of the tries before.

    An endpoint is asked again after a while. If the first try fails then, it is left at once, for twice as long. Times
    are the caller's, in seconds; they must not decrease.

    Args:
        count: How many there are, in order of preference.
    """

    def __init__(self, count: int) -> None:
        self._all = [_Endpoint() for _ in range(count)]

    def choose(self, now_s: float) -> int:
        """Return the number of the endpoint to ask: where all are left alone, of the one that is soonest due."""
        due = (number for number, one in enumerate(self._all) if one.away_until_s <= now_s)
        soonest = min(range(len(self._all)), key=lambda number: self._all[number].away_until_s)
        return next(due, soonest)

    def answer(self, number: int) -> None:
        """Take note of an answer."""
        self._all[number] = _Endpoint(answered=True)

    def fail(self, number: int, now_s: float, wait_s: float = 0.0) -> bool:
        """Take note of a try that came to nothing; returns whether the endpoint is left for another one.

        Args:
            number: The endpoint.
            now_s: The time.
            wait_s: How long its server asks to wait: one that asks for more than a moment is left at once.
        """
        one = self._all[number]
        if len(self._all) == 1 or one.away_until_s > now_s:
            return False
        one.failing_since_s = one.failing_since_s if one.failures else now_s
        one.failures += 1
        long = not one.answered or now_s - one.failing_since_s >= PATIENCE_S
        if not (one.times_left or wait_s > PATIENCE_S or (one.failures >= TRIES and long)):
            return False
        away_s = min(LONGEST_AWAY_S, FIRST_AWAY_S * 2.0 ** min(one.times_left, 10))
        one.away_until_s, one.failures = now_s + max(away_s, wait_s), 0
        one.times_left += 1
        return True
