"""Limits that all workers of a store share by a key: what they allow, who uses them now, and grants of them.

All that is granted goes through one row a key, which a transaction locks before it reads the time. The time is the
database's, so that machines whose clocks differ share one window.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, insert, select, true, update

from maker.errors import StoreFailed
from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.rate_window import UNLIMITED, Rates, RateWindow, Wanted, fair_shares
from maker.store.runs import Executes
from maker.types import Lot, SharedClaim

WORKER_LEASE_S = 10.0
"""How long a silent worker keeps its places in flight, in seconds."""
MONEY_SHARE = 20
"""A grant of money is a twentieth of what is left of it: what a process that dies can cost its key at most."""

_limit, _worker = schema.shared_limit.c, schema.shared_worker.c


class SharedLimit(NamedTuple):
    """A shared limit, and what is used of it: requests and tokens granted in the last minute, requests in flight.

    None is no limit. ``spent`` is money, with what is reserved. ``paused_s`` is how long its server wants no request.
    """

    key: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrency: int | None
    max_cost: float | None
    requests: int
    tokens: int
    in_flight: int
    workers: int
    spent: float
    paused_s: float


class Share(NamedTuple):
    """What a worker gets, and what holds it back if it gets less than it wants: a word, "" for nothing."""

    lot: Lot
    slots: int
    pause_s: float
    lacks: str


class ReservedMoney(NamedTuple):
    """Money that is written as reserved, and how much may be spent of it."""

    reserved: float
    usable: float


class _Place(NamedTuple):
    """A worker's row: its places in flight, how many it wants, and what it has waited for since when."""

    slots: int
    wanted: int
    least: int | None
    since: float
    until: float


@retried
def state_limit(database: Database, key: str, changes: Mapping[str, float | None]) -> SharedLimit:
    """Say what a key allows; what ``changes`` does not name stays as it is, or is not limited where the key is new."""
    with database.write() as connection:
        new = {"window": "[]", "paused_until": 0.0, "spent": 0.0}
        if _locked(connection, key) is None:
            connection.execute(insert(schema.shared_limit).values(key=key, **new))
        if changes:
            connection.execute(update(schema.shared_limit).where(_limit.key == key).values(dict(changes)))
    found = find_limit(database, key)
    assert found is not None  # noqa: S101 - it was written a moment ago, and nothing removes one
    return found


def find_limit(database: Database, key: str) -> SharedLimit | None:
    """Return a shared limit, None if the store has none of that key."""
    return next(iter(_read(database, _limit.key == key)), None)


def money_limit(connection: Executes, key: str) -> tuple[float | None] | None:
    """Return how much money a shared limit allows, None for no limit of that; None if there is none of that key."""
    row = connection.execute(select(_limit.max_cost).where(_limit.key == key)).first()
    return None if row is None else (row[0],)


def list_limits(database: Database) -> list[SharedLimit]:
    """Return all shared limits, by key."""
    return _read(database, true())


@retried
def _read(database: Database, wanted: ColumnElement[bool]) -> list[SharedLimit]:
    with database.read() as connection:
        now = _now(connection)
        rows = connection.execute(select(schema.shared_limit).where(wanted).order_by(_limit.key)).mappings().all()
        alive = select(_worker.key, func.count(), func.sum(_worker.slots)).where(_worker.until > now)
        places = {key: (count, slots) for key, count, slots in connection.execute(alive.group_by(_worker.key))}
        return [_as_limit(row, *places.get(row["key"], (0, 0)), now) for row in rows]


def exchange(
    database: Database, key: str, claims: Mapping[str, SharedClaim], stale: frozenset[str] = frozenset()
) -> dict[str, Share] | None:
    """Take what workers give back, and grant what they want, as far as there is something to give.

    Not repeated by itself: what is given back twice would be granted twice.

    Args:
        database: The store.
        key: The limit's key.
        claims: By worker; an idle one gives its place up.
        stale: Workers that have not taken their last grant in: they keep what they have, and get nothing.

    Returns:
        Shares of the workers that are neither idle nor stale; None if there is no such limit any more.
    """
    with database.write() as connection:
        row = _locked(connection, key)
        if row is None:
            return None
        now = _now(connection)
        window = _window(row)
        window.move(now)
        for claim in claims.values():
            window.give_back(claim.returned)
        paused_until = max(row["paused_until"], *(now + claim.pause_s for claim in claims.values() if claim.pause_s), 0)
        exchanged = _Exchange(row, window, now, max(0.0, paused_until - now), _places(connection, key, now))
        shares = {
            worker: exchanged.share(worker, claim)
            for worker, claim in claims.items()
            if worker not in stale and not claim.idle
        }
        exchanged.renew(stale)
        for worker, claim in claims.items():
            if claim.idle:
                exchanged.places.pop(worker, None)
        _keep_places(connection, key, {*claims}, exchanged.places)
        changes = {"window": window.write(), "paused_until": paused_until}
        connection.execute(update(schema.shared_limit).where(_limit.key == key).values(changes))
        return shares


@retried
def leave(database: Database, key: str, workers: frozenset[str]) -> None:
    """Give up the places of workers that are gone, with all that they had in flight."""
    with database.write() as connection:
        connection.execute(delete(schema.shared_worker).where(_worker.key == key, _worker.worker.in_(workers)))


def reserve_money(
    connection: Connection, key: str, own: float, *, need: float, most: float
) -> ReservedMoney | SharedLimit:
    """Reserve up to ``most`` of a key's money, at least ``need``; returns how much, or the limit that forbids it.

    At most a twentieth of what is left is reserved at once: so what runs have reserved never comes to all of it. Where
    the key's money is not limited any more, ``own`` is reserved, which the run itself reserves.
    """
    row = _locked(connection, key)
    if row is None:
        raise gone(key)
    taken = ReservedMoney(own, most)
    if row["max_cost"] is not None:
        left = row["max_cost"] - row["spent"]
        if need > left:
            return _as_limit(row, 0, 0, _now(connection))
        cost = min(most, max(need, left / MONEY_SHARE))
        taken = ReservedMoney(cost, cost)
    settle_money(connection, key, -taken.reserved)
    return taken


def settle_money(connection: Connection, key: str, rest: float) -> None:
    """Give back what is left of a reservation; a negative rest was spent beyond it."""
    connection.execute(update(schema.shared_limit).where(_limit.key == key).values(spent=_limit.spent - rest))


class _Exchange:
    """One transaction's look at a key: its window, and the places of all its workers."""

    def __init__(
        self, row: RowMapping, window: RateWindow, now: float, pause_s: float, places: dict[str, _Place]
    ) -> None:
        self._rates = Rates(row["requests_per_minute"], row["tokens_per_minute"])
        self._concurrency: int | None = row["concurrency"]
        self._window = window
        self._now = now
        self._pause_s = pause_s
        self.places = places

    def share(self, worker: str, claim: SharedClaim) -> Share:
        """Return what a worker gets, and note its place."""
        mine = self.places.get(worker, _Place(0, 0, None, self._now, 0.0))
        since = mine.since if mine.least is not None else self._now
        slots = self._slots(worker, claim, mine)
        wanted = Wanted.of(claim)
        lot = Lot(int(self._now), 0, 0)
        if not self._pause_s and slots > 0:
            ahead = [
                one.least
                for name, one in self.places.items()
                if name != worker and one.least is not None and one.since < since
            ]
            lot = self._window.grant(self._rates, wanted, ahead, self._now)
        # What a worker may have in flight counts until it knows of less.
        held = max(slots, claim.may if self._concurrency is not None else 0, claim.busy)
        least = None if wanted.covered(lot) else claim.least
        self.places[worker] = _Place(held, claim.slots, least, since, self._now + WORKER_LEASE_S)
        return Share(lot, slots, self._pause_s, self._lacks(claim, wanted, lot, slots))

    def renew(self, workers: frozenset[str]) -> None:
        """Let workers keep their places as they are."""
        for worker in workers & self.places.keys():
            self.places[worker] = self.places[worker]._replace(until=self._now + WORKER_LEASE_S)

    def _slots(self, worker: str, claim: SharedClaim, mine: _Place) -> int:
        if self._concurrency is None:
            return UNLIMITED
        wants = {name: one.wanted for name, one in self.places.items()} | {worker: claim.slots}
        fair = fair_shares(self._concurrency, wants)
        # What nobody wants is lent: a worker whose demand grows need not come back for every step of it.
        target = fair[worker] + (self._concurrency - sum(fair.values())) // len(fair)
        free = self._concurrency - sum(one.slots for name, one in self.places.items() if name != worker)
        return max(min(target, free), min(claim.busy, mine.slots), 0)

    def _lacks(self, claim: SharedClaim, wanted: Wanted, lot: Lot, slots: int) -> str:
        """Say what a worker waits for whose request nothing lets go."""
        if claim.least is None:
            return ""
        if self._pause_s:
            return "pause"
        if claim.busy >= slots:
            return "concurrency"
        if wanted.covered(lot):
            return ""
        requests, tokens = self._rates
        full = requests is not None and (tokens is None or self._window.requests >= requests)
        return "requests_per_minute" if full else "tokens_per_minute"


def _places(connection: Connection, key: str, now: float) -> dict[str, _Place]:
    """Return the places of a key's workers; those whose lease has run out are removed."""
    connection.execute(delete(schema.shared_worker).where(_worker.key == key, _worker.until <= now))
    columns = [_worker[name] for name in _Place._fields]
    rows = connection.execute(select(_worker.worker, *columns).where(_worker.key == key))
    return {row[0]: _Place(*row[1:]) for row in rows}


def _keep_places(connection: Connection, key: str, workers: set[str], places: Mapping[str, _Place]) -> None:
    """Write the places of these workers anew."""
    connection.execute(delete(schema.shared_worker).where(_worker.key == key, _worker.worker.in_(workers)))
    kept = [{"key": key, "worker": one, **places[one]._asdict()} for one in sorted(workers & places.keys())]
    if kept:
        connection.execute(insert(schema.shared_worker), kept)


def _locked(connection: Connection, key: str) -> RowMapping | None:
    query = select(schema.shared_limit).where(_limit.key == key).with_for_update()
    return connection.execute(query).mappings().first()


def _now(connection: Connection) -> float:
    """Return the database's time, in seconds since 1970: SQLite's is that of this machine, where all its users are."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())
    return time.time()


def _window(row: RowMapping) -> RateWindow:
    try:
        return RateWindow.read(row["window"])
    except ValueError as error:
        raise StoreFailed(
            f"shared limit {row['key']!r} is damaged: its window cannot be read: {error}",
            fix="restore the database from a backup",
        ) from error


def gone(key: str) -> StoreFailed:
    """Return the error of a key that the store had and has no more."""
    return StoreFailed(f"shared limit {key!r} is gone from the store", fix="say what it allows with `maker limit`")


def _as_limit(row: RowMapping, workers: int, slots: int, now: float) -> SharedLimit:
    window = _window(row)
    window.move(now)
    return SharedLimit(
        row["key"],
        row["requests_per_minute"],
        row["tokens_per_minute"],
        row["concurrency"],
        row["max_cost"],
        requests=window.requests,
        tokens=window.tokens,
        in_flight=int(slots) if row["concurrency"] is not None else 0,
        workers=workers,
        spent=max(0.0, row["spent"]),
        paused_s=max(0.0, row["paused_until"] - now),
    )
