"""The decomposer of a workflow: what its coroutine waits for is the next step, fork or end. Pure."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from types import FunctionType
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from decomposers.common.reading import reading_of
from decomposers.workflow.answers import AnswerType, answer_type
from decomposers.workflow.asked import Asked, Awaited, Child, Effected, Now, Together, Waited, shortened
from decomposers.workflow.decorator import Workflow
from decomposers.workflow.play import Answer, Play, Start, written
from decomposers.workflow.run import Run
from decomposers.workflow.scan import ASK, ask_sites, class_name, not_awaited
from maker.plugin import (
    ContractBroken,
    Decomposer,
    Done,
    Effect,
    Fork,
    Made,
    Next,
    Oracle,
    Record,
    Step,
    StepClass,
    Truth,
    Wait,
)

MOST_TRUTHS = 10_000
"""Prompts whose truth is kept at hand for the simulated model: more than are ever in work at once."""
MOST_RESTING, RESTING_CHARACTERS = 64, 1_000_000
"""So many workflows that wait are kept with their coroutines, of states that are no longer than this."""
ANY: AnswerType[Any] = answer_type(Any)


class Plays:
    """The codec of where a workflow stands."""

    def __init__(self, task: WorkflowTask) -> None:
        self._task = task
        self._resting: dict[bytes, Play] = {}

    def write(self, value: Play) -> str:
        """Return the state as text."""
        text = value.text()
        if len(text) <= RESTING_CHARACTERS:
            self.rest(value)
        return text

    def read(self, text: str) -> Play:
        """Return where it stands by its text; its function is called when that is needed."""
        resting = self._resting.pop(_digest(text), None)
        if resting is not None and resting.is_at(text):
            return resting.handed_over()
        return self._read(json.loads(text))

    def rest(self, value: Play) -> None:
        """Keep one that waits, with its coroutine: who reads its state next need not call the function again."""
        while len(self._resting) >= MOST_RESTING:
            del self._resting[next(iter(self._resting))]
        self._resting[_digest(value.text())] = value

    def __getstate__(self) -> dict[str, Any]:
        # A coroutine cannot cross to another process.
        return {"_task": self._task, "_resting": {}}

    def show(self, value: Play) -> Any:
        """Return the answers so far, each with its question."""
        return json.loads(value.text())[1]

    def _read(self, held: list[Any]) -> Play:
        place, answers, joined = held
        start = partial(self._task.begin, place) if isinstance(place, dict) else partial(self._child_of, *place)
        return Play(start, written(place), [Answer(*one).text() for one in answers], joined)

    def _child_of(self, parent: list[Any], number: int) -> Start:
        return start_of(_side_by_side(self._read(parent))[number])


class Answers:
    """The codec of answers: each with its question, which is no part of the vote."""

    def write(self, value: Answer) -> str:
        """Return canonical JSON."""
        return value.text()

    def read(self, text: str) -> Answer:
        """Return the answer of a text. Raises ``ValueError`` for any other."""
        value, question = json.loads(text)
        return Answer(value, question)

    def show(self, value: Answer) -> Any:
        """Return the answer as JSON."""
        return value.value

    def key(self, value: Answer) -> str:
        """Return the answer alone, a text as it is, else as canonical JSON: the same answers are the same vote."""
        return value.value if isinstance(value.value, str) else written(value.value)


class WorkflowTask(Decomposer[Play, Answer]):
    """A workflow with its arguments: the decomposer that runs.

    ``k`` and ``role`` of a step are those of its class. Classes are known before the run: `ask_sites`.
    """

    def __init__(self, workflow: Workflow[Any, Any], params: BaseModel) -> None:
        self._made = Made(workflow, params)
        self.name = workflow.name  # type: ignore[misc]
        self.version = workflow.version  # type: ignore[misc]
        self.workflow = workflow
        _evaluate_annotations(workflow.function)
        try:
            self._place = params.model_dump(mode="json")
        except PydanticSerializationError as error:
            raise ValueError(f"{workflow.name}: an argument cannot be stored as JSON: {error}") from error
        if forgotten := not_awaited(workflow.function):
            raise TypeError(f"{workflow.name}: not awaited, it would do nothing: {forgotten}")
        sites = ask_sites(workflow.function)
        self._known = all(site.known for site in sites)
        self.classes = _classes(workflow.name, sites)
        self._kinds = {kind.name: kind for kind in self.classes}
        # Plain tuples: Python's garbage collection looks at them once, and at a `Truth` again and again.
        self._truths: dict[str, tuple[Sequence[str], Sequence[str]]] = {}
        self.state: Plays = Plays(self)
        self.action = Answers()

    def start(self) -> Play:
        """Return the workflow with its arguments, before its first step."""
        return Play(partial(self.begin, self._place), written(self._place))

    def begin(self, place: dict[str, Any]) -> Start:
        """Return what the root begins with."""
        checked = self.workflow.Params.model_validate(place)
        arguments = {name: getattr(checked, name) for name in type(checked).model_fields}
        return Start(self.name, partial(_call, self.workflow, (), arguments), self.workflow.result)

    def next(self, state: Play) -> Next[Play, Answer]:
        """Return what the coroutine waits for."""
        move = state.move()
        if isinstance(move, Done):
            return move
        if isinstance(move, Asked):
            return self._step(move)
        self.state.rest(state)
        if isinstance(move, Effected):
            return Effect(move.name, move.call, partial(_recorded, move), move.retry, move.truth)
        if isinstance(move, Now):
            # What is over at once is recorded with its time.
            return Wait("", partial(_recorded, move), deadline_s=0.0)
        if isinstance(move, Waited):
            then, schema = partial(_recorded, move), move.answer.whole_schema
            return Wait(move.name, then, move.prompt, schema, move.deadline_s, move.truth)
        single = isinstance(move, Together) and move.single
        return Fork(len(_side_by_side(state)), _child, _join, partial(_then, move), single=single)

    def apply(self, state: Play, action: Answer) -> Play:
        """Give the coroutine its answer."""
        state.take(action)
        return state

    def prompts(self) -> str:
        """Return nothing: the function makes the prompts, and its source is part of what a run is."""
        return ""

    def oracle(self) -> Oracle | None:
        """Return what the calls of ``ask`` say is right, None where one of them does not say it."""
        return self._truth if self._known else None

    def _truth(self, prompt: str) -> Truth:
        kept = self._truths.get(prompt)
        if kept is None:
            raise ContractBroken(f"nobody says what is right for {shortened(prompt)!r}", "give run.ask(truth=…)")
        return Truth(*kept)

    def _step(self, asked: Asked[Any]) -> Step[Play, Answer]:
        declared = self._kinds.get(asked.name)
        if declared is None:
            raise ContractBroken(
                f"it asks {asked.question!r} of step class {asked.name!r}, which was not known before the run",
                "write name, k and role as plain values where run.ask is called, in the workflow's own file",
            )
        if self._known:
            self._keep(asked)
        reading = asked.answer.name if asked.parse is None else reading_of(asked.parse)
        kind: StepClass[Play, Answer] = StepClass(
            asked.name,
            partial(_parsed, asked),
            partial(_checked, asked),
            asked.max_tokens,
            (),
            asked.system,
            schema=None if asked.parse else asked.answer.schema,
            role=declared.role,
            memo=reading is not None,
            reading=reading or "",
            k=declared.k,
        )
        return Step(kind, asked.prompt)

    def _keep(self, asked: Asked[Any]) -> None:
        """Keep what is right for the simulated model, which knows the prompt alone."""
        if asked.truth is not None and asked.prompt not in self._truths:
            while len(self._truths) >= MOST_TRUTHS:
                del self._truths[next(iter(self._truths))]
            try:
                right, wrong = asked.answer.truth(asked.truth)
            except ValueError as error:
                raise ContractBroken(
                    f"the truth of {asked.question!r} is no answer: {error}", f"give one of type {asked.answer.name}"
                ) from error
            self._truths[asked.prompt] = right, wrong


def _evaluate_annotations(function: Callable[..., Any]) -> None:
    """Make types of the annotations of all functions in a workflow's module.

    Sent to another machine by value, a function takes along the names that its code uses. Those that stand in its
    annotations alone, as text, are missing there.
    """
    for other in list(function.__globals__.values()):
        if isinstance(other, FunctionType) and other.__module__ == function.__module__:
            # A name that only a type checker knows stays text.
            with suppress(Exception):
                other.__annotations__ = inspect.get_annotations(other, eval_str=True)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=b"maker-resting").digest()


def start_of(awaited: Awaited[Any]) -> Start:
    """Return what a child begins with that a workflow puts beside others."""
    if isinstance(awaited, Child):
        called = awaited.workflow
        return Start(called.name, partial(_call, called, awaited.args, awaited.kwargs), called.result)
    return Start("", partial(_only, awaited), ANY, plain=True)


async def _only(awaited: Awaited[Any], run: Run) -> Any:
    """Run one step, or several side by side, as a chain of its own."""
    return await awaited


def _call(
    workflow: Workflow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], run: Run
) -> Coroutine[Any, Any, Any]:
    return workflow.function(run, *args, **kwargs)


def _side_by_side(state: Play) -> Any:
    """Return what a state's children are."""
    move = state.move()
    return move.each if isinstance(move, Together) else [move]


def _child(state: Play, number: int) -> Play:
    awaited = _side_by_side(state)[number]
    return Play(partial(start_of, awaited), f"[{state.text()},{number}]")


def _join(state: Play, _number: int, result: Any) -> Play:
    state.fold(result)
    return state


def _then(move: Awaited[Any], state: Play) -> Play:
    results = state.joined or []
    state.take(Answer(results if isinstance(move, Together) else results[0], move.question))
    return state


def _recorded(move: Awaited[Any], state: Play, record: Record) -> Play:
    state.take(Answer(record._asdict(), move.question))
    return state


def _parsed(asked: Asked[Any], text: str) -> Answer:
    read = asked.answer.read(text) if asked.parse is None else asked.answer.stored(asked.parse(text))
    return Answer(read, asked.question)


def _checked(asked: Asked[Any], _state: Play, action: Answer) -> str | None:
    """Say why an answer is none of this question, or is forbidden."""
    if action.question != asked.question:
        return f"it answers {action.question!r}, and now the workflow asks {asked.question!r}"
    return None if asked.check is None else asked.check(asked.answer.typed(action.value))


def _classes(name: str, sites: Any) -> tuple[StepClass[Play, Answer], ...]:
    """Return the step classes that a file's calls name; where there is no call, one. Raises ``ValueError``."""
    found: dict[str, StepClass[Play, Answer]] = {}
    for site in sites:
        called = class_name(site.name, site.role, site.k)
        if site.k is not None and site.k < 1:
            raise ValueError(f"{name}: step class {called!r} has k = {site.k}: the least margin is 1")
        made: StepClass[Play, Answer] = StepClass(called, _no_reply, role=site.role, k=site.k)
        if found.setdefault(called, made) != made:
            raise ValueError(f"{name}: two calls name the step class {called!r} with another role or k")
    return tuple(found.values()) or (StepClass(ASK, _no_reply),)


def _no_reply(_text: str) -> Answer:
    raise ValueError("the class of a workflow's steps reads no reply: each step has its own")
