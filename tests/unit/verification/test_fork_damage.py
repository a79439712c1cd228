"""Damage to the log of runs that fork: whatever row or cell is edited, `verify` says what is wrong and where.

The store holds four runs: one with nested forks, snapshots, samples, disputed and flagged steps, cuts and a resume in
between; one that waits with undecided children; one that was forked off the first; a map over two files.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import fork_tasks
import pytest
from fork_tasks import Shape, count, leaf
from row_tasks import job as rows_job
from row_tasks import write_rows
from sqlalchemy import Column, Float, LargeBinary, Table, Text

import maker
from maker import api
from maker.errors import MakerError
from maker.lifecycle import admin, queries
from maker.store.backend import schema
from maker.store.chains import CHAIN_BITS
from maker.voting.tally import pack, unpack

SHAPE: Shape = {
    "steps": [11, 9, 2],
    "forks": [
        {
            "children": [
                {"steps": [12, 9], "forks": [{"singles": 12}]},
                leaf(2),
                {"steps": [1, 1], "forks": [{"children": [leaf(1), leaf(3)]}]},
                leaf(3),
            ]
        },
        {"singles": 25},
    ],
}
SMALL: Shape = {
    "steps": [0, 1],
    "forks": [{"children": [{"steps": [0, 1], "forks": [{"singles": 12}]}, *[leaf(2)] * 4]}],
}
VOTER = "voters.first_to_ahead_by_k:FirstToAheadByK"


@pytest.fixture(scope="module", autouse=True)
def _many_snapshots() -> Iterator[None]:
    """Let a snapshot be taken at every tenth step, so that short chains have some."""
    with pytest.MonkeyPatch.context() as patch:
        for place in ("maker.voting.chain.SNAPSHOT_STEPS", "maker.verification.replay.SNAPSHOT_STEPS"):
            patch.setattr(place, 10)
        yield


def job(url: str, shape: Shape, max_votes: int) -> dict[str, dict[str, Any]]:
    return {
        "task": {"decomposer": "fork_tasks:Tree", "shape": shape},
        "model": {"kind": "simulated", "p": 0.85, "malformed": 0.1, "rivals": 2},
        "vote": {"voter": VOTER, "k": 2, "max_votes": max_votes},
        "store": {"url": url, "samples": "all"},
        "limits": {"max_calls": 100_000},
    }


def mapping(folder: Path, url: str, max_votes: int = 1000) -> dict[str, dict[str, Any]]:
    """Write two files of rows, and return a map over them."""
    (folder / "rows").mkdir(exist_ok=True)
    for part in range(2):
        write_rows(folder / "rows" / f"{part}.csv", range(5 * part, 5 * part + 5))
    made = rows_job(folder, store={"url": url}, vote={"max_votes": max_votes})
    return made | {"task": made["task"] | {"input": str(folder / "rows"), "output": ""}}


def of_other_code(folder: Path, url: str) -> tuple[str, str]:
    """Run a task of a file that changes, and one of a file that goes; return the runs' ids."""
    source = Path(fork_tasks.__file__).read_text()
    changing, going = folder / "changing.py", folder / "going.py"
    made = []
    for file, mode in ((changing, "migrate"), (going, "pin")):
        file.write_text(source)
        begun = job(url, SMALL, 1000) | {"run": {"on_change": mode}}
        begun["task"] = begun["task"] | {"decomposer": f"{file}:Tree"}
        made.append(api.run(begun, limit_steps=5).run_id)
    changing.write_text(f"{source}\n# Changed.\n")
    going.unlink()
    assert [api.resume(run_id, store=url).status for run_id in made] == ["done", "done"]
    return made[0], made[1]


def review_rows(folder: Path, url: str) -> str:
    """Run a map in which votes decide few rows, and a person three of the others; return the run's id."""
    run_id = api.run(mapping(folder, url, 3)).run_id
    rows = list(maker.review(run_id, store=url))
    for row in rows[:3]:
        maker.answer(run_id, row.at, "@1", by="ann", store=url)
    return run_id


class Built(NamedTuple):
    """The store, and the runs in it by their ids.

    ``taking`` took decisions from the one before. The code of ``migrated`` changed in a fork, that of ``pinned`` is
    in the store alone.
    """

    path: Path
    finished: str
    waiting: str
    forked: str
    mapped: str
    deciding: str
    taking: str
    migrated: str
    pinned: str
    reviewed: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return a store with nine runs that verify."""
    path = tmp_path_factory.mktemp("built") / "maker.db"
    url = f"sqlite:///{path}"
    first = api.run(job(url, SHAPE, 1000), limit_steps=14)
    report = api.resume(first.run_id, ["vote.max_votes=5"], store=url)
    assert "is undecided" in report.reason
    report = api.retry(first.run_id, store=url)
    assert "is undecided" in report.reason
    report = api.resume(first.run_id, ["vote.max_votes=1000"], store=url)
    assert (report.status, report.steps) == ("done", count(SHAPE))
    assert report.disputed > 10
    assert report.red_flags > 10
    waiting = api.run(job(url, SMALL, 3))
    assert "is undecided" in waiting.reason
    forked = admin.fork(first.run_id, 15, ["run.seed=7"], store=url)
    forked = api.resume(forked.run_id, store=url)
    assert forked.status == "done"
    mapped = api.run(mapping(path.parent, url))
    assert mapped.status == "done"
    remembering = job(url, leaf(9), 1000)
    remembering["task"]["memo"] = "store"
    deciding, taking = api.run(remembering), api.run(remembering)
    assert (deciding.status, taking.status, taking.calls) == ("done", "done", 0)
    migrated, pinned = of_other_code(path.parent, url)
    reviewed = review_rows(path.parent, url)
    # Whole in one file: what is copied must not lie in a write-ahead log that an open connection keeps.
    whole = path.with_name("whole.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(whole)) as target:
        source.execute("INSERT INTO maker_event (run, at, kind, facts) VALUES (1, 0.5, 'worker_lost', '{}')")
        source.execute(
            "INSERT INTO maker_outside VALUES (7, 1, 'root', 0, 'wait', 'word', '', '{}', 'closed', 0.5, NULL, NULL,"
            " '', NULL)"
        )
        source.execute("INSERT INTO maker_batch VALUES (1, 1, 't', 'solver', x'', 'f', 'b', 'heard', 0.5, 0.5, 1, 9)")
        source.execute(
            "INSERT INTO maker_referral VALUES (7, 3, 0, 1, 'root', 3, 'step-3', 'letter', '[]', x'00', 9, 1, 0.5, 'a',"
            " '', 0.5)"
        )
        source.execute("INSERT INTO maker_calibration (made_at, fingerprint, content) VALUES (0.5, '{}', '{}')")
        source.execute("INSERT INTO maker_queue_worker VALUES ('q', '', 0.5)")
        source.execute("INSERT INTO maker_limit VALUES ('k', 5, 5, 5, 0.5, '[]', 0.5, 0.5)")
        source.execute("INSERT INTO maker_limit_worker VALUES ('k', 'w', 1, 1, 1, 0.5, 0.5)")
        source.execute("INSERT INTO maker_queue VALUES (1, 'q', '', 0, 0.5, x'', 'left', 1, '', 0.5, 0, '')")
        source.commit()
        source.backup(target)
    return Built(whole, first.run_id, waiting.run_id, forked.run_id, mapped.run_id, deciding.run_id, taking.run_id,
                 migrated, pinned, reviewed)  # fmt: skip


class Damage:
    """A copy of the store, with what it takes to damage it."""

    def __init__(self, path: Path, built: Built) -> None:
        self.url = f"sqlite:///{path}"
        self.runs = built[1:]
        self.root = 1 << CHAIN_BITS
        self._path = path

    def do(self, sql: str, *values: Any) -> int:
        """Run one statement; return how many rows it changed."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            return connection.execute(sql, values).rowcount

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Return what a query finds."""
        with closing(sqlite3.connect(self._path)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, values)]

    def chain(self, *numbers: int) -> int:
        """Return the key of a chain of the first run: at each of its ancestors, the step that forks, and the child."""
        key = self.root
        for at, number in zip(numbers[::2], numbers[1::2], strict=True):
            sql = "SELECT id FROM maker_chain WHERE parent = ? AND at = ? AND number = ?"
            (row,) = self.rows(sql, key, at, number)
            key = row["id"]
        return key

    def verify(self, run: int = 1) -> str:
        """Verify a run, the first one unless told otherwise; return what is wrong."""
        try:
            found = queries.verify(self.runs[run - 1], store=self.url)
        except MakerError as error:
            return str(error)
        assert not (found.problem and found.right)
        return found.problem


@pytest.fixture
def damage(built: Built, tmp_path: Path) -> Damage:
    """Return a copy of the store."""
    copy = tmp_path / "maker.db"
    shutil.copy(built.path, copy)
    return Damage(copy, built)


def test_what_was_built_verifies(damage: Damage) -> None:
    """As they were written, all runs are clean; there are cuts, outcomes and every kind of fork to damage."""
    assert [damage.verify(run) for run in range(1, 10)] == [""] * 9
    for table in schema.metadata.sorted_tables:
        assert damage.rows(f"SELECT * FROM {table.name} LIMIT 1"), table.name  # noqa: S608
    assert {row["single"] for row in damage.rows("SELECT single FROM maker_fork")} == {0, 1}
    assert len(damage.rows("SELECT DISTINCT chain FROM maker_cut")) > 2
    assert len(damage.rows("SELECT * FROM maker_snapshot WHERE idx > 0")) > 5


# --- every column of every table ---

LEASE = ("fence", "holder", "lease_until", "asked", "batch")
UNCHECKED: dict[str, tuple[str, ...]] = {
    "maker_run": ("name", "reason", "created_at", "updated_at", "wall_s", "resumes", "monitor", "begun", *LEASE),
    "maker_queue": tuple(schema.queued.columns.keys()),
    "maker_batch": tuple(schema.batch.columns.keys()),
    "maker_queue_worker": tuple(schema.queue_worker.columns.keys()),
    "maker_chain": ("reason",),
    "maker_cut": ("reason",),
    "maker_change": ("at",),
    "maker_outcome": ("reason",),
    "maker_step": ("tokens",),
    "maker_sample": ("tokens", "detail", "logprob", "temperature"),
    "maker_memo": ("space", "chain", "idx", "epoch", "calls", "seal"),
    "maker_memo_use": tuple(schema.memo_use.columns.keys()),
    "maker_ledger": tuple(column.name for column in schema.ledger.columns),
    "maker_grant": tuple(schema.grant.columns.keys()),
    "maker_limit": tuple(schema.shared_limit.columns.keys()),
    "maker_limit_worker": tuple(schema.shared_worker.columns.keys()),
    "maker_worker": tuple(schema.worker.columns.keys()),
    "maker_event": tuple(schema.event.columns.keys()),
    "maker_calibration": tuple(schema.calibration.columns.keys()),
    "maker_outside": tuple(schema.outside.columns.keys()),
    "maker_referral": tuple(schema.referral.columns.keys()),
}
"""What decides nothing, as the docstring of maker.verification says: names, reasons, times, lease, tokens, details,
ledger, grants, shared limits, workers, events and queues, the monitor's counts, temperatures, calibrations, how
effects, waits and undecided steps stand that people are asked about (what came of them is in the log), of the memo
all but what cited steps were asked."""
KINDS: dict[str, dict[str, str]] = {
    "maker_chain": {
        "root": "parent IS NULL AND run = 1",
        "child": "parent IS NOT NULL AND result IS NOT NULL AND run = 1",
        "waiting child": "status = 'paused' AND parent IS NOT NULL",
        "singles": "parent IS NOT NULL AND cursor > 20 AND result IS NULL AND run = 1",
    },
    "maker_fork": {"of chains": "NOT single AND joined", "of singles": "single AND joined", "open": "NOT joined"},
    "maker_step": {
        "of a chain": "tally != x'' AND chain IN (SELECT id FROM maker_chain WHERE result IS NOT NULL)",
        "join": "tally = x''",
        "of singles": "chain IN (SELECT id FROM maker_chain WHERE cursor > 20 AND result IS NULL AND parent)",
    },
    # Those of steps that are superseded, or undecided still, decide nothing.
    "maker_sample": {"vote": f"flag IS NULL AND chain = {1 << CHAIN_BITS}", "flag": "flag IS NOT NULL AND idx < 10"},
    "maker_prompt": {"": f"chain = {1 << CHAIN_BITS}"},
    "maker_text": {"": "digest IN (SELECT prompt FROM maker_prompt WHERE chain >> 24 = 1)"},
    "maker_outcome": {"": "outcome = 'undecided'"},
    "maker_input_part": {"": "true"},
    "maker_snapshot": {"before cuts": f"chain = {1 << CHAIN_BITS}", "after a cut": "epoch > 0"},
}
"""Rows that are told apart: of each kind the middle one is damaged."""
CELLS = [
    pytest.param(table, column, where, id=f"{table.name}.{column.name}{f' ({kind})' if kind else ''}")
    for table in schema.metadata.sorted_tables
    for column in table.columns
    for kind, where in KINDS.get(table.name, {"": "true"}).items()
    if f"{table.name}.{column.name}" != "maker_run.settings"
]
PLACE = re.compile(r"(chain|step|run) (\S*\d|root)|the run's row|the run is|run \S+: column|root chains|no run '")


def flipped(column: Column[Any], value: Any) -> list[Any]:
    """Return a value with one digit, letter or bit changed; there are several, for where one is taken."""
    if isinstance(column.type, LargeBinary):
        middle = len(value or b"") // 2
        return [value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :] if value else b"x"]
    if isinstance(column.type, Text):
        places = [place for place in range(len(value or "")) if value[place].isalnum()]
        if not places:
            return ["x"]
        middle = places[len(places) // 2]
        other = str((int(value[middle]) + 1) % 10) if value[middle].isdigit() else chr(ord(value[middle]) ^ 1)
        return [value[:middle] + other + value[middle + 1 :]]
    if value is None:
        return [1]
    if isinstance(column.type, Float):
        return [value + 1]
    return [value ^ 1, value + 10, value + 1000]


def owner(table: Table, row: dict[str, Any]) -> int:
    apart = ("maker_run", "maker_text", "maker_calibration", "maker_queue_worker", "maker_limit", "maker_limit_worker")
    if table.name in apart:
        return row.get("id", 1)
    chain = row["id"] if table.name == "maker_chain" else row.get("chain")
    return row["run"] if chain is None else chain >> CHAIN_BITS


def spoil(damage: Damage, table: Table, column: Column[Any], where: str) -> int:
    """Change one cell in the middle row of those that are meant; return its run."""
    keys = [key.name for key in table.primary_key]
    rows = damage.rows(f"SELECT * FROM {table.name} WHERE {where} ORDER BY {', '.join(keys)}")  # noqa: S608
    row = rows[len(rows) // 2]
    here = " AND ".join(f"{key} = ?" for key in keys)
    for value in flipped(column, row[column.name]):
        try:
            changed = damage.do(
                f"UPDATE {table.name} SET {column.name} = ? WHERE {here}",  # noqa: S608
                value,
                *(row[key] for key in keys),
            )
        except sqlite3.IntegrityError:
            continue
        assert changed == 1
        return owner(table, row)
    raise AssertionError("no value is free")


@pytest.mark.parametrize(("table", "column", "where"), CELLS)
def test_a_changed_cell_is_found(damage: Damage, table: Table, column: Column[Any], where: str) -> None:
    """One changed digit, letter or bit, whichever column it is in, is found and placed; else it is known to be free."""
    free = column.name in UNCHECKED.get(table.name, ())
    problem = damage.verify(spoil(damage, table, column, where))
    if free:
        assert problem == ""
    else:
        assert PLACE.search(problem), problem or "nothing was found"


@pytest.mark.parametrize(
    "part",
    [
        ("task", "shape", "steps", 0), ("vote", "k"), ("run", "seed"), ("model", "rivals"), ("vote", "max_votes"),
        ("swarm", "chains"), ("limits", "max_calls"),
    ],
)  # fmt: skip
def test_changed_settings(damage: Damage, part: tuple[Any, ...]) -> None:
    """Settings that may not change are compared with the fingerprint; those that a resume may change have a seal."""
    values = json.loads(damage.rows("SELECT settings FROM maker_run WHERE id = 1")[0]["settings"])
    inner = values
    for name in part[:-1]:
        inner = inner[name]
    inner[part[-1]] += 1
    damage.do("UPDATE maker_run SET settings = ? WHERE id = 1", json.dumps(values))
    assert damage.verify() != ""


@pytest.mark.parametrize("table", [table for table in schema.metadata.sorted_tables if table.name in KINDS], ids=str)
def test_a_deleted_row_is_found(damage: Damage, table: Table) -> None:
    """Of each kind of row the middle one is missed."""
    for where in KINDS[table.name].values():
        keys = [key.name for key in table.primary_key]
        rows = damage.rows(f"SELECT * FROM {table.name} WHERE {where} ORDER BY {', '.join(keys)}")  # noqa: S608
        row = rows[len(rows) // 2]
        names = ", ".join(row)
        here = " AND ".join(f"{key} = ?" for key in keys)
        assert damage.do(f"DELETE FROM {table.name} WHERE {here}", *(row[key] for key in keys)) == 1  # noqa: S608
        problem = damage.verify(owner(table, row))
        assert PLACE.search(problem), (where, problem)
        marks = ", ".join("?" * len(row))
        damage.do(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", *row.values())  # noqa: S608
        assert damage.verify(owner(table, row)) == ""


# --- edits with a purpose ---


def edit(damage: Damage, chain: int, idx: int, **values: Any) -> None:
    """Change a step."""
    names = ", ".join(f"{name} = ?" for name in values)
    sql = f"UPDATE maker_step SET {names} WHERE chain = ? AND idx = ? AND epoch = (SELECT max(epoch) FROM maker_step"  # noqa: S608
    assert damage.do(f"{sql} WHERE chain = ? AND idx = ?)", *values.values(), chain, idx, chain, idx) == 1


def swap(damage: Damage, table: str, column: str, one: dict[str, Any], other: dict[str, Any], free: int) -> None:
    """Put two rows in each other's place, by way of a place that is free."""
    for row, value in ((one, free), (other, one[column]), (one | {column: free}, other[column])):
        here = " AND ".join(f"{name} = ?" for name in row)
        assert damage.do(f"UPDATE {table} SET {column} = ? WHERE {here}", value, *row.values()) == 1  # noqa: S608


CHAINS = {"root": (), "11.0": (11, 0), "11.3": (11, 3), "11.2/1.1": (11, 2, 1, 1)}
"""Chains of the first run, by name; the root forks at steps 11 and 21, chain 11.0 at 12."""


@pytest.mark.parametrize("name", CHAINS)
def test_an_edited_action_is_found(damage: Damage, name: str) -> None:
    """Another action in a step's place, in whichever chain, is found at that step."""
    chain = damage.chain(*CHAINS[name])
    (row,) = damage.rows("SELECT * FROM maker_step WHERE chain = ? AND idx = 1 ORDER BY epoch DESC LIMIT 1", chain)
    edit(damage, chain, 1, action='"a"' if row["action"] != '"a"' else '"b"')
    assert re.match(f"{'' if name == 'root' else f'chain {name}, '}step 1(:| )", damage.verify())


@pytest.mark.parametrize("name", CHAINS)
def test_edited_votes_are_found(damage: Damage, name: str) -> None:
    """One more vote for the winner, with the digest of before, is found at that step."""
    chain = damage.chain(*CHAINS[name])
    (row,) = damage.rows("SELECT * FROM maker_step WHERE chain = ? AND idx = 0", chain)
    tally = unpack(row["tally"])
    edit(damage, chain, 0, tally=pack(tally._replace(votes=(tally.votes[0] + 1,))))
    assert damage.verify().startswith(f"{'' if name == 'root' else f'chain {name}, '}step 0: ")


def test_edits_in_a_fork_of_single_steps_are_found(damage: Damage) -> None:
    """An edited action, edited votes and two swapped rows of single steps are found at the first of them."""
    chain = damage.chain(21, 0)
    rows = damage.rows("SELECT * FROM maker_step WHERE chain = ? ORDER BY idx", chain)
    for change in ({"action": rows[8]["action"]}, {"tally": rows[8]["tally"]}, {"digest": rows[8]["digest"]}):
        edit(damage, chain, 7, **change)
        same = all(rows[7][name] == value for name, value in change.items())
        assert same or damage.verify().startswith("chain 21.7")
        edit(damage, chain, 7, **{name: rows[7][name] for name in change})
    assert damage.verify() == ""
    one, other = ({"chain": chain, "idx": idx, "epoch": 0} for idx in (7, 16))
    swap(damage, "maker_step", "idx", one, other, 999)
    assert damage.verify().startswith("chain 21.7")


@pytest.mark.parametrize("name", ["root", "11.0", "11.3"])
def test_two_swapped_steps_are_found(damage: Damage, name: str) -> None:
    """Two steps in each other's place are found at the first of them."""
    chain = damage.chain(*CHAINS[name])
    one, other = ({"chain": chain, "idx": idx, "epoch": 0} for idx in (0, 2))
    swap(damage, "maker_step", "idx", one, other, 999)
    assert damage.verify().startswith(f"{'' if name == 'root' else f'chain {name}, '}step 0")


def test_two_swapped_children_are_found(damage: Damage) -> None:
    """Two children in each other's place, with all that they decided, are found at the first of them."""
    one, other = ({"id": damage.chain(11, number), "number": number} for number in (1, 3))
    swap(damage, "maker_chain", "number", one, other, 999)
    assert damage.verify().startswith("chain 11.1")


@pytest.mark.parametrize(
    ("name", "first", "problem"),
    [
        ("root", 23, r"step 23: the log of chain root ends here"),
        ("root", 21, r"step 21: .*ends here"),
        ("11.0", 12, r"chain 11\.0, step 12: .*ends here"),
        ("11.3", 1, r"chain 11\.3, step 1: .*ends here"),
    ],
)
def test_a_deleted_tail_is_found(damage: Damage, name: str, first: int, problem: str) -> None:
    """A log that ends too early, after a step or after a fork, is found where it ends."""
    assert damage.do("DELETE FROM maker_step WHERE chain = ? AND idx >= ?", damage.chain(*CHAINS[name]), first) > 0
    assert re.match(problem, damage.verify())


@pytest.mark.parametrize("first", [24, 3])
def test_a_deleted_tail_of_single_steps_is_found(damage: Damage, first: int) -> None:
    """Single steps that are missing at the end are named, the first of them."""
    assert damage.do("DELETE FROM maker_step WHERE chain = ? AND idx >= ?", damage.chain(21, 0), first) == 25 - first
    assert damage.verify().startswith(f"chain 21.{first} is missing")


@pytest.mark.parametrize(
    ("sql", "place", "problem"),
    [
        ("DELETE FROM maker_fork WHERE chain = {} AND idx = 11", (), "step 11: the row of its fork is missing"),
        ("DELETE FROM maker_fork WHERE chain = {}", (11, 0), "chain 11.0, step 12: the row of its fork is missing"),
        ("DELETE FROM maker_chain WHERE id = {}", (11, 0), "chain 11.0 is missing"),
        ("DELETE FROM maker_chain WHERE id = {}", (11, 3), "step 11: 4 children are joined, but child 3 is not done"),
        ("DELETE FROM maker_chain WHERE id = {}", (21, 0), "step 21: the chain of its children is missing"),
        ("DELETE FROM maker_chain WHERE id = {}", (11, 2, 1, 0), "chain 11.2/1.0 is missing"),
        ("UPDATE maker_chain SET status = 'failed' WHERE id = {}", (11, 1), "chain 11.1: it is failed"),
        (
            "UPDATE maker_chain SET status = 'running' WHERE id = {}",
            (11, 1),
            "chain 11.1: the row of its chain does not match its seal",
        ),
        ("UPDATE maker_chain SET result = '5' WHERE id = {}", (11, 3), "chain 11.3: its result is 5"),
        ("UPDATE maker_chain SET cursor = 2 WHERE id = {}", (11, 3), "chain 11.3, step 3: "),
        ("UPDATE maker_chain SET epoch = 2 WHERE id = {}", (11, 0), "chain 11.0 has epoch 2"),
        (
            "UPDATE maker_fork SET state = '[[],1,0,0,\"1\"]' WHERE chain = {} AND idx = 11",
            (),
            "step 11: its first",
        ),
        ("UPDATE maker_fork SET joined = 3 WHERE chain = {} AND idx = 11", (), "step 11: it joins 4 children"),
        ("UPDATE maker_fork SET count = 3 WHERE chain = {} AND idx = 11", (), "step 11: it joins 4 children"),
        ("UPDATE maker_snapshot SET state = '[]' WHERE chain = {} AND idx = 12", (), "step 12: the snapshot before it"),
        (
            "UPDATE maker_snapshot SET state = '[]' WHERE chain = {} AND idx = 10",
            (11, 0),
            "chain 11.0, step 10: the sn",
        ),
        ("UPDATE maker_step SET epoch = 2 WHERE chain = {} AND idx = 12", (), "step 12 has epoch 2"),
        ("DELETE FROM maker_step WHERE chain = {} AND tally = x''", (11, 2), "chain 11.2, step 1 is missing"),
    ],
)
def test_edited_forks_are_found(damage: Damage, sql: str, place: tuple[int, ...], problem: str) -> None:
    """Forks, joins and children that are edited, taken away or called by another name are named."""
    assert damage.do(sql.format(damage.chain(*place))) == 1
    assert damage.verify().startswith(problem)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE maker_outcome SET outcome = 'wrong'", "chain 0.0/0."),
        ("UPDATE maker_outcome SET outcome = 'done'", "chain 0.0/0."),
        (
            "INSERT INTO maker_outcome SELECT chain, 99, 0, 'failed', '', NULL FROM maker_outcome LIMIT 1",
            "chain 0.0/0.99",
        ),
        ("UPDATE maker_chain SET cursor = 1 WHERE cursor = 12 AND run = 2", "chain 0.0/0."),
        ("UPDATE maker_chain SET status = 'done' WHERE cursor = 12 AND run = 2", "chain 0.0/0"),
        ("UPDATE maker_chain SET status = 'failed' WHERE number = 1 AND run = 2", "chain 0.1"),
        ("UPDATE maker_chain SET status = 'done', result = '1' WHERE number = 1 AND run = 2", "chain 0.1"),
        ("UPDATE maker_fork SET joined = 1 WHERE NOT single AND chain >> 24 = 2", "step 0: 1 children are joined"),
        ("UPDATE maker_fork SET state = '[]' WHERE NOT single AND chain >> 24 = 2", "step 0: its first 0 child"),
        ("UPDATE maker_run SET result = '5' WHERE id = 2", "the run is paused with 5"),
        ("UPDATE maker_run SET status = 'done' WHERE id = 2", "the run is done, but"),
    ],
)
def test_an_edited_run_that_waits_is_found(damage: Damage, sql: str, problem: str) -> None:
    """What decides how a run goes on, whether a child is to be voted on again or has failed, is compared too."""
    assert damage.do(sql) > 0
    assert damage.verify(2).startswith(problem)


def test_a_sample_that_says_another_thing_is_found(damage: Damage) -> None:
    """A kept sample whose text is that of another reply no longer makes the candidate that it is counted for."""
    root = f"chain = {damage.root} AND flag IS NULL"
    one, *others = damage.rows(f"SELECT * FROM maker_sample WHERE {root} ORDER BY idx, vote")  # noqa: S608
    other = next(row for row in others if row["candidate"] != one["candidate"])
    sql = "UPDATE maker_sample SET text = ? WHERE chain = ? AND idx = ? AND vote = ?"
    assert damage.do(sql, other["text"], one["chain"], one["idx"], one["vote"]) == 1
    assert damage.verify().startswith(f"step {one['idx']}: ")
