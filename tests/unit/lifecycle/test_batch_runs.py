"""Runs that ask in batches, against a provider's stand-in: what they decide, what they pay, and what they do again."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import maker
from maker.errors import MakerError
from maker.lifecycle.events import BatchChanged, Event
from maker.models.batch import desk, model, sending
from maker.store.backend.database import upgrade_database
from maker.testing import BatchServer, LineError
from maker.testing.batch_server import BatchBill

COLOURS = ("red", "green", "blue")
ENQUEUED = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": None}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds begin, and batches are given up for lost, in fractions of a second."""
    monkeypatch.setattr(model, "QUIET_S", 0.05)
    monkeypatch.setattr(sending, "APPEARS_S", 0.5)
    monkeypatch.setattr(desk, "HELD_S", 0.2)


def number_in(prompt: str) -> int:
    return int(prompt.rpartition(" ")[2])


def reply(prompt: str, seed: int, *, p: float = 0.9) -> str:
    chance, number = random.Random(f"{prompt} {seed}"), number_in(prompt)
    return COLOURS[(number + (chance.random() > p)) % 3]


def job(folder: Path, url: str, rows: int, *, k: int = 2, **tables: dict[str, Any]) -> dict[str, Any]:
    lines = (json.dumps({"id": f"r{number}", "text": f"item {number}"}) for number in range(rows))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    base: dict[str, Any] = {
        "task": {
            "decomposer": "map",
            "input": str(folder / "rows.jsonl"),
            "template": "What colour is {{text}}",
            "id_column": "id",
        },
        "model": {"kind": "openai", "url": url, "name": "m", "batch": True, "batch_poll_s": 0.05, "retry_s": 2},
        "vote": {"k": k},
        "store": {"url": f"sqlite:///{folder / 'runs.db'}"},
    }
    return {name: base.get(name, {}) | tables.get(name, {}) for name in base | tables}


def store(folder: Path) -> str:
    return f"sqlite:///{folder / 'runs.db'}"


def outcomes(folder: Path) -> Counter[str]:
    return Counter(row.outcome for row in maker.results("last", store=store(folder)))


def assert_paid(report: maker.RunReport, bill: BatchBill) -> None:
    """The ledger holds what the provider bills, and nothing was asked twice."""
    assert bill.twice == 0
    paid = (report.requests, report.calls, report.prompt_tokens, report.completion_tokens)
    assert paid == (bill.requests, bill.calls, bill.prompt_tokens, bill.completion_tokens)


def open_grants(folder: Path) -> int:
    with sqlite3.connect(folder / "runs.db") as database:
        (found,) = database.execute("SELECT count(*) FROM maker_grant WHERE NOT settled").fetchone()
    return int(found)


def test_a_batched_run_decides_as_a_live_one(tmp_path: Path) -> None:
    """The votes have the same seeds, so a server that honours them makes the same log to the last digest."""
    with BatchServer(reply) as server:
        report = maker.run(job(tmp_path, server.url, 300))
        live = maker.run(job(tmp_path, server.url, 300, model={"batch": False}))
        assert report.status == live.status == "done"
        assert (report.digest, report.calls) == (live.digest, live.calls)
        assert_paid(report, server.bill)
        assert server.sizes[0] == 300
        assert server.bill.requests == server.live.requests


def test_what_was_answered_is_kept_and_the_rest_asked_again(tmp_path: Path) -> None:
    ends = {1: "expired", 2: "cancelled"}
    with BatchServer(reply, ends=lambda number: ends.get(number, "completed")) as server:
        report = maker.run(job(tmp_path, server.url, 200))
        assert (report.status, outcomes(tmp_path)) == ("done", Counter(decided=200))
        assert_paid(report, server.bill)
        assert server.bill.unasked >= 150
        assert server.sizes[0] == 200
        assert 100 < server.sizes[1] < 200


def test_a_row_that_is_refused_fails_alone(tmp_path: Path) -> None:
    def wrong(prompt: str, times: int) -> LineError | None:
        return LineError(400, "this prompt is too long") if number_in(prompt) % 50 == 7 else None

    with BatchServer(reply, error=wrong) as server:
        report = maker.run(job(tmp_path, server.url, 100))
        assert outcomes(tmp_path) == Counter(decided=98, failed=2)
        failed = [row for row in maker.results("last", store=store(tmp_path)) if row.outcome == "failed"]
        assert all("HTTP 400: this prompt is too long" in row.reason for row in failed)
        assert_paid(report, server.bill)


def test_a_row_that_the_server_fails_to_answer_is_asked_again(tmp_path: Path) -> None:
    def wrong(prompt: str, times: int) -> LineError | None:
        if number_in(prompt) == 3:
            return LineError(500, "it never works")
        return LineError(429 if times else 500, "try again") if number_in(prompt) % 3 == 1 and times < 2 else None

    with BatchServer(reply, error=wrong) as server:
        report = maker.run(job(tmp_path, server.url, 60))
        assert outcomes(tmp_path) == Counter(decided=59, failed=1)
        assert_paid(report, server.bill)


def test_a_round_is_split_by_requests(tmp_path: Path) -> None:
    with BatchServer(reply, most_requests=40) as server:
        report = maker.run(job(tmp_path, server.url, 100, model={"batch_requests": 40}))
        assert server.sizes[:3] == [40, 40, 20]
        assert_paid(report, server.bill)


def test_a_round_is_split_by_bytes_that_the_server_takes(tmp_path: Path) -> None:
    """Nobody has said that it takes so little: what is refused as too large is sent in smaller parts."""
    with BatchServer(reply, most_bytes=8_000) as server:
        report = maker.run(job(tmp_path, server.url, 200))
        assert (report.status, max(server.sizes) < 50) == ("done", True)
        assert_paid(report, server.bill)


def test_bytes_that_are_said_are_not_exceeded(tmp_path: Path) -> None:
    with BatchServer(reply, most_bytes=8_000) as server:
        report = maker.run(job(tmp_path, server.url, 100, model={"batch_bytes": 8_000}))
        assert server.calls["POST files"] == len(server.sizes)
        assert_paid(report, server.bill)


def test_a_batch_whose_id_was_lost_is_found(tmp_path: Path) -> None:
    with BatchServer(reply, loses=lambda number: number in (1, 3)) as server:
        report = maker.run(job(tmp_path, server.url, 100))
        assert report.status == "done"
        assert_paid(report, server.bill)
        assert server.sizes.count(100) == 1


def test_a_batch_that_was_never_created_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with BatchServer(reply) as server:
        create, calls = server._create, []

        def cut_once(told: Any) -> bytes:
            calls.append(told)
            if len(calls) == 1:
                raise ConnectionResetError
            return create(told)

        monkeypatch.setattr(server, "_create", cut_once)
        report = maker.run(job(tmp_path, server.url, 50))
        assert (report.status, server.sizes[0], len(calls)) == ("done", 50, len(server.sizes) + 1)
        assert_paid(report, server.bill)
        assert open_grants(tmp_path) == 0


def test_a_batch_that_is_refused_pauses_the_run_in_its_words(tmp_path: Path) -> None:
    problems = [{"code": "invalid_json", "message": "This line is not valid", "line": 17, "param": None}]
    events: list[Event] = []
    with BatchServer(reply, problems=lambda number, lines: problems if number == 1 else []) as server:
        with pytest.raises(MakerError, match="line 17: This line is not valid") as error:
            maker.run(job(tmp_path, server.url, 40), on_event=events.append)
        assert "0:16" in error.value.message or "0.16" in error.value.message, error.value.message
        report = maker.show("last", store=store(tmp_path))
        assert (report.status, report.calls, open_grants(tmp_path)) == ("paused", 0, 0)
        told = [event for event in events if isinstance(event, BatchChanged)]
        assert [event.state for event in told] == ["sent", "void"]
        again = maker.resume("last", store=store(tmp_path))
        assert again.status == "done"
        assert_paid(again, server.bill)


def test_a_key_without_rights_is_told(tmp_path: Path) -> None:
    with BatchServer(reply, rights=False) as server:
        with pytest.raises(MakerError, match="insufficient permissions") as error:
            maker.run(job(tmp_path, server.url, 20))
        assert "model.batch = false" in error.value.fix
        assert maker.show("last", store=store(tmp_path)).status == "paused"


def test_a_server_without_batches_is_told(tmp_path: Path) -> None:
    with BatchServer(reply) as server, pytest.raises(MakerError, match="404"):
        maker.run(job(tmp_path, server.url + "/other", 20))


def test_no_server_is_told_soon(tmp_path: Path) -> None:
    with BatchServer(reply) as server:
        url = server.url
    with pytest.raises(MakerError, match="no batch could be sent: ConnectError"):
        maker.run(job(tmp_path, url, 20))


def test_too_much_at_once_is_sent_in_smaller_batches(tmp_path: Path) -> None:
    def problems(number: int, lines: list[Any]) -> list[Any]:
        return [ENQUEUED] if len(lines) > 30 else []

    with BatchServer(reply, problems=problems) as server:
        report = maker.run(job(tmp_path, server.url, 100))
        assert report.status == "done"
        assert_paid(report, server.bill)


def test_a_server_that_ignores_n_is_asked_for_the_rest(tmp_path: Path) -> None:
    with BatchServer(reply, counts_n=False) as server:
        report = maker.run(job(tmp_path, server.url, 50, k=3))
        assert (report.status, outcomes(tmp_path)) == ("done", Counter(decided=50))
        assert_paid(report, server.bill)
        assert report.calls == report.requests


def test_replies_of_another_model_pause_the_run(tmp_path: Path) -> None:
    with BatchServer(reply) as server:
        drawn = server._drawn
        server._drawn = lambda body: (drawn(body)[0] | {"model": "other"}, drawn(body)[1])  # type: ignore[method-assign]
        with pytest.raises(MakerError, match="'other' has replied"):
            maker.run(job(tmp_path, server.url, 20))
        report = maker.show("last", store=store(tmp_path))
        assert report.status == "paused"
        assert report.calls == server.bill.calls > 0


# --- rest and go on ---


def test_a_run_rests_while_its_batches_are_out(tmp_path: Path) -> None:
    """Each process sends, or hears, and ends: no batch is sent again by the next."""
    with BatchServer(reply, takes_s=0.6) as server:
        report = maker.run(job(tmp_path, server.url, 100, model={"batch_wait_s": 0}))
        assert (report.status, report.reason) == ("paused", "waits for its batches: batch_000001")
        for _ in range(20):
            report = maker.resume("last", store=store(tmp_path))
            if report.status == "done":
                break
            assert report.reason.startswith("waits for its batches: ")
            time.sleep(0.2)
        assert (report.status, outcomes(tmp_path)) == ("done", Counter(decided=100))
        assert report.resumes > 2
        assert_paid(report, server.bill)
        assert server.sizes.count(100) == 1


def test_a_stopped_run_takes_its_batches_up_again(tmp_path: Path) -> None:
    """Also what rows heard that they did not decide: it is read again, and costs nothing more."""
    stop = threading.Event()
    with BatchServer(reply, takes_s=0.3) as server:

        def stop_at_second(event: Event) -> None:
            if isinstance(event, BatchChanged) and (event.number, event.state) == (2, "sent"):
                stop.set()

        report = maker.run(job(tmp_path, server.url, 200), on_event=stop_at_second, stop=stop)
        assert (report.status, report.reason) == ("paused", "stopped")
        report = maker.resume("last", store=store(tmp_path))
        assert report.status == "done"
        assert_paid(report, server.bill)


def test_results_that_are_gone_are_asked_again(tmp_path: Path) -> None:
    """Of a batch that was heard, rows that it left open need its results; after weeks the provider has none."""
    stop = threading.Event()
    with BatchServer(reply, takes_s=0.2) as server:

        def stop_at_second(event: Event) -> None:
            if isinstance(event, BatchChanged) and (event.number, event.state) == (2, "sent"):
                stop.set()

        maker.run(job(tmp_path, server.url, 200), on_event=stop_at_second, stop=stop)
        server.forget(1)
        report = maker.resume("last", store=store(tmp_path))
        assert (report.status, outcomes(tmp_path)) == ("done", Counter(decided=200))
        assert report.calls == server.bill.calls
        assert server.bill.twice > 0


def test_a_queues_worker_leaves_a_run_alone_while_its_batches_are_out(tmp_path: Path) -> None:
    with BatchServer(reply, takes_s=0.3) as server:
        maker.enqueue(job(tmp_path, server.url, 60, model={"batch_poll_s": 0.3}))
        stop = threading.Event()
        worker = threading.Thread(
            target=maker.work_queue, kwargs={"store": store(tmp_path), "stop": stop, "grace_s": 1.0}
        )
        worker.start()
        reasons = set()
        deadline = time.monotonic() + 30
        while (report := maker.show("last", store=store(tmp_path))).status != "done" and time.monotonic() < deadline:
            reasons.add(report.reason.partition(" its batches")[0])
            time.sleep(0.05)
        stop.set()
        worker.join()
        assert report.status == "done"
        assert "waits for" in reasons
        assert_paid(report, server.bill)


# --- limits ---


def test_a_limit_cuts_a_batch_and_pauses_the_run(tmp_path: Path) -> None:
    with BatchServer(lambda prompt, seed: reply(prompt, seed, p=1.0)) as server:
        report = maker.run(job(tmp_path, server.url, 100, limits={"max_calls": 60}))
        assert report.status == "paused"
        assert report.reason.startswith("limit max_calls = 60: 60 spent or reserved")
        assert (report.calls, server.sizes) == (60, [30])
        report = maker.resume("last", ["limits.max_calls=200"], store=store(tmp_path))
        assert (report.status, report.calls, server.sizes) == ("done", 200, [30, 70])
        assert open_grants(tmp_path) == 0


def test_what_is_out_counts_at_its_worst(tmp_path: Path) -> None:
    with BatchServer(reply, takes_s=30) as server:
        first = job(tmp_path, server.url, 100, model={"batch_wait_s": 0}, limits={"max_calls": 200})
        report = maker.run(first)
        assert (report.status, report.reason) == ("paused", "waits for its batches: batch_000001")
        assert open_grants(tmp_path) == 1
        assert report.reserved_calls == 200


# --- settings ---


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"swarm": {"kind": "ray"}}, "one local worker"),
        ({"limits": {"shared": "key"}}, "no shared limit"),
        ({"model": {"batch_requests": 0}}, "batch_requests"),
        ({"model": {"batch_poll_s": 0}}, "batch_poll_s"),
        ({"model": {"batch": "yes please"}}, "batch"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, tables: dict[str, Any], said: str) -> None:
    with pytest.raises(MakerError, match=said):
        maker.run(job(tmp_path, "http://127.0.0.1:1/v1", 5, **tables))
    assert not (tmp_path / "runs.db").exists()


def test_members_of_a_pool_cannot_ask_in_batches(tmp_path: Path) -> None:
    member = {"kind": "openai", "url": "http://127.0.0.1:1/v1", "name": "m", "batch": True}
    told = job(tmp_path, "", 5)
    told["model"] = {"kind": "pool", "members": {"one": member}}
    with pytest.raises(MakerError, match="member of a pool cannot ask in batches"):
        maker.run(told)


# --- votes in advance, other stores ---


def test_votes_in_advance_save_rounds_and_are_billed(tmp_path: Path) -> None:
    with BatchServer(reply) as server:
        plain = maker.run(job(tmp_path, server.url, 200, k=3))
        rounds, before = len(server.sizes), server.bill
        assert_paid(plain, before)
        more = maker.run(job(tmp_path, server.url, 200, k=3, vote={"k": 3, "extra": 3}))
        assert more.status == "done"
        assert len(server.sizes) - rounds < rounds
        assert more.calls == server.bill.calls - before.calls > plain.calls


def test_a_run_in_another_store_is_the_same(tmp_path: Path, database_url: str) -> None:
    upgrade_database(database_url)
    with BatchServer(reply, ends=lambda number: "expired" if number == 1 else "completed") as server:
        report = maker.run(job(tmp_path, server.url, 60, store={"url": database_url}, limits={"max_calls": 1000}))
        assert report.status == "done"
        assert_paid(report, server.bill)
        assert report.reserved_calls == 0
