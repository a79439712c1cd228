"""Cancelling a run ends the batches that it has out, and counts what they have cost by then."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import maker
from maker.cli.app import app
from maker.lifecycle.events import BatchChanged, Event
from maker.models.batch import ending, model, sending
from maker.testing import BatchServer, MessageBatchServer
from maker.testing.batch_server import BatchBill

ROWS = 40


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "QUIET_S", 0.05)
    monkeypatch.setattr(sending, "APPEARS_S", 0.0)
    monkeypatch.setattr(ending, "LOOK_S", 0.02)


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> Iterator[tuple[str, BatchServer]]:
    kind = BatchServer if request.param == "openai" else MessageBatchServer
    with kind(lambda prompt, seed: "red", takes_s=600) as server:
        yield request.param, server


def job(folder: Path, kind: str, url: str, **settings: Any) -> dict[str, Any]:
    lines = (json.dumps({"id": f"r{number}", "text": f"item {number}"}) for number in range(ROWS))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    table = {"kind": kind, "url": url, "name": "m", "batch": True, "batch_poll_s": 0.05, "retry_s": 1}
    return {
        "task": {"decomposer": "map", "input": str(folder / "rows.jsonl"), "template": "{{text}}"},
        "model": table | {"batch_wait_s": 0, "key_env": ""} | settings,
        "vote": {"k": 1},
        "store": {"url": store(folder)},
    }


def store(folder: Path) -> str:
    return f"sqlite:///{folder / 'runs.db'}"


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def in_store(folder: Path, query: str) -> list[Any]:
    with sqlite3.connect(folder / "runs.db") as database:
        return [row[0] for row in database.execute(query).fetchall()]


def assert_paid(report: maker.RunReport, bill: BatchBill) -> None:
    paid = (report.requests, report.calls, report.prompt_tokens, report.completion_tokens)
    assert paid == (bill.requests, bill.calls, bill.prompt_tokens, bill.completion_tokens)


def test_a_resting_runs_batch_is_cancelled_and_billed(tmp_path: Path, provider: tuple[str, BatchServer]) -> None:
    """Half of its requests were answered by then: these are in the ledger, and nothing stays reserved."""
    kind, server = provider
    run = maker.run(job(tmp_path, kind, server.url))
    report = maker.cancel(run.run_id, store=store(tmp_path))
    assert report.status == "cancelled"
    assert report.reason == "cancelled, with its batch at the provider: 20 of 40 requests had been answered"
    assert server.bill.requests == ROWS // 2
    assert_paid(report, server.bill)
    assert report.reserved_calls == 0
    events = maker.show(run.run_id, store=store(tmp_path)).events
    assert [(one["state"], one["answered"]) for one in events if one["kind"] == BatchChanged.kind][-1] == ("heard", 20)


def test_a_live_runs_batch_is_cancelled(tmp_path: Path, provider: tuple[str, BatchServer]) -> None:
    kind, server = provider
    sent, found = threading.Event(), {}

    def note(event: Event) -> None:
        if isinstance(event, BatchChanged):
            found["run"] = event.run_id
            sent.set()

    told = job(tmp_path, kind, server.url, batch_wait_s=None)
    working = threading.Thread(target=maker.run, args=(told,), kwargs={"on_event": note})
    working.start()
    assert sent.wait(60)
    report = maker.cancel(found["run"], store=store(tmp_path))
    working.join()
    assert report.status == "cancelled"
    assert_paid(report, server.bill)
    assert in_store(tmp_path, "SELECT state FROM maker_batch") == ["heard"]


def test_a_batch_that_is_over_already_is_billed_in_full(tmp_path: Path, provider: tuple[str, BatchServer]) -> None:
    """The provider refuses to cancel it: its results are read all the same."""
    kind, server = provider
    run = maker.run(job(tmp_path, kind, server.url))
    server._batches[0].created_s = float("-inf")
    report = maker.cancel(run.run_id, store=store(tmp_path))
    assert server.bill.requests == ROWS
    assert_paid(report, server.bill)


def test_where_the_provider_is_away_the_batch_is_named(tmp_path: Path) -> None:
    """Cancelling again, once it is back, ends the batch; a third time changes nothing."""
    with BatchServer(lambda prompt, seed: "red", takes_s=600) as server:
        run = maker.run(job(tmp_path, "openai", server.url))
        with sqlite3.connect(tmp_path / "runs.db") as database:
            (settings,) = database.execute("SELECT settings FROM maker_run").fetchone()
            database.execute(
                "UPDATE maker_run SET settings = ?", [settings.replace(server.url, "http://127.0.0.1:9/v1")]
            )
        found = invoke("cancel", run.run_id, "--store", store(tmp_path))
        assert found.exit_code == 1
        assert "but for batches that may go on at the provider, and be billed: batch_000001 (" in found.output
        assert f"maker cancel {run.run_id}" in found.output
        assert in_store(tmp_path, "SELECT state FROM maker_batch") == ["sent"]
        with sqlite3.connect(tmp_path / "runs.db") as database:
            database.execute("UPDATE maker_run SET settings = ?", [settings])
        for _ in range(2):
            found = invoke("cancel", run.run_id, "--store", store(tmp_path))
            assert (found.exit_code, "20 of 40 requests had been answered" in found.output) == (0, True)
            assert_paid(maker.show(run.run_id, store=store(tmp_path)), server.bill)


def test_a_missing_key_is_told_with_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_KEY", "sesame")
    with BatchServer(lambda prompt, seed: "red", takes_s=600, key="sesame") as server:
        run = maker.run(job(tmp_path, "openai", server.url, key_env="BATCH_KEY"))
        monkeypatch.delenv("BATCH_KEY")
        report = maker.cancel(run.run_id, store=store(tmp_path))
        assert "batch_000001 (the environment variable BATCH_KEY" in report.reason
        assert server.bill.requests == 0


def test_a_batch_without_an_id_is_looked_for(tmp_path: Path) -> None:
    """A process died after it had submitted it: the provider knows it by its tag. One it never had costs nothing."""
    with BatchServer(lambda prompt, seed: "red", takes_s=600) as server:
        run = maker.run(job(tmp_path, "openai", server.url))
        with sqlite3.connect(tmp_path / "runs.db") as database:
            database.execute("UPDATE maker_batch SET state = 'sending', batch = ''")
        report = maker.cancel(run.run_id, store=store(tmp_path))
        assert_paid(report, server.bill)
        run = maker.run(job(tmp_path, "openai", server.url))
        with sqlite3.connect(tmp_path / "runs.db") as database:
            database.execute("UPDATE maker_batch SET state = 'sending', batch = '' WHERE state = 'sent'")
        server._batches.clear()
        report = maker.cancel(run.run_id, store=store(tmp_path))
        assert (report.requests, report.reserved_calls) == (0, 0)
        assert in_store(tmp_path, "SELECT state FROM maker_batch ORDER BY run") == ["heard", "void"]


def test_a_run_without_batches_is_cancelled_as_before(tmp_path: Path) -> None:
    with BatchServer(lambda prompt, seed: "red") as server:
        run = maker.run(job(tmp_path, "openai", server.url, batch=False), limit_steps=5)
        assert maker.cancel(run.run_id, store=store(tmp_path)).reason == "cancelled"
