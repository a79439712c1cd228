"""A pilot's task: steps of another task, each voted on so many times, and none of them decided. Pure.

The votes of a step may be asked in several rounds, each a fork of its own: the next one begins when all steps have had
the one before. So the votes of a step come from several requests, and from several times.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from maker.plugin import Decomposer, Voter
from maker.sampling.draw import Drawn, Places, StepLocation, draw
from maker.sampling.kinds import fewest_of, kinds_of, with_every_kind
from maker.sampling.labels import NumberedLabel
from maker.types import Ballots, Done, Fork, InputPart, More, Oracle, Undecidable, Verdict
from maker.voting.thinking import KNOWN, Thinking


class PilotVoter(Voter):
    """Asks for so many votes, and elects nobody."""

    name: ClassVar[str] = "poll"

    def __init__(self, votes: int) -> None:
        self.votes = votes

    @property
    def least(self) -> int:
        """The votes that are asked for."""
        return self.votes

    def decide(self, ballots: Ballots) -> Verdict:
        """Ask for what is left."""
        left = self.votes - sum(ballots.counts.values())
        return More(left) if left > 0 else Undecidable("a pilot decides nothing")


class Root(NamedTuple):
    """Where a pilot stands: how many steps were asked, in all rounds; ``of`` how many steps of each class the task has.

    ``kinds`` says the same by kind, as `Drawn` has it.
    """

    asked: int
    spots: tuple[StepLocation, ...]
    of: Mapping[str, int]
    kinds: Mapping[str, Mapping[str, int | None]] = {}


class RootCodec:
    """Writes a pilot's root as JSON, each text of a state once; the states of steps are never written."""

    def write(self, value: Root) -> str:
        """Return the JSON text."""
        texts = {spot.state: None for spot in value.spots}
        numbers = {text: number for number, text in enumerate(texts)}
        spots = [[numbers[state], child, right] for state, child, right in value.spots]
        # The kinds only where there are any: the roots of older pilots are written as they were.
        told = [value.asked, list(texts), spots, value.of, *([value.kinds] if value.kinds else [])]
        return json.dumps(told, separators=(",", ":"), ensure_ascii=False)

    def read(self, text: str) -> Root:
        """Return the root of a text. Raises ``ValueError``."""
        asked, texts, spots, *known = json.loads(text)
        return Root(asked, tuple(StepLocation(texts[number], child, right) for number, child, right in spots), *known)

    def show(self, value: Root) -> Any:
        """Return how far it is."""
        return {"asked": value.asked, "steps": len(value.spots)}


class PilotTask(Decomposer[Any, Any]):
    """A task's pilot: its root forks into the drawn steps, which end without a decision.

    Args:
        task: The task whose steps are asked.
        steps: How many of each class, at most.
        seed: Which.
        labels: They name all the steps where there are any.
        thinking: Takes off replies what is no answer.
        by_kind: Look which kinds of steps the task asks, and ask steps of each, where no labels name them.
        rounds: How often all steps are asked.
    """

    def __init__(
        self,
        task: Decomposer[Any, Any],
        steps: int,
        seed: int,
        labels: Sequence[NumberedLabel] = (),
        thinking: Thinking = KNOWN,
        *,
        by_kind: bool = False,
        rounds: int = 1,
    ) -> None:
        self.name = task.name  # type: ignore[misc]
        self.version = task.version  # type: ignore[misc]
        self.classes = task.classes
        self.action = task.action
        self.state = RootCodec()
        self.task = task
        self._steps, self._seed, self._labels, self._thinking = steps, seed, labels, thinking
        self._by_kind = by_kind
        self._rounds = rounds
        self._drawn: Drawn | None = None
        self._places = Places(task)

    def start(self) -> Root:
        """Return the root, with the steps drawn. Raises `BadInput` where there are none."""
        if self._drawn is None:
            self._drawn = self._draw()
        return Root(0, *self._drawn)

    def next(self, state: Any) -> Any:
        """Fork into the drawn steps in each round, ask what the task asks there, and end."""
        if not isinstance(state, Root):
            return self.task.next(state)
        if state.asked < self._rounds * len(state.spots):
            return Fork(len(state.spots), self._child, single=True, missed=self._missed)
        return Done({"steps": len(state.spots)})

    def apply(self, state: Any, action: Any) -> Any:
        """Refuse: nothing is decided here."""
        raise TypeError("a pilot's steps are never decided")

    def parts(self) -> tuple[InputPart, ...]:
        """Return those of the task."""
        return self.task.parts()

    def with_parts(self, parts: Sequence[InputPart]) -> Self:
        """Return the same pilot of the task with these parts."""
        task = self.task.with_parts(parts)
        return type(self)(
            task, self._steps, self._seed, self._labels, self._thinking, by_kind=self._by_kind, rounds=self._rounds
        )

    def prompts(self) -> str | None:
        """Return those of the task."""
        return self.task.prompts()

    def expected_steps(self) -> int:
        """Return how many steps are asked, in all rounds."""
        return self._rounds * len(self.start().spots)

    def oracle(self) -> Oracle | None:
        """Return that of the task."""
        return self.task.oracle()

    def _draw(self) -> Drawn:
        drawn = draw(self.task, self._steps, self._seed, self._labels, self._thinking)
        if not self._by_kind:
            return drawn
        kinds = kinds_of(self.task, fewest_of(self._steps), self._seed, self._thinking)
        if not self._labels:
            drawn = with_every_kind(self.task, drawn, self._steps, self._seed, kinds)
        return drawn._replace(kinds=kinds.by_class())

    def _child(self, root: Root, number: int) -> Any:
        return self._places.state(root.spots[number])

    def _missed(self, root: Root, number: int, outcome: str) -> Root:
        return root._replace(asked=root.asked + 1)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_drawn": None}
