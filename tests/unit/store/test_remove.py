"""Runs that are removed: with all that they hold and nothing else, and never from under one that needs them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from maker import api
from maker.errors import MakerError, RunNeeded, RunNotFound, RunNotResumable
from maker.lifecycle import admin, queries
from maker.store import remove, runs
from maker.store.backend import schema
from maker.store.backend.database import open_database, upgrade_database

STEPS = 31


@pytest.fixture
def store(database_url: str) -> str:
    """Return the URL of an empty store, of each kind in turn."""
    upgrade_database(database_url)
    return database_url


def job(store: str, disks: int = 5) -> dict[str, dict[str, Any]]:
    """Return a job that keeps all that can be kept."""
    return {
        "task": {"decomposer": "hanoi", "disks": disks, "form": "tree", "segment": 3},
        "model": {"kind": "simulated", "p": 0.8},
        "vote": {"k": 6},
        "store": {"url": store, "samples": "all"},
    }


def held(store: str) -> dict[str, int]:
    """Return how many rows each table holds."""
    database = open_database(store, create=False)
    with database.read() as connection:
        found = {
            table.name.removeprefix("maker_"): connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in schema.metadata.sorted_tables
        }
    database.close()
    return found


def test_a_run_goes_with_all_that_it_holds(store: str) -> None:
    """Of two runs one is removed: what is left is what the other one holds, its texts too, and that verifies."""
    kept = api.run(job(store))
    alone = held(store)
    assert alone["step"] > STEPS
    assert alone["text"] > 0
    gone = api.run(job(store, disks=6))
    assert held(store)["text"] > alone["text"]
    admin.prune(gone.run_id, store=store)
    assert held(store) == alone
    assert queries.verify(kept.run_id, store=store).right
    admin.prune(kept.run_id, store=store)
    assert not any(held(store).values())


def test_a_run_that_a_fork_goes_on_from_stays(store: str) -> None:
    """It is refused by the fork's name, until the fork is gone."""
    base = api.run(job(store) | {"task": {"decomposer": "hanoi", "disks": 5}})
    forked = admin.fork(base.run_id, 9, store=store)
    with pytest.raises(RunNeeded, match=forked.run_id):
        admin.prune(base.run_id, store=store)
    assert api.resume(forked.run_id, store=store).status == "done"
    admin.prune(forked.run_id, store=store)
    admin.prune(base.run_id, store=store)
    assert not any(held(store).values())


def test_a_run_that_is_half_removed_says_so(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cut off in the middle cannot be resumed, forked or taken for whole; `prune` again ends it."""
    base = api.run(job(store) | {"task": {"decomposer": "hanoi", "disks": 5}})

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(remove, "_drop_chains", cut_off)
        with pytest.raises(KeyboardInterrupt):
            admin.prune(base.run_id, store=store)
    assert (queries.show("last", store=store).status, held(store)["step"]) == (runs.PRUNING, 0)
    with pytest.raises(RunNotResumable, match=runs.PRUNING):
        api.resume(base.run_id, store=store)
    with pytest.raises(MakerError):
        admin.fork(base.run_id, 9, store=store)
    assert not queries.verify(base.run_id, store=store).right
    admin.prune(base.run_id, store=store)
    assert not any(held(store).values())


def test_a_fork_does_not_go_on_from_what_is_being_removed(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the removal begins while the fork is being prepared, the fork is refused, and leaves nothing behind."""
    base = api.run(job(store) | {"task": {"decomposer": "hanoi", "disks": 5}})
    create = admin.create_run

    def too_late(*arguments: Any, **options: Any) -> Any:
        admin.prune(base.run_id, store=store)
        return create(*arguments, **options)

    monkeypatch.setattr(admin, "create_run", too_late)
    with pytest.raises(RunNotFound, match="being deleted"):
        admin.fork(base.run_id, 9, store=store)
    assert not any(held(store).values())
