"""Logs of runs that went on with other code: whatever stood open then, each verifies, and damage is found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import fork_tasks
import pytest
from fork_tasks import Shape, count, leaf

import maker
from maker.lifecycle import queries

SHAPE: Shape = {
    "steps": [3, 2, 2, 1],
    "forks": [
        {
            "children": [
                {"steps": [2, 1], "forks": [{"singles": 4}]},
                leaf(2),
                {"steps": [1, 1], "forks": [{"children": [leaf(1), leaf(2)]}]},
            ]
        },
        {"singles": 9},
        {"singles": 6, "lenient": True, "wrong": [2]},
    ],
}
STEPS = count(SHAPE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file that holds the task."""
    path = tmp_path / "tree.py"
    path.write_text(Path(fork_tasks.__file__).read_text())
    return path


def job(file: Path, store: str, max_votes: int = 1000) -> dict[str, dict[str, Any]]:
    return {
        "run": {"on_change": "migrate"},
        "task": {"decomposer": f"{file}:Tree", "shape": SHAPE},
        "model": {"kind": "simulated", "p": 0.85, "malformed": 0.1, "rivals": 2},
        "vote": {"k": 2, "max_votes": max_votes},
        "store": {"url": store, "samples": "all"},
        "swarm": {"chains": 3},
    }


def change(file: Path, mark: str) -> None:
    """Make other code of the file, which does the same."""
    file.write_text(f"{file.read_text()}\n# {mark}\n")


@pytest.mark.parametrize("after", range(1, STEPS, 2))
def test_wherever_it_changes_the_log_verifies(file: Path, store: str, after: int) -> None:
    """All that was decided before is not asked again, all after it is; a second change counts from there."""
    begun = maker.run(job(file, store), limit_steps=after)
    change(file, "one")
    more = maker.resume(begun.run_id, store=store, limit_steps=3)
    verified = queries.verify(begun.run_id, store=store)
    assert (verified.problem, verified.not_asked, verified.whole) == ("", begun.steps, more.status == "done")
    if more.status == "done":
        return
    change(file, "two")
    done = maker.resume(begun.run_id, store=store)
    verified = queries.verify(begun.run_id, store=store)
    assert (verified.problem, verified.not_asked, verified.whole) == ("", more.steps, True)
    assert done.steps == STEPS
    assert done.result == maker.run(job(file, store)).result


def test_after_retries_it_verifies(file: Path, store: str) -> None:
    """Steps that were undecided when the code changed, and are retried with the new code, are the new code's."""
    begun = maker.run(job(file, store, 3))
    assert "is undecided" in begun.reason
    change(file, "one")
    again = maker.retry(begun.run_id, ["vote.max_votes=1000"], store=store)
    assert again.status == "done", again.reason
    verified = queries.verify(begun.run_id, store=store)
    assert (verified.problem, verified.right, verified.not_asked) == ("", True, begun.steps)


def test_damage_before_the_change_is_found(file: Path, store: str) -> None:
    """An action, a tally or a digest of a step that is not asked again is checked all the same."""
    begun = maker.run(job(file, store), limit_steps=STEPS - 2)
    change(file, "one")
    assert maker.resume(begun.run_id, store=store).status == "done"
    path = store.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT chain, idx, epoch, action, tally, digest FROM maker_step").fetchall()
        for column, spoilt in (("action", '"e"'), ("tally", bytes.fromhex("000101090000")), ("digest", b"x")):
            spoil = f"UPDATE maker_step SET {column} = ? WHERE chain = ? AND idx = ? AND epoch = ?"  # noqa: S608
            for *place, action, tally, digest in rows[::4]:
                connection.execute(spoil, (spoilt, *place))
                connection.commit()
                assert queries.verify(begun.run_id, store=store).problem, (column, place)
                connection.execute(spoil, ({"action": action, "tally": tally, "digest": digest}[column], *place))
                connection.commit()
    assert queries.verify(begun.run_id, store=store).right
