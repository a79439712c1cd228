"""Whole runs of the simulated model, through the front door and into a store: as right as the formulas say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from maker import api
from maker.lifecycle import queries
from maker.stats import race

Job = Callable[..., dict[str, dict[str, Any]]]


def test_an_unvoted_run_of_255_steps_fails(hanoi: Job, store: str) -> None:
    """At p = .9 and k = 1 a run of 8 disks is right with .9^255 = 2e-12: none verifies, and each says why."""
    for seed in range(5):
        report = api.run(hanoi(8, run={"seed": seed}, vote={"k": 1}))
        assert (report.status, report.steps) == ("failed", 255)
        assert "not on peg C" in report.reason
        found = queries.verify(report.run_id, store=store)
        assert not found.right
        assert (found.problem, found.whole) == ("", False)


def test_a_voted_run_of_255_steps_succeeds(hanoi: Job, store: str) -> None:
    """At k = 8 the same model is right all the way with 1 - 6e-6; the log verifies, and so does its digest."""
    report = api.run(hanoi(8, vote={"k": 8}))
    assert report.status == "done"
    assert report.result == {"moves": 255, "pegs": "CCCCCCCC"}
    found = queries.verify(report.run_id, store=store)
    assert found.right
    assert (found.digest, found.steps) == (report.digest, 255)


def test_the_share_of_right_runs_is_the_closed_form(hanoi: Job, store: str) -> None:
    """Of 200 runs of 15 steps, p = .9 and k = 2, as many verify as (1 + r^2)^-15 = .83 says, within 4 sigma."""
    n, p, k, steps = 200, 0.9, 2, 15
    print(f"run seeds 0 to {n - 1}")
    truth = race.run_right(p, k, steps)
    right = votes = 0
    for seed in range(n):
        # Named by module: looking through the metadata of all that is installed would take most of the time.
        task, vote = {"decomposer": "decomposers.hanoi:Hanoi"}, {"voter": "voters.first_to_ahead_by_k:FirstToAheadByK"}
        report = api.run(hanoi(4, run={"seed": seed}, task=task, model={"p": p}, vote=vote | {"k": k}))
        found = queries.verify(report.run_id, store=store)
        assert found.problem == ""
        assert found.right == (report.status == "done")
        right += found.right
        votes += report.votes
    assert abs(right / n - truth) < 4 * math.sqrt(truth * (1 - truth) / n)
    # The votes of one step are 2, 4, 6, ...: a geometric number of pairs, each of which settles it with p^2 + q^2.
    settles = p * p + (1 - p) ** 2
    sigma = 2 * math.sqrt((1 - settles) / settles**2 / (n * steps))
    assert abs(votes / (n * steps) - race.votes_per_step(p, k)) < 4 * sigma


def test_flags_cost_calls_and_no_rightness(hanoi: Job) -> None:
    """A fifth of the replies malformed takes a quarter more calls: 1/v = 1.25 a vote, within 4 sigma."""
    malformed, seed = 0.2, 3
    print(f"run seed {seed}")
    report = api.run(hanoi(9, run={"seed": seed}, model={"malformed": malformed}, vote={"k": 4}))
    assert report.status == "done"
    assert report.calls == report.votes + report.red_flags
    sigma = math.sqrt(malformed * (1 - malformed) / report.calls)
    assert abs(report.red_flags / report.calls - malformed) < 4 * sigma


def test_a_paused_run_goes_on_to_the_same_digest(hanoi: Job, store: str) -> None:
    """Paused every 17 steps and resumed, a run ends with the log of one that was never stopped."""
    whole = api.run(hanoi(7))
    report = api.run(hanoi(7), limit_steps=17)
    assert (report.status, report.steps) == ("paused", 17)
    while report.status == "paused":
        report = api.resume(report.run_id, store=store, limit_steps=17)
    assert (report.status, report.steps, report.digest) == ("done", 127, whole.digest)
    assert (report.votes, report.red_flags, report.disputed) == (whole.votes, whole.red_flags, whole.disputed)
    assert report.calls == whole.calls
    assert report.resumes == 7
    assert queries.verify(report.run_id, store=store).right


def test_the_report_adds_up(hanoi: Job, store: str) -> None:
    """What the report counts is what the steps hold."""
    report = api.run(hanoi(6, model={"malformed": 0.1, "rivals": 2}))
    records = list(queries.steps(report.run_id, store=store))
    assert [record.step for record in records] == list(range(63))
    assert sum(sum(record.votes.values()) for record in records) == report.votes
    assert sum(sum(record.flags.values()) for record in records) == report.red_flags > 0
    assert sum(len(record.votes) > 1 for record in records) == report.disputed > 0
    assert sum(record.rounds for record in records) == report.requests
    assert all(record.margin >= 3 for record in records)
    disputed = [record.step for record in queries.steps(report.run_id, store=store, disputed=True)]
    assert disputed == [record.step for record in records if len(record.votes) > 1]
    assert [record.step for record in queries.steps(report.run_id, store=store, start=60)] == [60, 61, 62]


def test_events_tell_what_is_committed(hanoi: Job, store: str) -> None:
    """Whoever watches hears the start, every step once and in order, and the end."""
    events: list[Any] = []
    report = api.run(hanoi(6), on_event=events.append)
    first, *middle, last = events
    assert (first.run_id, first.steps, first.expected_steps) == (report.run_id, 0, 63)
    assert (last.run_id, last.status, last.result) == (report.run_id, "done", report.result)
    assert sum(event.steps for event in middle) == 63
    told = [record for event in middle for record in event.records()]
    assert told == list(queries.steps(report.run_id, store=store))
    assert sum(event.votes for event in middle) == report.votes


def test_a_stuck_run_pauses_with_its_reason(hanoi: Job, store: str) -> None:
    """A step that cannot be decided pauses the run, and the reason names step, class and count."""
    report = api.run(hanoi(4, model={"p": 0.5}, vote={"k": 9, "max_votes": 12}))
    assert report.status == "paused"
    assert report.reason.startswith(f"step {report.steps} (move) is undecided: max_votes = 12: ")
    assert queries.show(report.run_id, store=store) == report
    assert queries.verify(report.run_id, store=store).problem == ""
