"""A queue in the store: who may claim which run, when, and what becomes of claims. Held against each database."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from killed_runs import DEAD
from sqlalchemy import event, select, text, update

from maker.errors import RunHeld, StoreUnusable
from maker.store.admission import admit, admit_within, find_begun
from maker.store.backend import schema
from maker.store.backend.database import Database, open_database, upgrade_database
from maker.store.lease import LEASE_S, this_process
from maker.store.queue import Claim, QueueLimits, claim, keep, settle
from maker.store.queued import CLAIMED, LEFT, WAITING, Queued, QueuePlace
from maker.store.remove import cancel_run, remove_run
from maker.store.runs import PENDING, NewRun, create_run, find_run, release, take_over

NEW = NewRun("", {"vote": {"k": 3}, "model": {"url": "a"}}, {"seed": 0}, ("move",), b"g" * 16, "state 0")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Return an empty store, of each kind in turn."""
    upgrade_database(database_url)
    opened = open_database(database_url, create=True)
    yield opened
    opened.close()


def put(database: Database, run_id: str, **place: Any) -> None:
    """Put a new run into the queue "q", unless its place says another."""
    assert admit(database, run_id, NEW, QueuePlace(**({"queue": "q"} | place))) is None


def claimed(database: Database, count: int = 100, **options: Any) -> list[str]:
    """Claim so many runs at most; return their ids in order."""
    found = []
    while len(found) < count and (one := claim(database, "q", **options)) is not None:
        found.append(one.run_id)
    return found


def place_of(database: Database, run_id: str) -> Queued:
    """Return a run's place."""
    found = find_run(database, run_id).queued
    assert found is not None
    return found


def test_the_oldest_of_the_highest_priority_is_claimed_first(database: Database) -> None:
    """Each run once, by priority, then by age; runs of other queues, and those that are not due, are left."""
    for run_id, priority in (("a", 0), ("b", 5), ("c", -1), ("d", 5), ("e", 0)):
        put(database, run_id, priority=priority)
    put(database, "elsewhere", queue="other", priority=9)
    put(database, "later", priority=9, due=time.time() + 3600)
    put(database, "now", due=time.time() - 1)
    assert claimed(database) == ["b", "d", "a", "e", "now", "c"]
    assert claim(database, "q") is None
    assert find_run(database, "later").reason.startswith("waits in queue 'q'; due at ")
    assert (place_of(database, "b").state, place_of(database, "later").state) == (CLAIMED, WAITING)


def test_many_workers_claim_each_run_once(database: Database) -> None:
    """Twelve threads that claim at once share forty runs out, each to one of them."""
    for number in range(40):
        put(database, f"run-{number}")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.extend(claimed(database))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(f"run-{number}" for number in range(40))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (QueueLimits(), ["a1", "a2", "a3", "b1", "x1", "x2", "x3"]),
        (QueueLimits(runs=4), ["a1", "a2", "a3", "b1"]),
        (QueueLimits(per_key=2), ["a1", "a2", "b1", "x1", "x2", "x3"]),
        (QueueLimits(runs=4, per_key=1), ["a1", "b1", "x1", "x2"]),
    ],
)
def test_limits_of_a_queue_and_of_a_key(database: Database, limits: QueueLimits, expected: list[str]) -> None:
    """So many in all, so many of one key; runs without a key count in all alone. What ends makes room."""
    for run_id, key in (("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("x1", ""), ("x2", ""), ("x3", "")):
        put(database, run_id, key=key)
    first = claim(database, "q", limits=limits)
    assert first is not None
    assert [first.run_id, *claimed(database, limits=limits)] == expected
    settle(database, first, again=False)
    left = [run_id for run_id in ("a2", "a3", "b1", "x1", "x2", "x3") if run_id not in expected]
    assert claimed(database, limits=limits) == left[:1]


def test_limits_hold_whoever_claims_at_once(database: Database) -> None:
    """Eight threads that count at once find no more room than there is."""
    for number in range(30):
        put(database, f"run-{number}", key="ab"[number % 2])
    found: list[str] = []
    limits = QueueLimits(runs=5, per_key=3)
    threads = [threading.Thread(target=lambda: found.extend(claimed(database, limits=limits))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 5
    assert max(Counter(place_of(database, run_id).key for run_id in found).values()) == 3


def test_code_that_is_set_aside_is_left_to_others(database: Database) -> None:
    """A worker passes over runs whose code it has not; the next one claims them."""
    put(database, "old", code=b"old")
    put(database, "new", code=b"new")
    assert claimed(database, aside=[b"old"]) == ["new"]
    assert claimed(database) == ["old"]


@pytest.mark.parametrize(
    ("again", "wait_s", "status", "state"),
    [(True, 0.0, PENDING, WAITING), (True, 60.0, PENDING, WAITING), (False, 0.0, "paused", LEFT)],
)
def test_a_settled_claim(database: Database, again: bool, wait_s: float, status: str, state: str) -> None:
    """A paused run waits again, at once or later, or is left to a person. A claim that is over settles nothing more."""
    put(database, "a")
    found = claim(database, "q")
    assert found is not None
    lease = take_over(database, find_run(database, "a"), {}, claims=found.claims)
    release(database, lease, "paused", "stopped")
    settle(database, found, again=again, wait_s=wait_s, faults=2, note="so it was")
    settle(database, found, again=not again, note="too late")
    row = find_run(database, "a")
    assert (row.status, place_of(database, "a").state, place_of(database, "a").note) == (status, state, "so it was")
    following = claim(database, "q")
    assert (following is not None) == (again and not wait_s)
    if following is not None:
        assert following == Claim(row.key, "a", 2, 2, 0, b"")


def test_a_run_that_is_over_waits_for_nobody(database: Database) -> None:
    """It leaves the queue, whatever its worker has thought."""
    put(database, "a")
    found = claim(database, "q")
    assert found is not None
    release(database, take_over(database, find_run(database, "a"), {}, claims=1), "done", "")
    settle(database, found, again=True)
    assert find_run(database, "a").queued is None
    assert claim(database, "q") is None


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_whose_worker_is_dead_is_claimed_again(database: Database, begun: bool) -> None:
    """Before or after the worker has taken the run's lease; its old claim settles nothing."""
    put(database, "a")
    found = claim(database, "q")
    assert found is not None
    if begun:
        take_over(database, find_run(database, "a"), {}, claims=found.claims)
    assert claim(database, "q") is None
    with database.write() as connection:
        for table in (schema.run, schema.queued):
            connection.execute(update(table).values(holder=DEAD))
    assert ("the next free worker of queue 'q'" in find_run(database, "a").reason) == begun
    again = claim(database, "q")
    assert again is not None
    assert (again.run_id, again.claims) == ("a", 2)
    settle(database, found, again=False)
    assert place_of(database, "a").state == CLAIMED


def test_a_worker_of_another_machine_is_dead_after_its_lease(database: Database) -> None:
    """Nobody can look for its process: it counts as alive until its lease has run out, and no longer."""
    put(database, "a")
    claim(database, "q")
    then = time.time() - LEASE_S + 1
    with database.write() as connection:
        connection.execute(update(schema.queued).values(holder="elsewhere - 1 1", until=then))
        connection.execute(update(schema.run).values(updated_at=then))
    assert claim(database, "q") is None
    time.sleep(1.1)
    found = claim(database, "q")
    assert found is not None
    assert found.claims == 2


def test_a_claim_is_kept_while_its_run_is_prepared(database: Database) -> None:
    """Preparing may take longer than a lease, for a map over long files, say: the claim does not run out meanwhile."""
    put(database, "a")
    found = claim(database, "q")
    assert found is not None
    with database.write() as connection:
        connection.execute(update(schema.run).values(updated_at=time.time() - 100))
        connection.execute(update(schema.queued).values(until=time.time() - 1))
    keep(database, [found])
    assert claim(database, "q") is None
    with database.write() as connection:
        connection.execute(update(schema.queued).values(until=time.time() - 1, holder="elsewhere - 1 1"))
    keep(database, [found])
    assert claim(database, "q") is not None


def test_a_run_taken_by_hand_leaves_its_queue(database: Database) -> None:
    """Who resumes it sees to it: a worker that has claimed it meanwhile does not get it, nor is it claimed later."""
    put(database, "a")
    row = find_run(database, "a")
    found = claim(database, "q")
    assert found is not None
    lease = take_over(database, row, {})
    with pytest.raises(RunHeld):
        take_over(database, row, {}, claims=found.claims)
    release(database, lease, "paused", "interrupted")
    assert claim(database, "q") is None
    assert place_of(database, "a").state == LEFT


def test_an_older_claim_does_not_get_the_run(database: Database) -> None:
    """A worker that was long in preparing it finds that another one has claimed it since."""
    put(database, "a")
    found = claim(database, "q")
    assert found is not None
    settle(database, found, again=True)
    assert claim(database, "q") is not None
    with pytest.raises(RunHeld, match="another worker has claimed run a"):
        take_over(database, find_run(database, "a"), {}, claims=found.claims)


def test_cancelled_and_deleted_runs_are_not_claimed(database: Database) -> None:
    """What waits can be cancelled at once, and deleted with its place."""
    put(database, "a")
    put(database, "b")
    assert cancel_run(database, find_run(database, "a"))
    remove_run(database, find_run(database, "b"))
    assert claim(database, "q") is None
    with database.read() as connection:
        assert connection.execute(select(schema.queued.c.state)).scalars().all() == [LEFT]


def test_who_begins_a_run_does_not_resume_it(database: Database) -> None:
    """The first to work on it counts no resume; the next one does."""
    put(database, "a")
    lease = take_over(database, find_run(database, "a"), {})
    assert (lease.fence, find_run(database, "a").resumes) == (1, 0)
    release(database, lease, "paused", "")
    take_over(database, find_run(database, "a"), {})
    assert find_run(database, "a").resumes == 1


def test_an_id_is_admitted_once(database: Database) -> None:
    """What is there is returned as it was begun, and nothing is added; so too where two admit it at once."""
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(admit(database, "a", NEW))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    others = [one for one in found if one is not None]
    assert len(others) == 7
    assert {(one.fingerprint["seed"], one.settings["vote"]["k"]) for one in others} == {(0, 3)}
    take_over(database, find_run(database, "a"), {"vote": {"k": 4}})
    begun = find_begun(database, "a")
    assert begun is not None
    assert begun.digest == others[0].digest
    assert find_begun(database, "b") is None


# --- a host's own transaction ---


@pytest.fixture
def host(database: Database, database_url: str) -> Iterator[Any]:
    """Return an engine of a host's own on the store's database, with a table of its own."""
    from sqlalchemy import create_engine

    made = create_engine(
        database_url.replace("postgresql:", "postgresql+psycopg:"),
        connect_args={} if "sqlite" in database_url else {"prepare_threshold": None},
    )
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE orders (number integer)"))
    yield made
    with made.begin() as connection:
        connection.execute(text("DROP TABLE orders"))
    made.dispose()


@pytest.mark.parametrize("first", ["order", "run"])
@pytest.mark.parametrize("commits", [True, False])
def test_a_run_in_a_hosts_transaction(database: Database, host: Any, commits: bool, first: str) -> None:
    """The run and the host's own row are there together, or neither is; nobody sees the run before."""

    def order() -> None:
        connection.execute(text("INSERT INTO orders VALUES (17)"))

    with host.connect() as connection:
        if first == "order":
            order()
        assert admit_within(connection, "order-17", NEW, QueuePlace("q")) is None
        if first == "run":
            order()
        assert find_begun(database, "order-17") is None
        if commits:
            # Again in the same transaction is once.
            assert admit_within(connection, "order-17", NEW, QueuePlace("q")) is not None
            connection.commit()
        else:
            connection.rollback()
    with host.connect() as connection:
        orders = connection.execute(text("SELECT number FROM orders")).scalars().all()
    assert orders == ([17] if commits else [])
    assert claimed(database) == (["order-17"] if commits else [])
    if commits:
        assert find_run(database, "order-17").queued == Queued("q", "", 0, 0.0, CLAIMED, 1, "", served=False)


def test_a_database_without_our_tables(tmp_path: Any) -> None:
    """A host's connection to another database is refused, and its transaction goes on."""
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{tmp_path}/other.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (number integer)"))
        with pytest.raises(StoreUnusable, match="has no maker tables"):
            admit_within(connection, "a", NEW, QueuePlace())
        connection.execute(text("INSERT INTO orders VALUES (1)"))
    engine.dispose()


def test_an_idle_worker_writes_nothing(database: Database) -> None:
    """Looking at an empty queue, or at claims of the living, takes a read alone: other runs' writers do not wait."""
    put(database, "a")
    claim(database, "q")
    begun: list[bool] = []

    def note(connection: Any) -> None:
        begun.append(bool(connection.get_execution_options().get("maker_write")))

    event.listen(database.engine, "begin", note)
    assert claim(database, "q") is None
    assert claim(database, "none") is None
    assert begun == [False, False]


def test_runs_of_before_have_no_digest(database: Database) -> None:
    """A run without one was begun by an older version: only its settings can be compared."""
    run_id, _ = create_run(database, NEW)
    with database.write() as connection:
        connection.execute(update(schema.run).values(begun=None))
    found = find_begun(database, run_id)
    assert found is not None
    assert (found.digest, found.settings) == (None, NEW.settings)


def test_the_holder_of_a_claim_is_a_process(database: Database) -> None:
    """A claim names the process, as a lease does, so that its death is seen at once on its machine."""
    put(database, "a")
    claim(database, "q")
    with database.read() as connection:
        assert connection.execute(select(schema.queued.c.holder)).scalar_one() == this_process()
