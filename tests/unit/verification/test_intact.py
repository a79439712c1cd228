"""A resume over a damaged log: refused before anything is written, or as if nothing had happened."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.recovery.damage import changes
from benchmarks.shared.checkout import TOWERS
from maker import api
from maker.errors import BadInput, RunDamaged, StoreFailed
from maker.lifecycle import admin, queries, rows
from maker.reporting.report import report

CHANGES = 30
SEED = 11
JOB = {
    "task": {"decomposer": "hanoi", "disks": 6},
    "model": {"kind": "simulated", "p": 0.95},
    "vote": {"k": 4},
}


@pytest.fixture
def half(tmp_path: Path) -> str:
    """Return the store of a run that is paused half-way."""
    store = f"sqlite:///{tmp_path}/maker.db"
    assert api.run(JOB | {"store": {"url": store}}, limit_steps=40).steps == 40
    return store


def edit(store: str, sql: str, *values: str) -> None:
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection, connection:
        assert connection.execute(sql, values).rowcount == 1, sql


def content(store: str) -> list[str]:
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection:
        return list(connection.iterdump())


def verify(store: str, run_id: str) -> None:
    if problem := queries.verify(run_id, store=store).problem:
        raise BadInput(problem)


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("DELETE FROM maker_step WHERE idx = 20", r"Step 20: it is missing in the log"),
        ("UPDATE maker_step SET action = '1AB' || action WHERE idx = 20", "Step 20: its action"),
        ("UPDATE maker_step SET epoch = 1 WHERE idx = 20", "Step 20: it has epoch 1"),
        ("DELETE FROM maker_step WHERE idx = 39", "Step 39: it is missing"),
        ("UPDATE maker_chain SET cursor = 41", "Step 40: it is missing"),
        ("UPDATE maker_chain SET cursor = 39, digest = (SELECT digest FROM maker_step WHERE idx = 38)", "last digest"),
        ("UPDATE maker_chain SET status = 'done'", "its chain is not as it was written"),
        ("UPDATE maker_snapshot SET state = replace(state, 'A', 'B')", "the snapshot before it"),
        ("DELETE FROM maker_snapshot", "the snapshot before it is missing"),
        ("UPDATE maker_run SET steps = steps + 1", "Its counts"),
        (
            "UPDATE maker_run SET settings = replace(settings, '\"max_votes\": 100', '\"max_votes\": 10')",
            "Its settings",
        ),
        ("INSERT INTO maker_cut VALUES (16777216, 10, 1, '')", "its cuts give another"),
        ("INSERT INTO maker_snapshot VALUES (16777216, 50, 0, '', NULL)", "Step 50: the store has a snapshot there"),
    ],
)
def test_a_damaged_log_is_refused(half: str, sql: str, told: str) -> None:
    """The refusal names run and step, says what to do, and comes before anything is written."""
    edit(half, sql)
    before = content(half)
    with pytest.raises(RunDamaged, match=told) as caught:
        api.resume("last", store=half)
    assert queries.runs(store=half)[0].run_id in caught.value.message
    assert "maker verify" in caught.value.fix
    assert content(half) == before


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("DELETE FROM maker_step WHERE chain = 16777220 AND idx = 1", "1: it is missing in the log"),
        ("UPDATE maker_step SET action = '\"1AC\"' WHERE chain = 16777220 AND idx = 0", "0: its action"),
        ("INSERT INTO maker_cut VALUES (16777220, 1, 1, '')", "2: the chain is in epoch 0, but its cuts give another"),
        (
            "INSERT INTO maker_step SELECT chain, 70, epoch, action, tally, tokens, digest FROM maker_step"
            " WHERE chain = 16777220 AND idx = 1",
            "70: the store has a step there",
        ),
        ("INSERT INTO maker_snapshot VALUES (16777220, 7, 0, '', NULL)", "7: the store has a snapshot there"),
        ("INSERT INTO maker_snapshot VALUES (16777220, 1, 0, '', x'00')", "1: the snapshot before it"),
        ("INSERT INTO maker_fork VALUES (16777220, 7, 0, 1, 0, 0, '', x'', NULL)", "7: the store has a fork there"),
        ("INSERT INTO maker_fork VALUES (16777220, 2, 0, 1, 0, 0, '', x'', x'00')", "2: the row of its fork"),
        (
            "INSERT INTO maker_chain (id, run, parent, at, fork_epoch, number, cursor, epoch, digest, status, reason,"
            " base_idx) SELECT id + 2, run, id, 2, 0, 0, 0, 0, x'', 'running', '', 0 FROM maker_chain"
            " WHERE id = 16777220",
            "2: it has children, but the row of its fork is missing",
        ),
    ],
)
def test_one_of_many_open_chains_is_damaged(tmp_path: Path, sql: str, told: str) -> None:
    """Open chains are read together, and the refusal names the one that is damaged, and its step."""
    store = f"sqlite:///{tmp_path}/maker.db"
    job = {
        "task": {"decomposer": TOWERS, "chains": 5, "moves": 9},
        "model": {"kind": "simulated", "p": 1.0},
        "vote": {"k": 1},
        "swarm": {"chains": 5},
        "store": {"url": store},
    }
    api.run(job, limit_steps=10)
    edit(store, sql)
    with pytest.raises(RunDamaged, match=f"Chain 0.3, step {told}"):
        api.resume("last", store=store)


def test_a_fork_before_the_damage_goes_on(half: str) -> None:
    """What the refusal suggests works: the steps before the damage are kept, and those from there on decided again."""
    edit(half, "DELETE FROM maker_step WHERE idx = 20")
    with pytest.raises(RunDamaged, match="Step 20") as caught:
        api.resume("last", store=half)
    run_id = queries.runs(store=half)[0].run_id
    assert f"maker fork {run_id} --at 20" in caught.value.fix
    with pytest.raises(RunDamaged, match="Step 20"):
        admin.fork(run_id, 21, store=half)
    forked = admin.fork(run_id, 20, store=half)
    assert api.resume(forked.run_id, store=half).status == "done"
    assert queries.verify(forked.run_id, store=half).right


def test_random_changes_are_refused_or_do_nothing(tmp_path: Path) -> None:
    """Whatever row a resume reads is changed: it is refused, or the run ends as the undisturbed one does."""
    print("seed", SEED)
    found = list(changes(tmp_path, SEED, CHANGES))
    assert [f"{name}: {one.what}: {one.came_to}" for name, one in found if one.wrong] == []
    assert {one.came_to for _, one in found} == {"refused", "same"}


TABLES = {"task": {"decomposer": "hanoi"}, "vote": {"voter": "first-to-k"}, "store": {"samples": "all"}}
SETTINGS = [
    "", "null", "[]", "{}", "{", "[" * 100_000, '{"task": null}', '{"model": {}}', '{"task": {}, "model": {"kind": 3}}',
    json.dumps(TABLES | {"model": {"kind": "pool"}}),
    json.dumps(TABLES | {"model": {"kind": "simulated"}, "vote": {"voter": "first-to-k", "k": {"a": []}}}),
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS)
def test_damaged_settings_are_told_in_a_sentence(half: str, settings: str) -> None:
    """Whoever reads stored settings that cannot be read is told which run and what; a list still shows the others."""
    run_id = queries.runs(store=half)[0].run_id
    edit(half, "UPDATE maker_run SET seal = NULL, settings = ?", settings)
    with pytest.raises((BadInput, StoreFailed), match=run_id):
        api.resume(run_id, store=half)
    calls = (
        lambda: queries.show(run_id, store=half),
        lambda: verify(half, run_id),
        lambda: report(run_id, store=half),
        lambda: list(rows.results(run_id, store=half)),
    )
    for call in calls:
        try:
            call()
        except (BadInput, StoreFailed) as error:
            assert run_id in str(error) or "no map" in str(error)
    assert [found.run_id for found in queries.runs(store=half)] == [run_id]
