"""The memo in PostgreSQL: taken, verified, cut, and needed, as in SQLite."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from postgres_server import PostgresServer

from maker import api
from maker.calibration.precompute import precompute
from maker.errors import RunNeeded
from maker.lifecycle import queries
from maker.lifecycle.admin import prune
from maker.store.backend.database import upgrade_database


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """Return the URL of an empty store in PostgreSQL."""
    made = postgres.create_database()
    upgrade_database(made)
    return made


def job(store: str, **run: Any) -> dict[str, dict[str, Any]]:
    return {
        "run": run,
        "task": {"decomposer": "hanoi", "disks": 7, "form": "tree", "segment": 3, "memo": "store"},
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 7},
        "store": {"url": store},
    }


def test_what_was_decided_ahead_and_before_is_taken(url: str) -> None:
    """A foresight, a run and another: the last asks nobody, and both logs verify to their sources."""
    ahead = precompute(job(url), steps=40)
    first, second = api.run(job(url)), api.run(job(url))
    assert (first.steps, first.reused, first.distinct) == (127, ahead.steps, 127)
    assert (second.reused, second.calls, second.saved_calls) == (127, 0, first.calls + first.saved_calls)
    for run in (ahead, first, second):
        assert queries.verify(run.run_id, store=url).right
    with pytest.raises(RunNeeded, match=second.run_id):
        prune(first.run_id, store=url)
    for run in (second, first, ahead):
        prune(run.run_id, store=url)
    assert api.run(job(url)).reused == 0


def test_runs_that_fill_one_memo_side_by_side_do_not_meet(url: str) -> None:
    """Four runs at once decide the same questions: none waits for another for ever, and all logs verify."""
    api.run(job(url))
    found: list[queries.RunReport] = []

    def work(seed: int) -> None:
        found.append(api.run(job(url, seed=seed) | {"vote": {"k": 6}}))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [run.status for run in found] == ["done"] * 4
    assert all(queries.verify(run.run_id, store=url).right for run in found)
