"""Mistakes that are easy to make in a workflow: each is refused, or pauses its run, with what was wrong."""

from __future__ import annotations

import asyncio
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

import maker
from maker.errors import JobError

SURE = maker.simulated(p=0.95)


class Empty(Enum):
    """Has no members."""


class Odd:
    """Is no JSON."""


async def one(run: maker.Run, number: int) -> int:
    """Return what it is given."""
    return number


def double(number: int, idempotency_key: str) -> int:
    """Be an effect."""
    return 2 * number


MISTAKES: dict[str, Any] = {
    "asyncio": lambda run: asyncio.sleep(1),
    "to_thread": lambda run: asyncio.to_thread(print),
    "wait_for": lambda run: asyncio.wait_for(run.ask("a?", truth="a"), 1),
    "gather": lambda run: asyncio.gather(run.ask("a?", truth="a"), run.ask("b?", truth="b")),
    "no_members": lambda run: run.ask("which?", Empty, truth=None),
    "no_type": lambda run: run.ask("a?", 3, truth=3),
    "text_for_type": lambda run: run.ask("a?", "int", truth=3),
    "truth": lambda run: run.ask("a?", int, truth="three"),
    "format": lambda run: run.ask(f"More than {run.ask('a?', int, truth=1)}?", bool, truth=True),
    "for_ever": lambda run: run.sleep(float("inf")),
    "braces": lambda run: run.map('{"a": {}}', [1], int, truth=int),
    "called": lambda run: run.effect(double(1, "key")),
    "arguments": lambda run: run.effect(double, 1, 2),
    "no_child": lambda run: run.gather(3),
    "result": lambda run: run.ask("a?", truth="a"),
    "nothing": lambda run: run.effect(list[int].append, [], 3),
}
"""What a workflow awaits, by its name."""


@maker.workflow
async def mistaken(run: maker.Run, name: str) -> int:
    """Await something wrong."""
    found: int = await MISTAKES[name](run)
    return found


@maker.workflow
async def unawaited(run: maker.Run, coroutine: bool) -> Any:
    """Return what it should have awaited."""
    return one(run, 1) if coroutine else run.child(one, 1)


@maker.workflow
async def careless(run: maker.Run) -> str:
    """Send what nobody has approved."""
    return "sent" if run.wait("approve", bool) else "not sent"


@maker.workflow
async def nothing_to_do(run: maker.Run) -> list[list[int]]:
    """Do several things of which there are none."""
    return [
        await run.gather(), await run.map("{}?", [], int, truth=int), await run.map(one, []),
        [await run.effect(double, 3)],
    ]  # fmt: skip


@maker.workflow
async def endless(run: maker.Run, depth: int = 0) -> int:
    """Call itself for ever."""
    return await run.child(endless, depth + 1)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("asyncio", "calls asyncio: no running event loop\nawait what the methods of its first argument return"),
        ("to_thread", "run.effect for I/O of your own"),
        ("wait_for", "calls asyncio"),
        ("gather", "run.gather for things side by side"),
        ("no_members", "TypeError: Empty has no members: no reply could name one"),
        ("no_type", "TypeError: 3 is no type that JSON can hold: give str, int"),
        ("text_for_type", "TypeError: 'int' is a text, not a type"),
        ("truth", "the truth of 'a?' is no answer: 'three' is str, not int\ngive one of type int"),
        ("format", "TypeError: 'a?' is not awaited: write `await` before it is used"),
        ("for_ever", "nobody waits for inf seconds"),
        ("braces", "has braces other than {}, which stands for the item: double them"),
        ("called", "run.effect calls a function, and 2 is none: write run.effect(send, text)"),
        ("arguments", "run.effect(double, …): multiple values for argument 'idempotency_key'"),
        ("no_child", "run.gather takes what the methods of a run return, not int"),
        ("result", "its result cannot be stored as int: 'a' is str, not int"),
        ("nothing", "its result cannot be stored as int: None is NoneType, not int"),
    ],
)
def test_it_pauses_and_says_what_to_write(name: str, told: str, store: str) -> None:
    """No effect is in doubt that could not even be called."""
    report = maker.run(mistaken(name), model=SURE, k=3, store=store)
    assert report.status == "paused"
    assert told in report.reason
    assert "in doubt" not in report.reason


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("coroutine", [True, False])
def test_a_result_is_awaited(coroutine: bool, store: str) -> None:
    """An async function that is called is not run by that."""
    report = maker.run(unawaited(coroutine), model=SURE, k=3, store=store)
    assert "it returns what it has not awaited" in report.reason


def test_a_wait_that_is_not_awaited_approves_nothing(store: str) -> None:
    """Objects are true: an answer that nobody gave would be taken for yes."""
    report = maker.run(careless, model=SURE, k=3, store=store)
    assert (report.status, report.result) == ("paused", None)
    assert "'wait approve' is not awaited" in report.reason


def test_nothing_side_by_side_is_an_empty_list(store: str) -> None:
    """It takes no model."""
    assert maker.run(nothing_to_do, model=SURE, k=3, store=store).result == [[], [], [], [6]]


def test_a_workflow_without_an_end_is_stopped(store: str) -> None:
    """Before the machine is full."""
    assert "nested more than 100 forks" in maker.run(endless, model=SURE, k=3, store=store).reason


@pytest.mark.parametrize(
    ("parameters", "result", "told"),
    [
        ("x: Odd", "int", "wrong: parameter x: Odd is no type that JSON can hold"),
        ("", "Odd", "wrong: the result: Odd is no type that JSON can hold"),
        ("x: Unknown", "int", "annotations of wrong cannot be read: name 'Unknown' is not defined"),
        ("x=Odd()", "int", "parameter x: its default does not fit: Unable to serialize unknown type"),
        ("x: int = None", "int", "parameter x: its default does not fit: None is NoneType, not int"),
        ("x: int = 'a'", "int", "parameter x: its default does not fit: 'a' is str, not int"),
        ("memo: str", "int", "a parameter cannot be called memo: rename it"),
        ("decomposer: str", "int", "a parameter cannot be called decomposer: rename it"),
        ("model_config: str", "int", "a parameter cannot be called model_config: rename it"),
    ],
)
def test_a_signature_is_refused_where_it_is_written(parameters: str, result: str, told: str) -> None:
    """The import of its file fails, and no run is begun."""
    names: dict[str, Any] = {"maker": maker, "Odd": Odd}
    code = f"async def wrong(run: maker.Run, {parameters}) -> {result}: ..."
    exec(code, names)  # noqa: S102 - a file as a user may write it
    with pytest.raises(TypeError) as refused:
        maker.workflow(names["wrong"])
    assert told in str(refused.value)


@maker.workflow
async def bounded(
    run: maker.Run, count: int = Field(3, ge=1), note: Annotated[str, {"no": "hash"}] = "", when: date | None = None
) -> int:
    """Take parameters that are described further."""
    return count


def test_parameters_may_be_described_as_those_of_a_model(store: str) -> None:
    """By pydantic's fields: their bounds hold."""
    assert maker.run(bounded, model=SURE, k=3, store=store).result == 3
    assert maker.run(bounded(2, when=date(2026, 1, 2)), model=SURE, k=3, store=store).result == 2
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        bounded(0)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("run.effect(print, text)", "not awaited, it would do nothing: run.effect in line 4"),
        ("await run.ask('a?', k=0, truth='a')", "step class 'ask-k0' has k = 0: the least margin is 1"),
    ],
)
def test_a_file_is_read_before_a_run_begins(line: str, told: str, tmp_path: Path) -> None:
    """An effect without its ``await`` would be left out, and the run be done."""
    (tmp_path / "forgetful.py").write_text(
        f"import maker\n@maker.workflow\nasync def forgetful(run: maker.Run, text: str = '') -> str:\n    {line}\n"
        "    return await run.ask('b?', truth='b')\n"
    )
    with pytest.raises(maker.MakerError, match=told):
        maker.load_job({"task": {"decomposer": f"{tmp_path}/forgetful.py:forgetful"}}, model=SURE, k=3)


@pytest.mark.parametrize("changed", ["count: list[str]", "number: int"])
def test_an_argument_that_is_stored_may_fit_no_more(changed: str, tmp_path: Path, store: str) -> None:
    """The file was edited: the message says that, and who puts it back goes on."""
    file = tmp_path / "counted.py"
    code = (
        "import maker\n@maker.workflow\nasync def counted(run: maker.Run, count: int) -> int:\n"
        "    return sum([await run.ask('One?', int, truth=1) for _ in range(3)])\n"
    )
    file.write_text(code)
    task = {"decomposer": f"{file}:counted", "count": 4}
    cut = maker.run({"task": task, "store": {"url": store}}, model=SURE, k=3, limit_steps=1)
    with pytest.raises(JobError, match=r"command line: task\.count = 'x': Input should be a valid integer"):
        maker.load_job({"task": task}, ["task.count=x"], model=SURE, k=3)
    file.write_text(code.replace("count: int", changed))
    with pytest.raises(JobError, match=r"task\.count.*\n.*put its parameters back as they were, or start a new run"):
        maker.resume(cut.run_id, store=store)
    file.write_text(code)
    assert maker.resume(cut.run_id, store=store).result == 3
