"""Limits: what may be granted, and that no run ever passes one."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decomposers.hanoi.oracle import move_truth
from maker import api
from maker.engine.budget import SHARE, Budget, Exhausted, Limits
from maker.errors import JobError
from maker.lifecycle import queries
from maker.testing import FakeServer, completion
from maker.types import Account, Allowance, Prices, Usage, money, spent_in_all

Job = Callable[..., dict[str, dict[str, Any]]]
NOTHING = Allowance(0, 0, 0.0)


def budget(used: Allowance = NOTHING, reserved: Allowance = NOTHING, **limits: Any) -> Budget:
    return Budget(Limits(**limits), used, reserved)


# --- the arithmetic ---


def test_a_grant_is_a_twentieth_of_the_limit() -> None:
    """A process that dies with an open grant costs the run a twentieth of its limit at most."""
    grant = budget(max_calls=1000, max_tokens=50_000, max_cost=8.0).grant(0, NOTHING)
    assert grant == Allowance(50, 2500, pytest.approx(0.4))
    assert SHARE == 20


def test_a_grant_covers_the_need() -> None:
    """A need beyond a twentieth is granted whole, and never less."""
    need = Allowance(70, 3000, 0.5)
    assert budget(max_calls=1000, max_tokens=50_000, max_cost=8.0).grant(0, need) == need


def test_the_last_grant_is_what_is_left() -> None:
    """A grant ends at the limit, used and reserved counted alike."""
    left = budget(Allowance(900, 15, 0.0), Allowance(80, 0, 0.0), max_calls=1000)
    assert left.grant(0, Allowance(3, 10, 0.0)).calls == 20
    left.settle(0)
    assert left.grant(0, Allowance(20, 10, 0.0)).calls == 20
    left.settle(0)
    with pytest.raises(Exhausted, match="max_calls = 1000: 980 spent or reserved; the next request may take 21"):
        left.grant(0, Allowance(21, 10, 0.0))


def test_a_capped_grant_leaves_the_rest_to_others() -> None:
    """A grant that gets less money than it was given reserves no more than that; a higher cap changes nothing."""
    shared = budget(max_calls=1000, max_cost=8.0)
    given = shared.grant(0, NOTHING)
    assert shared.cap(0, 0.1) == given._replace(cost=0.1)
    assert shared.cap(0, 5.0).cost == 0.1
    assert shared.left().cost == pytest.approx(7.9)


@pytest.mark.parametrize(
    ("limits", "need", "named"),
    [
        ({"max_calls": 10}, Allowance(11, 1, 0.0), "max_calls = 10: 0 spent"),
        ({"max_tokens": 10}, Allowance(1, 11, 0.0), "max_tokens = 10: 0 spent"),
        ({"max_cost": 1.5}, Allowance(1, 1, 1.6), r"max_cost = 1\.5: 0 spent"),
    ],
)
def test_the_limit_that_is_reached_is_named(limits: dict[str, Any], need: Allowance, named: str) -> None:
    """Each of the limits holds by itself."""
    with pytest.raises(Exhausted, match=named):
        budget(**limits).grant(0, need)


def test_money_follows_from_tokens() -> None:
    """What was used is priced by each model's prompt and completion tokens."""
    prices = (Prices(0.01, 0.02), Prices(0.001, 0.002))
    solved = {Account(0, "solver"): Usage(2, 100, 45, 1), Account(1, "judge"): Usage(1, 40, 30, 1)}
    used = spent_in_all(solved, prices)
    assert used == (3, 215, pytest.approx(2.0))
    spending = budget(Allowance(1, 20, 0.3), max_cost=10.0)
    spending.spend(0, used)
    with pytest.raises(Exhausted, match=r"max_cost = 10: 2\.3 spent"):
        spending.grant(0, Allowance(1, 1, 7.8))
    assert spending.grant(0, Allowance(1, 1, 7.6)).cost == pytest.approx(7.6)


@given(
    st.integers(1, 2000),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50), st.floats(0, 1), st.booleans()), max_size=300),
)
def test_grants_never_add_up_to_more_than_the_limit(limit: int, rounds: list[tuple[int, int, float, bool]]) -> None:
    """Whoever needs whatever, whatever share of it is used, and whoever is lost with it: all stay within the limit."""
    spending = budget(max_calls=limit)
    used, held = 0, dict.fromkeys(range(4), 0)
    for worker, need, share, lost in rounds:
        spending.settle(worker)
        held[worker] = 0
        try:
            granted = spending.grant(worker, Allowance(need, 0, 0.0)).calls
        except Exhausted:
            assert used + sum(held.values()) + need > limit
            continue
        assert granted >= need
        assert used + sum(held.values()) + granted <= limit
        spent = int(granted * share)
        spending.spend(worker, Allowance(spent, 0, 0.0))
        used += spent
        held[worker] = granted - spent
        if lost:
            spending.lose(worker)
            used, held[worker] = used + held[worker], 0


# --- whole runs ---


@pytest.fixture
def whole(hanoi: Job) -> queries.RunReport:
    """Return a run of 63 steps without limits."""
    report = api.run(hanoi(6))
    assert report.status == "done"
    return report


@pytest.mark.parametrize("share", [0.02, 0.4, 0.9])
@pytest.mark.parametrize("name", ["max_calls", "max_tokens"])
def test_a_limit_is_never_passed_and_costs_nothing_but_time(
    hanoi: Job, store: str, whole: queries.RunReport, name: str, share: float
) -> None:
    """A run pauses within its limit, names it, and goes on under a higher one to the digest of an unlimited run."""

    def spent(report: queries.RunReport) -> int:
        tokens = report.prompt_tokens + report.completion_tokens + report.reserved_tokens
        return report.calls + report.reserved_calls if name == "max_calls" else tokens

    limit = int(share * spent(whole))
    report = api.run(hanoi(6, limits={name: limit}))
    assert report.status == "paused"
    assert report.reason.startswith(f"limit {name} = {limit}: ")
    assert spent(report) <= limit
    assert report.steps < 63
    again = api.resume(report.run_id, store=store)
    assert (again.status, again.steps, again.calls) == ("paused", report.steps, report.calls)
    done = api.resume(report.run_id, [f"limits.{name}={100 * limit}"], store=store)
    assert (done.status, done.digest, done.votes) == ("done", whole.digest, whole.votes)
    assert spent(done) >= spent(whole)
    assert queries.verify(report.run_id, store=store).right


def test_a_limit_may_be_met_exactly(hanoi: Job, whole: queries.RunReport) -> None:
    """A run that needs just as many calls as it may take is done; with one less it pauses before its last request."""
    exact = api.run(hanoi(6, limits={"max_calls": whole.calls}))
    assert (exact.status, exact.calls, exact.digest) == ("done", whole.calls, whole.digest)
    short = api.run(hanoi(6, limits={"max_calls": whole.calls - 1}))
    assert (short.status, short.steps) == ("paused", 62)


def test_a_limit_below_the_first_request(hanoi: Job) -> None:
    """A limit that not even one request fits into pauses the run before it spent anything."""
    report = api.run(hanoi(6, limits={"max_calls": 2}))
    assert (report.status, report.steps, report.calls) == ("paused", 0, 0)
    assert report.reason == "limit max_calls = 2: 0 spent or reserved; the next request may take 3"


def test_the_wall_clock(hanoi: Job, store: str) -> None:
    """A run pauses after its seconds, all resumes together, and goes on under more of them to the same digest."""
    limit, slack = 0.4, 2.0
    slow = hanoi(8, model={"latency_s": 0.01}, limits={"max_wall_s": limit})
    report = api.run(slow)
    assert (report.status, report.reason) == ("paused", "limit max_wall_s is reached")
    assert limit <= report.wall_s < limit + slack
    again = api.resume(report.run_id, store=store)
    assert again.status == "paused"
    assert again.wall_s < report.wall_s + slack
    done = api.resume(report.run_id, ["limits.max_wall_s=600", "model.latency_s=0"], store=store)
    whole = api.run(hanoi(8))
    assert (done.status, done.digest) == ("done", whole.digest)


def oracle_server() -> FakeServer:
    """Return a server that always knows the right move."""
    return FakeServer(lambda body: (200, completion([move_truth(body["prompt"]).right[0]] * body.get("n", 1))))


def test_money_is_never_passed(hanoi: Job, store: str) -> None:
    """A run of a model with prices pauses within its money, and goes on with more to the same digest."""
    with oracle_server() as server:
        model = {
            "kind": "openai", "url": server.url, "name": "m", "chat": False,
            "prompt_price": 1e6, "completion_price": 2e6,
        }  # fmt: skip
        job = hanoi(5)
        # A price of a million for a million tokens: a request costs 7 + 2 * 15 = 37.
        job["model"] = model
        whole = api.run(job)
        assert whole.status == "done"
        limit = 600.0
        report = api.run(job | {"limits": {"max_cost": limit}})
        assert report.status == "paused"
        assert report.reason.startswith("limit max_cost = 600: ")
        assert 0 < report.prompt_tokens + 2 * report.completion_tokens <= limit
        done = api.resume(report.run_id, ["limits.max_cost=100000"], store=store)
        assert (done.status, done.digest) == ("done", whole.digest)


def test_money_needs_prices(hanoi: Job) -> None:
    """A limit on money is refused where no token has a price."""
    with pytest.raises(JobError, match=r"limits\.max_cost needs prices"):
        api.load_job(hanoi(limits={"max_cost": 1.0}))


@pytest.mark.parametrize(
    "limits", [{"max_calls": 0}, {"max_tokens": -1}, {"max_wall_s": 0}, {"max_calls": 1.5}, {"max_steps": 3}]
)
def test_limits_are_checked(hanoi: Job, limits: dict[str, Any]) -> None:
    """A limit is positive, whole where it counts, and one of those that there are."""
    with pytest.raises(JobError, match=rf"limits\.{next(iter(limits))}"):
        api.load_job(hanoi(limits=limits))


KILLED = """
import os, sys
from maker import api, reading
job = {"task": {"decomposer": "hanoi", "disks": 10}, "model": {"kind": "simulated", "p": 0.9, "latency_s": 0.03},
       "vote": {"k": 3}, "store": {"url": sys.argv[1]}, "limits": {"max_calls": 400}}
def on_event(event):
    if getattr(event, "run_id", None) and type(event).__name__ == "StepsDecided":
        os.kill(os.getpid(), 9)
api.run(job, on_event=on_event)
"""


@pytest.fixture
def killed(store: str) -> queries.RunReport:
    """Return a run of at most 400 calls whose process was killed after its first commit."""
    done = subprocess.run([sys.executable, "-c", KILLED, store], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr[-2000:]
    return queries.show("last", store=store)


@pytest.mark.posix
def test_a_dead_processs_grant_counts_as_spent(killed: queries.RunReport, store: str) -> None:
    """What a killed process had been granted stays reserved, and its resumes get no more than the rest."""
    assert killed.status == "paused"
    assert killed.steps > 0
    assert 0 < killed.reserved_calls <= 400 / SHARE
    resumed = api.resume("last", ["model.latency_s=0"], store=store)
    assert resumed.reason.startswith("limit max_calls = 400: ")
    assert resumed.reserved_calls == killed.reserved_calls
    assert resumed.calls + resumed.reserved_calls <= 400
    # Nothing but what is left of the last request is given away.
    assert resumed.calls + resumed.reserved_calls > 400 - 8
    assert queries.verify("last", store=store).problem == ""


@pytest.mark.posix
def test_what_is_not_limited_is_not_reserved(killed: queries.RunReport) -> None:
    """A run with a limit on calls alone has no tokens reserved by the dead."""
    assert killed.reserved_tokens == 0


@pytest.mark.posix
def test_a_limit_may_be_added_after_a_death(killed: queries.RunReport, store: str) -> None:
    """A run that was killed under one limit goes on under another."""
    resumed = api.resume(
        "last", ["limits.max_calls=100000", "limits.max_tokens=10000000", "model.latency_s=0"], store=store
    )
    assert resumed.steps == 1023
    assert not resumed.reason.startswith("limit")


def test_a_stopped_run_keeps_within_its_limit(hanoi: Job, store: str) -> None:
    """Stopped from outside again and again, a run reserves nothing twice and never passes its limit."""
    limit = 300
    stop = threading.Event()

    def on_event(event: Any) -> None:
        if type(event).__name__ == "StepsDecided":
            stop.set()

    report = api.run(hanoi(8, model={"latency_s": 0.001}, limits={"max_calls": limit}), stop=stop, on_event=on_event)
    began = time.monotonic()
    while report.reason == "stopped" and time.monotonic() - began < 30:
        assert report.calls + report.reserved_calls <= limit
        stop.clear()
        report = api.resume(report.run_id, store=store, stop=stop, on_event=on_event)
    assert report.reason.startswith("limit max_calls = 300: ")
    assert report.calls + report.reserved_calls <= limit


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0, "0"), (2.617e-07, "0.0000002617"), (0.05, "0.05"), (0.123456, "0.1235"), (0.99999, "1"), (1, "1.00"),
     (1234.5, "1,234.50"), (-0.002, "-0.002")],
)  # fmt: skip
def test_money_is_shown_in_plain_digits(amount: float, shown: str) -> None:
    assert money(amount) == shown


def test_a_limit_is_told_in_plain_digits() -> None:
    with pytest.raises(Exhausted, match=r"max_cost = 0\.0000002: 0 spent or reserved; the next request may take 0\.5$"):
        budget(max_cost=2e-7).check(Allowance(1, 1, 0.5))
    with pytest.raises(Exhausted, match="max_tokens = 12345678: 0 spent"):
        budget(max_tokens=12_345_678).check(Allowance(1, 20_000_000, 0.0))
