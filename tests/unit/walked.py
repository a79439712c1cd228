"""Walks a task as a run does, without an engine: the oracle decides, but for steps that a test wants wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from maker.plugin import Decomposer, Done, Fork, Step, Truth


class Walked(NamedTuple):
    """The prompts of a walk in their order, the longest state that was written, and how the root ended."""

    prompts: list[str]
    longest: int
    end: Done


def walked(
    task: Decomposer[Any, Any], reply: Callable[[int, Truth], str] = lambda number, truth: truth.right[0]
) -> Walked:
    """Return a walk through all of a task.

    Every reply goes through parser, check and both codecs, every result through JSON, and the task through pickle.

    Args:
        task: The task.
        reply: Returns the reply to step ``number`` of all, 0-based, of what the oracle knows.
    """
    task = pickle.loads(pickle.dumps(task))  # noqa: S301
    oracle = task.oracle()
    assert oracle is not None
    prompts: list[str] = []
    longest = 0

    def chain(state: Any) -> Done:
        nonlocal longest
        while True:
            text = task.state.write(state)
            assert task.state.write(task.state.read(text)) == text
            longest = max(longest, len(text))
            move = task.next(state)
            if isinstance(move, Step):
                assert move.kind in task.classes
                action = move.kind.parse(reply(len(prompts), oracle(move.prompt)))
                assert move.kind.check(state, action) is None
                assert task.action.read(task.action.write(action)) == action
                prompts.append(move.prompt)
                state = task.apply(state, action)
            elif isinstance(move, Fork):
                assert move.join is not None
                for number in range(move.count):
                    end = chain(move.child(task.state.read(text), number))
                    state = move.join(state, number, json.loads(json.dumps(end.result)))
            else:
                assert isinstance(move, Done)
                return move

    end = chain(task.start())
    return Walked(prompts, longest, end)


def steps_of(task: Decomposer[Any, Any], states: Iterator[Any] | list[Any]) -> list[Step[Any, Any]]:
    """Return what is asked in each of several states."""
    asked = [task.next(state) for state in states]
    assert all(isinstance(one, Step) for one in asked)
    return asked  # type: ignore[return-value]
