"""Many instances of one task in one run: a fork, each of whose children is an instance's own chain."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from maker.core.plugins import DECOMPOSERS, find_plugin
from maker.plugin import Codec, Decomposer, Done, Fork, Oracle, Params, Step, StepClass


class ManyParams(Params):
    """Parameters of `Many`: the decomposer's name, and the parameters of each instance."""

    of: str
    instances: tuple[dict[str, Any], ...]


class At(NamedTuple):
    """A state of an instance; with None, the root: what the instances have come to so far."""

    instance: int | None
    state: Any


class AtCodec:
    """Writes JSON: the instance's number and its state as the instance writes it, or the root's results."""

    def __init__(self, codecs: tuple[Codec[Any], ...]) -> None:
        self._codecs = codecs

    def write(self, value: At) -> str:
        """Return the JSON text."""
        number, state = value
        return json.dumps([number, state if number is None else self._codecs[number].write(state)])

    def read(self, text: str) -> At:
        """Return the state of a text."""
        number, state = json.loads(text)
        return At(number, state if number is None else self._codecs[number].read(state))

    def show(self, value: At) -> Any:
        """Return which instance it is."""
        return value.instance


class Many(Decomposer[At, Any]):
    """Forks into the instances; the result is what each came to, None where it ended wrong."""

    name: ClassVar[str] = "many"
    version: ClassVar[int] = 1
    Params = ManyParams

    def __init__(self, params: ManyParams) -> None:
        found = find_plugin(DECOMPOSERS, params.of, Path.cwd()).object
        self._tasks: tuple[Decomposer[Any, Any], ...] = tuple(
            found(found.Params.model_validate(one)) for one in params.instances
        )
        first = self._tasks[0]
        self.state: Codec[At] = AtCodec(tuple(task.state for task in self._tasks))
        self.action = first.action
        checks = [{kind.name: kind.check for kind in task.classes} for task in self._tasks]
        self.classes = tuple(replace(kind, check=partial(_check, checks, kind.name)) for kind in first.classes)
        self._kinds: dict[str, StepClass[At, Any]] = {kind.name: kind for kind in self.classes}

    def start(self) -> At:
        """Return the root."""
        return At(None, [])

    def next(self, state: At) -> Step[At, Any] | Fork[At] | Done:
        """Ask what the instance asks; the root forks into all of them."""
        number, inner = state
        if number is None:
            return Done(inner) if inner else Fork(len(self._tasks), self._child, _join)
        move = self._tasks[number].next(inner)
        if isinstance(move, Step):
            return Step(self._kinds[move.kind.name], move.prompt)
        if isinstance(move, Fork):
            return _within(number, move)
        assert isinstance(move, Done)  # noqa: S101 - the tasks of the benchmark ask, fork or end
        return Done(move.result if move.ok else None)

    def apply(self, state: At, action: Any) -> At:
        """Do as the instance does."""
        assert state.instance is not None  # noqa: S101 - the root asks nothing
        return At(state.instance, self._tasks[state.instance].apply(state.state, action))

    def expected_steps(self) -> int | None:
        """Return the sum over the instances."""
        steps = [task.expected_steps() for task in self._tasks]
        return None if None in steps else sum(number for number in steps if number)

    def sample(self, count: int, seed: int) -> list[At]:
        """Return states of steps of the instances, as many of each."""
        each = -(-count // len(self._tasks))
        drawn = [(i, task.sample(each, seed + i)) for i, task in enumerate(self._tasks)]
        return [At(i, state) for i, states in drawn if states is not None for state in states]

    def oracle(self) -> Oracle | None:
        """Return the first instance's, which knows all prompts of the task."""
        return self._tasks[0].oracle()

    def _child(self, state: At, i: int) -> At:
        return At(i, self._tasks[i].start())


def _within(number: int, fork: Fork[Any]) -> Fork[At]:
    """Return an instance's fork, whose children are the instance's too."""
    join, then = fork.join, fork.then
    return Fork(
        fork.count,
        lambda at, i: At(number, fork.child(at.state, i)),
        None if join is None else lambda at, i, result: At(number, join(at.state, i, result)),
        None if then is None else lambda at: At(number, then(at.state)),
        fork.single,
    )


def _join(state: At, i: int, result: Any) -> At:
    return At(None, [*state.state, result])


def _check(
    checks: Sequence[Mapping[str, Callable[[Any, Any], str | None]]], kind: str, at: At, action: Any
) -> str | None:
    assert at.instance is not None  # noqa: S101 - the root asks nothing
    return checks[at.instance][kind](at.state, action)
