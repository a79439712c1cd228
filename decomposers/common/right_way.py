"""The way that a task goes if its own oracle decides every step: for pilots, plans and tests."""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any, TypeVar

from maker.plugin import Decomposer, Fork, Step

S = TypeVar("S")


def right_way(task: Decomposer[S, Any], state: S) -> Generator[S, None, Any]:
    """Yield every state on the right way from ``state`` on that asks for a step, those of children too.

    Returns what the chain comes to. A run never asks for this: it holds all the answers.

    Raises:
        TypeError: The task has no oracle, or it does what is neither a step, a fork nor the end.
    """
    oracle = task.oracle()
    if oracle is None:
        raise TypeError(f"{task.name} has no oracle, so its right steps are unknown")
    while True:
        move = task.next(state)
        if isinstance(move, Step):
            yield state
            state = task.apply(state, move.kind.parse(oracle(move.prompt).right[0]))
        elif isinstance(move, Fork):
            forked = state
            for number in range(move.count):
                result = yield from right_way(task, move.child(forked, number))
                state = move.join(state, number, result) if move.join else state
            state = move.then(state) if move.then else state
        else:
            return getattr(move, "result", None)


def drawn(task: Decomposer[S, Any], count: int, seed: int) -> list[S]:
    """Return ``count`` states of the right way, drawn evenly, in its order; fewer where it has fewer."""
    rng = random.Random(seed)
    kept: list[tuple[int, S]] = []
    for number, state in enumerate(right_way(task, task.start())):
        # One pass, and never more than the sample in memory.
        if number < count:
            kept.append((number, state))
        elif (place := rng.randrange(number + 1)) < count:
            kept[place] = (number, state)
    return [state for _, state in sorted(kept, key=lambda one: one[0])]
