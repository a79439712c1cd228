"""What was granted of a limit in the last minute, and how places in flight are shared out. Pure: no clock."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from maker.types import Lot, SharedClaim

WINDOW_S = 60
GRANT_S = 2.0
"""A grant is what the limit allows in so many seconds: a thirtieth of a minute's."""
UNLIMITED = 2**31 - 1
"""Stands for what is not limited: beyond any count, and a number that every database holds."""


class Rates(NamedTuple):
    """Most requests and tokens in any minute, None for no limit."""

    requests: int | None
    tokens: int | None


class Wanted(NamedTuple):
    """What a worker wants beyond what it holds, and the tokens of the request that waits longest, None if none does."""

    requests: int
    tokens: int
    held_requests: int
    held_tokens: int
    least: int | None

    @classmethod
    def of(cls, claim: SharedClaim) -> Wanted:
        """Return what a claim is for."""
        held_requests, held_tokens = (sum(getattr(lot, name) for lot in claim.held) for name in ("requests", "tokens"))
        return cls(claim.requests, claim.tokens, held_requests, held_tokens, claim.least)

    def covered(self, granted: Lot) -> bool:
        """Say whether the request that waits longest can go with this lot and what is held."""
        requests, tokens = self.held_requests + granted.requests, self.held_tokens + granted.tokens
        return self.least is None or (requests > 0 and tokens >= self.least)


class RateWindow:
    """Lots by the second in which they were granted. A lot counts until the minute after its second is over.

    What is granted may be used a little later, so that in a minute no more than the limit is used, and one grant a
    worker. Times are the caller's, in seconds; they need not increase.

    Args:
        lots: In any order.
    """

    def __init__(self, lots: Iterable[Lot] = ()) -> None:
        self._lots = {lot.second: lot for lot in lots}

    @classmethod
    def read(cls, text: str) -> RateWindow:
        """Read what `write` has written. Raises ``ValueError``."""
        try:
            return cls(Lot(*map(int, lot)) for lot in json.loads(text))
        except TypeError as error:
            raise ValueError(f"no window: {error}") from error

    def write(self) -> str:
        """Return it as text."""
        return json.dumps([list(lot) for lot in self._lots.values()], separators=(",", ":"))

    def move(self, now_s: float) -> None:
        """Forget what is older than a minute."""
        self._lots = {second: lot for second, lot in self._lots.items() if second + 1 + WINDOW_S > now_s}

    @property
    def requests(self) -> int:
        """Requests in the window."""
        return sum(lot.requests for lot in self._lots.values())

    @property
    def tokens(self) -> int:
        """Tokens in the window."""
        return sum(lot.tokens for lot in self._lots.values())

    def give_back(self, lots: Iterable[Lot]) -> None:
        """Take back what was not used, as far as it is still in the window; negative tokens were used beyond it."""
        for back in lots:
            if (lot := self._lots.get(back.second)) is not None:
                requests, tokens = max(0, lot.requests - back.requests), max(0, lot.tokens - back.tokens)
                self._lots[back.second] = Lot(back.second, requests, tokens)

    def grant(self, rates: Rates, wanted: Wanted, ahead: Sequence[int], now_s: float) -> Lot:
        """Return what a worker gets now, and count it; an empty lot where there is nothing to give.

        Args:
            rates: The limits.
            wanted: What the worker wants.
            ahead: The tokens of one request each, of workers that have waited longer: they are left for those.
            now_s: The time.
        """
        second, least = math.floor(now_s), wanted.least or 0
        none = Lot(second, 0, 0)
        requests = wanted.requests if rates.requests is None else self._requests(rates.requests, wanted, len(ahead))
        tokens = wanted.tokens if rates.tokens is None else self._tokens(rates.tokens, wanted, sum(ahead))
        if requests + wanted.held_requests <= 0 or tokens + wanted.held_tokens < least:
            # Part of what a request needs would be of no use to it.
            return none
        granted = Lot(
            second,
            UNLIMITED if rates.requests is None and wanted.requests else requests,
            UNLIMITED if rates.tokens is None and wanted.tokens else tokens,
        )
        self._add(granted, rates)
        return granted

    def _requests(self, limit: int, wanted: Wanted, ahead: int) -> int:
        most = max(1, int(limit * GRANT_S / WINDOW_S)) - wanted.held_requests
        return max(0, min(wanted.requests, most, limit - self.requests - ahead))

    def _tokens(self, limit: int, wanted: Wanted, ahead: int) -> int:
        least = wanted.least or 0
        most = max(least, int(limit * GRANT_S / WINDOW_S)) - wanted.held_tokens
        granted = max(0, min(wanted.tokens, most, limit - self.tokens - ahead))
        if granted + wanted.held_tokens < least and not self.tokens:
            # A request that alone may exceed the limit goes when nothing else is in the window.
            return least - wanted.held_tokens
        return granted

    def _add(self, granted: Lot, rates: Rates) -> None:
        before = self._lots.get(granted.second, Lot(granted.second, 0, 0))
        requests = 0 if rates.requests is None else granted.requests
        tokens = 0 if rates.tokens is None else granted.tokens
        if requests or tokens:
            self._lots[granted.second] = Lot(granted.second, before.requests + requests, before.tokens + tokens)


def fair_shares(limit: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """Share places out: nobody gets more than it wants, and whoever gets less than that gets no less than another.

    What does not divide goes to those that want most, the last by name. E.g. of 11, for wants of 2, 9 and 9: 2, 4, 5.
    """
    shares, left = {}, limit
    by_want = sorted(wanted, key=lambda name: (wanted[name], name))
    for number, name in enumerate(by_want):
        # What is left over goes to those that come last here.
        shares[name] = min(wanted[name], left // (len(by_want) - number))
        left -= shares[name]
    return shares
