"""The contract of a store: runs, leases, the journal and the log. ``database`` says which kind it is held against."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from maker.errors import LeaseLost, MakerError, RunHeld, RunNotFound, StoreFailed
from maker.store.backend import schema
from maker.store.backend.database import Database, open_database, upgrade_database
from maker.store.chains import CHAIN_BITS, root_chain
from maker.store.entry import Ending, Entry, StoredEvent
from maker.store.journal import Journal
from maker.store.keeper import LeaseKeeper
from maker.store.lease import Lease, this_process
from maker.store.ledger import Models, reserve
from maker.store.log import newest_snapshot, read_prompts, read_samples, read_snapshots, read_steps
from maker.store.remove import cancel_run, remove_run
from maker.store.runs import (
    NewRun,
    add_event,
    create_run,
    find_run,
    list_runs,
    read_events,
    release,
    renew,
    take_over,
)
from maker.types import Account, Allowance, Flag, RedFlag, Sample, Usage
from maker.voting.election import HeardSample
from maker.voting.messages import Decided, KeptVotes
from maker.voting.policy import PromptVariant
from maker.voting.tally import text_digest

MODELS = Models(("m",), ("solver",))
NEW = NewRun("a name", {"vote": {"k": 3}}, {"seed": 0}, ("move",), b"g" * 16, "state 0")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Return an empty store, of each kind in turn."""
    upgrade_database(database_url)
    opened = open_database(database_url, create=True)
    yield opened
    opened.close()


def spent(*amounts: int) -> dict[Account, Usage]:
    """Return what the one model has spent."""
    return {Account(0, "solver"): Usage(*amounts)}


class Work:
    """A run in a store, with a journal that this process writes to."""

    def __init__(self, database: Database, on_commit: Callable[[list[Entry]], None] = lambda entries: None) -> None:
        self.database = database
        self.run_id, self.lease = create_run(database, NEW)
        self.chain = root_chain(database, self.lease.run).key
        self.journal = self.open(self.lease, on_commit)

    def open(self, lease: Lease, on_commit: Callable[[list[Entry]], None] = lambda entries: None) -> Journal:
        return Journal(self.database, lease, root=self.chain, resumes=0, models=MODELS, on_commit=on_commit)

    def step(self, index: int, **changes: Any) -> Decided:
        """Return a decided step of two votes and a flag."""
        base = Decided(
            chain=self.chain, idx=index, epoch=0, action=f"a{index}", tally=b"t", tokens=3,
            digest=index.to_bytes(16, "big"), votes=2, flags=1, disputed=False, heard=None,
        )  # fmt: skip
        return base._replace(**changes)

    def steps(self, first: int, stop: int) -> Entry:
        """Return an entry of steps, each of which took four calls."""
        return Entry(decided=[self.step(i) for i in range(first, stop)], spent=spent(4, 40, 8, 1))

    def count(self) -> int:
        """Return how many steps are in the store."""
        with self.database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(schema.step)).scalar_one())

    def run_columns(self, **values: Any) -> None:
        """Edit the run's row."""
        with self.database.write() as connection:
            connection.execute(update(schema.run).where(schema.run.c.id == self.lease.run).values(**values))


@pytest.fixture
def work(database: Database) -> Iterator[Work]:
    """Return a run that this process works on."""
    opened = Work(database)
    yield opened
    opened.journal.close()


# --- the schema ---


def test_every_table_carries_the_prefix() -> None:
    """No table can meet one of a host's own."""
    assert all(name.startswith("maker_") for name in [*schema.metadata.tables, schema.VERSION_TABLE])


# --- runs ---


def test_a_new_run_is_held_by_this_process(database: Database) -> None:
    """A run starts as running, with nothing counted, one chain at 0 and the first state as a snapshot."""
    run_id, lease = create_run(database, NEW)
    row = find_run(database, run_id)
    assert (row.run_id, row.key, row.name, row.status, row.reason) == (run_id, lease.run, "a name", "running", "")
    assert (row.settings, row.fingerprint, row.classes) == ({"vote": {"k": 3}}, {"seed": 0}, ("move",))
    assert (row.steps, row.votes, row.red_flags, row.disputed, row.resumes, row.result) == (0, 0, 0, 0, 0, None)
    assert (row.digest, row.usage, row.reserved) == (b"g" * 16, Usage(), Allowance(0, 0, 0.0))
    chain = root_chain(database, row.key)
    assert (chain.cursor, chain.epoch, chain.digest, chain.path) == (0, 0, b"g" * 16, ())
    assert (chain.key, chain.run, chain.status, chain.base) == (row.key << CHAIN_BITS, row.key, "running", None)
    snapshot = newest_snapshot(database, chain, 0)
    assert snapshot is not None
    assert snapshot.state == "state 0"


def test_a_run_is_found_by_the_beginning_of_its_id(database: Database) -> None:
    """A whole id, a beginning that no other run shares and ``last`` find a run."""
    first, _ = create_run(database, NEW)
    second, _ = create_run(database, NEW)
    assert find_run(database, first).run_id == first
    assert find_run(database, second).run_id == second
    assert find_run(database, "last").run_id == second
    different = next(i for i in range(len(first)) if first[i] != second[i])
    assert find_run(database, first[: different + 1]).run_id == first


def test_a_run_is_found_by_its_name(database: Database) -> None:
    """A name finds its run; where several have it they are named; a whole id comes before a name that is the same."""
    first, _ = create_run(database, replace(NEW, name="first"))
    assert find_run(database, "first", exact=True).run_id == first
    with pytest.raises(RunNotFound, match="no run 'firs'"):
        find_run(database, "firs")
    second, _ = create_run(database, replace(NEW, name="first"))
    with pytest.raises(RunNotFound, match=rf"several runs: {second} \(first\), {first} \(first\)\n"):
        find_run(database, "first")
    third, _ = create_run(database, replace(NEW, name=first))
    assert find_run(database, first, exact=True).run_id == first
    assert find_run(database, third, exact=True).name == first
    for _ in range(5):
        create_run(database, NEW)
    with pytest.raises(RunNotFound, match=r"several runs: (\S+ \(a name\), ){5}…"):
        find_run(database, first[:2])


def test_what_ends_a_run_finds_it_by_its_whole_id_or_name_alone(database: Database) -> None:
    """A beginning, ``last`` and nothing at all name no run to cancel or delete."""
    run_id, _ = create_run(database, NEW)
    for word in (run_id[:-1], "last"):
        with pytest.raises(RunNotFound, match=rf"'{word}' is no run's whole id or name; it stands for run {run_id}"):
            find_run(database, word, exact=True)
    for word in ("", " "):
        with pytest.raises(RunNotFound, match="the run's id is empty"):
            find_run(database, word, exact=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("20", "'20' stands for several"),
        ("99", "holds no run '99'"),
        ("%", "holds no run"),
        ("_", "holds no run"),
    ],
)
def test_a_run_that_is_not_one_is_told(database: Database, name: str, message: str) -> None:
    """An ambiguous beginning, an unknown one, and signs that a database might take for a pattern find nothing."""
    create_run(database, NEW)
    create_run(database, NEW)
    with pytest.raises(RunNotFound, match=message):
        find_run(database, name)


def test_an_empty_store_has_no_last_run(database: Database) -> None:
    """``last`` of nothing is told, and so is an empty list."""
    with pytest.raises(RunNotFound, match="holds no run"):
        find_run(database, "last")
    assert list_runs(database) == []


def test_runs_are_listed_newest_first(database: Database) -> None:
    """The list begins with the newest run and ends at its limit."""
    ids = [create_run(database, NEW)[0] for _ in range(4)]
    assert [row.run_id for row in list_runs(database)] == ids[::-1]
    assert [row.run_id for row in list_runs(database, limit=2)] == ids[:1:-1]


# --- leases ---


def test_a_live_process_keeps_its_run(database: Database) -> None:
    """A run that a living process holds is not taken from it, not even by itself; the message names the process."""
    run_id, _ = create_run(database, NEW)
    with pytest.raises(RunHeld, match=f"process {os.getpid()} on .* is working on run") as caught:
        take_over(database, find_run(database, run_id), {})
    assert caught.value.facts == {"run_id": run_id}


def test_a_dead_process_loses_its_run_at_once(database: Database, database_url: str) -> None:
    """A run is held while another process lives, and free as soon as it is gone, even if nobody has reaped it yet."""
    code = (
        "import sys; from maker.store.backend.database import open_database\n"
        "from maker.store.runs import create_run, NewRun\n"
        f"database = open_database({database_url!r}, create=False)\n"
        "print(create_run(database, NewRun('', {}, {}, (), b'g', 's'))[0], flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    row = find_run(database, other.stdout.readline().strip())
    assert row.status == "running"
    with pytest.raises(RunHeld, match=f"process {other.pid} "):
        take_over(database, row, {})
    other.kill()
    # Not waited for: a zombie still has its line among the processes.
    deadline = time.monotonic() + 10
    while find_run(database, row.run_id).status == "running" and time.monotonic() < deadline:
        time.sleep(0.01)
    dead = find_run(database, row.run_id)
    assert (dead.status, dead.reason) == ("paused", f"its process is gone; continue with `maker resume {row.run_id}`")
    assert take_over(database, row, {}) == Lease(row.key, 2)
    taken = find_run(database, row.run_id)
    assert (taken.status, taken.resumes) == ("running", 1)
    other.communicate()


def test_a_lease_runs_out(work: Work) -> None:
    """A holder that has not renewed in time loses its run, though its process lives."""
    row = find_run(work.database, work.run_id)
    work.run_columns(lease_until=time.time() - 1)
    assert find_run(work.database, work.run_id).status == "paused"
    assert take_over(work.database, row, {}).fence == work.lease.fence + 1


def test_another_process_with_the_same_number_is_not_the_holder(work: Work) -> None:
    """A process number that is in use again does not keep a dead process's run."""
    row = find_run(work.database, work.run_id)
    work.run_columns(holder=f"{this_process().rpartition(' ')[0]} 1")
    assert take_over(work.database, row, {}).fence == 2


def test_another_machine_keeps_its_run_until_its_lease_ends(work: Work) -> None:
    """Nothing is known of a process elsewhere but its lease."""
    row = find_run(work.database, work.run_id)
    work.run_columns(holder="elsewhere pid:[1] 1 1")
    with pytest.raises(RunHeld, match="process 1 on elsewhere"):
        take_over(work.database, row, {})
    work.run_columns(lease_until=time.time() - 0.1)
    assert take_over(work.database, row, {}).fence == 2


def test_a_machine_of_the_same_name_is_another_one(work: Work) -> None:
    """Hosts and containers may share names and process numbers: a process of another kernel is not a dead one here."""
    row = find_run(work.database, work.run_id)
    host, _, namespace = this_process().split(" ")[:3]
    work.run_columns(holder=f"{host} another-boot {namespace} 1 1")
    assert find_run(work.database, work.run_id).status == "running"
    with pytest.raises(RunHeld, match=f"process 1 on {host}, another machine or container of that name, is working"):
        take_over(work.database, row, {})


def test_a_process_that_cannot_be_seen_is_not_dead(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system may hide other users' processes: a holder that is there, and no more is known of, keeps its run."""

    def forbid(_pid: int, _signal: int) -> None:
        raise PermissionError

    work.run_columns(holder=f"{this_process().rsplit(' ', 2)[0]} {2**22 + 1} 1")
    assert find_run(work.database, work.run_id).status == "paused"
    monkeypatch.setattr("maker.store.lease.os.kill", forbid)
    assert find_run(work.database, work.run_id).status == "running"


def test_a_lease_is_kept_while_its_holder_writes_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment of taking over a lease does not run out, and what is given back or lost is not renewed."""
    for module in ("keeper", "runs"):
        monkeypatch.setattr(f"maker.store.{module}.LEASE_S", 0.3)
    run_id, lease = create_run(database, NEW)
    keeper = LeaseKeeper(database, lease)
    first = find_run(database, run_id).lease_until
    deadline = time.monotonic() + 10
    while find_run(database, run_id).lease_until < first + 0.6:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    release(database, lease, "paused", "as asked")
    renew(database, lease)
    assert find_run(database, run_id).lease_until == 0.0
    taken = take_over(database, find_run(database, run_id), {})
    held = find_run(database, run_id).lease_until
    renew(database, lease._replace(fence=taken.fence - 1))
    assert find_run(database, run_id).lease_until == held
    keeper.close()


def test_a_run_that_was_worked_on_since_it_was_read_is_not_taken(work: Work) -> None:
    """What a resume has prepared holds for the log that it read, so it takes a lease for no other."""
    row = find_run(work.database, work.run_id)
    work.journal.put(work.steps(0, 1))
    work.journal.close()
    release(work.database, work.lease, "paused", "")
    with pytest.raises(RunHeld, match="another process has worked on run"):
        take_over(work.database, row, {})
    assert take_over(work.database, find_run(work.database, work.run_id), {}).fence == 2


@pytest.mark.parametrize("act", [remove_run, cancel_run, lambda database, row: take_over(database, row, {})])
def test_a_run_that_was_deleted_since_it_was_read_is_told(database: Database, act: Callable[..., object]) -> None:
    """Whoever comes after a deletion finds no run."""
    run_id, lease = create_run(database, NEW)
    release(database, lease, "paused", "")
    row = find_run(database, run_id)
    remove_run(database, row)
    with pytest.raises(RunNotFound, match="was deleted meanwhile"):
        act(database, row)


@pytest.mark.parametrize(
    ("behind", "said"), [({"batch": 0}, r"backup \(it knows 0 of 1 commits\)"), ({"fence": 0}, "backup\n")]
)
def test_a_database_that_has_forgotten_commits_is_told(work: Work, behind: dict[str, int], said: str) -> None:
    """A replica that lags behind, or a backup, is not another process."""
    work.journal.put(work.steps(0, 1))
    work.journal.flush()
    work.run_columns(**behind)
    work.journal.put(work.steps(1, 2))
    with pytest.raises(StoreFailed, match=f"replica that lags behind, or was restored from a {said}"):
        work.journal.flush()


def test_a_run_that_was_deleted_under_its_writer_is_lost(work: Work) -> None:
    """A writer that finds no run has lost it, whoever took it."""
    with work.database.write() as connection:
        for table in (schema.snapshot, schema.chain, schema.run):
            connection.execute(delete(table))
    work.journal.put(work.steps(0, 1))
    with pytest.raises(LeaseLost):
        work.journal.flush()


def test_a_released_run_is_free(work: Work) -> None:
    """A run that is given back has its status, and can be taken at once."""
    release(work.database, work.lease, "paused", "as asked")
    row = find_run(work.database, work.run_id)
    assert (row.status, row.reason) == ("paused", "as asked")
    assert take_over(work.database, row, {}).fence == 2


def test_the_writer_renews_the_lease(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anything to write, the journal shows that its process lives."""
    lease_s = 0.06
    monkeypatch.setattr("maker.store.journal.LEASE_S", lease_s)
    journal = work.open(work.lease)
    until = time.time() + lease_s + 0.2
    work.run_columns(lease_until=0.0)
    deadline = time.monotonic() + 10
    renewed = 0.0
    while renewed < until and time.monotonic() < deadline:
        with work.database.read() as connection:
            renewed = float(connection.execute(select(schema.run.c.lease_until)).scalar_one())
        time.sleep(0.02)
    journal.close()
    assert renewed >= until


# --- the journal ---


def test_steps_are_written_with_all_that_goes_with_them(work: Work) -> None:
    """One commit holds the steps, the cursor, the counts, the ledger and the ending."""
    ending = Ending("done", "", {"pegs": "CCC"})
    work.journal.put(work.steps(0, 3))
    work.journal.put(Entry(decided=[work.step(3, disputed=True)], spent=spent(5, 50, 9, 2), ending=ending))
    work.journal.flush()
    rows = list(read_steps(work.database, work.chain))
    assert [(row.idx, row.epoch, row.action, row.tally, row.tokens) for row in rows] == [
        (i, 0, f"a{i}", b"t", 3) for i in range(4)
    ]
    assert [row.digest for row in rows] == [i.to_bytes(16, "big") for i in range(4)]
    row = find_run(work.database, work.run_id)
    assert (row.steps, row.votes, row.red_flags, row.disputed) == (4, 8, 4, 1)
    assert (row.digest, row.usage) == ((3).to_bytes(16, "big"), Usage(9, 90, 17, 3))
    assert (row.status, row.result) == ("done", {"pegs": "CCC"})
    chain = root_chain(work.database, row.key)
    assert (chain.cursor, chain.digest) == (4, (3).to_bytes(16, "big"))
    assert row.wall_s > 0


def test_reading_begins_and_ends_where_asked(work: Work) -> None:
    """Steps are read in order, from a start to before a stop, over more than one page."""
    work.journal.put(work.steps(0, 12_000))
    work.journal.flush()
    assert [row.idx for row in read_steps(work.database, work.chain)] == list(range(12_000))
    assert [row.idx for row in read_steps(work.database, work.chain, 4999, 5002)] == [4999, 5000, 5001]
    assert list(read_steps(work.database, work.chain, 12_000)) == []


def test_samples_keep_what_became_of_them(work: Work) -> None:
    """A kept sample has its text, and its candidate or its flag with the detail; NUL is spelled out."""
    heard = (
        HeardSample(0, Sample("1AC", 4, logprob=-0.5), "1AC"),
        HeardSample(1, Sample("1A\x00é\n", 5, cut=True), RedFlag(Flag.LENGTH, "cut after 5 tokens"), way=1),
    )
    ways = (PromptVariant(), PromptVariant("Go on.", 0.5))
    work.journal.put(Entry(decided=[work.step(0), work.step(1, heard=KeptVotes("Move.", "1AC 2", heard, ways))]))
    work.journal.flush()
    assert list(read_samples(work.database, work.chain, 0, 1)) == []
    voted, flagged = read_samples(work.database, work.chain, 1, 2)
    assert voted == (1, 0, 0, text_digest("1AC"), "1AC", 4, "1AC", None, "", 0, -0.5, None, None, None)
    spelled = "1A\\x00é\n"
    assert flagged == (1, 0, 1, text_digest(spelled), spelled, 5, None, "length", "cut after 5 tokens", 0, None,
                       text_digest("Go on."), "Go on.", 0.5)  # fmt: skip
    assert list(read_samples(work.database, work.chain, 0)) == [voted, flagged]
    assert list(read_prompts(work.database, work.chain, 0, 1)) == []
    assert list(read_prompts(work.database, work.chain, 1)) == [(1, 0, "Move.", "1AC 2")]


def test_a_text_is_stored_once(work: Work) -> None:
    """Prompts and replies that say the same share one row, within a step, between steps and between writers."""

    def heard(index: int) -> KeptVotes:
        samples = (HeardSample(0, Sample("x", 1), "x"), HeardSample(1, Sample("x", 1), "x"))
        return KeptVotes("Say a letter.", f"letter {index % 2}", samples)

    work.journal.put(Entry(decided=[work.step(i, heard=heard(i)) for i in range(4)]))
    work.journal.flush()
    work.journal.put(Entry(decided=[work.step(4, heard=heard(4))]))
    work.journal.close()
    later = work.open(work.lease._replace(batch=2))
    later.put(Entry(decided=[work.step(5, heard=heard(5))]))
    later.flush()
    later.close()
    assert len(list(read_samples(work.database, work.chain, 0))) == 12
    with work.database.read() as connection:
        bodies = connection.execute(select(schema.text.c.body).order_by(schema.text.c.body)).scalars().all()
    assert bodies == ["Say a letter.", "letter 0", "letter 1", "x"]


def test_the_newest_snapshot_before_an_index(work: Work) -> None:
    """A snapshot is of the state before its index, and the newest one at or before an index is found."""
    steps = [work.step(i, **{"state": f"state {i + 1}"} if i in (1, 3) else {}) for i in range(5)]
    work.journal.put(Entry(decided=steps))
    work.journal.flush()
    assert [(row.idx, row.state) for row in read_snapshots(work.database, work.chain)] == [
        (0, "state 0"), (2, "state 2"), (4, "state 4"),
    ]  # fmt: skip
    chain = root_chain(work.database, work.lease.run)
    found = [newest_snapshot(work.database, chain, upto) for upto in range(6)]
    assert [row and row.idx for row in found] == [0, 0, 2, 2, 4, 4]
    assert newest_snapshot(work.database, chain, -1) is None


def test_what_is_told_is_committed(database: Database) -> None:
    """Whoever hears of an entry finds it in the store already, and hears of each one once and in order."""
    told: list[int] = []
    seen: list[int] = []

    def on_commit(entries: list[Entry]) -> None:
        told.extend(step.idx for entry in entries for step in entry.decided)
        seen.append(work.count() - len(told))

    work = Work(database, on_commit)
    for i in range(20):
        work.journal.put(work.steps(i, i + 1))
    work.journal.flush()
    work.journal.close()
    assert told == list(range(20))
    assert set(seen) == {0}


def test_waiting_entries_share_a_commit(database: Database) -> None:
    """While one commit is under way, what comes in waits and is committed together."""
    sizes: list[int] = []
    first, go_on = threading.Event(), threading.Event()

    def on_commit(entries: list[Entry]) -> None:
        sizes.append(len(entries))
        first.set()
        go_on.wait(10)

    work = Work(database, on_commit)
    work.journal.put(work.steps(0, 1))
    assert first.wait(10)
    for i in range(1, 31):
        work.journal.put(work.steps(i, i + 1))
    go_on.set()
    work.journal.flush()
    work.journal.close()
    assert sizes[:2] == [1, 30]
    assert work.count() == 31


def test_closing_commits_what_is_left(database: Database) -> None:
    """A journal that is closed has written all it was given."""
    work = Work(database)
    for i in range(50):
        work.journal.put(work.steps(i, i + 1))
    work.journal.close()
    assert work.count() == 50


def test_an_old_lease_writes_nothing(work: Work) -> None:
    """Once another process has the run, the old one's journal is told so and nothing of it is written."""
    work.journal.put(work.steps(0, 2))
    work.journal.flush()
    row = find_run(work.database, work.run_id)
    work.run_columns(lease_until=0.0)
    new = take_over(work.database, row, {})
    before = find_run(work.database, work.run_id)
    work.journal.put(work.steps(2, 4))
    with pytest.raises(LeaseLost, match="taken over this run"):
        work.journal.flush()
    with pytest.raises(LeaseLost):
        work.journal.put(work.steps(2, 4))
    with pytest.raises(LeaseLost):
        reserve(work.database, work.lease, Allowance(1, 1, 0.0))
    with pytest.raises(LeaseLost):
        release(work.database, work.lease, "paused", "mine")
    after = find_run(work.database, work.run_id)
    assert work.count() == 2
    assert (after.steps, after.usage, after.status) == (before.steps, before.usage, "running")
    journal = work.open(new)
    journal.put(work.steps(2, 4))
    journal.flush()
    journal.close()
    assert work.count() == 4


@pytest.mark.parametrize("first", [0, 1, 3])
def test_no_step_is_written_twice_or_with_a_gap(work: Work, first: int) -> None:
    """Steps that do not begin at the chain's cursor are refused, with all that was to be committed with them."""
    work.journal.put(work.steps(0, 2))
    work.journal.flush()
    before = find_run(work.database, work.run_id)
    work.journal.put(work.steps(first, first + 2))
    with pytest.raises(LeaseLost, match=f"is at step 2 of epoch 0, but this process left it at {first}"):
        work.journal.flush()
    after = find_run(work.database, work.run_id)
    assert (after.steps, after.votes, after.usage, after.digest) == (
        before.steps, before.votes, before.usage, before.digest,
    )  # fmt: skip
    assert work.count() == 2


@pytest.mark.parametrize("error", [KeyError("lost"), SystemExit("lost")])
def test_a_listener_that_raises_stops_the_writer_not_the_program(error: BaseException, database: Database) -> None:
    """An error in whoever watches is told to the driver, who must not wait for ever; what was committed stays."""

    def on_commit(entries: list[Entry]) -> None:
        raise error

    work = Work(database, on_commit)
    work.journal.put(work.steps(0, 2))
    with pytest.raises(type(error), match="lost"):
        work.journal.flush()
    work.journal.close()
    assert work.count() == 2


@pytest.mark.parametrize("fault", [MemoryError, SystemExit])
@pytest.mark.parametrize("where", ["_take", "_commit"])
def test_a_writer_that_fails_lets_nobody_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch, where: str, fault: type[BaseException]
) -> None:
    """Whatever the writer's thread dies of, `put` and `flush` raise it, and `close` returns, however much waits."""
    begun = threading.Event()

    def fail(*_: object) -> None:
        begun.wait(10)
        raise fault

    monkeypatch.setattr(f"maker.store.journal.Journal.{where}", fail)
    monkeypatch.setattr("maker.store.journal.QUEUE_ENTRIES", 2)
    work = Work(database)
    work.journal.put(work.steps(0, 1))
    begun.set()
    with pytest.raises(fault):
        for index in range(1, 5):
            work.journal.put(work.steps(index, index + 1))
    with pytest.raises(fault):
        work.journal.flush()
    work.journal.close()


def test_a_result_may_be_any_json(work: Work) -> None:
    """Results round-trip, text beyond ASCII and all."""
    result = {"ü": [1, 2.5, None, True, {"": "\n"}]}
    work.journal.put(Entry(ending=Ending("failed", "why", result)))
    work.journal.flush()
    row = find_run(work.database, work.run_id)
    assert (row.status, row.reason, row.result) == ("failed", "why", result)


# --- grants and the ledger ---


def test_a_grant_is_reserved_until_it_is_settled(work: Work) -> None:
    """What is drawn moves from the grant to the ledger, and a settled grant gives the rest back."""
    key = reserve(work.database, work.lease, Allowance(100, 1000, 2.0))
    assert find_run(work.database, work.run_id).reserved == Allowance(100, 1000, 2.0)
    work.journal.put(Entry(spent=spent(30, 200, 100, 10), cost=0.5, grant=key))
    work.journal.flush()
    row = find_run(work.database, work.run_id)
    assert (row.reserved, row.usage) == (Allowance(70, 700, 1.5), Usage(30, 200, 100, 10))
    work.journal.put(Entry(spent=spent(10, 10, 10, 1), cost=0.1, grant=key, freed=True))
    work.journal.flush()
    row = find_run(work.database, work.run_id)
    assert (row.reserved, row.usage) == (Allowance(0, 0, 0.0), Usage(40, 210, 110, 11))


def test_the_ledger_adds_up_over_models(work: Work) -> None:
    """A run that went on with another model's name has both in its ledger."""
    work.journal.put(Entry(spent=spent(1, 2, 3, 4)))
    work.journal.flush()
    lease = work.lease._replace(batch=1)
    models = MODELS._replace(names=("other",))
    other = Journal(work.database, lease, root=work.chain, resumes=1, models=models, on_commit=lambda entries: None)
    other.put(Entry(spent=spent(10, 20, 30, 40)))
    other.flush()
    other.close()
    assert find_run(work.database, work.run_id).usage == Usage(11, 22, 33, 44)
    with work.database.read() as connection:
        models = connection.execute(select(schema.ledger.c.model).order_by(schema.ledger.c.model)).scalars().all()
    assert models == ["m", "other"]


def test_readers_do_not_wait_for_the_writer(work: Work) -> None:
    """While a write transaction is open, others read what was committed before it."""
    with work.database.write() as connection:
        connection.execute(update(schema.run).values(name="new"))
        began = time.monotonic()
        assert find_run(work.database, work.run_id).name == "a name"
        assert time.monotonic() - began < 2
    assert find_run(work.database, work.run_id).name == "new"


def test_a_failed_block_changes_nothing(work: Work) -> None:
    """An error inside a write block rolls all of it back, and is passed on as it is."""
    with pytest.raises(ZeroDivisionError), work.database.write() as connection:
        connection.execute(update(schema.run).values(name="new"))
        raise ZeroDivisionError
    assert find_run(work.database, work.run_id).name == "a name"


def test_an_event_is_added_once_to_a_run_that_nobody_works_on(work: Work) -> None:
    """The very same one is there already; a deleted run takes none."""
    run, event = work.lease.run, StoredEvent("told", {"number": 1, "of": ["a"]})
    assert [add_event(work.database, run, one) for one in (event, event)] == [True, False]
    assert add_event(work.database, run, event._replace(facts={"number": 2}))
    told = read_events(work.database, run)
    assert [(one["kind"], one["number"]) for one in told] == [("told", 1), ("told", 2)]
    assert told[0]["of"] == ["a"]
    work.run_columns(status="pruning")
    with pytest.raises(RunNotFound, match="being deleted"):
        add_event(work.database, run, event)


def test_a_sample_that_is_no_unicode_does_not_stop_the_writer(work: Work) -> None:
    """Half a surrogate pair in a reply, as a server's JSON can spell it, is kept in some form."""
    heard = (HeardSample(0, Sample("\ud800", 1), RedFlag(Flag.FORMAT, "not a move: '\ud800'")),)
    work.journal.put(Entry(decided=[work.step(0, heard=KeptVotes("\ud800", "\udfff", heard))]))
    work.journal.flush()
    (sample,) = read_samples(work.database, work.chain, 0)
    assert (sample.text, sample.digest, sample.detail) == ("\\ud800", text_digest("\\ud800"), r"not a move: '\ud800'")
    assert list(read_prompts(work.database, work.chain, 0)) == [(0, 0, "\\ud800", "\\udfff")]


def test_every_store_error_is_makers_own(database: Database) -> None:
    """A statement that the database refuses is told in maker's words, with the driver's error behind it."""
    with pytest.raises(MakerError) as caught, database.write() as connection:
        connection.exec_driver_sql("SELECT * FROM nowhere")
    assert caught.value.__cause__ is not None
