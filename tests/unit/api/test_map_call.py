"""`maker.map`: from rows to rows with answers, with what is asked once asked never again."""

from __future__ import annotations

import asyncio
import csv
import datetime
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest
from pydantic import BaseModel, Field, field_validator

import maker
from maker.errors import BadInput, JobError, MakerError, RunIdTaken, TaskFailed
from maker.plugin import Truth
from maker.testing import FakeServer, chat_completion

ROOT = Path(__file__).parents[3]
SURE = maker.simulated(p=0.95)
ROWS = [{"id": i, "text": f"row {i}"} for i in range(8)]


class Colour(Enum):
    """One of some choices."""

    RED = "red"
    BLUE = "blue"


class Mood(BaseModel):
    """An answer of several fields."""

    mood: Literal["glad", "sad"]
    score: int = Field(ge=0, le=9)
    why: str | None = None


class Checked(BaseModel):
    """A model that checks itself in Python."""

    n: int

    @field_validator("n")
    @classmethod
    def _even(cls, n: int) -> int:
        return n


class Uncallable(BaseModel):
    """A model that no JSON schema can say."""

    call: Callable[[], int]


def truth(prompt: str) -> Truth:
    """Say what is right."""
    return Truth(["yes"], ["no"])


def question(row: Mapping[str, Any]) -> str:
    """Make a prompt of a row."""
    return f"Is {row['text']} a row, on {row.get('day')}?"


@contextmanager
def answering(reply: Callable[[str], str] = lambda prompt: "yes") -> Iterator[tuple[Any, list[str]]]:
    """Give a model behind a real server, and the prompts that it was sent."""
    asked: list[str] = []

    def script(body: Any) -> Any:
        prompt = body["messages"][-1]["content"]
        asked.append(prompt)
        return 200, chat_completion([reply(prompt)] * body.get("n", 1))

    with FakeServer(script) as server:
        yield maker.openai(url=server.url, name="m", prompt_price=1.0, completion_price=2.0), asked


# From a table to a table.


def test_a_frame_of_pandas_keeps_its_index_and_its_types(store: str) -> None:
    """With columns beside them that say how each row was decided."""
    frame = pandas.DataFrame(
        {
            "text": ["a", "b", "c"],
            "day": pandas.to_datetime(["2026-01-02"] * 3),
            "kind": pandas.Categorical(list("xyx")),
        },
        index=[5, 7, 5],
    )
    found = maker.map(frame, "Is {{text}} of {{day}}?", bool, model=SURE, truth=truth, store=store)
    table = found.to_pandas()
    pandas.testing.assert_frame_equal(table[["text", "day", "kind"]], frame)
    assert table["answer"].tolist() == [True] * 3
    assert {name: str(table[name].dtype) for name in found.columns[3:]} == {
        "answer": "boolean", "_outcome": "string", "_margin": "Int64", "_votes": "Int64", "_cost": "Float64"
    }  # fmt: skip
    assert (table["_margin"] >= 3).all() and (table["_votes"] >= 3).all()
    assert "answer" not in frame


def test_polars_and_arrow_come_back_as_they_were_given(store: str) -> None:
    """And each as the other."""
    frame = polars.DataFrame({"text": ["a", None], "price": [Decimal("1.50"), None]})
    found = maker.map(frame, "Is {{text}} {{price}}?", bool, model=SURE, truth=truth, store=store)
    assert found.to_polars().select("text", "price").equals(frame)
    assert found.to_arrow().schema.field("price").type == pyarrow.decimal128(38, 2)
    table = pyarrow.table({"text": ["a"], "blob": [b"\xff"]})
    of_arrow = maker.map(table, "Is {{text}}?", bool, model=SURE, truth=truth, store=store)
    assert of_arrow.to_arrow().column("blob").to_pylist() == [b"\xff"]
    assert of_arrow.to_polars()["answer"].to_list() == of_arrow.to_pandas()["answer"].tolist() == [True]


@pytest.mark.parametrize(
    ("answer", "reply", "value"),
    [
        (str, " Blue. ", "Blue."),
        (int, "I count.\n-3", -3),
        (bool, "No.", False),
        (Colour, "RED", "red"),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], "2", 2),
        ({"type": "integer"}, "4", 4),
        ({"enum": ["x", "y"]}, "Y", "y"),
    ],
)
def test_short_answers(store: str, answer: Any, reply: str, value: Any) -> None:
    """The reply's last line, by a real server."""
    with answering(lambda prompt: reply) as (model, asked):
        found = maker.map(ROWS[:2], "What is {{text}}?", answer, model=model, k=2, store=store)
    assert [row["answer"] for row in found] == [value] * 2
    assert sorted(set(asked)) == ["What is row 0?", "What is row 1?"]


def test_a_model_fills_a_column_a_field(store: str) -> None:
    """Carried fields too; a field that is not there is empty."""
    with answering(lambda prompt: '{"mood": "glad", "score": 3}') as (model, _):
        found = maker.map(
            ROWS[:1], "Mood of {{text}}?", Mood, model=model, k=2, store=store, fields={"why": "carry"}
        )  # fmt: skip
    (row,) = found
    assert row["mood"] == "glad"
    assert (row["score"], row["why"]) == (3, None)
    assert str(found.to_pandas()["score"].dtype) == "Int64"


def test_money_is_what_the_tokens_cost(store: str) -> None:
    """The rows' costs add up to the run's where every row is decided."""
    with answering() as (model, _):
        found = maker.map(ROWS, "Is {{text}}?", bool, model=model, k=3, store=store)
    assert found.cost == pytest.approx(found.report.prompt_tokens / 1e6 + 2 * found.report.completion_tokens / 1e6)
    assert sum(row["_cost"] for row in found) == pytest.approx(found.cost)
    free = maker.map(ROWS, "Is {{text}}?", bool, model=SURE, truth=truth, store=store)
    assert free.cost is None
    assert {row["_cost"] for row in free} == {None}


def test_undecided_rows_are_for_review(store: str) -> None:
    """With their candidates; their answers are empty."""
    turns = Counter[str]()

    def reply(prompt: str) -> str:
        turns[prompt] += 1
        return ("yes", "no")[turns[prompt] % 2] if "row 1" in prompt else "neither" if "row 2" in prompt else "yes"

    with answering(reply) as (model, _):
        one_by_one = model.model_copy(update={"max_n": 1})
        found = maker.map(ROWS[:3], "Is {{text}}?", bool, model=one_by_one, k=3, max_votes=10, store=store)
    assert [row["_outcome"] for row in found] == ["decided", "undecided", "rejected"]
    assert [row["answer"] for row in found] == [True, None, None]
    undecided, rejected = found.review
    assert (undecided.row, undecided.outcome, undecided.values) == (1, "undecided", ROWS[1])
    assert sum(undecided.candidates.values()) >= 9
    assert "neither" in next(iter(rejected.flagged))


def test_files_are_rows_too(tmp_path: Path, store: str) -> None:
    """Values of CSV stay the texts that they are; a row that cannot be read fails alone."""
    (tmp_path / "rows.csv").write_text("year,text\n2026,a\n0017,b\n")
    found = maker.map(tmp_path / "rows.csv", "{{year}} {{text}}?", bool, model=SURE, truth=truth, store=store)
    assert [row["year"] for row in found] == ["2026", "0017"]
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\nno\n{"other": 1}\n')
    found = maker.map(str(tmp_path / "*.jsonl"), "{{text}}?", bool, model=SURE, truth=truth, store=store)
    assert [row["_outcome"] for row in found] == ["decided", "failed", "failed"]
    assert ["is not JSON" in one.reason or "no column 'text'" in one.reason for one in found.review] == [True, True]
    found.to_csv(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[2] == ",,,failed,0,0,"


def test_what_a_prompt_shows_of_a_value(store: str) -> None:
    """A price in plain digits, a time in ISO 8601, what is missing as nothing."""
    rows = [
        {
            "nan": float("nan"), "none": None, "nat": pandas.NaT, "na": pandas.NA, "price": 2.617e-07,
            "money": Decimal("1E+3"), "day": datetime.date(2026, 1, 2), "n": pandas.Series([7])[0], "flag": True,
            "colour": Colour.RED,
        }
    ]  # fmt: skip
    template = "x{{nan}}{{none}}{{nat}}{{na}} {{price}} {{money}} {{day}} {{n}} {{flag}} {{colour}}"
    with answering() as (model, asked):
        maker.map(rows, template, bool, model=model, k=1, store=store)
    assert asked[0] == "x 0.0000002617 1000 2026-01-02 7 true red"


def test_a_cell_of_a_megabyte_goes_through(store: str) -> None:
    """As far as the model takes it."""
    with answering(lambda prompt: str(len(prompt))) as (model, _):
        (row,) = maker.map([{"text": "ä" * 1_000_000}], "{{text}}", int, model=model, k=1, store=store)
    assert row["answer"] == 1_000_000


# Called again.


def test_the_same_call_asks_nothing(store: str) -> None:
    """Not even where the table has got a column more."""
    with answering() as (model, asked):
        first = maker.map(ROWS, "Is {{text}}?", bool, model=model, name="rows", store=store)
        before = len(asked)
        more = [{**row, "more": 1} for row in ROWS]
        again = maker.map(more, "Is {{text}}?", bool, model=model, name="rows", store=store)
    assert len(asked) == before
    assert again.report.digest == first.report.digest
    assert [row["answer"] for row in again] == [True] * 8
    assert again.to_dicts()[0]["more"] == 1


def test_rows_that_are_new_are_asked_and_no_others(store: str) -> None:
    """Wherever they stand; and answers stay with their rows in whatever order these come."""
    with answering(lambda prompt: prompt.split()[-1].strip("?")) as (model, asked):
        maker.map(ROWS[:4], "Number of {{text}}?", int, model=model, name="rows", store=store)
        asked.clear()
        mixed = [ROWS[6], ROWS[3], ROWS[0], ROWS[5], ROWS[5]]
        found = maker.map(mixed, "Number of {{text}}?", int, model=model, name="rows", store=store)
        assert [row["answer"] for row in found] == [6, 3, 0, 5, 5]
        assert set(asked) == {"Number of row 6?", "Number of row 5?"}
        asked.clear()
        whole = maker.map(ROWS, "Number of {{text}}?", int, model=model, name="rows", store=store)
        assert [row["answer"] for row in whole] == list(range(8))
        assert set(asked) == {f"Number of row {i}?" for i in (4, 7)}
        assert len(maker.runs(store=store)) == 3
    assert maker.verify(whole.run_id, store=store).right
    assert whole.cost is not None and whole.cost > found.report.cost  # type: ignore[operator]


def test_a_paused_map_goes_on_with_other_limits(store: str) -> None:
    """Rows that are not settled yet are open."""
    few = maker.Limits(max_calls=6)
    paused = maker.map(ROWS, question, bool, model=SURE, truth=truth, name="rows", store=store, limits=few)
    assert paused.report.status == "paused"
    outcomes = Counter(row["_outcome"] for row in paused)
    assert outcomes["open"] >= 5 and outcomes["decided"] >= 1
    assert [one.outcome for one in paused.review] == ["open"] * outcomes["open"]
    more = [*ROWS, {"text": "more"}]
    done = maker.map(more, question, bool, model=SURE, truth=truth, name="rows", store=store)
    assert [row["answer"] for row in done] == [True] * 9


def test_a_server_may_move_and_change_its_prices(store: str) -> None:
    """Rows that are open, and rows that are new, are asked of the one that is named now."""
    with answering() as (model, _):
        few = maker.Limits(max_calls=6)
        paused = maker.map(ROWS, "Is {{text}}?", bool, model=model, k=3, name="rows", store=store, limits=few)
    assert paused.report.status == "paused"
    with answering() as (model, asked):
        dearer = model.model_copy(update={"prompt_price": 100.0})
        more = [*ROWS, {"text": "new"}]
        found = maker.map(more, "Is {{text}}?", bool, model=dearer, k=3, name="rows", store=store)
    assert [row["answer"] for row in found] == [True] * 9
    assert "Is new?" in asked
    assert found.cost is not None and found.cost > 9 * 7 * 100 / 1e6


def test_another_answer_model_or_prompt_is_refused(store: str) -> None:
    """With what to do."""
    asked = {"name": "rows", "store": store, "truth": truth}
    maker.map(ROWS, "Is {{text}}?", bool, model=SURE, **asked)  # type: ignore[arg-type]
    with pytest.raises(RunIdTaken, match=r"run rows is another job's: task.schema was .*boolean.*integer") as caught:
        maker.map(ROWS, "Is {{text}}?", int, model=SURE, **asked)  # type: ignore[arg-type]
    assert "give another name" in str(caught.value)
    with pytest.raises(RunIdTaken, match=r"model"):
        maker.map(ROWS, "Is {{text}}?", bool, model=maker.simulated(p=0.8), **asked)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="run rows has asked 8 rows: none of the 8 given now is asked what one of them"):
        maker.map(ROWS, "Was {{text}}?", bool, model=SURE, **asked)  # type: ignore[arg-type]
    assert [row["answer"] for row in maker.map(ROWS, "Is {{text}}?", bool, model=SURE, **asked)] == [True] * 8  # type: ignore[arg-type]


def test_a_run_that_came_to_nothing_is_begun_anew_with_other_settings(store: str) -> None:
    """The first server refuses what the call sets; the corrected call needs no other name."""
    asked = {"name": "rows", "store": store}
    with (
        FakeServer(lambda body: (400, {"error": {"message": "no such model"}})) as refusing,
        pytest.raises(MakerError, match="no such model"),
    ):
        maker.map(ROWS, "Is {{text}}?", bool, model=maker.openai(url=refusing.url, name="typo"), **asked)  # type: ignore[arg-type]
    with answering(lambda prompt: "4") as (model, _):
        found = maker.map(ROWS[:4], "Is {{text}}?", int, model=model, **asked)  # type: ignore[arg-type]
        assert [row["_outcome"] for row in found] == ["decided"] * 4
    assert [run.run_id for run in maker.runs(store=store)] == ["rows"]


def test_the_store_may_be_named_otherwise(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a relative path, from another folder, or by MAKER_STORE."""
    with answering() as (model, asked):
        maker.map(ROWS, "Is {{text}}?", bool, model=model, name="rows", store=store)
        asked.clear()
        monkeypatch.chdir(tmp_path)
        maker.map(ROWS, "Is {{text}}?", bool, model=model, name="rows", store="sqlite:///maker.db")
        monkeypatch.setenv("MAKER_STORE", store)
        monkeypatch.chdir("/")
        found = maker.map(ROWS, "Is {{text}}?", bool, model=model, name="rows")
        assert asked == []
    assert len(found.to_dicts()) == 8


def test_a_person_may_answer_what_votes_do_not(store: str) -> None:
    """The row waits, and then has the answer as if it were decided."""
    turns = Counter[str]()

    def reply(prompt: str) -> str:
        turns[prompt] += 1
        return ("yes", "no")[turns[prompt] % 2] if "row 1" in prompt else "yes"

    with answering(reply) as (model, _):
        one_by_one = model.model_copy(update={"max_n": 1})
        asked: dict[str, Any] = {"model": one_by_one, "max_votes": 10, "on_undecided": "ask", "name": "rows"}
        waiting = maker.map(ROWS[:3], "Is {{text}}?", bool, store=store, **asked)
        assert [row["_outcome"] for row in waiting] == ["decided", "open", "decided"]
        (wait,) = maker.waits("rows", store=store)
        maker.answer("rows", wait.name, "no", by="ann", store=store)
        found = maker.map(ROWS[:3], "Is {{text}}?", bool, store=store, **asked)
    assert [row["_outcome"] for row in found] == ["decided", "answered", "decided"]
    assert [row["answer"] for row in found] == [True, False, True]
    assert found.review == []


def test_a_name_that_another_run_has(store: str) -> None:
    """Of another task it is refused; of a run that was cancelled, for new rows."""
    maker.run({"task": {"decomposer": "hanoi", "disks": 3}, "model": SURE, "store": {"url": store}}, run_id="towers")
    with pytest.raises(RunIdTaken, match=r"run towers is another job's: it was not begun by maker.map"):
        maker.map(ROWS, "Is {{text}}?", bool, model=SURE, truth=truth, name="towers", store=store)
    few = maker.Limits(max_calls=6)
    asked: dict[str, Any] = {"name": "rows", "store": store, "truth": truth, "model": SURE}
    maker.map(ROWS, "Is {{text}}?", bool, limits=few, **asked)
    maker.cancel("rows", store=store)
    with pytest.raises(MakerError, match=r"(?s)run rows is cancelled already.*give another name"):
        maker.map([*ROWS, {"text": "new"}], "Is {{text}}?", bool, **asked)
    assert {row["_outcome"] for row in maker.map(ROWS, "Is {{text}}?", bool, **asked)} == {"decided", "open"}


def test_a_retry_with_another_model_is_gone_on_with(store: str) -> None:
    """Its answers are the rows'; new rows are asked as it was."""
    asked: dict[str, Any] = {"name": "rows", "store": store, "truth": truth}
    weak = maker.simulated(p=0.0, malformed=0.9)
    first = maker.map(ROWS, "Is {{text}}?", bool, model=weak, k=2, max_votes=8, **asked)
    missing = [one.row for one in first.review]
    assert missing
    maker.retry("rows", ["model.p=1", "model.malformed=0"], outcomes=["undecided", "rejected"], store=store)
    found = maker.map([*ROWS, {"text": "new"}], "Is {{text}}?", bool, model=weak, k=2, max_votes=8, **asked)
    assert [found.to_dicts()[row]["answer"] for row in [*missing, 8]] == [True] * (len(missing) + 1)
    assert found.review == []


def test_rows_that_a_person_has_decided_are_not_asked_again(store: str) -> None:
    """They have the person's answer and an outcome of their own, also when the call is given again with more rows."""
    weak = maker.simulated(p=0.5, malformed=0.5)
    asked: dict[str, Any] = {"name": "rows", "store": store, "truth": truth, "model": weak, "k": 3, "max_votes": 4}
    first = maker.map(ROWS, "Is {{text}}?", bool, **asked)
    missing = [one.row for one in first.review]
    assert len(missing) > 1
    item = next(maker.review("rows", store=store))
    maker.answer("rows", item.at, "=no", by="ann", store=store)
    calls = first.report.calls
    for found in (first, maker.map(ROWS, "Is {{text}}?", bool, **asked)):
        row = found.to_dicts()[missing[0]]
        assert (row["answer"], row["_outcome"], row["_margin"]) == (False, "reviewed", 0)
        assert [one.row for one in found.review] == missing[1:]
        assert maker.show(found.run_id, store=store).calls == calls
    more = maker.map([*ROWS, {"text": "new"}], "Is {{text}}?", bool, **asked)
    assert more.run_id != first.run_id
    assert more.to_dicts()[missing[0]]["_outcome"] == "reviewed"
    assert more.report.settings["task"]["reviewed"] == [[missing[0], missing[0] + 1]]
    again = maker.retry("rows", ["model.p=1", "model.malformed=0"], outcomes=["undecided", "rejected"], store=store)
    assert again.steps == len(missing) - 1


PROGRAM = """
import sys
import maker

model = maker.openai(url=sys.argv[1], name="m", concurrency=2)
rows = [{"text": f"row {i}"} for i in range(int(sys.argv[2]))]
found = maker.map(rows, lambda row: "Is " + row["text"] + "?", bool, model=model, k=2, name="rows")
print([row["answer"] for row in found].count(True), found.report.status)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_called_again_asks_nothing_twice(tmp_path: Path, sign: signal.Signals) -> None:
    """What was decided when the process died is not asked again, and no row is lost."""
    asked: list[str] = []
    store = f"sqlite:///{tmp_path}/maker.db"

    def script(body: Any) -> Any:
        asked.append(body["messages"][-1]["content"])
        time.sleep(0.005)
        return 200, chat_completion(["yes"] * body["n"])

    with FakeServer(script) as server:
        command = [sys.executable, "-c", PROGRAM, server.url, "200"]
        with subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + 60
            while len(asked) < 60 and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(sign)
            process.communicate()
        decided = {f"Is row {one.row}?" for one in maker.results("rows", store=store)}
        assert 0 < len(decided) < 200
        asked.clear()
        done = subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
        )
    assert done.stdout == "200 done\n"
    assert not decided & set(asked)


def test_a_call_that_died_before_its_rows_were_used_leaves_nothing(tmp_path: Path, store: str) -> None:
    """Neither rows of a first call nor of a later one."""
    maker.map(ROWS[:2], "Is {{text}}?", bool, model=SURE, truth=truth, name="rows", store=store)
    folder = tmp_path / "maker-rows" / "maker.db" / "rows"
    (folder / "rows-000000000002.jsonl").write_text('{"_prompt": "Is row 9?"}\n')
    (folder / "rows-000000000002.jsonl.abcd.part").write_text("half")
    found = maker.map(ROWS[:3], "Is {{text}}?", bool, model=SURE, truth=truth, name="rows", store=store)
    assert len(found) == 3
    assert sorted(path.name for path in folder.iterdir()) == [f"rows-{i:012}.jsonl" for i in (0, 2)]
    assert (folder / "rows-000000000002.jsonl").read_text() == '{"_prompt": "Is row 2?"}\n'


def test_two_calls_of_one_name_at_once(tmp_path: Path, store: str) -> None:
    """The second is refused."""
    going, refused = threading.Event(), []

    def reply(prompt: str) -> str:
        if not going.is_set():
            going.set()
            try:
                maker.map(ROWS, "Is {{text}}?", bool, model=SURE, truth=truth, name="rows", store=store)
            except BadInput as error:
                refused.append(error)
        return "yes"

    with answering(reply) as (model, _):
        maker.map(ROWS, "Is {{text}}?", bool, model=model, name="rows", store=store)
    assert "another process is in a call of maker.map with the name 'rows'" in str(refused[0])


def test_an_event_loop_goes_on_meanwhile_and_cancelling_pauses(store: str) -> None:
    """`maker.map` works in it as well, and holds it up."""
    rows = [{"text": f"row {i}"} for i in range(2_000)]
    slow = maker.simulated(latency_s=0.01)

    async def work() -> None:
        blocked = maker.map(ROWS, question, bool, model=SURE, truth=truth, store=store)
        assert len(blocked) == 8
        call = asyncio.create_task(
            maker.amap(rows, question, bool, model=slow, truth=truth, name="slow", store=store, seed=1)
        )
        while not any(one.name == "slow" and one.calls for one in maker.runs(store=store)):
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert maker.show("slow", store=store).status in ("paused", "done")
        found = await maker.amap(rows, question, bool, model=slow, truth=truth, name="slow", store=store, seed=1)
        assert Counter(row["_outcome"] for row in found) == {"decided": 2_000}

    asyncio.run(work())


# What is refused, and when: before the model is asked, and before anything is stored.


@pytest.mark.parametrize(
    ("rows", "prompt", "answer", "told"),
    [
        (ROWS, "Is {{txt}}?", bool, r"the prompt names \{\{txt\}\}, and the rows have no such column.*'text'"),
        (ROWS, "Is it?", bool, "the prompt names no column"),
        (ROWS, 3, bool, "prompt is a int"),
        (ROWS, lambda row: 3, bool, "row 0: prompt returned 3"),
        (ROWS, lambda row: row["no"], bool, "row 0: its prompt"),
        ([], "{{text}}", bool, "there are no rows"),
        (pandas.DataFrame({"text": []}), "{{text}}", bool, "there are no rows"),
        ({"text": ["a"]}, "{{text}}", bool, "rows is a dict"),
        (3, "{{text}}", bool, "rows is a int"),
        (["a"], "{{text}}", bool, "row 0 is no dict with texts as keys"),
        ([{1: "a"}], "{{text}}", bool, "row 0 is no dict with texts as keys"),
        ("nowhere.csv", "{{text}}", bool, "there is no input"),
        (pandas.DataFrame([["a", "b"]], columns=["text", "text"]), "{{text}}", bool, "text"),
        (pyarrow.table([["a"], ["b"]], names=["text", "text"]), "{{text}}", bool, "two columns are called 'text'"),
        (pandas.DataFrame({"text": ["a", 1]}), "{{text}}", bool, "cannot be read by way of Arrow"),
        (pandas.DataFrame({"text": [b"\xff"]}), "{{text}}", bool, "no row can be asked: row 0: .*holds bytes"),
        ([{"text": " "}], "{{text}}", bool, "no row can be asked: row 0: its prompt is empty"),
        ([{"text": "\ud800"}], "{{text}}", bool, "no row can be asked: row 0: its prompt is not valid Unicode"),
        (
            [{"text": "a", "answer": 1}],
            "{{text}}",
            bool,
            "the column 'answer' of the rows is one that the",
        ),
        ([{"text": "a", "_votes": 1}], "{{text}}", bool, "the column '_votes' of the rows"),
        (ROWS, "{{text}}", "bool", "answer = 'bool' is no type"),
        (ROWS, "{{text}}", None, "answer = None is no type"),
        (ROWS, "{{text}}", Uncallable, "no JSON schema says what Uncallable is"),
        (ROWS, "{{text}}", object(), "no JSON schema says what"),
        (ROWS, "{{text}}", Checked, "Checked._even is Python that no JSON schema holds"),
        (ROWS, "{{text}}", list[int], "a schema needs type"),
        (
            ROWS,
            "{{text}}",
            {"type": "object", "properties": {"_cost": {}}},
            "the answer's field '_cost' is a column that maker adds",
        ),
    ],
)
def test_bad_rows_prompts_and_answers(store: str, rows: Any, prompt: Any, answer: Any, told: str) -> None:
    """Each by its own words."""
    with pytest.raises(MakerError, match=f"(?s){told}"):
        maker.map(rows, prompt, answer, model=SURE, truth=truth, name="bad", store=store)
    assert not Path(store.removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize(
    ("keywords", "error", "told"),
    [
        ({"name": "../x"}, BadInput, "cannot be a run id"),
        ({"name": "last"}, BadInput, "cannot be a run id"),
        ({"kk": 3}, JobError, "there is no keyword 'kk'"),
        ({"k": "three"}, MakerError, "k"),
        ({"fields": {"answer": "roughly"}}, MakerError, "there is no vote 'roughly'"),
        (
            {"model": maker.openai(url="http://127.0.0.1:9/v1", name="m"), "limits": maker.Limits(max_cost=1.0)},
            JobError, "limits.max_cost needs prices",
        ),
    ],
)  # fmt: skip
def test_bad_settings(store: str, keywords: dict[str, Any], error: type[Exception], told: str) -> None:
    """As `maker.run` tells them."""
    given: dict[str, Any] = {"model": SURE, "truth": truth, "store": store} | keywords
    with pytest.raises(error, match=told):
        maker.map(ROWS, "{{text}}", bool, **given)
    assert not Path(store.removeprefix("sqlite:///")).exists()


def test_a_row_that_a_ragged_table_lacks_fails_alone(store: str) -> None:
    """The others are asked."""
    rows = [{"text": "a"}, {"other": 1}, {"text": b"\xff"}, {"text": "d"}]
    found = maker.map(rows, "{{text}}?", bool, model=SURE, truth=truth, store=store)
    assert [row["_outcome"] for row in found] == ["decided", "failed", "failed", "decided"]
    assert ["the row has no column 'text'" in one.reason or "holds bytes" in one.reason for one in found.review] == [
        True, True
    ]  # fmt: skip
    assert found.report.result == {"rows": 2, "decided": 2}


def test_a_prompt_that_raises_names_the_row(store: str) -> None:
    """It is the program's own fault: nothing is asked."""
    with pytest.raises(TaskFailed, match="row 1: its prompt"):
        maker.map([{"text": "a"}, {"text": None}], lambda row: row["text"].upper(), model=SURE, store=store)


# Files.


def test_csv_that_no_spreadsheet_runs(tmp_path: Path, store: str) -> None:
    """And prices in plain digits, numbers as numbers."""
    rows = [
        {"text": "=1+1", "price": 2.617e-07, "year": 2026},
        {"text": "+a", "price": Decimal("12.50"), "year": -5},
        {"text": "-3", "price": None, "year": True},
        {"text": '@x,"y"\nz', "price": 1e21, "year": datetime.date(2026, 1, 2)},
        {"text": b"\x00", "price": [1, {"a": Decimal(2)}], "year": "\t=1"},
    ]
    ask: Callable[[Mapping[str, Any]], str] = lambda row: f"What of {row['year']}?"  # noqa: E731
    found = maker.map(rows, ask, bool, model=SURE, truth=truth, store=store)
    found.to_csv(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        read = list(csv.reader(file))
    assert read[0] == list(found.columns)
    assert [line[:3] for line in read[1:]] == [
        ["'=1+1", "0.0000002617", "2026"],
        ["'+a", "12.50", "-5"],
        ["-3", "", "true"],
        ['\'@x,"y"\nz', "1000000000000000000000", "2026-01-02"],
        ["AA==", '[1, {"a": "2"}]', "'\t=1"],
    ]
    with pytest.raises(BadInput, match="column 'price' cannot be an Arrow column"):
        found.to_parquet(tmp_path / "out.parquet")


def test_parquet_has_the_types_of_the_table(tmp_path: Path, store: str) -> None:
    """And where a path cannot be written, that is told."""
    table = pyarrow.table({"text": ["a"], "day": [datetime.date(2026, 1, 2)], "price": [Decimal("1.50")]})
    found = maker.map(table, "{{text}}?", bool, model=SURE, truth=truth, store=store)
    found.to_parquet(tmp_path / "out.parquet")
    read = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert read.select(["text", "day", "price"]).equals(table)
    assert read.column("answer").to_pylist() == [True]
    with pytest.raises(BadInput, match="cannot be created"):
        found.to_csv(tmp_path / "nowhere" / "out.csv")


def test_without_pandas_what_to_install_is_said(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pandas nor Polars is needed."""
    found = maker.map(ROWS, "{{text}}?", bool, model=SURE, truth=truth, store=store)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BadInput, match="to_pandas needs pandas"):
        found.to_pandas()
    assert len(found.to_dicts()) == 8


def test_progress_on_a_terminal_and_none_in_a_file(tmp_path: Path, store: str) -> None:
    """A bar where somebody sees it."""
    program = (
        "import maker\nfrom maker.plugin import Truth\n"
        "def truth(prompt): return Truth(['yes'], ['no'])\n"
        "if __name__ == '__main__':\n"
        "    rows = [{'text': 'a'}] * 30\n"
        "    maker.map(rows, '{{text}}?', bool, model=maker.simulated(p=.9), truth=truth, progress=%s)\n"
    )
    for wanted, shown in ((None, False), (True, True)):
        (tmp_path / "program.py").write_text(program % wanted)
        done = subprocess.run(
            [sys.executable, "program.py"], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert ("30/30" in done.stderr) == shown, done.stderr


def test_the_command_line_sees_the_run(store: str) -> None:
    """Its rows by number, its prompts for review."""
    found = maker.map(ROWS[:2], "Is {{text}}?", bool, model=SURE, truth=truth, name="rows", store=store)
    assert [json.loads(json.dumps(one.to_json()))["answer"] for one in maker.results("rows", store=store)] == [
        {"answer": True}, {"answer": True}
    ]  # fmt: skip
    assert repr(found) == "<maker.map rows: 2 rows, done>"
