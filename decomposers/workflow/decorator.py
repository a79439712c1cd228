"""The decorator that makes a task of an async function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from decomposers.workflow.answers import AnswerType
from decomposers.workflow.run import Run
from maker.plugin import BadInput, Decomposer, Params

P = ParamSpec("P")
R = TypeVar("R")
TAKEN = ("decomposer", "memo")
"""Settings of every task."""
Function = Callable[Concatenate[Run, P], Coroutine[Any, Any, R]]


class Report(Protocol):
    """What is known of a run."""

    @property
    def run_id(self) -> str:
        """Its id."""
        ...

    @property
    def status(self) -> str:
        """How it stands."""
        ...

    @property
    def result(self) -> Any:
        """Its result, as JSON."""
        ...


class Workflow(Generic[P, R]):
    """An async function as a task; a job names it where it would name a decomposer class. Made by `workflow`.

    ``ticket("the text", copies=2)``, with the function's arguments after the run, is the task that a program runs.

    Args:
        function: Its first parameter is the `Run`; the others are the task's parameters. Their types, and the type of
            the result, are what pydantic can write as JSON.
        name: Of the task; the function's by default.
        version: Raise it when a change makes older runs impossible to go on with.

    Raises:
        TypeError: It is no async function, or has no first parameter; a parameter or the result has a type that JSON
            cannot hold, or a default of another type, or a name that is taken.
    """

    def __init__(self, function: Function[P, R], *, name: str = "", version: int = 1) -> None:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{function!r} is no `async def`: a workflow awaits its steps")
        self.function = function
        self.name = name or function.__name__
        self.version = version
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self.__qualname__ = function.__qualname__
        try:
            signature = inspect.signature(function, eval_str=True)
        except NameError as error:
            raise TypeError(f"the annotations of {function.__name__} cannot be read: {error}") from error
        of = signature.return_annotation
        self.result: AnswerType[R] = _type_of(f"{function.__name__}: the result", of)
        self._signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        self.Params = _params(self.name, list(signature.parameters.values()))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Decomposer[Any, Any]:
        """Return the task of these arguments, or of checked parameters: one of ``Params``.

        Raises:
            TypeError: They are not those of the function.
            ValueError: One is not of its type; pydantic's ``ValidationError``.
        """
        from decomposers.workflow.task import WorkflowTask

        if len(args) == 1 and isinstance(args[0], self.Params):
            return WorkflowTask(self, args[0])
        return WorkflowTask(self, self.Params(**self._signature.bind(*args, **kwargs).arguments))

    def result_of(self, report: Report) -> R:
        """Return a run's result as the type that the function returns.

        Raises:
            BadInput: The run is not done.
            ValueError: The result is not of this type; pydantic's ``ValidationError``.
        """
        if report.status != "done":
            raise BadInput(f"run {report.run_id} is {report.status}: it has no result", fix="resume it first")
        return self.result.typed(report.result)

    def __repr__(self) -> str:
        return f"workflow {self.name}"


@overload
def workflow(function: Function[P, R], /) -> Workflow[P, R]: ...
@overload
def workflow(*, name: str = "", version: int = 1) -> Callable[[Function[P, R]], Workflow[P, R]]: ...
def workflow(function: Any = None, /, *, name: str = "", version: int = 1) -> Any:
    """Make a task of an async function, whose first argument is the `Run`.

        @maker.workflow
        async def greeting(run: maker.Run, name: str) -> str:
            return await run.ask(f"Write one line that greets {name}.")

    A job names it ``path/file.py:greeting``; ``name`` is then a task parameter.
    """
    if function is None:
        return lambda found: Workflow(found, name=name, version=version)
    return Workflow(function)


def called(function: Any) -> Workflow[Any, Any]:
    """Return what `Run.child` and `Run.map` are given as a workflow: one, or an async function."""
    return function if isinstance(function, Workflow) else _made(function)


@lru_cache(maxsize=1024)
def _made(function: Any) -> Workflow[Any, Any]:
    return Workflow(function)


def _type_of(what: str, annotation: Any) -> AnswerType[Any]:
    try:
        return AnswerType(Any if annotation is inspect.Parameter.empty else annotation)
    except TypeError as error:
        raise TypeError(f"{what}: {error}") from error


def _params(name: str, parameters: list[inspect.Parameter]) -> type[BaseModel]:
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):  # fmt: skip
        raise TypeError(f"{name} takes no run: give it a first parameter, `run: maker.Run`")
    fields: dict[str, Any] = {}
    for one in parameters[1:]:
        if one.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise TypeError(f"{name}: *{one.name} has no type to store it by: name each parameter")
        if one.name in TAKEN or one.name.startswith(("_", "model_")):
            raise TypeError(f"{name}: a parameter cannot be called {one.name}: rename it")
        kind = _type_of(f"{name}: parameter {one.name}", one.annotation)
        if one.default is not one.empty and not isinstance(one.default, FieldInfo):
            try:
                kind.stored(one.default)
            except ValueError as error:
                raise TypeError(f"{name}: parameter {one.name}: its default does not fit: {error}") from error
        fields[one.name] = (kind.of, ... if one.default is one.empty else one.default)
    return create_model(f"{name}_params", __base__=Params, **fields)
