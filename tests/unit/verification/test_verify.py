"""Verification: a clean run passes, and each single damage to its log is found and named."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from decomposers.hanoi.rules import PEGS, Move, legal_moves, moved
from maker import api
from maker.errors import MakerError
from maker.lifecycle import queries
from maker.types import Flag
from maker.voting.tally import Tally, link, pack, unpack

STEPS = 1023


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, queries.RunReport]:
    """Return the store of a finished run of 10 disks, and its report."""
    path = tmp_path_factory.mktemp("finished") / "maker.db"
    report = api.run(
        {
            "task": {"decomposer": "hanoi", "disks": 10},
            "model": {"kind": "simulated", "p": 0.97, "rivals": 2, "malformed": 0.02},
            "vote": {"k": 4},
            "store": {"url": f"sqlite:///{path}"},
        }
    )
    assert (report.status, report.steps) == ("done", STEPS)
    return path, report


class Damage:
    """A copy of the finished run's store, with what it takes to damage it."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path

    def do(self, sql: str, *values: Any) -> int:
        """Run one statement; return how many rows it changed."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            return connection.execute(sql, values).rowcount

    def row(self, index: int) -> tuple[Any, ...]:
        """Return action, tally and digest of a step."""
        with closing(sqlite3.connect(self._path)) as connection:
            found = connection.execute("SELECT action, tally, digest FROM maker_step WHERE idx = ?", (index,))
            return tuple(found.fetchone())

    def write(self, index: int, action: str, tally: bytes, digest: bytes) -> None:
        """Replace a step."""
        changed = self.do("UPDATE maker_step SET action=?, tally=?, digest=? WHERE idx=?", action, tally, digest, index)
        assert changed == 1

    def verify(self) -> Any:
        """Verify the run."""
        return queries.verify("last", store=self.url)


@pytest.fixture
def damage(finished: tuple[Path, queries.RunReport], tmp_path: Path) -> Iterator[Damage]:
    """Return a copy of the finished run's store."""
    copy = tmp_path / "maker.db"
    shutil.copy(finished[0], copy)
    yield Damage(copy)


def test_a_clean_run_verifies(finished: tuple[Path, queries.RunReport], damage: Damage) -> None:
    """A log as it was written is whole, clean and right, and ends with the run's own digest."""
    found, report = damage.verify(), finished[1]
    assert (found.right, found.whole, found.problem) == (True, True, "")
    assert (found.run_id, found.steps, found.digest) == (report.run_id, STEPS, report.digest)


@pytest.mark.parametrize(
    ("clean", "problem"), [(True, "its digest is"), (False, "its samples do not add up to its tally")]
)
def test_an_edited_action_is_found(damage: Damage, clean: bool, problem: str) -> None:
    """Another legal action in a step's place is found at that step, by its samples or, without them, its digest."""
    pegs = "A" * 10
    for record in queries.steps("last", store=damage.url):
        if record.step >= 500 and clean == (not record.flags and len(record.votes) == 1):
            break
        pegs = moved(pegs, Move(record.action["disk"], PEGS[record.action["from"]], PEGS[record.action["to"]]))
    action, tally, digest = damage.row(record.step)
    voted = [*unpack(tally).rivals, action]
    other = next(move for move in legal_moves(pegs) if str(move) not in voted)
    damage.write(record.step, str(other), tally, digest)
    found = damage.verify()
    assert not found.right
    assert found.problem.startswith(f"step {record.step}: {problem}")
    assert found.steps == record.step


@pytest.mark.parametrize(
    ("edited", "problem"),
    [
        ("1AA", "forbidden: disk 1 "),
        ("99AB", "forbidden: there is no disk 99"),
        ("nonsense", "cannot be read: not a move"),
        ("01AB", "cannot be read: not a move"),
    ],
)
def test_an_action_against_the_rules_is_found(damage: Damage, edited: str, problem: str) -> None:
    """An action that the rules forbid, or that is none, is named as such."""
    _, tally, digest = damage.row(500)
    damage.write(500, edited, tally, digest)
    found = damage.verify()
    assert found.problem.startswith("step 500")
    assert problem in found.problem


def test_every_edited_tally_byte_is_found(damage: Damage) -> None:
    """Each byte of a disputed step's tally, changed in each of its lower bits, is found at that step."""
    index = next(record.step for record in queries.steps("last", store=damage.url, disputed=True))
    action, tally, digest = damage.row(index)
    for place in range(len(tally)):
        for bit in (0, 3, 7):
            edited = bytearray(tally)
            edited[place] ^= 1 << bit
            damage.write(index, action, bytes(edited), digest)
            found = damage.verify()
            assert not found.right
            assert found.problem.startswith(f"step {index}"), (place, bit)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t._replace(votes=(5,)), "its digest is"),
        (lambda t: t._replace(votes=(3,)), "do not elect"),
        (lambda t: t._replace(rivals={"1AB": (3,)}), "do not elect"),
        (lambda t: t._replace(flags={Flag.EMPTY: (1,)}), "its samples are missing"),
        (lambda t: t._replace(votes=(7,), rivals={"1AB": (3,)}), "its samples are missing"),
        (lambda t: t._replace(rounds=2), "its digest is"),
        (lambda t: t._replace(kind=1), "its class has number 1, but the task asks for move"),
    ],
)
def test_an_edited_tally_is_named(damage: Damage, change: Callable[[Tally], Tally], problem: str) -> None:
    """Votes that elect nobody, a class that the task has not, and any other edit are told apart."""
    clean = unpack(damage.row(0)[1])._replace(rounds=1, votes=(4,), rivals={}, flags={})
    index = next(i for i in range(1, STEPS) if damage.row(i)[1] == pack(clean))
    action, _, digest = damage.row(index)
    damage.write(index, action, pack(change(clean)), digest)
    found = damage.verify()
    assert found.problem.startswith(f"step {index}: ")
    assert problem in found.problem


def test_an_edited_digest_is_found(damage: Damage) -> None:
    """A step whose digest does not follow from its contents is named, with both digests."""
    action, tally, digest = damage.row(700)
    damage.write(700, action, tally, bytes(16))
    assert damage.verify().problem == (
        f"step 700: its digest is {bytes(16).hex()}, but its contents give {digest.hex()}"
    )


def test_a_relinked_step_is_found_at_the_next(damage: Damage) -> None:
    """An editor who gives an edited tally its own digest is found one step later: that one linked to the old."""
    action, tally, _ = damage.row(700)
    edited = pack(unpack(tally)._replace(rounds=9))
    damage.write(700, action, edited, link(damage.row(699)[2], 700, 0, action, edited))
    assert damage.verify().problem.startswith("step 701: its digest is")


def test_swapped_rows_are_found(damage: Damage) -> None:
    """Two steps in each other's place are found at the first of them."""
    one, other = damage.row(400), damage.row(401)
    damage.write(400, *other)
    damage.write(401, *one)
    assert damage.verify().problem.startswith("step 400: ")


@pytest.mark.parametrize("index", [0, 500, 1021])
def test_a_deleted_row_is_found(damage: Damage, index: int) -> None:
    """A gap in the log is named, with the step that it goes on at."""
    assert damage.do("DELETE FROM maker_step WHERE idx = ?", index) == 1
    assert damage.verify().problem == f"step {index} is missing; the next one in the log is {index + 1}"


@pytest.mark.parametrize("first", [1022, 1010])
def test_a_deleted_tail_is_found(damage: Damage, first: int) -> None:
    """A log that ends before the chain's cursor is named with both."""
    assert damage.do("DELETE FROM maker_step WHERE idx >= ?", first) == STEPS - first
    found = damage.verify()
    assert found.problem == (
        f"step {first}: the log of chain root ends here, but its cursor is at 1023, or its digest differs"
    )
    assert found.steps == first


def test_an_appended_row_is_found(damage: Damage) -> None:
    """A step after the end of the task is named."""
    copy = "INSERT INTO maker_step SELECT chain, 1023, epoch, action, tally, tokens, digest FROM maker_step WHERE idx=0"
    assert damage.do(copy) == 1
    assert damage.verify().problem == "step 1023: the task returns Done there, not a step"


def test_an_emptied_log_is_found(damage: Damage) -> None:
    """A run without any step left is no clean run."""
    damage.do("DELETE FROM maker_step")
    found = damage.verify()
    assert not found.right
    assert found.problem


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        (
            "UPDATE maker_snapshot SET state = 'BAAAAAAAAA 0 0' WHERE idx = 0",
            "step 0: the snapshot before it differs from ",
        ),
        (
            "UPDATE maker_snapshot SET state = 'nonsense' WHERE idx = 1000",
            "step 1000: the snapshot before it differs from ",
        ),
        (
            "UPDATE maker_snapshot SET idx = 999 WHERE idx = 1000",
            "step 1000: the snapshot before it is missing; the next one is at 999",
        ),
        (
            "UPDATE maker_snapshot SET idx = 5000 WHERE idx = 1000",
            "step 1000: the snapshot before it is missing; the next one is at 5000",
        ),
        (
            "INSERT INTO maker_snapshot SELECT chain, 999, epoch, state, seal FROM maker_snapshot WHERE idx = 1000",
            "step 1000: the snapshot before it is missing; the next one is at 999",
        ),
        (
            "INSERT INTO maker_snapshot SELECT chain, 1023, epoch, state, seal FROM maker_snapshot WHERE idx = 1000",
            "there is a snapshot at step 1023, which the log does not reach",
        ),
        (
            "DELETE FROM maker_snapshot WHERE idx = 0",
            "step 0: the snapshot before it is missing; the next one is at 1000",
        ),
        ("DELETE FROM maker_snapshot WHERE idx = 1000", "step 1000: the snapshot before it is missing; there is none"),
        ("DELETE FROM maker_snapshot", "step 0: the snapshot before it is missing; there is none"),
    ],
)
def test_an_edited_snapshot_is_found(damage: Damage, sql: str, problem: str) -> None:
    """Snapshots are compared with the states that the steps make."""
    damage.do(sql)
    assert damage.verify().problem.startswith(problem)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DELETE FROM maker_sample WHERE idx = {0}", "its samples are missing"),
        ("DELETE FROM maker_sample WHERE idx = {0} AND vote = 0", "one of its samples is missing"),
        (
            "DELETE FROM maker_sample WHERE idx = {0} AND vote = (SELECT max(vote) FROM maker_sample WHERE idx = {0})",
            "its samples do not add up to its tally",
        ),
        (
            "UPDATE maker_sample SET candidate = '3AB' WHERE idx = {0} AND candidate IS NOT NULL",
            "its samples do not add up to its tally",
        ),
        (
            "UPDATE maker_sample SET candidate = NULL, flag = 'empty' WHERE idx = {0} AND vote = 0",
            "its samples do not add up to its tally",
        ),
        (
            "UPDATE maker_sample SET text = x'00' WHERE idx = {0} AND vote = 0",
            "the text of its sample 0 is lost or changed",
        ),
        ("DELETE FROM maker_prompt WHERE idx = {0}", "its prompt is lost or changed"),
        (
            "UPDATE maker_text SET body = body || ' ' WHERE digest = (SELECT prompt FROM maker_prompt WHERE idx = {0})",
            "its prompt is lost or changed",
        ),
    ],
)
def test_edited_evidence_is_found(damage: Damage, sql: str, problem: str) -> None:
    """The kept samples and the prompt of a step are compared with its tally and with what its task asks there."""
    index = _cell(damage, "SELECT max(idx) FROM maker_sample")
    assert damage.do(sql.format(index)) >= 1
    assert damage.verify().problem == f"step {index}: {problem}"


@pytest.mark.parametrize("sql", ["UPDATE maker_text SET body = '' WHERE", "DELETE FROM maker_text WHERE"])
def test_an_edited_reply_is_found(damage: Damage, sql: str) -> None:
    """A reply that is lost or changed is found at the first step that it was kept for."""
    text = _cell(damage, "SELECT max(text) FROM maker_sample")
    first = "FROM maker_sample WHERE text = (SELECT max(text) FROM maker_sample) ORDER BY idx, vote"
    index, vote = _cell(damage, f"SELECT idx {first}"), _cell(damage, f"SELECT vote {first}")
    assert damage.do(f"{sql} digest = ?", text) == 1
    assert damage.verify().problem == f"step {index}: the text of its sample {vote} is lost or changed"


@pytest.mark.parametrize("column", ["steps", "votes", "red_flags", "disputed"])
def test_an_edited_count_is_found(damage: Damage, column: str) -> None:
    """The run's own counts are compared with the log's."""
    assert damage.do(f"UPDATE maker_run SET {column} = {column} + 1") == 1  # noqa: S608
    assert damage.verify().problem.startswith("the run's row has ")


@pytest.mark.parametrize("table", ["maker_run", "maker_chain"])
def test_an_edited_last_digest_is_found(damage: Damage, table: str) -> None:
    """The last digest, in the run's row and in the chain's, is the last step's, or it is told that it differs."""
    damage.do(f"UPDATE {table} SET digest = ?", bytes(16))  # noqa: S608
    found = damage.verify()
    assert not found.right
    assert found.problem


def test_an_edited_cursor_is_found(damage: Damage) -> None:
    """A cursor beyond the log is named."""
    damage.do("UPDATE maker_chain SET cursor = 1024")
    assert damage.verify().problem == (
        "step 1023: the log of chain root ends here, but its cursor is at 1024, or its digest differs"
    )


@pytest.mark.parametrize(
    ("status", "result", "problem"),
    [
        ("done", {"moves": 1022, "pegs": "CCCCCCCCCC"}, "the run is done with {'moves': 1022"),
        ("done", None, "the run is done with None"),
        ("failed", {"moves": 1023, "pegs": "CCCCCCCCCC"}, "the run is failed with "),
    ],
)
def test_an_edited_result_is_found(damage: Damage, status: str, result: Any, problem: str) -> None:
    """Result and status are compared with what the last state gives."""
    damage.do("UPDATE maker_run SET status = ?, result = ?", status, None if result is None else json.dumps(result))
    assert damage.verify().problem.startswith(problem)


def test_an_unfinished_run_is_clean_but_not_whole(hanoi: Callable[..., Any], store: str) -> None:
    """A paused run's log verifies as far as it goes; the run as a whole does not."""
    report = api.run(hanoi(5), limit_steps=20)
    found = queries.verify(report.run_id, store=store)
    assert (found.steps, found.problem, found.whole, found.right) == (20, "", False, False)


def test_an_unfinished_run_that_calls_itself_done_is_found(hanoi: Callable[..., Any], store: str) -> None:
    """A status of done needs a state at the end."""
    api.run(hanoi(5), limit_steps=20)
    Damage(Path(store.removeprefix("sqlite:///"))).do("UPDATE maker_run SET status = 'done'")
    assert "asks for another step after 20" in queries.verify("last", store=store).problem


def test_another_task_is_found(damage: Damage) -> None:
    """Settings that no longer give the fingerprint of the run are told, with what differs."""
    settings = json.loads(_cell(damage, "SELECT settings FROM maker_run"))
    settings["vote"]["k"] = 2
    damage.do("UPDATE maker_run SET settings = ?", json.dumps(settings))
    found = damage.verify()
    assert not found.right
    assert "vote: k was 4, is 2" in found.problem


def test_an_edited_fingerprint_is_found(damage: Damage) -> None:
    """The log is linked to the fingerprint: settings and fingerprint edited alike still break the first link."""
    for column in ("settings", "fingerprint"):
        values = json.loads(_cell(damage, f"SELECT {column} FROM maker_run"))  # noqa: S608
        values["vote"]["k"] = 3
        damage.do(f"UPDATE maker_run SET {column} = ?", json.dumps(values))  # noqa: S608
    assert damage.verify().problem.startswith("step 0: the snapshot before it does not match its seal")
    damage.do("UPDATE maker_snapshot SET seal = NULL")
    assert damage.verify().problem.startswith("step 0: its digest is")


def test_a_run_that_is_not_there_is_told(damage: Damage) -> None:
    """There is nothing to verify of an unknown run."""
    with pytest.raises(MakerError, match="holds no run 'nobody'"):
        queries.verify("nobody", store=damage.url)


@pytest.mark.parametrize("column", ["action", "tally", "digest"])
def test_a_cell_of_another_type_is_found(damage: Damage, column: str) -> None:
    """SQLite lets any type stand in any column: it is damage like any other, told with its step."""
    value = {"action": b"1AC", "tally": "text", "digest": "text"}[column]
    damage.do(f"UPDATE maker_step SET {column} = ? WHERE idx = 300", value)  # noqa: S608
    assert damage.verify().problem.startswith("step 300")


def _cell(damage: Damage, sql: str) -> Any:
    with closing(sqlite3.connect(damage.url.removeprefix("sqlite:///"))) as connection:
        return connection.execute(sql).fetchone()[0]
