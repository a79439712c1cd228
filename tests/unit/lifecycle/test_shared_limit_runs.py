"""Runs that share a limit: keys that are not there, money that runs of one key spend together, words for a wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import maker
from maker.cli.advice import next_step
from maker.engine.causes import Cause, cause_of
from maker.errors import BadInput, JobError
from maker.lifecycle.limits import MOST_TOKENS
from maker.testing import FakeServer, HostedKind, HostedServer, chat_completion

PRICE = 1000.0
CALL = 12 * PRICE / 1e6
"""What one reply of the fake server costs."""
WORST = (256 + 64 + 40) * PRICE / 1e6
"""More than any request here may take."""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Return a server that answers everything."""
    with FakeServer(lambda body: (200, chat_completion(["even"] * body.get("n", 1)))) as started:
        yield started


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/maker.db"


def job(server: FakeServer, store: str, tmp_path: Path, rows: int = 60, **model: Any) -> dict[str, Any]:
    (tmp_path / "rows.csv").write_text("number\n" + "".join(f"{number}\n" for number in range(rows)))
    prices = {"prompt_price": PRICE, "completion_price": PRICE}
    return {
        "task": {"decomposer": "map", "input": str(tmp_path / "rows.csv"), "template": "Is {{number}} even?"},
        "model": {"kind": "openai", "url": server.url, "name": "m"} | prices | model,
        "vote": {"k": 1},
        "limits": {"shared": "acme"},
        "store": {"url": store},
    }


def test_a_key_that_the_store_does_not_know(server: FakeServer, store: str, tmp_path: Path) -> None:
    """The run is refused before it begins, and so is its place in a queue; the command that helps is named."""
    maker.limit("other", concurrency=2, store=store)
    made = job(server, store, tmp_path)
    for begin in (maker.run, maker.enqueue, lambda made: maker.run(made, run_id="a")):
        with pytest.raises(
            JobError, match=r"(?s)limits.shared = 'acme': the store .* has no such limit.*`maker limit acme"
        ):
            begin(made)
    assert maker.runs(store=store) == []
    assert server.requests == []


def test_a_limit_of_money_needs_prices(server: FakeServer, store: str, tmp_path: Path) -> None:
    """Without prices nobody knows what a run spends."""
    maker.limit("acme", max_cost=1, store=store)
    with pytest.raises(JobError, match="that limit has max_cost, which needs prices of m"):
        maker.run(job(server, store, tmp_path, prompt_price=None))


def test_anthropics_interface_shares_a_limit_too(store: str, tmp_path: Path) -> None:
    """Its money comes of the limit: the run pauses before it is passed, and the bill is within it."""
    maker.limit("acme", requests_per_minute=6000, max_cost=5.0, store=store)
    with HostedServer(HostedKind.ANTHROPIC, lambda prompt: "even") as server:
        model = {"kind": "anthropic", "key_env": "", "reasoning_tokens": 200}
        report = maker.run(job(server, store, tmp_path, **model))
        spent = server.bill.amount(prompt=str(PRICE), completion=str(PRICE), cached=str(PRICE))
    assert (report.status, cause_of(report.reason)) == ("paused", Cause.LIMIT)
    assert "of the shared limit acme: max_cost = 5" in report.reason
    assert 0 < spent <= 5


def test_a_job_without_a_server(store: str) -> None:
    """What has no requests has nothing to share."""
    made = {"task": {"decomposer": "hanoi", "disks": 3}, "vote": {"k": 1}, "limits": {"shared": "acme"}}
    with pytest.raises(JobError, match=r"limits.shared is for models on servers, and the job has none"):
        maker.run(made | {"model": {"kind": "simulated"}, "store": {"url": store}})


@pytest.mark.parametrize("key", ["a b", "", "-x", "a\n", "x" * 101, "`ls`"])
def test_what_cannot_be_a_key(server: FakeServer, store: str, tmp_path: Path, key: str) -> None:
    """Keys are safe in a shell; a job and the store refuse the same."""
    with pytest.raises(BadInput, match="cannot be the key of a shared limit"):
        maker.limit(key, concurrency=1, store=store)
    if key:
        with pytest.raises(JobError, match=r"limits.shared"):
            maker.run(job(server, store, tmp_path) | {"limits": {"shared": key}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests_per_minute": 0},
        {"requests_per_minute": 1.5},
        {"requests_per_minute": 2**31},
        {"tokens_per_minute": MOST_TOKENS + 1},
        {"concurrency": True},
        {"concurrency": "many"},
        {"max_cost": 0.0},
        {"max_cost": float("nan")},
        {"max_cost": float("inf")},
        {"max_cost": "free"},
    ],
)
def test_what_is_no_limit(store: str, wrong: dict[str, Any]) -> None:
    """A number that limits nothing is refused, and nothing is written."""
    with pytest.raises(BadInput, match="is no limit"):
        maker.limit("acme", **wrong, store=store)
    with pytest.raises(BadInput, match="there is no database"):
        maker.limit("acme", store=store)
    maker.limit("other", concurrency=1, store=store)
    with pytest.raises(BadInput, match="the store has no shared limit acme"):
        maker.limit("acme", store=store)


def test_a_limit_is_lifted_by_a_word(store: str) -> None:
    """What is not named stays; "none" lifts."""
    maker.limit("acme", requests_per_minute=5, concurrency=2, max_cost=1.5, store=store)
    lifted = maker.limit("acme", concurrency="none", store=store)
    assert (lifted.requests_per_minute, lifted.concurrency, lifted.max_cost) == (5, None, 1.5)
    assert maker.limits(store=store) == [lifted]


def test_two_runs_spend_one_keys_money(server: FakeServer, store: str, tmp_path: Path) -> None:
    """Together they never pass it; each pauses with words that say which key, and goes on once it was raised."""
    maker.limit("acme", max_cost=1.0, store=store)
    made = job(server, store, tmp_path)
    reports: list[maker.RunReport] = []
    threads = [threading.Thread(target=lambda: reports.append(maker.run(made))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = len(server.requests) * CALL
    assert 1.0 - 2 * WORST <= spent <= 1.0
    for report in reports:
        assert report.status == "paused"
        assert report.reason.startswith("limit of the shared limit acme: max_cost = 1: ")
        assert cause_of(report.reason) == Cause.LIMIT
        assert "`maker limit acme --max-cost 2`" in next_step(report)
    (limit,) = maker.limits(store=store)
    assert limit.spent == pytest.approx(spent)
    maker.limit("acme", max_cost=20.0, store=store)
    ended = [maker.resume(report.run_id, store=store) for report in reports]
    assert [report.status for report in ended] == ["done", "done"]
    (limit,) = maker.limits(store=store)
    assert limit.spent == pytest.approx(120 * CALL) == pytest.approx(len(server.requests) * CALL)


def test_a_run_of_one_chain_is_not_slowed(server: FakeServer, store: str, tmp_path: Path) -> None:
    """A request does not wait for a trip to the store of its own: one grant covers many."""
    maker.limit("acme", requests_per_minute=60_000, tokens_per_minute=10**9, concurrency=8, store=store)
    report = maker.run(job(server, store, tmp_path), ["swarm.chains=1"])
    assert report.status == "done"
    (limit,) = maker.limits(store=store)
    assert (limit.workers, limit.requests, limit.tokens) == (0, 60, 60 * 12)
