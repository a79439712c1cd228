"""Whole runs in PostgreSQL: the same log as in SQLite, whatever happens to the server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from postgres_server import PostgresServer
from sqlalchemy import update

from benchmarks.shared.checkout import TOWERS
from maker import api
from maker.errors import BadInput, RunHeld
from maker.lifecycle import queries
from maker.lifecycle.events import Event, StepsDecided
from maker.reporting.report import report
from maker.store.backend import schema
from maker.store.backend.database import open_database, upgrade_database
from maker.store.runs import find_run, take_over

DISKS = 11


def job(store: str, disks: int = DISKS) -> dict[str, dict[str, Any]]:
    """Return the Towers of Hanoi by a simulated model."""
    return {
        "task": {"decomposer": "hanoi", "disks": disks},
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 6},
        "store": {"url": store, "samples": "all"},
    }


@pytest.fixture
def url(postgres: PostgresServer, reached: Callable[[str], str]) -> str:
    """Return the URL of an empty store in PostgreSQL."""
    made = reached(postgres.create_database())
    upgrade_database(made)
    return made


def test_a_run_is_the_same_in_either_database(url: str, tmp_path: Path) -> None:
    """A run, read back and verified, is in PostgreSQL what it is in SQLite."""
    lite = f"sqlite:///{tmp_path}/same.db"
    here, there = api.run(job(url)), api.run(job(lite))
    assert here.status == "done"
    assert (here.digest, here.votes, here.calls, here.result) == (there.digest, there.votes, there.calls, there.result)
    assert list(queries.steps("last", store=url)) == list(queries.steps("last", store=lite))
    assert list(queries.samples("last", 5, store=url)) == list(queries.samples("last", 5, store=lite))
    assert queries.verify("last", store=url).right


def test_many_open_chains_go_on_in_either_database(url: str, tmp_path: Path) -> None:
    """Chains that are undecided, cut, undecided again and then decided end in PostgreSQL as in SQLite."""
    ended = []
    for store in (url, f"sqlite:///{tmp_path}/same.db"):
        towers = {"decomposer": TOWERS, "chains": 40, "moves": 2}
        few = {"vote": {"k": 3, "max_votes": 4}, "swarm": {"chains": 40}, "monitor": {"policy": "off"}}
        assert "more)" in api.run(job(store) | few | {"task": towers}).reason
        assert "more)" in api.retry("last", store=store).reason
        done = api.resume("last", ["vote.max_votes=1000"], store=store)
        assert queries.verify("last", store=store).right
        ended.append((done.status, done.digest, done.votes, done.steps))
    assert ended[0] == ended[1]
    assert ended[0][0] == "done"


@pytest.mark.parametrize("far", [2**31 - 2, 2**31 - 1, 2**31, 2**63, 10**30])
def test_a_step_that_no_chain_can_have_is_not_there(database_url: str, far: int) -> None:
    """A number beyond what a database's columns hold is a step that is not there, no error of the database's."""
    upgrade_database(database_url)
    assert api.run(job(database_url, disks=2)).status == "done"
    for index, chain in ((far, "root"), (0, f"{far}.0"), (0, f"0~{far}.0"), (0, f"0.{far}")):
        with pytest.raises(BadInput, match=f"has no step {index}"):
            queries.step("last", index, chain=chain, store=database_url)
    assert not list(queries.steps("last", start=far, store=database_url))


def test_a_run_outlives_its_server(url: str, postgres: PostgresServer) -> None:
    """A server that is restarted under a run, also as by a crash, costs no step and repeats none."""
    restarts: list[threading.Thread] = []
    committed = 0

    def restart(how: Any) -> None:
        postgres.stop(how)
        postgres.start()

    def on_event(event: Event) -> None:
        nonlocal committed
        committed += event.steps if isinstance(event, StepsDecided) else 0
        if committed > 400 * (len(restarts) + 1) and not any(thread.is_alive() for thread in restarts):
            restarts.append(threading.Thread(target=restart, args=(("fast", "immediate")[len(restarts) % 2],)))
            restarts[-1].start()

    report = api.run(job(url), on_event=on_event)
    for thread in restarts:
        thread.join()
    assert (report.status, report.steps) == ("done", 2**DISKS - 1)
    assert len(restarts) > 1
    assert queries.verify("last", store=url).right
    with_peace = api.run(job(url))
    assert (report.digest, report.votes) == (with_peace.digest, with_peace.votes)


def test_one_of_many_takes_a_run_over(url: str, postgres: PostgresServer) -> None:
    """Of several that want a paused run at the same moment one gets it."""
    report = api.run(job(url, disks=5), limit_steps=3)
    got, refused = [], []
    with closing(open_database(url, create=False)) as database:
        row = find_run(database, report.run_id)

        def take() -> None:
            try:
                got.append(take_over(database, row, row.settings))
            except RunHeld as error:
                refused.append(error)

        threads = [threading.Thread(target=take) for _ in range(6)]
        # The run's row is held until all of them have come to it, so that they meet however slowly they start.
        with database.write() as connection:
            connection.execute(update(schema.run).values(updated_at=0.0))
            for thread in threads:
                thread.start()
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while postgres.sql(waiting) != [(6,)]:
                assert any(thread.is_alive() for thread in threads)
        for thread in threads:
            thread.join()
    assert (len(got), len(refused)) == (1, 5)


def test_a_report_is_the_same_in_either_database(url: str, tmp_path: Path) -> None:
    """Undecided rows, chains that rest and parts that were decided anew are counted alike."""
    rows = tmp_path / "rows.csv"
    rows.write_text("id,text\n" + "".join(f"row-{number},item {number}\n" for number in range(300)))
    (tmp_path / "truth.py").write_text(
        "from maker.plugin import Truth\n\n\ndef truth(prompt):\n"
        """    return Truth(('{"label": "a"}',), ('{"label": "b"}', '{"label": "c"}'))\n"""
    )
    found = []
    for store in (url, f"sqlite:///{tmp_path}/same.db"):
        told = api.run({
            "task": {
                "decomposer": "map", "input": str(rows), "template": "{{text}}?\n", "id_column": "id",
                "schema": '{"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}\n',
                "truth": f"{tmp_path}/truth.py:truth",
            },
            "model": {"kind": "simulated", "p": 0.6, "rivals": 2},
            "vote": {"k": 3, "max_votes": 8},
            "store": {"url": store},
        })  # fmt: skip
        assert told.status == "done"
        api.retry(told.run_id, ["vote.k=2", "vote.max_votes=30"], outcomes=["undecided"], store=store)
        stuck = job(store, disks=5) | {"model": {"kind": "simulated", "p": 0.6}, "vote": {"k": 3, "max_votes": 5}}
        paused = api.run(stuck)
        assert paused.status == "paused"
        api.retry(paused.run_id, ["vote.max_votes=1000"], store=store)
        found.append([_told(one.run_id, store) for one in reversed(queries.runs(store=store))])
    here, there = found
    assert here == there
    assert here[0]["classes"][0]["cut"] == here[0]["outcomes"]["undecided"] > 20
    assert len(here[1]["classes"]) == 2


def _told(run_id: str, store: str) -> dict[str, Any]:
    """Return what a report tells that is not of its run's own time and place."""
    told = report(run_id, store=store).to_json()
    for one in told["classes"]:
        one["ruled"]["run_id"] = ""
    kept = ("whole", "classes", "flags", "models", "disputed_steps", "disputed", "outcomes", "resting", "cuts", "truth")
    return {name: told[name] for name in kept}
