"""Your own task without a package: plain functions, or a list of typed questions, made into a decomposer.

    from decomposers.function import Done, ask, task

    @task(state=int, action=int)
    def countdown(state: int):
        return Done("lift-off") if state == 0 else ask(f"What is {state} - 1? ", parse=int)

    @countdown.start
    def _(number: int = 10) -> int:
        return number

    @countdown.apply
    def _(state: int, action: int) -> int:
        return action

A job names it as ``decomposer = "path/to/file.py:countdown"``; the start function's parameters are the job's.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel, TypeAdapter, create_model

from decomposers.common.reading import reading_of
from decomposers.common.strict_json import TwiceNamed, once
from maker.plugin import Codec, Decomposer, Done, Fork, Made, Oracle, Params, PydanticCodec, Step, StepClass, Truth

__all__ = ["Ask", "Done", "Fork", "FunctionTask", "Question", "Truth", "ask", "questions", "task"]

_HOLE = re.compile(r"\{([A-Za-z_]\w*)\}")
ANSWER = "answer"


class Ask(NamedTuple):
    """One question: its prompt, and how its reply is read and checked. ``reading`` names how, for the memo."""

    prompt: str
    parse: Callable[[str], Any] | None
    check: Callable[[Any], str | None] | None
    max_tokens: int
    stop: tuple[str, ...]
    system: str
    reading: str = ""


Following: TypeAlias = Ask | Done | Fork[Any]
"""What a task's function returns: a question, the end, or sub-tasks for children, which are states of the same task."""


def ask(
    prompt: str,
    *,
    parse: Callable[[str], Any] | None = None,
    check: Callable[[Any], str | None] | None = None,
    max_tokens: int = 64,
    stop: tuple[str, ...] = (),
    system: str = "",
) -> Ask:
    """Return what `next` returns for a step.

    Args:
        prompt: What the model is asked.
        parse: Reads the action from the reply; raises ``ValueError`` where it cannot. By default the reply, stripped,
            is read as the task's action type: as it is for ``str``, else as JSON. With ``task.memo`` on, only what a
            parser with a name of its own has read is taken again: a lambda could be any other one.
        check: Says why the rules of the task forbid an action, or None.
        max_tokens: Most tokens of a reply.
        stop: Texts that end a reply.
        system: A shared part that goes before the prompt.
    """
    return Ask(prompt, parse, check, max_tokens, stop, system)


class FunctionTask:
    """A task made of functions; a job names it where it would name a decomposer class. Made by `task`."""

    def __init__(self, following: Callable[[Any], Following], state: Any, action: Any, version: int) -> None:
        self.name = following.__name__
        self.version = version
        self.following = following
        self.state = state
        self.action = action
        self.begin: Callable[..., Any] | None = None
        self.change: Callable[[Any, Any], Any] = lambda state, action: action
        self.truth: Oracle | None = None
        self.Params: type[BaseModel] = Params
        self.__module__ = following.__module__

    def start(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Take the function that makes the first state; its typed parameters become the job's."""
        fields = {}
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            kind = Any if parameter.annotation is parameter.empty else parameter.annotation
            fields[parameter.name] = (kind, ... if parameter.default is parameter.empty else parameter.default)
        self.Params = create_model(f"{self.name}_params", __base__=Params, **fields)  # type: ignore[call-overload]
        self.begin = function
        return function

    def apply(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Take the function that makes the next state of a state and an action; without it the action is the state."""
        self.change = function
        return function

    def oracle(self, function: Oracle) -> Oracle:
        """Take a function from prompt to `Truth`: what a simulated model needs. Optional."""
        self.truth = function
        return function

    def __call__(self, params: BaseModel | None = None, /, **given: object) -> Decomposer[Any, Any]:
        """Return the decomposer for parameters: checked ones, or keywords."""
        if self.begin is None:
            raise ValueError(f"{self.name} has no start: decorate a function with @{self.name}.start")
        return _Function(self, self.begin, self.Params(**given) if params is None else params)


def task(*, state: Any, action: Any = str, version: int = 1) -> Callable[[Callable[[Any], Following]], FunctionTask]:
    """Make a task of a function that says, for a state, what to ask next, what to hand on, or that all is done.

    Args:
        state: The state's type: anything pydantic can write as JSON.
        action: The type of what the model decides.
        version: Raise it when a change makes older runs impossible to go on with.
    """
    return lambda following: FunctionTask(following, state, action, version)


class Question(NamedTuple):
    """One typed question of a list: ``{name}`` in its prompt stands for a parameter or an earlier answer."""

    name: str
    prompt: str
    kind: Any = str
    check: Callable[[Any], str | None] | None = None
    max_tokens: int = 64


def questions(name: str, asked: list[Question], *, system: str = "", version: int = 1) -> FunctionTask:
    """Make a task of a plain list of questions, each of which may use the answers before it.

    The job's parameters are the names in braces that no question answers; the run's result is the answers by name.

    Raises:
        ValueError: Two questions have one name, or one uses an answer that comes later.
    """
    given = _parameters(asked)

    def following(state: dict[str, Any]) -> Ask | Done:
        place = len(state) - len(given)
        if place == len(asked):
            return Done({question.name: state[question.name] for question in asked})
        question = asked[place]
        prompt = _HOLE.sub(lambda hole: _filled(state[hole[1]]), question.prompt)
        parse = _reader(question.kind)
        return Ask(prompt, parse, question.check, question.max_tokens, (), system, f"question {question.name}")

    following.__name__ = name
    made = FunctionTask(following, dict[str, Any], Any, version)
    # Where it stands: there it is found by its name.
    made.__module__ = sys._getframe(1).f_globals["__name__"]
    made.Params = create_model(f"{name}_params", __base__=Params, **dict.fromkeys(given, (str, ...)))  # type: ignore[call-overload]
    made.begin = lambda **params: params
    made.change = lambda state, answer: {**state, asked[len(state) - len(given)].name: answer}
    return made


class _Function(Decomposer[Any, Any]):
    """A `FunctionTask` with its parameters: the decomposer that runs. Holds what must reach the workers, no more."""

    def __init__(self, made: FunctionTask, begin: Callable[..., Any], params: BaseModel) -> None:
        self._made = Made(made, params)
        self.name = made.name  # type: ignore[misc]
        self.version = made.version  # type: ignore[misc]
        self._begin = begin
        self._params = {name: getattr(params, name) for name in type(params).model_fields}
        self._following = made.following
        self._change = made.change
        self._truth = made.truth
        self._read = _reader(made.action)
        self.state: Codec[Any] = PydanticCodec(made.state)
        self.action: Codec[Any] = PydanticCodec(made.action)
        # The class that the store knows; each step's own parser and limits go into a class of the same name.
        self.classes = (StepClass(ANSWER, self._read),)

    def start(self) -> Any:
        return self._begin(**self._params)

    def next(self, state: Any) -> Step[Any, Any] | Done | Fork[Any]:
        asked = self._following(state)
        if not isinstance(asked, Ask):
            return asked
        check = asked.check
        reading = asked.reading if asked.reading or asked.parse is None else reading_of(asked.parse)
        kind: StepClass[Any, Any] = StepClass(
            ANSWER,
            asked.parse or self._read,
            (lambda _state, action: check(action)) if check else (lambda _state, _action: None),
            asked.max_tokens,
            asked.stop,
            asked.system,
            memo=reading is not None,
            reading=reading or "",
            read_before=getattr(asked.parse or self._read, "before", None),
        )
        return Step(kind, asked.prompt)

    def apply(self, state: Any, action: Any) -> Any:
        return self._change(state, action)

    def oracle(self) -> Oracle | None:
        return self._truth


class _Reader:
    """Reads replies as a type: as JSON, or as the text that they are."""

    def __init__(self, kind: Any) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def __call__(self, text: str) -> Any:
        """Return the value that a reply is. Raises ``ValueError`` for none, also where a name is there twice."""
        return self._adapter.validate_python(_json_or_text(text.strip(), once))

    def before(self, text: str) -> Any:
        """Return what earlier versions read: of a name that is there twice the last."""
        return self._adapter.validate_python(_json_or_text(text.strip(), dict))


def _reader(kind: Any) -> Callable[[str], Any]:
    return str.strip if kind is str else _Reader(kind)


def _json_or_text(text: str, members: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> Any:
    try:
        return json.loads(text, object_pairs_hook=members)
    except TwiceNamed:
        raise
    except (ValueError, RecursionError):
        return text


def _filled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parameters(asked: list[Question]) -> list[str]:
    names = [question.name for question in asked]
    if len(set(names)) < len(names):
        raise ValueError(f"two questions have one name: {', '.join(names)}")
    given: dict[str, None] = {}
    for place, question in enumerate(asked):
        for hole in _HOLE.findall(question.prompt):
            if hole in names[place:]:
                raise ValueError(f"question {question.name!r} uses the answer {hole!r}, which is asked for later")
            if hole not in names:
                given[hole] = None
    return list(given)
