"""A task's questions, asked ahead of time: steps of another task, each decided by its rules, and none gone on from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from maker.plugin import Decomposer
from maker.sampling.labels import NumberedLabel
from maker.sampling.pilot import PilotTask, Root
from maker.types import Done, Fork, InputPart
from maker.voting.thinking import Thinking


class Answered:
    """Where a step stands that is decided: nothing follows from it here."""

    __slots__ = ()


_ANSWERED = Answered()


class PrecomputeTask(PilotTask):
    """A task's steps, drawn as for a pilot, each of which is decided and ends there.

    Args:
        task: The task whose steps are decided.
        steps: How many of each class, at most.
        seed: Which.
        labels: They name all the steps where there are any.
        prompts: What the task's prompts are made of: they are its own, whichever steps are drawn.
        thinking: Takes off replies what is no answer.
    """

    name: ClassVar[str]

    def __init__(
        self,
        task: Decomposer[Any, Any],
        steps: int,
        seed: int,
        labels: Sequence[NumberedLabel],
        prompts: str,
        thinking: Thinking,
    ) -> None:
        super().__init__(task, steps, seed, labels, thinking)
        self._prompts = prompts

    def with_parts(self, parts: Sequence[InputPart]) -> Self:
        """Return the same steps of the task with these parts."""
        task = self.task.with_parts(parts)
        return type(self)(task, self._steps, self._seed, self._labels, self._prompts, self._thinking)

    def next(self, state: Any) -> Any:
        """Fork into the drawn steps, ask what the task asks there, and end."""
        if isinstance(state, Answered):
            return Done(None)
        if isinstance(state, Root) and state.asked < len(state.spots):
            return Fork(len(state.spots), self._child, self._join, single=True, missed=self._missed)
        return super().next(state)

    def apply(self, state: Any, action: Any) -> Any:
        """End: what the task would make of it is its own affair."""
        return _ANSWERED

    def prompts(self) -> str:
        """Return what the task's prompts are made of."""
        return self._prompts

    def _join(self, root: Root, number: int, result: Any) -> Root:
        return root._replace(asked=number + 1)
