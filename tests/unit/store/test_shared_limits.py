"""Shared limits in the store: what a key allows, and what its workers get. Held against each database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update

from maker.errors import StoreFailed
from maker.store.backend import schema
from maker.store.backend.database import Database, open_database, upgrade_database
from maker.store.entry import Entry
from maker.store.ledger import Accounts, Models, reserve, reserve_shared
from maker.store.rate_window import UNLIMITED
from maker.store.runs import NewRun, create_run
from maker.store.shared_limits import (
    WORKER_LEASE_S,
    SharedLimit,
    exchange,
    find_limit,
    leave,
    list_limits,
    state_limit,
)
from maker.types import Account, Allowance, Lot, SharedClaim, Usage

NEW = NewRun("", {"vote": {"k": 3}}, {"seed": 0}, ("move",), b"g" * 16, "state 0")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Return an empty store, of each kind in turn."""
    upgrade_database(database_url)
    opened = open_database(database_url, create=True)
    yield opened
    opened.close()


def claim(requests: int = 1, tokens: int = 10, **others: Any) -> SharedClaim:
    """Return the claim of a worker of whose requests one waits."""
    values = {"received": 0, "held": (), "least": 10, "slots": 1, "may": 0, "busy": 0}
    return SharedClaim(requests=requests, tokens=tokens, **(values | others))


def found(database: Database, key: str = "k") -> SharedLimit:
    one = find_limit(database, key)
    assert one is not None
    return one


def pass_time(database: Database, seconds: float) -> None:
    """Let what the store has kept be older."""
    worker = schema.shared_worker
    with database.write() as connection:
        connection.execute(update(worker).values(until=worker.c.until - seconds, since=worker.c.since - seconds))


def test_what_a_key_allows_is_stated_once(database: Database) -> None:
    """What is not named stays as it was; None lifts a limit. What is used is listed beside it."""
    assert list_limits(database) == []
    assert find_limit(database, "k") is None
    state_limit(database, "k", {"requests_per_minute": 600, "max_cost": 2.5})
    state_limit(database, "a", {"concurrency": 3})
    state_limit(database, "k", {"tokens_per_minute": 10**12, "max_cost": None})
    assert [one.key for one in list_limits(database)] == ["a", "k"]
    assert found(database)[:5] == ("k", 600, 10**12, None, None)
    assert found(database)[5:] == (0, 0, 0, 0, 0.0, 0.0)


def test_workers_share_the_rates(database: Database) -> None:
    """Three workers get no more than the limit together; a share says what it lacks."""
    state_limit(database, "k", {"requests_per_minute": 100, "tokens_per_minute": 100_000})
    shares = [exchange(database, "k", {f"w{n % 3}": claim(50, 500)}) for n in range(60)]
    granted = [share.lot for each in shares if each for share in each.values()]
    assert sum(lot.requests for lot in granted) == 100 == found(database).requests
    assert max(lot.requests for lot in granted) == 3
    assert shares[-1] is not None
    assert [share.lacks for share in shares[-1].values()] == ["requests_per_minute"]
    back = tuple(Lot(lot.second, lot.requests, lot.tokens) for lot in granted[:4])
    exchange(database, "k", {"w0": claim(0, 0, least=None, returned=back)})
    assert found(database).requests == 100 - sum(lot.requests for lot in back)


def test_at_once_no_more_is_granted_than_there_is(database: Database) -> None:
    """Eight threads that ask at the same time get the limit to the last request, and no more."""
    state_limit(database, "k", {"requests_per_minute": 90})
    got: list[int] = []

    def ask(name: str) -> None:
        for _ in range(8):
            try:
                shares = exchange(database, "k", {name: claim(9)})
            except StoreFailed as error:
                # One writer at a time: SQLite gives up after a while, and the caller comes back.
                assert error.facts.get("locked")
                continue
            assert shares is not None
            got.append(shares[name].lot.requests)

    threads = [threading.Thread(target=ask, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 90 == found(database).requests


def test_places_in_flight_are_shared_fairly(database: Database) -> None:
    """One worker has all; two have half each, once the first has told that it has given them up."""
    state_limit(database, "k", {"concurrency": 10})
    busy: dict[str, SharedClaim] = {"a": claim(slots=16)}

    def turn() -> dict[str, int]:
        shares = exchange(database, "k", busy)
        assert shares is not None
        for name, share in shares.items():
            busy[name] = busy[name]._replace(may=share.slots, busy=min(busy[name].slots, share.slots))
        return {name: share.slots for name, share in shares.items()}

    assert turn() == {"a": 10}
    busy["b"] = claim(slots=16)
    busy["a"] = busy["a"]._replace(busy=7)
    assert turn() == {"a": 10, "b": 0} or turn() == {"a": 7, "b": 0}
    for _ in range(10):
        most = sum(found_busy.busy for found_busy in busy.values())
        assert most <= 10
        busy["a"] = busy["a"]._replace(busy=max(0, busy["a"].busy - 1))
        shares = turn()
    assert shares == {"a": 5, "b": 5}
    busy["a"] = claim(0, 0, least=None, slots=0)
    assert set(turn()) == {"b"}
    assert turn() == {"b": 10}


def test_places_that_nobody_wants_are_lent(database: Database) -> None:
    """A worker whose demand grows has them at once; another one that wants them gets them when it knows."""
    state_limit(database, "k", {"concurrency": 10})
    alone = exchange(database, "k", {"a": claim(slots=2)})
    assert alone is not None
    assert alone["a"].slots == 10
    both = exchange(database, "k", {"b": claim(slots=9)})
    assert both is not None
    assert both["b"].slots == 0
    told = exchange(database, "k", {"a": claim(slots=2, may=10, busy=2)})
    assert told is not None
    assert told["a"].slots == 2
    exchange(database, "k", {"a": claim(slots=2, may=2, busy=2)})
    after = exchange(database, "k", {"b": claim(slots=9)})
    assert after is not None
    assert after["b"].slots == 8


def test_a_dead_workers_places_come_back(database: Database) -> None:
    """When its lease has run out; a stale one keeps its own, and so does one that says so."""
    state_limit(database, "k", {"concurrency": 4})
    exchange(database, "k", {"dead": claim(slots=4)})
    waiting = exchange(database, "k", {"b": claim(slots=4)})
    assert waiting is not None
    assert (waiting["b"].slots, waiting["b"].lacks) == (0, "concurrency")
    pass_time(database, WORKER_LEASE_S / 2)
    exchange(database, "k", {"dead": claim(slots=4)}, frozenset({"dead"}))
    pass_time(database, WORKER_LEASE_S * 0.9)
    again = exchange(database, "k", {"b": claim(slots=4)})
    assert again is not None
    assert again["b"].slots == 0, "it was renewed"
    pass_time(database, WORKER_LEASE_S * 0.2)
    after = exchange(database, "k", {"b": claim(slots=4)})
    assert after is not None
    assert after["b"].slots == 4
    leave(database, "k", frozenset({"b"}))
    assert found(database).workers == 0


def test_a_pause_is_for_all(database: Database) -> None:
    """What one server's word has paused gives nobody anything; the longest word holds."""
    state_limit(database, "k", {"requests_per_minute": 600})
    exchange(database, "k", {"a": claim(pause_s=30.0)})
    shares = exchange(database, "k", {"a": claim(pause_s=2.0), "b": claim()})
    assert shares is not None
    for share in shares.values():
        assert share.lot.requests == 0
        assert 25 < share.pause_s <= 30
        assert share.lacks == "pause"
    assert 25 < found(database).paused_s <= 30


def test_who_waits_longest_is_served_first(database: Database) -> None:
    """Small requests of others do not keep a large one waiting for ever."""
    state_limit(database, "k", {"tokens_per_minute": 1000})
    exchange(database, "k", {"a": claim(1, 900, least=900)})
    exchange(database, "k", {"large": claim(1, 500, least=500)})
    small = exchange(database, "k", {"small": claim(1, 60, least=60)})
    assert small is not None
    assert small["small"].lot.tokens == 0
    exchange(database, "k", {"a": claim(0, 0, least=None, returned=(Lot(_second(database), 0, 600),))})
    large = exchange(database, "k", {"large": claim(1, 500, least=500)})
    assert large is not None
    assert large["large"].lot.tokens == 500


def _second(database: Database) -> int:
    """Return the one second in which something was granted."""
    with database.read() as connection:
        window = connection.execute(schema.shared_limit.select()).mappings().one()["window"]
    return int(window.strip("[]").split(",")[0])


def test_a_key_that_is_gone_or_damaged(database: Database) -> None:
    """Nobody has one that is not there; a window that cannot be read names its key."""
    assert exchange(database, "nosuch", {"a": claim()}) is None
    state_limit(database, "k", {"concurrency": 4})
    with database.write() as connection:
        connection.execute(update(schema.shared_limit).values(window="?"))
    with pytest.raises(StoreFailed, match="shared limit 'k' is damaged"):
        exchange(database, "k", {"a": claim()})


def test_without_a_limit_there_is_no_end(database: Database) -> None:
    """A key that limits money alone lets all requests through."""
    state_limit(database, "k", {"max_cost": 1.0})
    shares = exchange(database, "k", {"a": claim()})
    assert shares is not None
    assert (shares["a"].slots, shares["a"].lot.requests) == (UNLIMITED, UNLIMITED)


def test_money_is_reserved_before_it_is_spent(database: Database) -> None:
    """Two runs together reserve no more than there is; what is settled unused is free again, in the ledger's commit."""
    state_limit(database, "k", {"max_cost": 1.0})
    (first_id, one), (_, other) = create_run(database, NEW), create_run(database, NEW)
    assert first_id
    most = Allowance(UNLIMITED, UNLIMITED, 0.0)
    first = reserve_shared(database, one, most, need=0.01, most=5.0, key="k")
    assert not isinstance(first, SharedLimit)
    assert first[1] == pytest.approx(0.05)
    second = reserve_shared(database, other, most, need=0.9, most=5.0, key="k")
    assert not isinstance(second, SharedLimit)
    assert second[1] == pytest.approx(0.9)
    refused = reserve_shared(database, other, most, need=0.06, most=5.0, key="k")
    assert isinstance(refused, SharedLimit)
    assert refused.spent == pytest.approx(0.95)
    accounts = Accounts(database, one.run, 0, Models(("m",), ("worker",)))
    with database.write() as connection:
        spent = {Account(0, "worker"): Usage(calls=1)}
        entries = [Entry(spent=spent, cost=0.02, grant=first[0]), Entry(grant=first[0], freed=True)]
        accounts.write(connection, entries, accounts.prepare(entries))
    assert found(database).spent == pytest.approx(0.92)


def test_an_unshared_grant_is_no_keys_money(database: Database) -> None:
    """Runs that name no key change none."""
    state_limit(database, "k", {"max_cost": 1.0})
    _, lease = create_run(database, NEW)
    key = reserve(database, lease, Allowance(10, 10, 0.5))
    with database.write() as connection:
        accounts, entries = (
            Accounts(database, lease.run, 0, Models(("m",), ("worker",))),
            [Entry(grant=key, freed=True)],
        )
        accounts.write(connection, entries, accounts.prepare(entries))
    assert found(database).spent == 0.0
