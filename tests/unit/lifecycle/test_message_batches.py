"""Runs that ask Anthropic's Message Batches: no files, no metadata, no seeds, one request for each vote."""

from __future__ import annotations

import json
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
from maker.testing import LineError, MessageBatchServer


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "QUIET_S", 0.05)
    monkeypatch.setattr(sending, "APPEARS_S", 0.5)
    monkeypatch.setattr(desk, "HELD_S", 0.2)
    monkeypatch.setenv("A_KEY", "sesame")


def number_in(prompt: str) -> int:
    return int(prompt.rpartition(" ")[2])


def reply(prompt: str, times: int) -> str:
    """Every fourth row hears one wrong vote first."""
    number = number_in(prompt)
    return "no" if number % 4 == 0 and times == 0 else "yes"


def job(folder: Path, url: str, rows: int, **model_settings: Any) -> dict[str, Any]:
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": f"item {n}"}) + "\n" for n in range(rows)))
    return {
        "task": {"decomposer": "map", "input": str(folder / "rows.jsonl"), "template": "Is it? {{text}}"},
        "model": {"kind": "anthropic", "url": url, "name": "m", "key_env": "A_KEY", "batch": True,
                  "batch_poll_s": 0.05, "retry_s": 2} | model_settings,
        "vote": {"k": 2},
        "store": {"url": f"sqlite:///{folder / 'runs.db'}"},
    }  # fmt: skip


def store(folder: Path) -> str:
    return f"sqlite:///{folder / 'runs.db'}"


def assert_paid(report: maker.RunReport, server: MessageBatchServer) -> None:
    bill = server.bill
    assert bill.twice == 0
    paid = (report.requests, report.calls, report.prompt_tokens, report.completion_tokens)
    assert paid == (bill.requests, bill.calls, bill.prompt_tokens, bill.completion_tokens)


def test_rows_are_asked_in_rounds(tmp_path: Path) -> None:
    with MessageBatchServer(reply, key="sesame") as server:
        report = maker.run(job(tmp_path, server.url, 40))
        assert (report.status, report.steps) == ("done", 40)
        # 30 rows need two votes. Ten hear a wrong one, and two more could settle them.
        assert server.sizes == [80, 20]
        assert_paid(report, server)
        assert server.calls["POST messages"] == len(server.sizes)


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_what_was_answered_is_kept(tmp_path: Path, end: str) -> None:
    with MessageBatchServer(reply, key="sesame", ends=lambda number: end if number < 3 else "completed") as server:
        report = maker.run(job(tmp_path, server.url, 40))
        assert (report.status, report.steps) == ("done", 40)
        assert server.bill.unasked >= 40
        assert_paid(report, server)


def test_errors_are_those_of_their_row(tmp_path: Path) -> None:
    def wrong(prompt: str, times: int) -> LineError | None:
        if number_in(prompt) == 5:
            return LineError(400, "prompt is too long")
        return LineError(500, "overloaded") if number_in(prompt) == 6 and not times else None

    with MessageBatchServer(reply, key="sesame", error=wrong) as server:
        report = maker.run(job(tmp_path, server.url, 20))
        rows = list(maker.results("last", store=store(tmp_path)))
        assert Counter(row.outcome for row in rows) == Counter(decided=19, failed=1)
        assert "prompt is too long" in rows[5].reason
        assert_paid(report, server)


def test_a_batch_whose_id_was_lost_is_known_by_its_requests(tmp_path: Path) -> None:
    """While it is worked on nobody can tell whose it is, so it is waited for; another run's is passed over."""
    with MessageBatchServer(reply, key="sesame", loses=lambda number: number == 2, takes_s=0.3) as server:
        other = tmp_path / "other"
        other.mkdir()
        maker.run(job(other, server.url, 40, batch_wait_s=0))
        report = maker.run(job(tmp_path, server.url, 40))
        assert report.status == "done"
        assert server.sizes.count(80) == 2
        # All but the other run's are this one's.
        assert report.requests == server.bill.requests - 80


def test_bytes_that_are_too_many_are_split(tmp_path: Path) -> None:
    with MessageBatchServer(reply, key="sesame", most_bytes=4_000) as server:
        report = maker.run(job(tmp_path, server.url, 60))
        assert (report.status, max(server.sizes) < 40) == ("done", True)
        assert_paid(report, server)


def test_a_stopped_run_hears_the_same_votes_again(tmp_path: Path) -> None:
    """There are no seeds: asked again, a row would hear other votes."""
    stop = threading.Event()
    with MessageBatchServer(reply, key="sesame", takes_s=0.2) as server:

        def stop_at_second(event: Event) -> None:
            if isinstance(event, BatchChanged) and (event.number, event.state) == (2, "sent"):
                stop.set()

        report = maker.run(job(tmp_path, server.url, 40), on_event=stop_at_second, stop=stop)
        assert (report.status, report.reason) == ("paused", "stopped")
        report = maker.resume("last", store=store(tmp_path))
        assert report.status == "done"
        assert_paid(report, server)


def test_a_run_rests_while_its_batch_is_out(tmp_path: Path) -> None:
    with MessageBatchServer(reply, key="sesame", takes_s=0.4) as server:
        report = maker.run(job(tmp_path, server.url, 20, batch_wait_s=0))
        assert (report.status, report.reason) == ("paused", "waits for its batches: msgbatch_000001")
        deadline = time.monotonic() + 20
        while report.status != "done" and time.monotonic() < deadline:
            time.sleep(0.2)
            report = maker.resume("last", store=store(tmp_path))
        assert report.status == "done"
        assert_paid(report, server)


def test_a_key_without_rights_is_told(tmp_path: Path) -> None:
    with (
        MessageBatchServer(reply, key="sesame", rights=False) as server,
        pytest.raises(MakerError, match="does not have permission"),
    ):
        maker.run(job(tmp_path, server.url, 5))
