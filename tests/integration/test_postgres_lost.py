"""PostgreSQL that goes away while it is written to: what is lost, what is told, what is tried again."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from postgres_server import HOST, PASSWORD, USER, PostgresServer
from sqlalchemy import func, select, update
from store_rows import made_up

from maker.errors import StoreFailed
from maker.stats.vote_tests import Rule
from maker.store.backend import database as databases
from maker.store.backend import schema
from maker.store.backend.database import open_database, retried, upgrade_database
from maker.store.chains import root_chain
from maker.store.entry import Entry
from maker.store.journal import Journal
from maker.store.ledger import Models
from maker.store.runs import NewRun, create_run, find_run, read_events
from maker.store.vote_monitor import MonitoredClass, MonitorPlan, VoteMonitor, monitored_classes
from maker.voting.messages import Decided
from maker.voting.tally import Tally, pack

STEP, RUN = schema.step, schema.run
WAIT_S = 60.0


class Store:
    """A store on a server that can be stopped, with one run."""

    def __init__(self, server: PostgresServer, reached: Callable[[str], str]) -> None:
        url = server.create_database()
        upgrade_database(url)
        self.server = server
        self.name = url.rpartition("/")[2]
        self.database = open_database(reached(url), create=False)
        with self.database.write() as connection:
            self.database.insert_rows(connection, RUN, [made_up(RUN, id=1, run_id="one")])

    def append(self, index: int, *, batch: int | None = None) -> None:
        """Write a step in a transaction; with ``batch``, unless a transaction of that number took place before."""
        with self.database.write() as connection:
            if batch is not None:
                mine = update(RUN).where(RUN.c.id == 1, RUN.c.batch == batch - 1).values(batch=batch)
                if connection.execute(mine).rowcount == 0:
                    return
            self.database.insert_rows(connection, STEP, [made_up(STEP, idx=index)])

    def steps(self) -> list[int]:
        """Return the steps that are stored."""
        with self.database.read() as connection:
            return list(connection.execute(select(STEP.c.idx).order_by(STEP.c.idx)).scalars())

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as the server's superuser in the store's database."""
        return self.server.sql(*statements, database=self.name)

    def until(self, condition: str) -> None:
        """Wait until one of our connections does something."""
        query = f"SELECT 1 FROM pg_stat_activity WHERE application_name = 'maker' AND {condition}"  # noqa: S608
        deadline = time.monotonic() + WAIT_S
        while not self.sql(query):
            assert time.monotonic() < deadline, condition

    def cut(self) -> None:
        """End all of our connections from the server's side."""
        self.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'maker'")


@pytest.fixture
def store(postgres: PostgresServer, reached: Callable[[str], str]) -> Iterator[Store]:
    """Return a store whose server runs again after the test."""
    opened = Store(postgres, reached)
    with closing(opened.database):
        yield opened
    settings = postgres.data / "postgresql.auto.conf"
    if settings.read_text():
        settings.write_text("")
        postgres.stop("immediate")


@pytest.fixture
def tried() -> list[int]:
    """Return where a test notes each try."""
    return []


def aside(work: Callable[[], object]) -> threading.Thread:
    """Do something meanwhile."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


# --- between transactions ---


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_restart_between_two_writes_is_not_noticed(store: Store, how: Any) -> None:
    """What was committed is there, and the next write finds a new connection, without being repeated."""
    store.append(0)
    store.server.stop(how)
    store.server.start()
    store.append(1)
    assert store.steps() == [0, 1]


def test_a_connection_that_was_ended_is_not_noticed(store: Store) -> None:
    """Reading and writing get new connections for those that the server ended while nobody used them."""
    store.append(0)
    store.cut()
    assert store.steps() == [0]
    store.cut()
    store.append(1)
    assert store.steps() == [0, 1]


def test_a_server_that_is_away_is_waited_for(store: Store) -> None:
    """A block that finds no server begins when there is one, whether it reads or writes."""

    def start_later() -> None:
        time.sleep(0.5)
        store.server.start()

    for work in (lambda: store.append(0), store.steps):
        store.server.stop()
        starting = aside(start_later)
        work()
        starting.join()
    assert store.steps() == [0]


@pytest.mark.parametrize("work", ["read", "write"])
def test_a_server_that_stays_away_is_told(store: Store, monkeypatch: pytest.MonkeyPatch, work: str) -> None:
    """In the end there is one clear line, what to do, and no password."""
    monkeypatch.setattr(databases, "LOST_S", 0.5)
    store.server.stop()
    doing: Callable[[], object] = {"read": store.steps, "write": lambda: store.append(0)}[work]
    said = r"there is no connection to the server .*(Connection refused|query_wait_timeout|login)"
    with pytest.raises(StoreFailed, match=said) as caught:
        doing()
    assert caught.value.facts == {"lost": True}
    assert "\n" not in caught.value.message
    assert "check that it runs" in caught.value.fix
    assert ":***@" in caught.value.message


def test_a_server_that_shuts_down_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is there and admits nobody is one to wait for."""
    other = psycopg.connect(host=HOST, port=store.server.port, user=USER, password=PASSWORD, dbname=store.name)
    store.cut()
    store.server.stop("smart", wait=False)
    with monkeypatch.context() as patch:
        patch.setattr(databases, "LOST_S", 0.5)
        with pytest.raises(StoreFailed, match=r"shutting down|query_wait_timeout|login") as caught:
            store.append(0)
        assert caught.value.facts == {"lost": True}

    def restart() -> None:
        other.close()
        store.server.stop()
        store.server.start()

    restarting = aside(restart)
    store.append(0)
    restarting.join()
    assert store.steps() == [0]


def test_a_connection_that_stays_silent_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reached: Callable[[str], str]
) -> None:
    """A session that does not begin a transaction is left for another, and there is a word about the wait."""
    if reached("postgresql://h:1/n") != "postgresql://h:1/n" or os.geteuid() != 0:
        pytest.skip("a session behind a pooler is not ours, and another user's cannot be stopped")
    monkeypatch.setattr("maker.store.backend.postgres.SILENT_S", 1.5)
    monkeypatch.setattr("maker.store.backend.waits.WORD_S", 0.5)
    store.append(0)
    own = "SELECT pid FROM pg_stat_activity WHERE application_name = 'maker'"
    sessions = [pid for (pid,) in store.sql(own)]
    for pid in sessions:
        os.kill(pid, signal.SIGSTOP)
    try:
        store.append(1)
    finally:
        for pid in sessions:
            os.kill(pid, signal.SIGCONT)
    assert store.steps() == [0, 1]
    assert "store_waiting" in [record.getMessage() for record in caplog.records]


# --- within a transaction ---


@pytest.mark.parametrize("rows", [30, 1, 0])
def test_a_transaction_that_is_cut_off_leaves_nothing(store: Store, tried: list[int], rows: int) -> None:
    """Whichever statement meets the lost connection, the block fails as lost; repeated, it takes place once."""

    def work() -> None:
        tried.append(len(tried))
        with store.database.write() as connection:
            store.database.insert_rows(connection, STEP, [made_up(STEP, idx=0)])
            if len(tried) == 1:
                store.cut()
            store.database.insert_rows(connection, STEP, [made_up(STEP, idx=i + 1) for i in range(rows)])
            connection.execute(update(RUN).values(votes=5))

    with pytest.raises(StoreFailed) as caught:
        work()
    assert caught.value.facts == {"lost": True}
    assert re.search("terminating connection due to admin|the server ended the connection", caught.value.message)
    assert store.steps() == []
    retried(work)()
    assert store.steps() == list(range(rows + 1))


def test_a_statement_that_is_cut_off_is_repeated(store: Store, tried: list[int]) -> None:
    """A server that stops under a statement that runs is waited for, and the block takes place once."""

    @retried
    def work() -> None:
        tried.append(len(tried))
        with store.database.write() as connection:
            store.database.insert_rows(connection, STEP, [made_up(STEP, idx=0)])
            if len(tried) == 1:
                connection.execute(select(func.pg_sleep(60)))

    def restart() -> None:
        store.until("wait_event = 'PgSleep'")
        store.server.stop("fast")
        store.server.start()

    restarting = aside(restart)
    work()
    restarting.join()
    assert store.steps() == [0]
    assert len(tried) > 1


SLOW_COMMIT = (
    "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF pg_postmaster_start_time() = (SELECT at FROM public.slow) THEN PERFORM pg_sleep(60); END IF; "
    "RETURN NULL; END $$",
    "CREATE TABLE public.slow AS SELECT pg_postmaster_start_time() AS at",
    "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON maker.maker_step DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION public.slow()",
)
"""Until the server restarts, whoever commits a step sleeps first."""


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_commit_that_did_not_take_place_is_repeated(store: Store, tried: list[int], how: Any) -> None:
    """A server that stops in the middle of a commit has not kept it; repeated, it takes place once."""
    store.sql(*SLOW_COMMIT)

    @retried
    def work() -> None:
        tried.append(len(tried))
        store.append(0, batch=1)

    def restart() -> None:
        store.until("wait_event = 'PgSleep' AND query = 'COMMIT'")
        store.server.stop(how)
        store.server.start()

    restarting = aside(restart)
    work()
    restarting.join()
    assert store.steps() == [0]
    assert len(tried) > 1


@pytest.mark.parametrize("how", ["fast", "immediate"])
@pytest.mark.parametrize("batch", [1, None])
def test_a_commit_that_did_take_place_can_be_found_out(
    store: Store, tried: list[int], how: Any, batch: int | None
) -> None:
    """A commit whose answer was lost is kept; what is repeated sees that by its number, else by a conflict."""
    # A commit waits for a standby that is not there after it has been made durable here.
    store.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    store.server.stop()
    store.server.start()

    @retried
    def work() -> None:
        tried.append(len(tried))
        store.append(0, batch=batch)

    def restart() -> None:
        store.until("wait_event = 'SyncRep'")
        store.server.stop(how)
        (store.server.data / "postgresql.auto.conf").write_text("")
        store.server.start()

    restarting = aside(restart)
    if batch is None:
        with pytest.raises(StoreFailed, match="another process has written this row"):
            work()
    else:
        work()
    restarting.join()
    assert store.steps() == [0]
    assert len(tried) > 1


def test_votes_of_a_repeated_transaction_are_counted_once(store: Store) -> None:
    """The monitor's counts are those of what is in the log, however often a transaction is tried."""
    store.sql("DELETE FROM maker.maker_run")
    run_id, lease = create_run(store.database, NewRun("", {}, {}, ("move",), b"g", "0"))
    chain = root_chain(store.database, lease.run).key
    watch = VoteMonitor(MonitorPlan("warn", (MonitoredClass("move", Rule(3), Rule(3)),)))
    kept: list[Entry] = []
    models = Models(("m",), ("solver",))
    journal = Journal(
        store.database, lease, root=chain, resumes=0, models=models, on_commit=kept.extend, watch=watch
    )  # fmt: skip
    tally = pack(Tally(0, 1, (23,), {"b": (20,)}, {}))
    held = psycopg.connect(host=HOST, port=store.server.port, user=USER, password=PASSWORD, dbname=store.name)
    held.execute("UPDATE maker.maker_run SET reason = reason")
    steps = [Decided(chain, idx, 0, "a", tally, 1, bytes([idx]), 43, 0, True) for idx in range(64)]
    journal.put(Entry(decided=steps))
    for _ in range(2):
        store.until("wait_event_type = 'Lock'")
        store.cut()
    store.until("wait_event_type = 'Lock'")
    held.rollback()
    journal.flush()
    journal.close()
    held.close()
    run = find_run(store.database, run_id)
    assert (run.steps, monitored_classes(run.monitor, ("move",))[0]["steps"]) == (64, 64)
    told = [event["statistic"] for event in read_events(store.database, lease.run)]
    assert told == [one.facts["statistic"] for entry in kept for one in entry.events] == ["hard"]


def test_what_will_not_pass_is_not_repeated(store: Store, tried: list[int]) -> None:
    """A conflict is raised at the first try."""
    store.append(0)

    @retried
    def work() -> None:
        tried.append(len(tried))
        store.append(0)

    with pytest.raises(StoreFailed, match="another process has written this row"):
        work()
    assert tried == [0]
