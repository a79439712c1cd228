"""A task whose steps are of kinds: of so many steps, only the last few are rare ones."""

from __future__ import annotations

from typing import Any, ClassVar

from maker.plugin import Decomposer, Done, Fork, Oracle, Params, PydanticCodec, Step, StepClass, Truth


class CountedParams(Params):
    """Parameters of `Counted`: how many steps, and rare ones; how they are found; what is named, and known.

    With ``own`` each step is of a kind of its own; every step from ``unreadable`` on cannot be made.
    """

    steps: int = 300
    rare: int = 3
    form: str = "walk"
    named: bool = True
    known: bool = True
    own: bool = False
    unreadable: int = 1_000_000


class Counted(Decomposer[int, int]):
    """Counts on from 0; by ``form`` a walk along its oracle's way, a ``sample`` of its steps, or a fork of them all."""

    name: ClassVar[str] = "counted"
    version: ClassVar[int] = 1
    Params = CountedParams

    def __init__(self, params: CountedParams) -> None:
        self.params = params
        self.state = PydanticCodec(int)
        self.action = PydanticCodec(int)
        self.kind: StepClass[int, int] = StepClass("next", parse=int, kind_of=self._kind if params.named else None)
        self.classes = (self.kind,)

    def start(self) -> int:
        """Return 0, or the root of a fork."""
        return -1 if self.params.form == "fork" else 0

    def next(self, state: int) -> Any:
        """Ask for the next number; the children of a fork end after it."""
        if state == -1:
            return Fork(self.params.steps, lambda root, number: number, single=True, then=lambda root: -2)
        if self.params.form == "fork" and (state < -1 or state >= self.params.steps):
            return Done(state)
        if state >= self.params.unreadable:
            raise ValueError(f"row {state} is damaged")
        return Step(self.kind, f"{state}+1=") if state < self.params.steps else Done(state)

    def apply(self, state: int, action: int) -> int:
        """Go on there."""
        return self.params.steps if self.params.form == "fork" else action

    def expected_steps(self) -> int | None:
        """Return how many steps there are, where that is to be known."""
        return self.params.steps if self.params.known else None

    def sample(self, count: int, seed: int) -> list[int] | None:
        """Return the first steps, rare ones left out as long as others are there, or None."""
        return list(range(min(count, self.params.steps))) if self.params.form == "sample" else None

    def oracle(self) -> Oracle:
        """Return the sum."""
        return lambda prompt: Truth([str(int(prompt[:-3]) + 1)], ["0"])

    def _kind(self, prompt: str) -> str:
        if self.params.own:
            return prompt
        return "rare" if int(prompt[:-3]) >= self.params.steps - self.params.rare else "usual"
