"""A session's part in a limit that the workers of several runs share: claims to the store, grants to the workers."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from maker.errors import MakerError, StoreFailed
from maker.store.backend.database import Database
from maker.store.shared_limits import Share, exchange, gone, leave
from maker.types import Lot, SharedClaim, SharedGrant

TRIP_S = 0.25
"""Seconds between two trips to the store, at least, while workers get what they want."""
HELD_S = 0.5
"""The same while they do not: what becomes free is there for the next one who asks."""
RENEW_S = 1.0
"""A worker that uses the limit is told of a pause so soon, and keeps its places in flight."""
LOOK_S = 0.05
TOLD_AFTER_S, TOLD_AGAIN_S = 5.0, 600.0
"""A worker that gets nothing for so long is told of; the same cause again after so long at the soonest."""


class HeldBack(NamedTuple):
    """A worker has waited for a shared limit: for ``lacks``, the name of what is used up, or a server's ``pause``."""

    worker: int
    key: str
    lacks: str


@dataclass(slots=True)
class _Sharer:
    """What is known of a worker: its last claim and grant, and what holds it back since when.

    It is ``placed`` while the store has places of it, and ``shrinks`` when it is told of fewer than before.
    """

    claim: SharedClaim | None = None
    number: int = 0
    lot: tuple[Lot, ...] = ()
    placed: bool = False
    shrinks: bool = False
    lacks: str = ""
    lacks_since_s: float = 0.0

    @property
    def fresh(self) -> bool:
        """Whether it has told how it stands with its last grant."""
        return self.claim is not None and self.claim.received == self.number

    @property
    def unused(self) -> tuple[Lot, ...]:
        """What goes back when the workers are closed: one with nothing in flight or to send has used no more."""
        claim = self.claim
        if claim is None or claim.busy or claim.least is not None:
            return () if claim is None else claim.returned
        return claim.returned + claim.held + (() if self.fresh else self.lot)

    @property
    def wants(self) -> bool:
        """Whether it is to be heard soon."""
        claim = self.claim
        if claim is None:
            return False
        soon = self.shrinks or claim.requests or claim.tokens or claim.slots > claim.may
        return bool(claim.pause_s) or (self.fresh and bool(soon))


@dataclass(slots=True)
class _Told:
    """When a cause was told of last."""

    at_s: dict[str, float] = field(default_factory=dict)

    def is_news(self, lacks: str, now_s: float) -> bool:
        if now_s < self.at_s.get(lacks, -TOLD_AGAIN_S) + TOLD_AGAIN_S:
            return False
        self.at_s[lacks] = now_s
        return True


class Sharing:
    """Claims parts of a shared limit for the workers of one session, from a thread of its own.

    The driver's thread notes claims and takes grants; neither waits for the store. A trip serves all workers, some
    times a second at most, and none where no worker uses the limit.

    Args:
        database: The store.
        key: The limit's key.
        session: A name that no other session has.
    """

    def __init__(self, database: Database, key: str, session: str) -> None:
        self._database = database
        self._key = key
        self._session = session
        self._lock = threading.Lock()
        self._sharers: dict[int, _Sharer] = {}
        self._gone: set[int] = set()
        self._grants: dict[int, SharedGrant] = {}
        self._held: list[HeldBack] = []
        self._told = _Told()
        self._error: MakerError | None = None
        self._wake, self._over = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, worker: int, claim: SharedClaim) -> None:
        """Take in how a worker stands now."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="maker-sharing", daemon=True)
            self._thread.start()
        with self._lock:
            sharer = self._sharers.setdefault(worker, _Sharer())
            if (before := sharer.claim) is not None:
                # What was not passed on yet still is to be.
                returned = before.returned + claim.returned
                claim = claim._replace(returned=returned, pause_s=max(before.pause_s, claim.pause_s))
            sharer.claim = claim
            if sharer.placed or not claim.idle:
                self._wake.set()

    def lose(self, worker: int) -> None:
        """Give up the places of a worker that is gone."""
        with self._lock:
            if self._sharers.pop(worker, None) is not None:
                self._gone.add(worker)
            self._grants.pop(worker, None)
            self._wake.set()

    def grants(self) -> dict[int, SharedGrant]:
        """Return what workers have been granted since the last call. Raises `StoreFailed` if there is no such limit."""
        if self._error is not None:
            raise self._error
        with self._lock:
            given, self._grants = self._grants, {}
        return given

    def held(self) -> list[HeldBack]:
        """Return which workers have waited for a while, since the last call: seldom any."""
        with self._lock:
            held, self._held = self._held, []
        return held

    def close(self) -> None:
        """Give back what the workers have told to be unused, and give up their places. Raises nothing."""
        self._over.set()
        self._wake.set()
        if self._thread is not None:
            # Not for ever: it may wait for a server that is gone.
            self._thread.join(timeout=2.0)

    def _work(self) -> None:
        last_s, served = -RENEW_S, True
        while not self._over.is_set():
            self._wake.wait()
            self._wake.clear()
            while not self._over.wait(LOOK_S) and self._busy():
                now_s = time.monotonic()
                if now_s >= last_s + self._patience_s(served):
                    last_s, served = now_s, self._trip(now_s)
        with suppress(MakerError):
            self._end()

    def _busy(self) -> bool:
        with self._lock:
            return bool(self._gone) or any(
                one.placed or (one.claim is not None and not one.claim.idle) for one in self._sharers.values()
            )

    def _patience_s(self, served: bool) -> float:
        with self._lock:
            if not any(one.wants for one in self._sharers.values()):
                return RENEW_S
        return TRIP_S if served else HELD_S

    def _trip(self, now_s: float) -> bool:
        """Talk to the store once; returns whether all got something that wanted it."""
        with self._lock:
            claims = {number: one.claim for number, one in self._sharers.items() if one.claim is not None}
            stale = frozenset(self._name(number) for number in claims if not self._sharers[number].fresh)
            for number, claim in claims.items():
                self._sharers[number].claim = claim._replace(returned=(), pause_s=0.0)
            lost, self._gone = self._gone, set()
        try:
            if lost:
                leave(self._database, self._key, frozenset(map(self._name, lost)))
            named = {self._name(number): claim for number, claim in claims.items()}
            shares = exchange(self._database, self._key, named, stale) if named else {}
        except StoreFailed:
            # The journal tells of it. What was to be given back stays granted, until it leaves the window.
            return False
        except MakerError as error:
            self._error = error
            return False
        if shares is None:
            self._error = gone(self._key)
            return False
        with self._lock:
            for number, claim in claims.items():
                if self._name(number) not in stale and (sharer := self._sharers.get(number)) is not None:
                    self._give(number, sharer, claim, shares.get(self._name(number)), now_s)
        return not any(share.lacks for share in shares.values())

    def _give(self, worker: int, sharer: _Sharer, claim: SharedClaim, share: Share | None, now_s: float) -> None:
        sharer.placed = share is not None
        if share is None:
            return
        sharer.number, sharer.lot = sharer.number + 1, (share.lot,)
        # Others get the places once it has told that it knows.
        sharer.shrinks = share.slots < claim.may
        self._grants[worker] = SharedGrant(sharer.number, share.lot, share.slots, share.pause_s)
        if not share.lacks or share.lot.requests or share.lacks != sharer.lacks:
            sharer.lacks, sharer.lacks_since_s = share.lacks, now_s
        elif now_s - sharer.lacks_since_s >= TOLD_AFTER_S and self._told.is_news(share.lacks, now_s):
            self._held.append(HeldBack(worker, self._key, share.lacks))

    def _end(self) -> None:
        returned = {
            self._name(number): one.claim._replace(returned=one.unused)
            for number, one in self._sharers.items()
            if one.claim is not None and one.unused
        }
        if returned:
            exchange(self._database, self._key, returned, frozenset(returned))
        leave(self._database, self._key, frozenset(map(self._name, (*self._sharers, *self._gone))))

    def _name(self, worker: int) -> str:
        return f"{self._session} {worker}"
