"""Asks the task's own code what a run would begin with, without a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from numbers import Integral
from typing import Any

from maker.core.user_code import call_for_text, call_user_code, not_text, shown
from maker.errors import ContractBroken, TaskFailed
from maker.job.job import Job
from maker.plugin import Decomposer
from maker.types import Fork, InputPart, Step
from maker.voting.chain import DEEPEST

LOOKED_AT = 100
"""How many children of a fork are tried for one that can be made, to see what it is asked."""


def first_state(job: Job) -> str:
    """Return the root chain's first state as the task writes it. Raises `TaskFailed`."""
    task = job.decomposer
    return call_for_text(f"{task.name}: state.write", task.state.write, _start(task))


def input_parts(job: Job) -> tuple[InputPart, ...]:
    """Return the input files that the task reads. Raises `BadInput` where they cannot be read, or have changed."""
    parts: tuple[InputPart, ...] = call_user_code(f"{job.decomposer.name}: parts", job.decomposer.parts)
    return parts


def distinct_questions(job: Job) -> Mapping[str, int] | None:
    """Return how many different questions the task asks by step class, where decisions are taken again.

    None where they are not, or the task does not know. Raises `TaskFailed`.
    """
    if job.memo == "off":
        return None
    asked: Mapping[str, int] | None = call_user_code(f"{job.decomposer.name}: questions", job.decomposer.questions)
    return asked


def expected_steps(job: Job) -> int | None:
    """Return how many steps the task takes, if it knows. Raises `TaskFailed`."""
    steps: int | None = call_user_code(
        f"{job.decomposer.name}: expected_steps", _counted, job.decomposer.expected_steps
    )
    return steps


def least_steps(job: Job) -> int | None:
    """Return how many steps the task takes at least, if it knows. Raises `TaskFailed`."""
    steps: int | None = call_user_code(f"{job.decomposer.name}: least_steps", _counted, job.decomposer.least_steps)
    return steps


def first_step(job: Job) -> Step[Any, Any] | None:
    """Return what the task asks first, of its first child where it forks; None where it asks nothing.

    None too where more forks stand within one another than a run takes: it says so itself. Raises `TaskFailed`.
    """
    task = job.decomposer
    state = _start(task)
    for _ in range(DEEPEST + 1):
        move = _next(task, state)
        if not (isinstance(move, Fork) and move.count > 0):
            return move if isinstance(move, Step) else None
        state = _first_child(task, move, state)
    return None


def prompt_source(job: Job) -> str:
    """Return what the task's prompts are made of, or else its first prompt. Raises `TaskFailed`."""
    source: str | None = call_user_code(f"{job.decomposer.name}: prompts", job.decomposer.prompts)
    if source is not None and (problem := not_text(source)):
        raise TaskFailed(
            f"{job.decomposer.name}: prompts returned {shown(source)}: {problem}", fix="make it return text"
        )
    if source is not None:
        return source
    step = first_step(job)
    return "" if step is None else step.prompt


def _counted(count: Callable[[], Any]) -> int | None:
    steps = count()
    if steps is None:
        return None
    whole = int(steps) if isinstance(steps, float) and steps.is_integer() else steps
    if not isinstance(whole, Integral) or whole < 0:
        raise ContractBroken(f"it returned {shown(steps)}", "make it return a whole number, 0 or more, or None")
    return int(whole)


def _start(task: Decomposer[Any, Any]) -> Any:
    return call_user_code(f"{task.name}: start", task.start)


def _next(task: Decomposer[Any, Any], state: Any) -> Any:
    return call_user_code(f"{task.name}: next", task.next, state)


def _first_child(task: Decomposer[Any, Any], fork: Fork[Any], state: Any) -> Any:
    """Return the state of a fork's first child; where some may be missed, of the first that can be made."""
    last = min(fork.count, LOOKED_AT) - 1 if fork.missed else 0
    for number in range(last):
        with suppress(TaskFailed):
            return call_user_code(f"{task.name}: child", fork.child, state, number)
    return call_user_code(f"{task.name}: child", fork.child, state, last)
