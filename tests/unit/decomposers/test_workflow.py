"""Workflows: async functions whose steps are voted on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from needs import Late

import maker
from decomposers.workflow import Run, workflow
from decomposers.workflow.answers import AnswerType
from decomposers.workflow.asked import SHOWN, shortened
from decomposers.workflow.scan import ask_sites
from maker.errors import TaskFailed
from maker.plugin import ContractBroken, Done, Fork, Step
from tests.unit import workflow_tasks
from tests.unit.workflow_tasks import CALLS, MOOD, Facts, Kind, letters, ticket

cloudpickle = Late("ray.cloudpickle")

TICKET = {
    "kind": "bug", "urgent": True, "words": [3, 7], "letters": [3, 7], "third": 3, "mixed": [1, 2],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    CALLS.clear()
    MOOD[0] = "sunny"
    yield
    MOOD[0] = "sunny"


def job(tmp_path: Path, name: str, p: float = 0.9, store: str = "w", **task: Any) -> dict[str, Any]:
    """Return a job of a workflow with the simulated model."""
    return {
        "task": {"decomposer": f"tests.unit.workflow_tasks:{name}", **task},
        "model": {"kind": "simulated", "p": p},
        "vote": {"k": 4},
        "store": {"url": f"sqlite:///{tmp_path}/{store}.db", "samples": "all"},
    }


@pytest.mark.parametrize(
    ("of", "reply", "answer"),
    [
        (str, "  some text \n", "some text"),
        (int, "it has 7\nlet me see\n-12", -12),
        (bool, "Yes.", True),
        (bool, "false", False),
        (Kind, "I think so\nBug", "bug"),
        (Literal["a", "A", "b"], "A", "A"),
        (Literal[1, 2], "2", 2),
        (Facts, 'So: ```json\n{"urgent": true, "product": "x"}\n```', {"product": "x", "urgent": True}),
    ],
)
def test_a_reply_is_read_as_the_type_of_the_answer(of: Any, reply: str, answer: Any) -> None:
    """Short answers are the last line, objects stand anywhere; what is stored is JSON that makes the value again."""
    kind = AnswerType(of)
    assert kind.read(reply) == answer
    assert kind.stored(kind.typed(answer)) == answer
    assert AnswerType(of) == cloudpickle.loads(cloudpickle.dumps(kind))


@pytest.mark.parametrize(
    ("of", "reply"),
    [
        (int, "7.0"),
        (int, "٣"),
        (int, "3\n4"),
        (bool, "maybe"),
        (Kind, "bugs"),
        (Literal["a", "A"], "á"),
        (Facts, '{"product": "x"}'),
        (Facts, '{"product": "x", "urgent": true} {"product": "y", "urgent": true}'),
    ],
)
def test_a_reply_that_is_no_answer_gets_no_vote(of: Any, reply: str) -> None:
    """Nothing is guessed: several answers are none."""
    with pytest.raises(ValueError, match=r"."):
        AnswerType(of).read(reply)


def test_what_a_rehearsal_replies() -> None:
    """Wrong replies are of the answer's type; of an object each has one member changed that the type allows."""
    assert AnswerType(Kind).truth(Kind.BUG) == (("bug",), ("billing",))
    assert AnswerType(int).truth(3) == (("3",), ("4", "2"))
    assert AnswerType(bool).truth(True) == (("true",), ("false",))
    right, wrong = AnswerType(Facts).truth(Facts(product="x", urgent=True))
    assert json.loads(right[0]) == {"product": "x", "urgent": True}
    assert [json.loads(one) for one in wrong] == [
        {"product": "not x", "urgent": True}, {"product": "x?", "urgent": True}, {"product": "x", "urgent": False},
    ]  # fmt: skip


def test_a_workflow_asks_in_every_way(tmp_path: Path) -> None:
    """Steps, maps, children and both side by side; the log verifies, and the margins are those of the calls."""
    report = maker.run(job(tmp_path, "ticket", text="the printer"))
    assert report.status == "done"
    assert {name: value for name, value in report.result.items() if name != "drawn"} == TICKET
    steps = list(maker.steps(report.run_id, store=f"sqlite:///{tmp_path}/w.db"))
    assert {(step.kind, step.margin) for step in steps} == {("ask", 4), ("facts", 2)}
    assert steps[0].action == "bug"
    assert set(steps[0].votes) <= {"bug", "billing"}
    assert maker.verify(report.run_id, store=f"sqlite:///{tmp_path}/w.db").right


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_a_run_that_goes_on_is_the_same_run(tmp_path: Path, steps: int) -> None:
    """Cut off again and again, it has the digest, the result and the random numbers of one that never was."""
    whole = maker.run(job(tmp_path, "ticket", text="the printer", store="whole"))
    cut = maker.run(job(tmp_path, "ticket", text="the printer"), limit_steps=steps)
    while cut.status == "paused":
        cut = maker.resume(cut.run_id, store=f"sqlite:///{tmp_path}/w.db", limit_steps=steps)
    assert (cut.result, cut.digest) == (whole.result, whole.digest)


def test_n_steps_cost_n(tmp_path: Path) -> None:
    """While a run is in work its coroutine stays; a resume calls the function once and asks no model again."""
    store = f"sqlite:///{tmp_path}/w.db"
    cut = maker.run(job(tmp_path, "count", steps=2500), limit_steps=2400)
    assert CALLS == ["count"]
    done = maker.resume(cut.run_id, store=store)
    assert CALLS == ["count", "count"]
    assert done.steps == 2500
    assert done.calls - cut.calls < 100 * 10
    assert maker.verify(cut.run_id, store=store).right


def test_the_state_is_read_as_it_was_written() -> None:
    """Anywhere in a workflow, in a child of a child too."""
    task = ticket(ticket.Params(text="ab", third="x"))
    state = task.start()
    for _ in range(2):
        move = task.next(state)
        assert isinstance(move, Step)
        right = task.oracle()(move.prompt).right[0]  # type: ignore[misc]
        state = task.apply(task.state.read(task.state.write(state)), move.kind.parse(right))
    fork = task.next(state)
    assert isinstance(fork, Fork)
    assert (fork.count, fork.single) == (1, True)
    child = fork.child(state, 0)
    again = task.state.read(task.state.write(child))
    assert task.state.write(again) == task.state.write(child)
    step = task.next(again)
    assert isinstance(step, Step)
    assert step.prompt == "Length of ab?"
    assert task.next(task.apply(again, step.kind.parse("2"))) == Done(2)


def test_who_reads_a_state_first_has_the_coroutine() -> None:
    """Another reader, and the one that wrote it, call the function anew: what one is told the others are not."""
    task = ticket(ticket.Params(text="ab"))
    first = task.start()
    assert isinstance(task.next(first), Step)
    text = task.state.write(first)
    second, third = task.state.read(text), task.state.read(text)
    assert CALLS == ["ticket"]
    for one, calls in ((second, 1), (third, 2), (first, 3)):
        step = task.next(one)
        assert isinstance(step, Step)
        assert len(CALLS) == calls
        task.apply(one, step.kind.parse("billing"))
        assert len(json.loads(task.state.write(one))[1]) == 1


def test_a_workflow_that_asks_something_else_is_told_with_both_questions(tmp_path: Path) -> None:
    """A resume replays the log; the step is named, and the run stays as it was."""
    store = f"sqlite:///{tmp_path}/w.db"
    cut = maker.run(job(tmp_path, "moody"), limit_steps=2)
    MOOD[0] = "rainy"
    with pytest.raises(TaskFailed, match=r"at step 1 it asked 'Is it sunny\?' before, and now it asks 'Is it rainy\?'"):
        maker.resume(cut.run_id, store=store)
    assert maker.show(cut.run_id, store=store).status == "paused"
    MOOD[0] = "sunny"
    assert maker.resume(cut.run_id, store=store).result == "one yes three"
    MOOD[0] = "rainy"
    found = maker.verify(cut.run_id, store=store)
    assert "it answers 'Is it sunny?', and now the workflow asks 'Is it rainy?'" in found.problem


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("sleeper", "which is no step of a run"),
        ("faulty", "KeyError: 'two'"),
        ("wrong_result", "its result cannot be stored as int"),
    ],
)
def test_what_a_function_does_wrong_pauses_its_run_and_is_told(tmp_path: Path, name: str, told: str) -> None:
    """The answer is kept: the function can be mended, and the run goes on."""
    report = maker.run(job(tmp_path, name))
    assert (report.status, report.steps) == ("paused", 1)
    assert told in report.reason


def test_a_margin_that_the_source_does_not_tell_is_refused(tmp_path: Path) -> None:
    """Step classes are known before a run begins."""
    report = maker.run(job(tmp_path, "late", k=5))
    assert report.status == "paused"
    assert "step class 'ask-k5', which was not known before the run" in report.reason
    assert "as plain values" in report.reason


def test_a_rehearsal_needs_the_truth_of_every_question(tmp_path: Path) -> None:
    """Where one call does not say it, there is no oracle."""
    (tmp_path / "partly.py").write_text(
        "from decomposers.workflow import Run, workflow\n@workflow\nasync def partly(run: Run) -> str:\n"
        "    await run.ask('a', truth='b')\n    return await run.ask('c')\n"
    )
    with pytest.raises(maker.MakerError, match="has no oracle"):
        maker.run(job(tmp_path, "x") | {"task": {"decomposer": f"{tmp_path}/partly.py:partly"}})


def test_two_calls_may_not_name_one_class_differently(tmp_path: Path) -> None:
    """A class has one role and one margin."""
    (tmp_path / "twice.py").write_text(
        "from decomposers.workflow import Run, workflow\n@workflow\nasync def twice(run: Run) -> str:\n"
        "    await run.ask('a', name='x', k=2)\n    return await run.ask('c', name='x', k=3)\n"
    )
    with pytest.raises(maker.MakerError, match="two calls name the step class 'x'"):
        maker.load_job(job(tmp_path, "x") | {"task": {"decomposer": f"{tmp_path}/twice.py:twice"}})


def test_what_is_no_workflow() -> None:
    """Refused where it is decorated."""
    with pytest.raises(TypeError, match="no `async def`"):
        workflow(len)  # type: ignore[arg-type]

    async def without() -> None: ...

    async def many(run: Run, *rest: str) -> None: ...

    with pytest.raises(TypeError, match="takes no run"):
        workflow(without)
    with pytest.raises(TypeError, match=r"\*rest has no type"):
        workflow(many)


def test_arguments_are_the_jobs_parameters(tmp_path: Path) -> None:
    """Typed, with their defaults; unknown ones are refused."""
    assert set(ticket.Params.model_fields) == {"text", "third"}
    with pytest.raises(maker.MakerError, match=r"task\.text is missing"):
        maker.load_job(job(tmp_path, "ticket"))
    with pytest.raises(maker.MakerError, match=r"task\.texts: there is no such setting"):
        maker.load_job(job(tmp_path, "ticket", text="a", texts="b"))


def test_a_task_crosses_to_a_worker() -> None:
    """By value, as a file's workflow is sent: with its classes."""
    task = cloudpickle.loads(cloudpickle.dumps(ticket(ticket.Params(text="a b"))))
    assert [kind.name for kind in task.classes] == ["ask", "facts"]
    step = task.next(task.start())
    assert step.prompt == "Kind of a b?"
    assert task.oracle()(step.prompt).right == ("bug",)


def test_decisions_are_taken_again_from_the_memo(tmp_path: Path) -> None:
    """The same question of the same type is asked once."""
    asked = job(tmp_path, "ticket", text="aa aa", p=0.99)
    report = maker.run(asked | {"task": asked["task"] | {"memo": "run"}})
    assert report.status == "done"
    assert report.reused > 0
    assert maker.verify(report.run_id, store=f"sqlite:///{tmp_path}/w.db").right


def test_a_long_question_is_kept_short_and_told_apart() -> None:
    """With a digest of all of it."""
    long = "x" * 5000
    assert len(shortened(long)) <= SHOWN
    assert shortened(long) != shortened(long + "y")
    assert shortened("short") == "short"


def test_calls_that_ask_are_found_in_the_file() -> None:
    """Those of functions that a workflow calls too."""
    names = {site.name for site in ask_sites(letters)}
    assert "facts" in names
    assert workflow_tasks.__doc__
    with pytest.raises(ContractBroken, match="nobody says what is right"):
        ticket(ticket.Params(text="a")).oracle()("never asked")  # type: ignore[misc]


def test_a_map_of_a_table_in_the_same_file_is_no_question_of_the_workflow(tmp_path: Path) -> None:
    """It says itself what is right, or has a real model."""
    script = (
        "import maker\n"
        "@maker.workflow\n"
        "async def one(run: maker.Run, text: str) -> bool:\n"
        "    return await run.ask(text, bool, truth=True)\n"
        "def other() -> None:\n"
        '    maker.map([{"text": "a"}], "{{text}}?", bool)\n'
    )
    (tmp_path / "one.py").write_text(script)
    report = maker.run({
        "task": {"decomposer": f"{tmp_path}/one.py:one", "text": "a"}, "model": {"kind": "simulated", "p": 1.0},
        "vote": {"k": 2}, "store": {"url": f"sqlite:///{tmp_path}/w.db"},
    })  # fmt: skip
    assert report.result is True


def test_a_pilot_asks_every_class_and_does_nothing_in_the_world(tmp_path: Path) -> None:
    """Margins of classes are not the pilot's; what stands for an effect lets it go on, else it ends there."""
    asked = job(tmp_path, "order", folder=str(tmp_path))
    found = maker.calibrate(asked).calibration.classes
    assert found["ask"].steps == 1
    assert not (tmp_path / "sent").exists()
    asked = job(tmp_path, "ticket", text="the printer")
    found = maker.calibrate(asked).calibration.classes
    assert {name: one.steps for name, one in found.items()} == {"ask": 15, "facts": 1}
    assert all(one.samples >= 10 for one in found.values())
