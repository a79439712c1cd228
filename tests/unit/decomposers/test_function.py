"""Tasks of plain functions and of plain questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from needs import Late
from pydantic import BaseModel, TypeAdapter, ValidationError

import maker
from decomposers.function import ANSWER, Ask, Done, FunctionTask, Question, Truth, ask, questions, task
from maker.core.plugins import DECOMPOSERS, find_plugin
from maker.plugin import Decomposer, Step
from maker.voting.memo import question_before

cloudpickle = Late("ray.cloudpickle")


class Point(BaseModel):
    """An action of two numbers."""

    x: int
    y: int = 0


def counting(action: Any = int, **asked: Any) -> FunctionTask:
    """Return a task that asks for numbers until it has enough of them."""

    @task(state=list[int], action=action)
    def count(state: list[int]) -> Ask | Done:
        return Done(state[1:]) if len(state) > state[0] else ask(f"After {state}? ", **asked)

    @count.start
    def _start(wanted: int, first: int = 7) -> list[int]:
        return [wanted, first]

    @count.apply
    def _apply(state: list[int], action: int) -> list[int]:
        return [*state, action]

    return count


def built(made: FunctionTask, **params: Any) -> Decomposer[Any, Any]:
    """Return a task's decomposer for parameters."""
    return made(made.Params(**params))


def step_of(decomposer: Decomposer[Any, Any], state: Any = None) -> Step[Any, Any]:
    """Return the step that a task asks for in a state, at its start by default."""
    step = decomposer.next(decomposer.start() if state is None else state)
    assert isinstance(step, Step)
    return step


def test_the_start_functions_parameters_are_the_jobs() -> None:
    """Names, types and defaults of the start function hold for the job's [task] table."""
    made = counting()
    assert built(made, wanted=2).start() == [2, 7]
    assert built(made, wanted=2, first=3).start() == [2, 3]
    for wrong in ({}, {"wanted": "many"}, {"wanted": 2, "frist": 3}):
        with pytest.raises(ValidationError):
            made.Params(**wrong)


def test_a_step_carries_what_ask_says() -> None:
    """Prompt, limits, stop texts and the shared part reach the step; the class is the one that the store knows."""
    decomposer = built(counting(max_tokens=5, stop=("\n",), system="Count.\n"), wanted=3)
    step = step_of(decomposer)
    assert step.prompt == "After [3, 7]? "
    assert (step.kind.max_tokens, step.kind.stop, step.kind.system) == (5, ("\n",), "Count.\n")
    assert [kind.name for kind in decomposer.classes] == [step.kind.name] == [ANSWER]


def test_apply_and_done() -> None:
    """`apply` makes the next state; `Done` comes through with its result."""
    decomposer = built(counting(), wanted=3)
    state = decomposer.apply(decomposer.start(), 8)
    assert state == [3, 7, 8]
    assert decomposer.next(decomposer.apply(state, 9)) == Done([7, 8, 9])


def test_without_apply_the_action_is_the_state() -> None:
    """A task without an apply function goes from action to action."""

    @task(state=int, action=int)
    def down(state: int) -> Ask | Done:
        return Done(state) if state == 0 else ask(f"{state} - 1? ")

    @down.start
    def _start() -> int:
        return 3

    assert built(down).apply(3, 2) == 2


READ: list[tuple[Any, str, Any]] = [
    (str, "  yes \n", "yes"),
    (str, "12", "12"),
    (int, " 12\n", 12),
    (bool, "true", True),
    (bool, " false ", False),
    (float, "1.5", 1.5),
    (Literal["left", "right"], " left\n", "left"),
    (Literal["left", "right"], '"right"', "right"),
    (list[int], "[1, 2]", [1, 2]),
    (Point, '{"x": 3, "y": 4}', Point(x=3, y=4)),
]


@pytest.mark.parametrize(("kind", "text", "value"), READ, ids=str)
def test_replies_are_read_as_the_action_type(kind: Any, text: str, value: Any) -> None:
    """Without a parser a reply is read as the task's action type: text as it is, all else as JSON."""
    assert step_of(built(counting(kind), wanted=2)).kind.parse(text) == value


UNREADABLE = [(int, "twelve"), (int, "1.5"), (bool, "perhaps"), (Literal["left", "right"], "up"), (Point, '{"y": 1}')]


@pytest.mark.parametrize(("kind", "text"), UNREADABLE, ids=str)
def test_a_reply_of_another_type_is_no_action(kind: Any, text: str) -> None:
    """What is not of the action type is a ValueError: a red flag."""
    with pytest.raises(ValueError, match=r"."):
        step_of(built(counting(kind), wanted=2)).kind.parse(text)


def test_a_parser_and_a_check_of_ones_own() -> None:
    """A question's own parser and check take the place of the defaults."""

    def odd(number: int) -> str | None:
        return None if number % 2 else f"{number} is even"

    kind = step_of(built(counting(parse=lambda text: int(text, 16), check=odd), wanted=2)).kind
    assert kind.parse("ff") == 255
    assert kind.check([2, 7], 255) is None
    assert kind.check([2, 7], 254) == "254 is even"


def test_actions_and_states_are_written_canonically() -> None:
    """Equal actions are written alike, however a reply spelt them, and read back as they were."""
    decomposer = built(counting(Point), wanted=2)
    parse = step_of(decomposer).kind.parse
    written = {decomposer.action.write(parse(text)) for text in ('{"x":1,"y":0}', '{ "y" : 0, "x" : 1 }', '{"x": 1}')}
    assert written == {'{"x":1,"y":0}'}
    assert decomposer.action.read(written.pop()) == Point(x=1)
    assert decomposer.state.read(decomposer.state.write([2, 7])) == [2, 7]


def run(path: Path, text: str, store: str, **tables: Any) -> maker.RunReport:
    """Run a task of a file with a simulated model."""
    path.write_text(text)
    base: dict[str, Any] = {
        "task": {"decomposer": f"{path}:count"},
        "model": {"kind": "simulated", "p": 0.7, "rivals": 3},
        "vote": {"k": 3},
        "store": {"url": store, "samples": "all"},
    }
    return maker.run({name: base.get(name, {}) | tables.get(name, {}) for name in {**base, **tables}})


FILE = """
from decomposers.function import Done, Truth, ask, task


@task(state=int, action=int, version=2)
def count(state: int):
    return Done("counted") if state == 20 else ask(f"{state} + 1 = ", check=positive)


def positive(number):
    return None if number > 0 else "numbers are positive here"


@count.start
def _start(first: int = 0) -> int:
    return first


@count.apply
def _apply(state: int, action: int) -> int:
    return state + 1


@count.oracle
def _oracle(prompt: str) -> Truth:
    number = int(prompt.split()[0])
    return Truth((str(number + 1),), (str(number + 2), "-1", "one more"))
"""


def test_a_task_of_a_file_runs(tmp_path: Path, store: str) -> None:
    """A file's functions run as a job; unreadable and forbidden replies are flagged, wrong ones outvoted."""
    report = run(tmp_path / "count.py", FILE, store)
    assert (report.status, report.steps, report.result) == ("done", 20, "counted")
    samples = [sample for index in range(20) for sample in maker.samples("last", index, store=store)]
    assert {sample.flag for sample in samples} == {None, "format", "illegal"}
    assert {sample.detail for sample in samples if sample.flag == "illegal"} == {"numbers are positive here"}
    assert maker.verify("last", store=store).right


def test_a_tasks_parameters_are_checked_like_any(tmp_path: Path, store: str) -> None:
    """A job's wrong parameter of a function task is told by name, with the near one."""
    with pytest.raises(maker.MakerError, match=r"task\.fist: there is no such setting\n.*'first'"):
        run(tmp_path / "count.py", FILE, store, task={"fist": 3})
    assert run(tmp_path / "count.py", FILE, store, task={"first": 5}).steps == 15


def test_a_task_without_an_oracle_needs_a_real_model(tmp_path: Path, store: str) -> None:
    """A simulated model of a task that knows no truth is refused, with what to do."""
    text = FILE.partition("@count.oracle")[0]
    with pytest.raises(maker.MakerError, match="oracle"):
        run(tmp_path / "count.py", text, store)


def test_a_task_without_a_start_is_told() -> None:
    """A task without a start function says how to give it one."""

    @task(state=int)
    def endless(state: int) -> Ask | Done:
        return ask("?")

    with pytest.raises(ValueError, match=r"endless has no start: decorate a function with @endless\.start"):
        built(endless)


def test_a_job_that_names_a_task_without_a_start_is_refused(tmp_path: Path, store: str) -> None:
    """A job that names a task without a start gets maker's own error, which names the task and what is missing."""
    text = FILE.replace("@count.start", "")
    with pytest.raises(maker.MakerError, match="count has no start"):
        run(tmp_path / "count.py", text, store)


def test_a_fault_in_a_function_is_told_with_its_step(tmp_path: Path, store: str) -> None:
    """What a task's own function raises pauses the run with the step, the function and the fault."""
    text = FILE.replace("return state + 1", "return state + 1 if state < 3 else 1 // 0")
    report = run(tmp_path / "count.py", text, store)
    assert "step 3: count: apply raised ZeroDivisionError" in report.reason
    assert (report.status, report.steps) == ("paused", 3)


def not_negative(lines: int) -> str | None:
    return "no" if lines < 0 else None


def notes(**more: Any) -> FunctionTask:
    """Return three questions, of which each uses the answer before it."""
    asked = [
        Question("kind", "Is this a fix or a feature? {change}", Literal["fix", "feature"]),
        Question("breaking", 'Does this {kind} break? {change} Answer {"breaking": true}', bool),
        Question("lines", "{kind}, {breaking}: how many lines? {}{1}{ kind }", int, not_negative, 9),
    ]
    return questions("notes", asked, **more)


def test_questions_take_their_parameters_from_the_braces() -> None:
    """The names that no question answers are the job's parameters, as text."""
    made = notes()
    assert list(made.Params.model_fields) == ["change"]
    with pytest.raises(ValidationError):
        made.Params()


def test_questions_are_filled_with_the_answers_before_them() -> None:
    """A question's braces stand for parameters and earlier answers; other braces are left alone."""
    decomposer = built(notes(system="Sort.\n"), change="Mend {kind} it")
    state = decomposer.start()
    first = step_of(decomposer, state)
    assert first.prompt == "Is this a fix or a feature? Mend {kind} it"
    assert first.kind.system == "Sort.\n"
    state = decomposer.apply(state, first.kind.parse("fix\n"))
    second = step_of(decomposer, state)
    assert second.prompt == 'Does this fix break? Mend {kind} it Answer {"breaking": true}'
    state = decomposer.apply(state, second.kind.parse("true"))
    third = step_of(decomposer, state)
    assert third.prompt == "fix, true: how many lines? {}{1}{ kind }"
    assert third.kind.max_tokens == 9
    assert third.kind.check(state, -1) == "no"
    state = decomposer.apply(state, third.kind.parse("12"))
    assert decomposer.next(state) == Done({"kind": "fix", "breaking": True, "lines": 12})


def test_questions_states_survive_being_written() -> None:
    """A state of answers is read back as it was, so that a resume asks the same question."""
    decomposer = built(notes(), change="c")
    state = decomposer.apply(decomposer.apply(decomposer.start(), "fix"), True)
    again = decomposer.state.read(decomposer.state.write(state))
    assert decomposer.next(again).prompt == decomposer.next(state).prompt  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ([Question("a", "?"), Question("a", "?")], "two questions have one name: a, a"),
        ([Question("a", "{b}?"), Question("b", "?")], "question 'a' uses the answer 'b', which is asked for later"),
        ([Question("a", "{a}?")], "question 'a' uses the answer 'a', which is asked for later"),
    ],
)
def test_questions_that_cannot_be_asked_are_refused(asked: list[Question], says: str) -> None:
    """One name for two questions, or an answer used before it is given: refused when the list is made."""
    with pytest.raises(ValueError, match=says):
        questions("wrong", asked)


def exchanged(made: FunctionTask, **params: Any) -> Decomposer[Any, Any]:
    """Return a task's decomposer as a worker in another process gets it."""
    decomposer: Decomposer[Any, Any] = cloudpickle.loads(cloudpickle.dumps(built(made, **params)))
    return decomposer


@pytest.mark.parametrize(
    ("make", "params"), [(counting, {"wanted": 3}), (lambda: counting(Point), {"wanted": 3}), (notes, {"change": "c"})]
)
def test_a_task_reaches_workers_whole(make: Callable[[], FunctionTask], params: dict[str, Any]) -> None:
    """Pickled as Ray pickles it, a task asks what it asked and reads what it read."""
    here, there = built(make(), **params), exchanged(make(), **params)
    assert (there.name, there.version) == (here.name, here.version)
    assert there.start() == here.start()
    assert step_of(there).prompt == step_of(here).prompt
    assert there.state.write(there.start()) == here.state.write(here.start())


def test_a_task_of_a_file_reaches_workers_whole(tmp_path: Path) -> None:
    """A file's task crosses to another process with its oracle and its check."""
    path = tmp_path / "count.py"
    path.write_text(FILE)
    made = find_plugin(DECOMPOSERS, f"{path}:count", tmp_path).object
    there = exchanged(made)
    oracle = there.oracle()
    assert oracle is not None
    assert oracle("4 + 1 = ") == Truth(("5",), ("6", "-1", "one more"))
    assert step_of(there).kind.check(0, -1) == "numbers are positive here"


def test_the_result_of_a_run_is_json(tmp_path: Path, store: str) -> None:
    """Steps and result of a function task print as JSON."""
    run(tmp_path / "count.py", FILE, store)
    lines = [json.dumps(step.to_json()) for step in maker.steps("last", store=store)]
    assert [json.loads(line)["action"] for line in lines] == list(range(1, 21))
    assert json.loads(json.dumps(maker.show("last", store=store).to_json()))["result"] == "counted"


def test_a_name_that_is_there_twice_is_no_answer() -> None:
    """Neither the first nor the last is taken; logs of earlier versions hold the last."""
    kind = step_of(built(counting(Point), wanted=2)).kind
    assert kind.parse('{"x": 1, "y": 2}') == Point(x=1, y=2)
    with pytest.raises(ValueError, match="the key 'x' is there twice"):
        kind.parse('{"x": 1, "y": 2, "x": 3}')
    assert kind.read_before is not None
    assert kind.read_before('{"x": 1, "y": 2, "x": 3}') == Point(x=3, y=2)


# --- what the memo knows of a question ---

ALIKE = [
    Question("whole", "How many? The number alone.\n{report}", int),
    Question("words", "How many? The number alone.\n{report}", str),
    Question("yes", "How many? The number alone.\n{report}", Literal["007"]),
]
typed = questions("typed", ALIKE)


@typed.oracle
def _typed(prompt: str) -> Truth:
    return Truth(("007",), ("9",))


@pytest.mark.parametrize("memo", ["off", "run", "store"])
def test_questions_of_the_same_words_and_another_type_are_others(tmp_path: Path, memo: str) -> None:
    """Each is answered in its own type, with a memo as without."""
    url = f"sqlite:///{tmp_path}/runs.db"
    job = {
        "task": {"decomposer": "test_function:typed", "report": "x", "memo": memo},
        "model": {"kind": "simulated", "p": 0.95},
        "vote": {"k": 4},
        "store": {"url": url},
    }
    for _ in range(2):
        run = maker.run(job)
        assert (run.status, run.result) == ("done", {"whole": 7, "words": "007", "yes": "007"})
        assert maker.verify(run.run_id, store=url).right


def test_a_run_of_before_that_rule_verifies_and_leaves_its_decisions_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knew questions by their words alone, so what it decided may be the answer to another one."""
    url = f"sqlite:///{tmp_path}/runs.db"
    job = {
        "task": {"decomposer": "test_function:typed", "report": "x", "memo": "store"},
        "model": {"kind": "simulated", "p": 0.95},
        "vote": {"k": 4},
        "store": {"url": url},
    }
    with monkeypatch.context() as before:
        before.setattr("maker.voting.chain.question", question_before)
        old = maker.run(job)
    assert (old.reused, old.result) == (2, {"whole": 7, "words": 7, "yes": 7})
    new = maker.run(job)
    assert (new.reused, new.result) == (0, {"whole": 7, "words": "007", "yes": "007"})
    assert maker.run(job).reused == 3
    for run in (old, new):
        assert maker.verify(run.run_id, store=url).right


def _tens(text: str) -> int:
    return 10 * int(text)


def _times(text: str, factor: int) -> int:
    return factor * int(text)


def _closing_over(factor: Any) -> Callable[[str], int]:
    def times(text: str) -> int:
        return int(factor * int(text))

    return times


def test_a_parser_is_known_by_its_name_and_what_it_holds() -> None:
    """Two that may read otherwise are never one; what no name tells from others is not taken again."""
    parsers: list[Any] = [
        None, int, float, str.strip, json.loads, _tens, partial(_times, factor=2), partial(_times, factor=3),
        _closing_over(2), _closing_over(3),
    ]  # fmt: skip
    steps = [step_of(built(counting(parse=one), wanted=2)) for one in parsers]
    assert all(step.kind.memo for step in steps)
    assert len({step.kind.reading for step in steps}) == len(parsers)
    again = [step_of(built(counting(parse=one), wanted=2)).kind.reading for one in (_closing_over(2), _tens)]
    assert again == [steps[8].kind.reading, steps[5].kind.reading]
    nameless: list[Any] = [
        lambda text: int(text) + 1, "5 7".index, TypeAdapter(int).validate_json, _closing_over(object()),
        partial(_times, factor=Point(x=1)), partial(lambda text: 1),
    ]  # fmt: skip
    for one in nameless:
        assert not step_of(built(counting(parse=one), wanted=2)).kind.memo
