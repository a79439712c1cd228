"""Voting beside one call a row, on labelled rows: counted by the truth, paid once, refused where it shows nothing."""

from __future__ import annotations

import csv
import json
import random
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job, label, write_rows
from typer.testing import CliRunner

import maker
from maker.cli.app import app
from maker.cli.commands.compare import lines
from maker.errors import BadInput, JobError, PilotPaused
from maker.inputs.chosen import packed
from maker.job.load import load_job
from maker.lifecycle.events import RunStarted, StepsAsked, StepsDecided
from maker.lifecycle.queries import runs
from maker.lifecycle.rows import results
from maker.reporting.comparison.advice import Labelled, PlainCall, Verdict, advise
from maker.reporting.comparison.asking import Drawn
from maker.reporting.comparison.compare import Comparison, Score
from maker.reporting.comparison.kept import newest_comparison
from maker.reporting.comparison.methods import most_frequent
from maker.reporting.row_labels import LabelFile
from maker.stats.paired import mcnemar, paired_difference
from maker.store.runs import PAGE
from maker.testing import FakeServer, completion

ROWS, LABELS = 240, 80
MODEL = {"p": 0.75, "malformed": 0.05, "rivals": 2}


def drawn(count: int) -> list[int]:
    """Return rows drawn at random; fewer of them are the first of more."""
    return random.Random(11).sample(range(ROWS), ROWS)[:count]


def labels(folder: Path, rows: Sequence[int], name: str = "labels.csv") -> Path:
    return write(folder / name, [("id", "label"), *((f"row-{row}", label(row)) for row in rows)])


def write(path: Path, lines_: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines_)
    return path


def a_job(folder: Path, **tables: Any) -> dict[str, Any]:
    if not (folder / "rows.csv").exists():
        write_rows(folder / "rows.csv", range(ROWS))
    return job(folder, **({"model": MODEL} | tables))


def by_name(found: Comparison) -> dict[str, Score]:
    return {score.method: score for score in found.scores}


def calls_of(folder: Path) -> int:
    return sum(one.calls for one in runs(store=f"sqlite:///{folder}/maker.db", limit=1000))


def is_right(answer: Any, row: int) -> bool:
    return answer is not None and answer["label"] == label(row)


def test_votes_are_counted_as_their_run_has_them(tmp_path: Path) -> None:
    """Right, decided and metered: what the runs' own results and ledger say of the labelled rows."""
    rows = sorted(drawn(LABELS))
    found = maker.compare(a_job(tmp_path), labels=labels(tmp_path, rows))
    scores, store = by_name(found), f"sqlite:///{tmp_path}/maker.db"
    assert list(scores) == ["single", "self-consistency", "votes"]
    votes = scores["votes"]
    [run] = [one for one in runs(store=store) if one.run_id in votes.runs]
    ended = {int(one.id[4:]): one for one in results(run.run_id, store=store)}
    assert sorted(ended) == rows
    assert votes.right == sum(is_right(one.answer, row) for row, one in ended.items())
    assert votes.decided == sum(one.outcome == "decided" for one in ended.values()) < LABELS
    assert (votes.spent.calls, votes.spent.prompt_tokens, votes.spent.completion_tokens) == (
        run.calls, run.prompt_tokens, run.completion_tokens,
    )  # fmt: skip
    assert votes.against is not None
    assert votes.against.p == mcnemar(*votes.against[:2])
    assert votes.against.difference == paired_difference(*votes.against[:2], LABELS, 0.95)
    assert votes.right - scores["single"].right == votes.against.only_this - votes.against.only_other
    single = scores["single"]
    # One request a row: of each prompt so many tokens as it has characters.
    assert single.spent.calls == single.spent.requests == LABELS
    prompts = sum(len(f"What colour is {read_text(tmp_path, row)}?") for row in rows)
    assert single.spent.prompt_tokens == pytest.approx(prompts, rel=0.1)
    majority = scores["self-consistency"]
    assert majority.decided == LABELS
    count = majority.spent.calls / LABELS
    assert count % 2 == 1
    each = majority.spent.completion_tokens / majority.spent.calls
    assert abs(majority.spent.tokens - votes.spent.tokens) <= (each + 1) * LABELS
    assert found.advice.verdict == Verdict.VOTE
    assert "the votes (k = 2) are right on " in found.advice.text


def read_text(folder: Path, row: int) -> str:
    with (folder / "rows.csv").open(newline="", encoding="utf-8") as file:
        return next(line["text"] for line in csv.DictReader(file) if line["id"] == f"row-{row}")


def test_what_was_paid_is_not_paid_again(tmp_path: Path) -> None:
    """The same comparison asks nothing; more labels have the new rows asked, and no others."""
    few, more = drawn(LABELS), drawn(LABELS + 40)
    first = maker.compare(a_job(tmp_path), labels=labels(tmp_path, few), methods=["votes", "single"])
    asked = calls_of(tmp_path)
    again = maker.compare(a_job(tmp_path), labels=labels(tmp_path, few), methods=["votes", "single"])
    assert calls_of(tmp_path) == asked
    assert again.to_json() == first.to_json()
    grown = maker.compare(a_job(tmp_path), labels=labels(tmp_path, more), methods=["votes", "single"])
    votes = by_name(grown)["votes"]
    assert votes.spent.calls == calls_of(tmp_path)
    names = [one.id for run in votes.runs for one in results(run, store=f"sqlite:///{tmp_path}/maker.db")]
    assert sorted(names) == sorted(f"row-{row}" for row in more)
    # All ways, over what two runs have asked.
    whole = by_name(maker.compare(a_job(tmp_path), labels=labels(tmp_path, more)))
    assert whole["votes"] == votes
    assert whole["self-consistency"].spent.calls % len(more) == 0
    # Of fewer labels than a run has rows, its rows cannot be told apart in the ledger: they are asked anew.
    asked = calls_of(tmp_path)
    maker.compare(a_job(tmp_path), labels=labels(tmp_path, few[:30]), methods=["votes", "single"])
    assert calls_of(tmp_path) > asked


def test_other_runs_in_between_change_nothing(tmp_path: Path) -> None:
    """What was asked is found behind more runs than a listing reads at a time."""
    file, made = labels(tmp_path, drawn(20)), a_job(tmp_path)
    maker.compare(made, labels=file, methods=["votes", "single"])
    for seed in range(PAGE + 1):
        maker.run(made, [f"run.seed={seed}", f"task.chosen={packed([0])}", "task.output="])
    asked = calls_of(tmp_path)
    maker.compare(made, labels=file, methods=["votes", "single"])
    assert calls_of(tmp_path) == asked


def test_an_interrupt_keeps_what_was_asked(tmp_path: Path) -> None:
    """The run is paused, and the same call goes on with it."""
    stop, made = threading.Event(), a_job(tmp_path, store={"durability": "strict"})

    def on_event(event: object) -> None:
        if isinstance(event, RunStarted):
            stop.set()

    file = labels(tmp_path, drawn(LABELS))
    with pytest.raises(PilotPaused, match="comparison of map, is paused"):
        maker.compare(made, labels=file, stop=stop, on_event=on_event)
    begun = {one.run_id for one in runs(store=f"sqlite:///{tmp_path}/maker.db")}
    found = maker.compare(made, labels=file)
    assert begun <= {run for score in found.scores for run in score.runs}
    assert len(runs(store=f"sqlite:///{tmp_path}/maker.db")) <= len(begun) + 1


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    """A row that is asked for its samples alone, or that votes leave open, is done with: the bar is full at the end."""
    done, runs_, expected = 0, 0, 0

    def on_event(event: object) -> None:
        nonlocal done, runs_, expected
        if isinstance(event, RunStarted):
            runs_, expected = runs_ + 1, expected + (event.expected_steps or 0)
        elif isinstance(event, StepsDecided | StepsAsked):
            done += event.steps

    found = maker.compare(a_job(tmp_path), labels=labels(tmp_path, drawn(LABELS)), on_event=on_event)
    assert by_name(found)["votes"].decided < LABELS
    assert runs_ == 2
    assert done == expected > LABELS


def test_limits_hold_for_all_runs_together(tmp_path: Path) -> None:
    """A comparison pauses at the job's limit, and goes on with a higher one where it was."""
    file = labels(tmp_path, drawn(LABELS))
    whole = maker.compare(a_job(tmp_path), labels=file)
    votes = by_name(whole)["votes"].spent.calls
    (tmp_path / "other").mkdir()
    limited = a_job(tmp_path, store={"url": f"sqlite:///{tmp_path}/other/maker.db"})
    with pytest.raises(PilotPaused, match="max_calls"):
        maker.compare(limited, [f"limits.max_calls={votes + 5}"], labels=file)
    assert calls_of(tmp_path / "other") <= votes + 5
    assert maker.compare(limited, ["limits.max_calls=100000"], labels=file).to_json() | {"methods": 0} == (
        whole.to_json() | {"methods": 0}
    )


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Answer rightly at temperature 0 but for every fifth item, and by chance at others; two items are never right."""

    def answer(body: Mapping[str, Any]) -> tuple[int, Any]:
        found = re.search(r"item (\d+)", body["prompt"])
        number = int(found[1]) if found else 0
        rng = random.Random(f"{body.get('seed')} {number}")

        def reply() -> str:
            right = number % 5 > 0 if body["temperature"] == 0 else rng.random() < 0.6
            return json.dumps({"label": label(number if right else number + 1), "why": ""})

        return 200, completion([reply() for _ in range(body.get("n", 1))])

    with FakeServer(answer) as found:
        yield found


def hosted(server: FakeServer, **more: Any) -> dict[str, Any]:
    return {"kind": "openai", "url": server.url, "name": "m", "chat": False, "temperature": 1.0} | more


def test_one_greedy_call_is_what_votes_are_held_against(tmp_path: Path, server: FakeServer) -> None:
    """It is asked once a row, at temperature 0, and metered by the ledger, in money too."""
    priced = hosted(server, prompt_price=1.0, completion_price=2.0, max_n=8)
    rows = drawn(LABELS)
    made = a_job(tmp_path) | {"model": priced}
    found = maker.compare(made, labels=labels(tmp_path, rows))
    scores = by_name(found)
    greedy = scores["greedy"]
    assert greedy.against is None
    assert greedy.right == sum(row % 5 > 0 for row in rows)
    [run] = [one for one in runs(store=f"sqlite:///{tmp_path}/maker.db") if one.run_id in greedy.runs]
    assert (greedy.spent.calls, greedy.spent.prompt_tokens) == (LABELS, 7 * LABELS)
    assert (greedy.spent.completion_tokens, greedy.spent.cost) == (run.completion_tokens, run.cost)
    cold = [one.body for one in server.requests if one.body["temperature"] == 0]
    assert len(cold) == LABELS
    assert all(one.get("n", 1) == 1 for one in cold)
    assert scores["single"].spent.prompt_tokens == greedy.spent.prompt_tokens
    votes, majority = scores["votes"].spent, scores["self-consistency"].spent
    assert majority.requests == -(-majority.calls // LABELS // 8) * LABELS
    assert majority.cost == pytest.approx((majority.prompt_tokens + 2 * majority.completion_tokens) / 1e6)
    assert abs(majority.tokens - votes.tokens) <= majority.completion_tokens / majority.calls * LABELS
    assert votes.cost is not None
    assert greedy.spent.cost is not None
    assert f"is better than the votes (k = 2), at {greedy.spent.cost / votes.cost:.0%} of their price" in (
        found.advice.text
    )


def test_what_is_not_named_is_not_asked(tmp_path: Path, server: FakeServer) -> None:
    """Without the greedy call a sample of the votes stands in for it, and nothing else is asked."""
    made = a_job(tmp_path) | {"model": hosted(server)}
    found = maker.compare(made, labels=labels(tmp_path, drawn(LABELS)), methods=["votes", "single"])
    assert not [one for one in server.requests if one.body["temperature"] == 0]
    assert by_name(found)["single"].spent.prompt_tokens == 7 * LABELS
    assert sum(one.body.get("n", 1) for one in server.requests) == by_name(found)["votes"].spent.calls


def test_a_model_that_takes_no_temperature_of_0(tmp_path: Path) -> None:
    """One sample at the job's own stands in for the greedy call."""

    def answer(body: Mapping[str, Any]) -> tuple[int, Any]:
        if body["temperature"] == 0:
            return 400, {"error": {"message": "temperature must be above 0", "param": "temperature"}}
        return 200, completion([json.dumps({"label": "red", "why": ""})] * body.get("n", 1))

    with FakeServer(answer) as refusing:
        made = a_job(tmp_path) | {"model": hosted(refusing)}
        found = maker.compare(made, labels=labels(tmp_path, drawn(LABELS)), worth=0.1)
    assert list(by_name(found)) == ["single", "self-consistency", "votes"]
    assert by_name(found)["single"].against is None
    assert found.advice.verdict == Verdict.CALL
    assert "one sample a row is as good as the votes (k = 2), at" in found.advice.text


def test_a_pool_beside_its_members(tmp_path: Path) -> None:
    """Each member is asked alone, with seeds of its own; rows that none is right on bound what any vote can do."""
    members = {"small": {"kind": "simulated", "p": 0.6}, "large": {"kind": "simulated", "p": 0.8}}
    pool = {"kind": "pool", "members": members}
    rows = drawn(LABELS)
    found = maker.compare(a_job(tmp_path) | {"model": pool}, labels=labels(tmp_path, rows))
    assert [(one.method, one.about) for one in found.scores] == [
        ("members", "small"), ("members", "large"), ("votes", "pool votes (k = 2)"),
    ]  # fmt: skip
    store = f"sqlite:///{tmp_path}/maker.db"
    alone = []
    for score in found.scores[:2]:
        assert score.spent.calls == LABELS
        [run] = score.runs
        right = {one.id for one in results(run, store=store) if is_right(one.answer, int(one.id[4:]))}
        assert score.right == len(right)
        alone.append(right)
    assert found.pool is not None
    assert found.pool.all_wrong.found == LABELS - len(alone[0] | alone[1]) > 0
    assert found.pool.votes is not None
    # With equal seeds the smaller one would err wherever the larger one does.
    assert alone[1] - alone[0]
    assert alone[0] - alone[1]
    text = "\n".join(lines(found))
    assert "No vote, router or judge over these answers is right on more than" in text
    assert "independent ones" in text


NO_LABELS: dict[str, tuple[list[tuple[str, str]], str]] = {
    "no such row": ([("row-999", "red")], "the job's input has no row with this id"),
    "contradicting": ([("row-3", "red"), ("row-3", "blue")], "is that of row"),
    "no such answer": ([("row-3", "purple")], "against the schema"),
    "blank": ([("row-3", ""), ("row-4", " ")], "the answers are blank"),
    "too few": ([(f"row-{row}", label(row)) for row in (3, 90, 17, 200, 44)], "so few show nothing"),
    "the first rows": ([(f"row-{row}", label(row)) for row in range(60)], "a sample by order shows nothing"),
}


@pytest.mark.parametrize("name", NO_LABELS)
def test_labels_that_will_not_do(tmp_path: Path, name: str) -> None:
    """They are refused before anything is asked."""
    given, said = NO_LABELS[name]
    file = write(tmp_path / "labels.csv", [("id", "label"), *given])
    with pytest.raises(BadInput, match=re.escape(said)):
        maker.compare(a_job(tmp_path), labels=file)
    assert not (tmp_path / "maker.db").exists()


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    """A task without rows, money without prices, methods and a worth that are none."""
    file = labels(tmp_path, drawn(LABELS))
    hanoi = {"task": {"decomposer": "hanoi", "disks": 3}, "model": {"kind": "simulated"}, "vote": {"k": 2}}
    with pytest.raises(BadInput, match="hanoi is not one"):
        maker.compare(hanoi, labels=file)
    with pytest.raises(JobError, match="max_cost needs prices"):
        maker.compare(a_job(tmp_path), ["limits.max_cost=1"], labels=file)
    with pytest.raises(BadInput, match="there is no method 'greed'"):
        maker.compare(a_job(tmp_path), labels=file, methods=["greed"])
    for methods in (["votes"], ["greedy", "self-consistency"], ["votes", "self-consistency"]):
        with pytest.raises(BadInput, match="leaves nothing to compare"):
            maker.compare(a_job(tmp_path), labels=file, methods=methods)
    for worth in (0.0, 1.0, float("nan")):
        with pytest.raises(BadInput, match="is not between 0 and 1"):
            maker.compare(a_job(tmp_path), labels=file, worth=worth)
    assert not (tmp_path / "maker.db").exists()


def test_columns_and_order_are_as_for_other_labels(tmp_path: Path) -> None:
    """Columns can be named, and rows in random order may be labelled from the first on."""
    file = write(tmp_path / "labels.csv", [("number", "colour"), *((f"row-{n}", label(n)) for n in range(60))])
    found = maker.compare(a_job(tmp_path), labels=LabelFile(file, "number", "colour"), shuffled=True)
    assert (found.rows, found.of) == (60, ROWS)


def test_the_command_says_what_it_costs_and_the_plan_quotes_it(tmp_path: Path) -> None:
    """A dry run asks nothing; the table has 80 columns; the plan of the same task and model repeats the advice."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    file = labels(tmp_path, drawn(LABELS))
    made = tmp_path / "job.toml"
    made.write_text(toml(tmp_path), encoding="utf-8")
    words = ["compare", str(made), "--labels", str(file)]
    dry = CliRunner().invoke(app, [*words, "--dry-run"])
    assert (dry.exit_code, dry.stdout) == (0, "")
    assert f"{LABELS} labelled rows: at least {4 * LABELS} calls" not in dry.stderr
    assert f"{LABELS} labelled rows: at least {2 * LABELS} calls" in dry.stderr
    assert not (tmp_path / "maker.db").exists()
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    *tables, advice = done.stdout.splitlines()
    assert max(map(len, tables)) <= 80
    assert advice.startswith(("Vote", "Ask once", "Not settled"))
    as_json = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert as_json["advice"]["text"] == advice
    assert {len(one) for one in as_json["methods"]} == {len(as_json["methods"][0])}
    assert not any(isinstance(value, dict) for one in as_json["methods"] for value in one.values())
    plan = CliRunner().invoke(app, ["plan", str(made)])
    assert advice in plan.stdout
    assert f"by {LABELS} labelled rows" in plan.stdout
    run = maker.run(made)
    assert any(advice in one for one in maker.report(run.run_id, store=f"sqlite:///{tmp_path}/maker.db").truth)
    assert newest_comparison(load_job(made, ["vote.k=5"])) is not None
    assert newest_comparison(load_job(made, ["model.p=0.5"])) is None


def toml(folder: Path) -> str:
    """Return a job file over the rows of a folder."""
    schema = '{type = "object", properties = {label = {enum = ["red", "green", "blue"]}, why = {type = "string"}}}'
    return f"""
[task]
decomposer = "map"
truth = "row_tasks:truth"
input = "{folder}/rows.csv"
template = "What colour is {{{{text}}}}?"
schema = {schema}
fields = {{why = "carry"}}
id_column = "id"
[model]
kind = "simulated"
p = 0.75
[vote]
k = 2
[store]
url = "sqlite:///{folder}/maker.db"
"""


def plain(only_votes: int, only_call: int, times: float = 3.0, about: str = "one greedy call") -> PlainCall:
    return PlainCall(about, only_votes, only_call, times, "tokens")


def test_advice_says_no_more_than_the_interval() -> None:
    """Better, as good, worse, better by too little, and open; each by the ends of the interval."""
    labelled = Labelled(600, 5000, 0.03, 0.95)
    better = advise("votes", [plain(60, 20)], labelled)
    assert better.verdict == Verdict.VOTE
    assert re.match(r"Vote: the votes are right on \d+\.\d to \d+\.\d points more of the rows than one", better.text)
    as_good = advise("votes", [plain(35, 41)], labelled)
    assert as_good.verdict == Verdict.CALL
    assert "one greedy call a row is as good as the votes, at 33% of their tokens" in as_good.text
    assert "-5.3 to +2.7 points" in as_good.text
    worse = advise("votes", [plain(20, 60)], labelled)
    assert worse.verdict == Verdict.CALL
    assert "is better than the votes" in worse.text
    assert "points fewer of the rows than one greedy call (95 %)." in worse.text
    slight = advise("votes", [plain(9, 0)], labelled._replace(worth=0.05))
    assert slight.verdict == Verdict.CALL
    assert "will do beside the votes" in slight.text
    open_ = advise("votes", [plain(35, 41)], labelled._replace(worth=0.02))
    assert open_.verdict == Verdict.OPEN
    assert open_.labels is not None
    assert 600 < open_.labels < 1200
    assert f"About {open_.labels:,} labels would settle it" in open_.text
    assert "there are 620 rows" in advise("votes", [plain(35, 41)], labelled._replace(worth=0.02, of=620)).text


def test_a_pool_is_to_be_better_than_each_member() -> None:
    """One member that is as good is enough, at a part of the risk; one that is not shown to be worse leaves it open."""
    labelled = Labelled(600, 5000, 0.03, 0.95)
    far, near = plain(90, 20, about="one call of a"), plain(35, 41, 2.0, about="one call of b")
    assert advise("pool votes", [far, far], labelled).verdict == Verdict.VOTE
    both = advise("pool votes", [far, near], labelled)
    assert both.verdict == Verdict.OPEN
    assert "one call of b" in both.text
    # 31 and 45 of 600: at the half of the risk the interval still ends below 3 points.
    shown = advise("pool votes", [far, plain(31, 45, 2.0, about="one call of b")], labelled)
    assert shown.verdict == Verdict.CALL
    assert "97.5 %" in shown.text


def test_the_first_of_equally_frequent_answers_wins() -> None:
    """Flagged samples are for none."""
    assert most_frequent([Drawn(None, 1), Drawn("b", 1), Drawn("a", 1)]) == "b"
    assert most_frequent([Drawn("b", 1), Drawn("a", 1), Drawn("a", 1)]) == "a"
    assert most_frequent([Drawn(None, 1)]) is None
    assert most_frequent([]) is None
