"""SQLite as a store: files that are none, locks, upgrades and full disks."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from needs import Late
from sqlalchemy import text

from maker import api
from maker.errors import MakerError, StoreFailed, StoreUnusable
from maker.lifecycle import queries
from maker.store import journal as journals
from maker.store.backend import database as databases
from maker.store.backend import schema
from maker.store.backend.database import open_database
from maker.store.entry import Entry, StoredEvent
from maker.store.journal import Journal
from maker.store.ledger import Models
from maker.store.runs import NewRun, create_run, list_runs, release

NEW = NewRun("", {}, {}, (), b"g" * 16, "state")
OLD = Path(__file__).parents[1] / "store_0001.sql"


def test_a_newer_schema_is_refused(store: str, tmp_path: Path) -> None:
    """A database that a newer maker wrote is left alone."""
    open_database(store, create=True).close()
    with closing(sqlite3.connect(tmp_path / "maker.db")) as connection, connection:
        connection.execute("UPDATE maker_schema_version SET version_num = '9999'")
    with pytest.raises(StoreUnusable, match="has schema 9999; this maker knows schemas up to"):
        open_database(store, create=True)


@pytest.fixture
def old(store: str, tmp_path: Path) -> str:
    """Return a store that the maker of schema 0001 wrote."""
    with closing(sqlite3.connect(tmp_path / "maker.db")) as connection:
        connection.executescript(OLD.read_text())
        assert connection.execute("SELECT version_num FROM maker_schema_version").fetchall() == [("0001",)]
    return store


def rows(store: str, table: str, what: str = "*") -> int:
    """Count a table's rows, past all that knows what they are."""
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection:
        return int(connection.execute(f"SELECT count({what}) FROM {table}").fetchone()[0])  # noqa: S608


def test_a_database_of_the_first_schema_is_brought_up_to_date(old: str) -> None:
    """Whoever opens it, be it to read, finds the tables of the code, every row that was there, and each text once."""
    kept = ("run", "chain", "step", "snapshot", "sample", "ledger", "grant")
    before = {name: rows(old, f"maker_{name}") for name in kept}
    assert all(before.values())
    compare_metadata = Late("alembic.autogenerate").compare_metadata
    texts = rows(old, "maker_sample", "DISTINCT text")
    database = open_database(old, create=False)
    with database.read() as connection:
        options = {"version_table": schema.VERSION_TABLE, "compare_type": True}
        context = Late("alembic.migration").MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
        assert context.get_current_revision() == schema.HEAD
    database.close()
    assert {name: rows(old, f"maker_{name}") for name in kept} == before
    assert rows(old, "maker_text") == texts < before["sample"]


def test_runs_of_the_first_schema_are_shown(old: str) -> None:
    """Runs say what they said before: how they stand, what was counted and spent, which step is undecided."""
    shown = {report.name: report for report in queries.runs(store=old)}
    assert list(shown) == ["killed", "all", "stuck", "paused", "done"]
    assert {name: (run.status, run.steps, run.votes, run.red_flags, run.disputed) for name, run in shown.items()} == {
        "done": ("done", 15, 53, 2, 3),
        "paused": ("paused", 9, 35, 2, 3),
        "stuck": ("paused", 0, 0, 0, 0),
        "all": ("paused", 4, 12, 1, 0),
        "killed": ("paused", 2, 8, 0, 1),
    }
    assert {name: run.digest for name, run in shown.items()} == {
        "done": "d3b6320521cde32bfe615340df4a7073",
        "paused": "b07da3bfc0986413d0fd83588640a447",
        "stuck": "1c38061e2add3e21235f60615f8be8bf",
        "all": "355341a02819f551f0cfc9924635cef3",
        "killed": "38a22f6a9c34d7c4a5ce54ca05dfad17",
    }
    done, killed, stuck = shown["done"], shown["killed"], shown["stuck"]
    assert (done.calls, done.requests, done.prompt_tokens, done.completion_tokens) == (55, 20, 196, 228)
    assert done.result == {"moves": 15, "pegs": "CCCC"}
    for run in shown.values():
        (account,) = run.models
        assert (account["model"], account["role"], account["calls"]) == ("simulated", "solver", run.calls)
        assert (account["votes"], account["red_flags"]) == (run.votes, run.red_flags)
    assert (killed.calls, killed.reserved_calls) == (8, 12)
    assert stuck.reason.startswith("step 0 (move) is undecided: max_votes = 12: 5 for 1AC, 5 for 1AB; ")
    kept = queries.samples(stuck.run_id, 0, store=old)
    assert [sample.vote for sample in kept] == list(range(12))
    assert [sample.candidate for sample in kept].count("1AC") == 5
    for record in queries.steps(shown["all"].run_id, store=old):
        kept = queries.samples(shown["all"].run_id, record.step, store=old)
        assert len(kept) == sum(record.votes.values()) + sum(record.flags.values())
        assert {sample.text for sample in kept if sample.candidate is not None} == set(record.votes)


def test_runs_of_the_first_schema_verify(old: str) -> None:
    """Their logs are what they were: each is clean, as far as it goes."""
    found = {report.name: queries.verify(report.run_id, store=old) for report in queries.runs(store=old)}
    assert {name: (verified.problem, verified.steps, verified.whole) for name, verified in found.items()} == {
        "done": ("", 15, True),
        "paused": ("", 9, False),
        "stuck": ("", 0, False),
        "all": ("", 4, False),
        "killed": ("", 2, False),
    }


@pytest.mark.parametrize(
    ("name", "disks", "words"),
    [
        ("paused", 4, []),
        ("stuck", 4, ["vote.max_votes=1000"]),
        ("all", 3, []),
        ("killed", 4, ["model.latency_s=0"]),
    ],
)
def test_runs_of_the_first_schema_go_on(old: str, tmp_path: Path, name: str, disks: int, words: list[str]) -> None:
    """Resumed, they come to the log that a run of today's makes of the same job, to the last digest, and verify."""
    run_id = next(report.run_id for report in queries.runs(store=old) if report.name == name)
    stuck = name == "stuck"
    job = {
        "task": {"decomposer": "hanoi", "disks": disks},
        "model": {"kind": "simulated", "p": 0.7 if stuck else 0.9, "malformed": 0.05},
        "vote": {"k": 4 if stuck else 3, "max_votes": 1000},
        "store": {"url": f"sqlite:///{tmp_path}/new.db", "samples": "all" if name == "all" else "disputed"},
    }
    whole = api.run(job)
    resumed = api.resume(run_id, words, store=old)
    assert (resumed.status, resumed.steps, resumed.digest) == (whole.status, whole.steps, whole.digest)
    assert (resumed.votes, resumed.red_flags, resumed.disputed) == (whole.votes, whole.red_flags, whole.disputed)
    logs = [list(queries.steps(run.run_id, store=url)) for run, url in ((resumed, old), (whole, job["store"]["url"]))]
    assert logs[0] == logs[1]
    assert queries.verify(run_id, store=old).problem == ""


GROWING = """
from decomposers.function import Done, Truth, ask, task

@task(state=list[int], action=int)
def grow(state):
    return Done(len(state)) if len(state) == 1100 else ask(f"After {len(state)}? ")

@grow.start
def _():
    return []

@grow.apply
def _(state, action):
    return [*state, action]

@grow.oracle
def _(prompt):
    return Truth(("7",), ("8",))
"""


def test_a_snapshot_of_the_first_schema_that_is_not_due_today(store: str, tmp_path: Path) -> None:
    """It took one at every multiple of 1,000, however long the state; such a run still verifies and goes on."""
    (tmp_path / "grow.py").write_text(GROWING)
    job = {
        "task": {"decomposer": f"{tmp_path}/grow.py:grow"},
        "model": {"kind": "simulated", "p": 1.0},
        "vote": {"k": 1},
        "store": {"url": store},
    }
    assert api.run(job, limit_steps=1005).status == "paused"
    with closing(sqlite3.connect(tmp_path / "maker.db")) as connection, connection:
        assert connection.execute("SELECT idx FROM maker_snapshot").fetchall() == [(0,)]
        # Chains of the first schema were numbered from 1, whatever their run.
        connection.execute("UPDATE maker_chain SET id = 1, seal = NULL")
        connection.execute("UPDATE maker_snapshot SET seal = NULL")
        for table in ("step", "snapshot", "sample", "prompt"):
            connection.execute(f"UPDATE maker_{table} SET chain = 1")  # noqa: S608
        state = api.load_job(job).decomposer.state.write([7] * 1000)
        connection.execute("INSERT INTO maker_snapshot VALUES (1, 1000, 0, ?, NULL)", (state,))
    assert queries.verify("last", store=store).problem == ""
    assert api.resume("last", store=store).result == 1100
    assert queries.verify("last", store=store).right


def test_a_run_of_today_beside_those_of_the_first_schema(old: str) -> None:
    """A new run in such a store meets no key of theirs."""
    job = {
        "task": {"decomposer": "hanoi", "disks": 4},
        "model": {"kind": "simulated", "p": 1.0},
        "store": {"url": old},
    }
    assert api.run(job).status == "done"
    assert queries.verify("last", store=old).right
    assert len(queries.runs(store=old)) == 6


def test_a_missing_database_is_made_only_when_asked(store: str, tmp_path: Path) -> None:
    """Reading from a store that is not there is an error, and does not make one."""
    with pytest.raises(StoreUnusable, match="there is no database"):
        open_database(store, create=False)
    assert list(tmp_path.iterdir()) == []
    open_database(store, create=True).close()
    assert (tmp_path / "maker.db").is_file()


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (True, "the folder .*/nowhere for the database maker.db does not exist"),
        (False, "there is no database .*/nowhere"),
    ],
)
def test_a_missing_folder_is_told(tmp_path: Path, create: bool, message: str) -> None:
    """No folder is made for a database."""
    with pytest.raises(StoreUnusable, match=message):
        open_database(f"sqlite:///{tmp_path}/nowhere/maker.db", create=create)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("maker.db", "is not a database URL"),
        ("", "is not a database URL"),
        ("mysql://user:secret@host/name", "mysql is not supported"),
        ("nonsense://host/name", "nonsense is not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, message: str) -> None:
    """URLs of nothing, of a database in memory and of databases that are not supported are told apart."""
    with pytest.raises(StoreUnusable, match=message) as caught:
        open_database(url, create=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"no database " * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_left_alone(store: str, tmp_path: Path, content: bytes) -> None:
    """Garbage is told as such, and is not written to."""
    (tmp_path / "maker.db").write_bytes(content)
    with pytest.raises(StoreUnusable, match=r"maker\.db"):
        open_database(store, create=True)
    assert (tmp_path / "maker.db").read_bytes() == content


def test_an_empty_file_becomes_a_database(store: str, tmp_path: Path) -> None:
    """A file without a byte is what SQLite takes for a new database."""
    (tmp_path / "maker.db").touch()
    create_run(open_database(store, create=True), NEW)


def test_a_hosts_own_tables_are_left_alone(store: str, tmp_path: Path) -> None:
    """Our tables can live in a database that has tables, and an alembic version, of its own."""
    with closing(sqlite3.connect(tmp_path / "maker.db")) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('host')")
    create_run(open_database(store, create=True), NEW)
    with closing(sqlite3.connect(tmp_path / "maker.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("host",)]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return a folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="maker-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


ANOTHER_USER = """
import os, sys
from maker.errors import MakerError
from maker.store.backend.database import open_database
from maker.store.runs import NewRun, create_run, list_runs
warm, url, create = sys.argv[1:]
open_database(warm, create=True)  # imports all that is needed, while it can still be read
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    database = open_database(url, create=create == "create")
    list_runs(database)
    create_run(database, NewRun("", {}, {}, (), b"g", "s"))
    print("written")
except MakerError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.posix
@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "said"),
    [(0o444, 0o555, "StoreUnusable"), (0o444, 0o777, "StoreUnusable"), (0o666, 0o777, "written")],
)
def test_a_read_only_database(open_folder: Path, tmp_path: Path, file_mode: int, folder_mode: int, said: str) -> None:
    """A user who may not write to the file is told so in maker's words; one who may, writes."""
    open_database(f"sqlite:///{open_folder}/maker.db", create=True).close()
    (open_folder / "maker.db").chmod(file_mode)
    open_folder.chmod(folder_mode)
    arguments = [f"sqlite:///{tmp_path}/warm.db", f"sqlite:///{open_folder}/maker.db", "keep"]
    done = subprocess.run([sys.executable, "-c", ANOTHER_USER, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(said), (done.stdout, done.stderr[-2000:])


@pytest.mark.posix
def test_a_folder_that_cannot_be_written(open_folder: Path, tmp_path: Path) -> None:
    """A new database in a read-only folder is told as unusable."""
    open_folder.chmod(0o555)
    arguments = [f"sqlite:///{tmp_path}/warm.db", f"sqlite:///{open_folder}/maker.db", "create"]
    done = subprocess.run([sys.executable, "-c", ANOTHER_USER, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("StoreUnusable"), (done.stdout, done.stderr[-2000:])


def test_a_busy_lock_is_waited_for(store: str, tmp_path: Path) -> None:
    """A writer waits for another program's transaction to end."""
    database = open_database(store, create=True)
    other = sqlite3.connect(tmp_path / "maker.db", check_same_thread=False, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.4, other.execute, ["ROLLBACK"])
    release.start()
    began = time.monotonic()
    create_run(database, NEW)
    assert time.monotonic() - began > 0.3
    release.join()
    other.close()
    assert len(list_runs(database)) == 1


def test_a_lock_that_is_never_given_back_is_told(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that stays locked is a store that failed, and the error says that it was a lock."""
    monkeypatch.setattr(databases, "BUSY_S", 0.05)
    database = open_database(store, create=True)
    with closing(sqlite3.connect(tmp_path / "maker.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        locked = pytest.raises(StoreFailed, match="another program has locked the database")
        with locked as caught, database.write():
            pass
    assert caught.value.facts["locked"] is True
    create_run(database, NEW)


def at_once(n: int, work: Callable[[int], Any]) -> list[Any]:
    """Do something in n threads that start together; return results, or the errors, in order."""
    results: list[Any] = [None] * n
    barrier = threading.Barrier(n)

    def one(i: int) -> None:
        barrier.wait()
        try:
            results[i] = work(i)
        except Exception as error:  # noqa: BLE001 - it is told to the test
            results[i] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_threads_may_make_one_database_at_once(tmp_path: Path) -> None:
    """Several openers of a database that is not there all get the whole schema, and lose no run."""
    for attempt in range(5):
        url = f"sqlite:///{tmp_path}/{attempt}.db"
        results = at_once(6, lambda i, url=url: create_run(open_database(url, create=True), NEW)[0])
        assert [result for result in results if not isinstance(result, str)] == []
        assert len(list_runs(open_database(url, create=False))) == 6


def test_threads_may_make_several_databases_at_once(tmp_path: Path) -> None:
    """Openers of different databases do not meet in the migration."""
    for attempt in range(5):
        urls = [f"sqlite:///{tmp_path}/{attempt}-{i}.db" for i in range(6)]
        results = at_once(6, lambda i, urls=urls: create_run(open_database(urls[i], create=True), NEW)[0])
        assert [result for result in results if not isinstance(result, str)] == []
        assert [len(list_runs(open_database(url, create=False))) for url in urls] == [1] * 6


def test_processes_may_make_one_database_at_once(store: str) -> None:
    """Two programs started together share a store that neither has made."""
    code = (
        "import sys; from maker.store.backend.database import open_database\n"
        "from maker.store.runs import NewRun, create_run\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "create_run(open_database(sys.argv[1], create=True), NewRun('', {}, {}, (), b'g', 's'))"
    )
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", code, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for program in programs:
        assert program.stdout is not None
        program.stdout.readline()
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    told = [program.communicate(timeout=60)[1][-2000:] for program in programs]
    assert [program.returncode for program in programs] == [0, 0, 0], told
    assert len(list_runs(open_database(store, create=False))) == 3


def test_a_commit_reaches_the_disk_and_readers_are_not_blocked(store: str) -> None:
    """Every connection waits for the disk at a commit, and the file is in write-ahead mode."""
    with open_database(store, create=True).read() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_the_log_is_folded_after_a_commit_is_told(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a commit, be it the first of a resume, does not wait until a long log is folded too."""
    monkeypatch.setattr(journals, "FOLD_S", 0.0)
    file, told = tmp_path / "maker.db", []
    with closing(open_database(store, create=True)) as database:
        _, lease = create_run(database, NEW)
        before = file.read_bytes()
        journal = Journal(
            database, lease, root=1, resumes=0, models=Models(("model",), (), judged=False),
            on_commit=lambda entries: told.append(file.read_bytes()),
        )  # fmt: skip
        journal.put(Entry(events=[StoredEvent("long", {"text": "a" * 5_000_000})]))
        journal.flush()
        folded = file.read_bytes()
        journal.close()
    assert told == [before]
    assert len(folded) > 5_000_000


FULL_DISK = """
import resource, sys
from maker import api, reading
from maker.errors import MakerError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
job = {"task": {"decomposer": "hanoi", "disks": 10}, "model": {"kind": "simulated", "p": 0.999},
       "vote": {"k": 3}, "store": {"url": sys.argv[1], "durability": "strict"}}
try:
    print(api.run(job).status)
except MakerError as error:
    print(type(error).__name__, error.message)
"""


@pytest.mark.posix
def test_a_full_disk_loses_nothing_that_was_committed(store: str, tmp_path: Path) -> None:
    """A disk that takes no more ends the run with StoreFailed; the log so far verifies, and the run can go on.

    Each step is a commit, so that some are there before the disk is full, however fast the machine is.
    """
    code = [sys.executable, "-c", FULL_DISK, store, str(300_000)]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("StoreFailed"), (done.stdout, done.stderr[-2000:])
    report = queries.show("last", store=store)
    assert report.status == "paused"
    assert 0 < report.steps < 2**10 - 1
    found = queries.verify("last", store=store)
    assert (found.problem, found.steps) == ("", report.steps)
    resumed = api.resume("last", store=store)
    assert (resumed.status, resumed.steps) == ("done", 2**10 - 1)
    assert queries.verify("last", store=store).right


def test_a_password_is_never_shown() -> None:
    """The URL of a store that cannot be used is told without what stands before the host."""
    with pytest.raises(MakerError) as caught:
        open_database("postgres ql://user:secret@host/name", create=True)
    assert "secret" not in str(caught.value)


def test_a_lock_names_who_works_in_the_file(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a lock is told which processes may hold it, and hears of the wait before it is given up."""
    monkeypatch.setattr(databases, "BUSY_S", 0.05)
    monkeypatch.setattr(databases, "LOCKED_S", 0.3)
    waits: list[str] = []
    monkeypatch.setattr(databases, "tell_wait", lambda reason, _waited_s: waits.append(reason))
    with closing(open_database(store, create=True)) as database:
        run_id, lease = create_run(database, NEW)
        with closing(sqlite3.connect(store.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("UPDATE maker_run SET holder = 'elsewhere boot pid:[1] 7 1'")
            other.execute("BEGIN IMMEDIATE")
            named = f"at work in it: process 7 on elsewhere on run {run_id}, silent for"
            with pytest.raises(StoreFailed, match=named):
                release(database, lease, "paused", "")
    assert waits
    assert all(named in reason for reason in waits)


def test_many_rows_are_few_statements(store: str) -> None:
    """A process that is stopped between two statements keeps the file locked: there are few places where it may be."""
    rows = [(bytes([at % 256, at // 256]), "x") for at in range(1000)]
    told: list[str] = []
    with closing(open_database(store, create=True)) as database, database.write() as connection:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.set_trace_callback(told.append)
        database.insert_rows(connection, schema.text, rows)
        raw.set_trace_callback(None)
        assert connection.execute(text("SELECT count(*) FROM maker_text")).scalar() == 1000
    assert 0 < len(told) < 20


# --- a file that is taken away ---


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"")


def move(path: Path) -> None:
    path.rename(path.with_name("moved"))


@pytest.mark.parametrize("name", ["store.db", "store.db-wal", "store.db-shm"])
@pytest.mark.parametrize("away", [remove, replace, move])
def test_a_database_that_is_taken_away_is_noticed_at_the_next_commit(
    hanoi: Any, tmp_path: Path, away: Callable[[Path], None], name: str
) -> None:
    """A run whose database is gone stops and says so; nothing is told as done, and nothing is made in its place."""
    path = tmp_path / name
    told: list[Any] = []

    def on_event(event: Any) -> None:
        if event.kind == "steps_decided" and event.kind not in told:
            away(path)
        told.append(event.kind)

    job = hanoi(6, model={"latency_s": 0.005}) | {"store": {"url": f"sqlite:///{tmp_path}/store.db"}}
    with pytest.raises(StoreFailed, match=rf"store\.db: {name} was (removed|replaced) while this process used it"):
        api.run(job, on_event=on_event)
    assert "run_ended" not in told
    if name == "store.db":
        assert path.exists() == (away is replace)


def test_a_database_that_is_taken_away_at_the_end_is_not_told_as_done(hanoi: Any, tmp_path: Path) -> None:
    """Between the last commit and the last word the file is looked for once more."""
    path = tmp_path / "store.db"
    told: list[Any] = []

    def on_event(event: Any) -> None:
        told.append(event.kind)

    job = hanoi(3) | {"store": {"url": f"sqlite:///{path}"}}
    real = Journal.close

    def close(journal: Journal) -> None:
        real(journal)
        path.unlink()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "close", close)
        with pytest.raises(StoreFailed, match="was removed"):
            api.run(job, on_event=on_event)
    assert "run_ended" not in told


@pytest.mark.posix
def test_a_database_behind_a_link_is_the_one_that_the_link_names(hanoi: Any, tmp_path: Path) -> None:
    """A link may lead to the file; a link that leads elsewhere is another database."""
    link = tmp_path / "link.db"
    for name in ("one.db", "two.db"):
        open_database(f"sqlite:///{tmp_path}/{name}", create=True).close()
    link.symlink_to(tmp_path / "one.db")
    with closing(open_database(f"sqlite:///{link}", create=False)) as database:
        with database.write():
            pass
        link.unlink()
        link.symlink_to(tmp_path / "two.db")
        with pytest.raises(StoreFailed, match=r"link\.db was replaced"), database.read():
            pass


def test_a_database_whose_connections_were_all_closed_opens_again(store: str) -> None:
    """The last connection takes the log with it: that is no damage."""
    with closing(open_database(store, create=True)) as database:
        for _ in range(2):
            with database.write() as connection:
                connection.exec_driver_sql("UPDATE maker_run SET steps = 0")
            database.close()


@pytest.mark.parametrize("there", ["nothing", "an empty file"])
def test_what_a_deleted_database_has_left_is_in_nobodys_way(hanoi: Any, tmp_path: Path, there: str) -> None:
    """SQLite deletes a log that stands beside no file or an empty one: it is not told as taken away."""
    path = tmp_path / "store.db"
    if there == "an empty file":
        path.touch()
    for name in ("store.db-wal", "store.db-shm"):
        (tmp_path / name).write_bytes(bytes(32768))
    with pytest.raises(MakerError, match=r"no database|has no maker tables"):
        queries.runs(store=f"sqlite:///{path}")
    for name in ("store.db-wal", "store.db-shm"):
        (tmp_path / name).write_bytes(bytes(32768))
    assert api.run(hanoi(3) | {"store": {"url": f"sqlite:///{path}"}}).status == "done"
