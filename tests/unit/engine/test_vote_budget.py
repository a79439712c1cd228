"""One budget for the votes of a map: the same log however it is worked on, never a winner below the margin."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import row_tasks
from killed_runs import Life, Log, assert_same, log_of, through

import maker
from maker import api
from maker.errors import BadInput, JobError, RunNotResumable
from maker.lifecycle import queries, row_files
from maker.lifecycle.events import VoteBudgetOver, VotesAllocated
from maker.store.deferred import ALLOCATED, SPENT
from maker.testing import BatchServer
from maker.voting.tally import unpack

ROWS = 400
FIRST = 3 * ROWS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    row_tasks.write_rows(tmp_path / "rows.csv", range(ROWS))
    return tmp_path


def job(folder: Path, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a map whose rows are unlike: some are hopeless, and a tenth of the replies cannot be read."""
    made = row_tasks.job(folder, **tables)
    made["vote"] = {"k": 3, "max_votes": 40, "budget": 1500} | tables.get("vote", {})
    made["model"] = {"kind": "simulated", "p": 0.8, "rho": 0.3, "malformed": 0.1, "rivals": 2} | tables.get("model", {})
    made["task"] = made["task"] | {"output": ""} | tables.get("task", {})
    return made


def run(folder: Path, **tables: dict[str, Any]) -> maker.RunReport:
    return api.run(api.load_job(job(folder, **tables)))


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/maker.db"


def told(report: maker.RunReport, kind: str) -> list[dict[str, Any]]:
    return [event for event in report.events if event["kind"] == kind]


def rows(folder: Path) -> list[Any]:
    return list(api.results("last", store=url(folder)))


def test_a_budget_is_spent_to_its_end_and_not_beyond(folder: Path) -> None:
    report = run(folder)
    over = told(report, SPENT)[-1]
    assert report.status == "done"
    assert report.calls == over["spent"] <= 1500
    # The fewest votes that an open row asks for did not fit any more.
    assert over["spent"] > 1500 - 3
    outcomes = Counter(str(row.outcome) for row in rows(folder))
    assert outcomes["decided"] == over["decided"] == report.steps
    assert outcomes["undecided"] + outcomes["rejected"] == over["open"] > 0
    assert report.votes + report.red_flags == report.calls
    assert maker.verify("last", store=url(folder)).problem == ""


def test_no_row_is_decided_below_the_margin(folder: Path) -> None:
    run(folder)
    found = rows(folder)
    assert all(row.margin >= 3 for row in found if row.outcome == "decided")
    left = [row for row in found if row.outcome in ("undecided", "rejected")]
    assert all("the budget of 1,500 votes was spent" in row.reason for row in left)
    for row in left:
        leading = sorted((0, 0, *row.votes.values()))
        assert leading[-1] - leading[-2] < 3


def test_a_budget_that_is_ample_changes_nothing(folder: Path, tmp_path: Path) -> None:
    without = api.run(api.load_job(job(folder, vote={"budget": None}, store={"url": f"sqlite:///{tmp_path}/other.db"})))
    ample = run(folder, vote={"budget": 100_000})
    assert ample.digest == without.digest
    assert (ample.calls, ample.votes, ample.red_flags, ample.steps) == (
        without.calls, without.votes, without.red_flags, without.steps,
    )  # fmt: skip
    assert ample.prompt_tokens == without.prompt_tokens
    with closing(sqlite3.connect(folder / "maker.db")) as one, closing(sqlite3.connect(tmp_path / "other.db")) as other:
        tokens = "SELECT idx, action, tally, tokens FROM maker_step ORDER BY idx"
        assert one.execute(tokens).fetchall() == other.execute(tokens).fetchall()
        samples = "SELECT idx, vote, text, candidate, flag, detail FROM maker_sample ORDER BY idx, vote"
        assert one.execute(samples).fetchall() == other.execute(samples).fetchall()


def whole(folder: Path, name: str, tables: dict[str, Any]) -> Log:
    where = f"sqlite:///{folder}/{name}.db"
    return log_of(where, api.run(api.load_job(tables | {"store": {"url": where}})))


@pytest.mark.parametrize("extra", [0, 2])
def test_the_log_is_the_same_however_often_the_run_is_killed(folder: Path, extra: int) -> None:
    tables = job(folder, vote={"budget": 2200 if extra else 1500, "extra": extra})
    expected = whole(folder, "whole", tables)
    random.seed(extra)
    for trial in range(4):
        lives = [
            Life(
                chains=random.choice([3, 50, 256]),
                groups=(random.choice([1, 4, 64]),),
                slice_steps=random.choice([5, 60, 2000]),
                kill_after=random.randint(2, 30),
                max_votes=40,
            )
            for _ in range(6)
        ]
        here = folder / str(trial)
        here.mkdir()
        assert_same(through(lives, here, tables, Life(max_votes=40)), expected)


def test_what_was_given_out_is_remembered(folder: Path) -> None:
    """A run that is paused again and again spends no more than one that is not."""
    stop, seen = threading.Event(), 0

    def pause(event: Any) -> None:
        nonlocal seen
        if isinstance(event, VotesAllocated):
            seen += 1
            stop.set()

    report = api.run(api.load_job(job(folder)), on_event=pause, stop=stop)
    while report.status == "paused":
        assert {"deferred", "again"} & set(outcomes_stored(folder))
        stop.clear()
        report = api.resume("last", store=url(folder), on_event=pause, stop=stop)
    assert seen > 1
    assert told(report, SPENT)[-1]["spent"] <= 1500
    alone = whole(folder, "alone", job(folder))
    assert report.digest == alone.report["digest"]
    assert [one["votes"] for one in told(report, ALLOCATED)] == [
        one["votes"] for one in told(queries.show("last", store=f"sqlite:///{folder}/alone.db"), ALLOCATED)
    ]


def outcomes_stored(folder: Path) -> Counter[str]:
    with closing(sqlite3.connect(folder / "maker.db")) as database:
        return Counter(dict(database.execute("SELECT outcome, count(*) FROM maker_outcome GROUP BY outcome")))


def test_rows_that_decide_most_are_asked_first(folder: Path) -> None:
    """Of what is left after the first votes, rows with a short contest get all before rows with a long one any."""
    run(folder, model={"malformed": 0, "rivals": 1}, vote={"budget": FIRST + 60})
    with closing(sqlite3.connect(folder / "maker.db")) as database:
        tallies = [unpack(tally) for (tally,) in database.execute("SELECT tally FROM maker_step") if tally]
    assert {one.rounds for one in tallies} == {1, 2}


def test_a_resume_may_raise_the_budget(folder: Path) -> None:
    report = api.run(api.load_job(job(folder)), limit_steps=50)
    assert report.status == "paused"
    ended = api.resume("last", ["vote.budget=1600"], store=url(folder))
    assert 1500 < told(ended, SPENT)[-1]["spent"] <= 1600
    assert "1,600 votes" in told(ended, SPENT)[-1]["budget"]


def test_a_run_without_a_budget_does_not_get_one(folder: Path) -> None:
    api.run(api.load_job(job(folder, vote={"budget": None})), limit_steps=50)
    with pytest.raises(RunNotResumable, match=r"began with no budget, which cannot change to vote\.budget"):
        api.resume("last", ["vote.budget=5000"], store=url(folder))


def test_a_smaller_budget_ends_what_is_open(folder: Path) -> None:
    api.run(api.load_job(job(folder)), limit_steps=ROWS - 1)
    ended = api.resume("last", [f"vote.budget={FIRST}"], store=url(folder))
    assert ended.status == "done"
    assert (ended.calls, told(ended, ALLOCATED)) == (FIRST, [])


def test_files_and_counts_hold_the_rows_that_are_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "PART_ROWS", 50, raising=False)
    report = run(folder, task={"output": str(folder / "out")})
    decided = [line for part in sorted((folder / "out").glob("rows-*")) for line in part.read_text().splitlines()]
    review = [json.loads(line) for line in (folder / "out" / "review.jsonl").read_text().splitlines()]
    assert (len(decided), len(review)) == (report.steps, ROWS - report.steps)
    assert all(one["_reason"].count("was spent") == 1 for one in review if "_reason" in one)


def test_rows_that_are_left_may_be_asked_again_in_a_round_of_their_own(folder: Path) -> None:
    first = run(folder)
    left = ROWS - first.steps
    with pytest.raises(JobError, match=f"each of {left} rows asks for 3 votes first"):
        api.retry("last", ["vote.budget=3"], outcomes=["undecided", "rejected"], store=url(folder))
    following = api.retry("last", ["vote.budget=3000"], outcomes=["undecided", "rejected"], store=url(folder))
    assert following.status == "done"
    assert told(following, SPENT)[-1]["rows"] == left


def test_what_a_budget_has_bought_is_told_as_an_event(folder: Path) -> None:
    events: list[Any] = []
    api.run(api.load_job(job(folder)), on_event=events.append)
    over = [event for event in events if isinstance(event, VoteBudgetOver)]
    given = [event for event in events if isinstance(event, VotesAllocated)]
    assert len(over) == 1
    assert over[0].spent == FIRST + sum(event.votes for event in given)
    assert over[0].decided + over[0].open == ROWS
    assert 0 < over[0].more_votes <= 150
    assert 0 < over[0].more_rows <= over[0].more_votes


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_that_are_alike_raise_no_alarm_though_they_are_cut_off(tmp_path: Path, seed: int) -> None:
    """Those that are put off end late, in an order that their votes decide: that is neither drift nor a burst."""
    row_tasks.write_rows(tmp_path / "rows.csv", range(1500))
    alike = {"p": 0.85, "rho": 0, "malformed": 0, "rivals": 1}
    report = run(tmp_path, model=alike, vote={"budget": 5200}, run={"seed": seed}, swarm={"chains": 64})
    assert told(report, SPENT)[-1]["open"] > 50
    assert told(report, "alarm") == []
    watched = report.monitor[0]
    assert (watched["steps"], watched["contested"] > 0) == (1500, True)


# --- batches ---


def reply(prompt: str, seed: int) -> str:
    number, chance = int(prompt.rpartition(" ")[2]), random.Random(f"{prompt} {seed}")
    p = 0.95 if number % 10 < 8 else 0.6
    return ("red", "green")[chance.random() > p]


def items(folder: Path, count: int) -> dict[str, Any]:
    """Write so many rows, and return the task that asks about them."""
    lines = (json.dumps({"id": f"r{number}", "text": f"item {number}"}) for number in range(count))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return {
        "decomposer": "map",
        "input": str(folder / "rows.jsonl"),
        "template": "What colour is {{text}}",
        "id_column": "id",
    }


def test_in_batches_each_allocation_is_a_round(tmp_path: Path) -> None:
    with BatchServer(reply) as server:
        tables: dict[str, Any] = {
            "task": items(tmp_path, 300),
            "model": {
                "kind": "openai", "url": server.url, "name": "m", "batch": True, "batch_poll_s": 0.05, "retry_s": 2,
            },
            "vote": {"k": 3, "budget": 1000},
            "store": {"url": url(tmp_path)},
        }  # fmt: skip
        report = api.run(api.load_job(tables))
        given = told(report, ALLOCATED)
        assert report.status == "done"
        assert server.sizes == [300, *(one["rows"] for one in given)]
        assert report.calls == told(report, SPENT)[-1]["spent"] <= 1000
        assert server.bill.twice == 0
        live = tables | {"model": tables["model"] | {"batch": False}}
        again = api.run(api.load_job(live))
        assert told(again, SPENT)[-1]["spent"] <= 1000


def test_money_buys_votes_at_what_they_have_cost(tmp_path: Path) -> None:
    with BatchServer(reply) as server:
        tables: dict[str, Any] = {
            "task": items(tmp_path, 200),
            "model": {"kind": "openai", "url": server.url, "name": "m", "prompt_price": 10, "completion_price": 30},
            "vote": {"k": 3, "budget_cost": 1000.0},
            "store": {"url": url(tmp_path)},
        }
        ample = api.run(api.load_job(tables))
        assert ample.cost is not None
        spent = 0.9 * ample.cost
        bound = api.run(api.load_job(tables | {"vote": {"k": 3, "budget_cost": spent}}))
        assert bound.cost is not None
        assert 0.8 * ample.cost < bound.cost <= 1.05 * spent
        assert bound.steps < ample.steps
        with pytest.raises(JobError, match="needs prices of"):
            api.load_job(tables | {"model": {"kind": "openai", "url": server.url, "name": "m"}})


# --- bad input ---


def test_a_budget_must_let_every_row_ask(folder: Path) -> None:
    with pytest.raises(JobError, match=r"each of 400 rows asks for 3 votes first, which takes 1,200 together") as found:
        run(folder, vote={"budget": 399})
    assert "set vote.budget to 1,200 or more" in str(found.value)
    with pytest.raises(BadInput, match="asks for 5 votes first, which takes 2,000"):
        run(folder, vote={"budget": 1999, "extra": 2})


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"vote": {"budget_cost": 2.0}}, "vote.budget_cost and vote.budget exclude each other"),
        ({"vote": {"budget": None, "budget_cost": 2.0}}, "vote.budget_cost needs prices of simulated"),
        ({"vote": {"voter": "majority", "k": None}}, "vote.budget needs first-to-ahead-by-k"),
        ({"vote": {"on_undecided": "ask"}}, 'vote.budget and vote.on_undecided = "ask" exclude each other'),
        ({"vote": {"target": 0.9}}, "vote.budget and vote.target exclude each other"),
        ({"task": {"memo": "run"}}, 'vote.budget and task.memo = "run" exclude each other'),
        ({"roles": {"judge": {"k": 2}}}, "vote.budget and roles.judge exclude each other"),
        ({"limits": {"max_calls": 1400}}, "limits.max_calls = 1,400 is less"),
        ({"vote": {"budget": None, "budget_cost": 2.0, "k": "auto"}}, 'vote.budget_cost and vote.k = "auto" exclude'),
        ({"vote": {"budget": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_contradicts_a_budget_is_refused(folder: Path, tables: dict[str, Any], said: str) -> None:
    made = job(folder, **tables)
    made["vote"] = {name: value for name, value in made["vote"].items() if value is not None}
    with pytest.raises(JobError) as found:
        api.load_job(made)
    assert said in str(found.value)


def test_a_budget_is_for_maps() -> None:
    with pytest.raises(JobError, match="spread over the rows of a map, and hanoi is not one"):
        api.load_job(
            {
                "task": {"decomposer": "hanoi", "disks": 5},
                "model": {"kind": "simulated"},
                "vote": {"k": 3, "budget": 500},
            }
        )
