"""Values nested deeper than can be read everywhere are refused where they come in, and only there."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import maker
from decomposers.function import Ask, Done, Question, ask, questions, task
from maker.inputs.nesting import DEEPEST, too_deep, written_too_deep
from maker.lifecycle.rows import results
from maker.plugin import PydanticCodec, TooDeep, Truth


def nested(depth: int) -> str:
    """Return a number within so many lists, as JSON."""
    return "[" * depth + "1" + "]" * depth


def truth(prompt: str) -> Truth:
    """Return the same answer to every row."""
    return Truth(("yes",), ("no",))


deep = questions("deep", [Question("any", "Say {what}.", Any, max_tokens=4000)])


@deep.oracle
def _deep(prompt: str) -> Truth:
    return Truth(("7",), tuple(nested(depth) for depth in (DEEPEST + 1, 250, 260, 900, 100_000)))


@task(state=int, action=int)
def ending(state: int) -> Ask | Done:
    """End with a result that is nested as deep as the job says."""
    return Done(json.loads(nested(-state))) if state < 0 else ask("How deep? ", parse=int)


@ending.start
def _start(depth: int) -> int:
    return depth


@ending.apply
def _apply(state: int, action: int) -> int:
    return -state


@ending.oracle
def _ending(prompt: str) -> Truth:
    return Truth(("1",), ("2",))


def job(folder: Path, decomposer: str, **task_table: Any) -> dict[str, Any]:
    """Return a job of a simulated model, which is often wrong where there is something wrong to say."""
    return {
        "task": {"decomposer": decomposer, **task_table},
        "model": {"kind": "simulated", "p": 0.6, "rivals": 3},
        "vote": {"k": 2},
        "store": {"url": f"sqlite:///{folder}/runs.db", "samples": "all"},
    }


def verified_deep_down(run_id: str, store: str, frames: int = 300) -> bool:
    """Return whether a run verifies, with so many frames on the stack more than here."""
    return verified_deep_down(run_id, store, frames - 1) if frames else maker.verify(run_id, store=store).right


@pytest.mark.parametrize("depth", [0, 1, DEEPEST - 1, DEEPEST])
def test_what_is_within_the_bound_is_fine(depth: int) -> None:
    """So is anything wide; tuples count as lists."""
    assert not too_deep(json.loads(nested(depth)))
    assert not too_deep([[n] for n in range(1000)])
    assert too_deep((json.loads(nested(DEEPEST)),)) == f"nested more than {DEEPEST} deep"


@pytest.mark.parametrize(
    ("text", "start", "deep"),
    [
        ("[" * DEEPEST + "]" * DEEPEST, 0, False),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), 0, True),
        ('{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1), 0, True),
        ("[" * 100_000, 0, True),
        (json.dumps(["[" * 1000, "\\", "{" * 1000, '"' + "[" * 1000]), 0, False),
        ("[" * 1000 + "[1]", 1000, False),
        ("[1]" + "[" * 1000, 0, False),
        (json.dumps([[n] for n in range(1000)]), 0, False),
        ('["' + "[" * 1000 + "\\", 0, False),
    ],
    ids=["deepest", "lists", "objects", "open", "texts", "before", "behind", "wide", "broken off"],
)
def test_depth_is_seen_before_a_text_is_decoded(text: str, start: int, deep: bool) -> None:
    """Brackets in texts do not nest, nor do those behind the value; a text that breaks off is no exception."""
    assert written_too_deep(text, start) == deep


def test_depth_is_seen_in_linear_time() -> None:
    """A text whose quotes are all escaped, and which never closes, is looked through once."""
    began = time.perf_counter()
    assert not written_too_deep("[" + '"' + '\\"' * 1_000_000 + "[" * 1000)
    many = '{"a": [1]}' * 20_000
    assert not any(written_too_deep(many, start) for start in range(0, len(many), 10))
    assert time.perf_counter() - began < 5


def test_rows_that_are_nested_too_deep_fail_alone_and_the_run_verifies(tmp_path: Path) -> None:
    """Also where verify stands on a stack of its own height."""
    depths = [1, DEEPEST - 1, DEEPEST, 600, 880, 940, 990, 2000]
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"t": {nested(depth)}}}\n' for depth in depths))
    run = maker.run(
        job(tmp_path, "map", input=str(tmp_path / "rows.jsonl"), template="{{t}}?", truth="test_deep_values:truth")
    )
    store = f"sqlite:///{tmp_path}/runs.db"
    outcomes = [row.outcome for row in results(run.run_id, store=store)]
    assert outcomes == ["decided"] * 2 + ["failed"] * 6
    assert verified_deep_down(run.run_id, store)
    verdicts: list[bool] = []
    thread = threading.Thread(target=lambda: verdicts.append(maker.verify(run.run_id, store=store).right))
    thread.start()
    thread.join()
    assert verdicts == [True]


def test_a_codec_writes_what_it_reads_again() -> None:
    """What pydantic would write and not read is refused."""
    codec: PydanticCodec[Any] = PydanticCodec(Any)
    value = json.loads(nested(DEEPEST))
    assert codec.read(codec.write(value)) == value
    for depth in (DEEPEST + 1, 250, 300, 900):
        with pytest.raises(TooDeep, match=f"nested more than {DEEPEST} deep"):
            codec.write(json.loads(nested(depth)))


def test_an_answer_that_is_nested_too_deep_gets_no_vote(tmp_path: Path) -> None:
    """The step goes on without it, and the run can be read again."""
    run = maker.run(job(tmp_path, "test_deep_values:deep", what="a number"))
    assert (run.status, run.result) == ("done", {"any": 7})
    assert run.red_flags > 0
    assert maker.verify(run.run_id, store=f"sqlite:///{tmp_path}/runs.db").right


def test_a_result_that_is_nested_too_deep_stops_its_chain(tmp_path: Path) -> None:
    """And says so; one within the bound is kept, and verifies."""
    store = f"sqlite:///{tmp_path}/runs.db"
    run = maker.run(job(tmp_path, "test_deep_values:ending", depth=DEEPEST - 1))
    assert run.status == "done"
    assert verified_deep_down(run.run_id, store)
    run = maker.run(job(tmp_path, "test_deep_values:ending", depth=900))
    assert run.status == "paused"
    assert f"is done with a result nested more than {DEEPEST} deep" in run.reason
