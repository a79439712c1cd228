"""A task that knows neither its truth nor where its steps are."""

from __future__ import annotations

from typing import Any

from maker.plugin import Decomposer, Done, Params, PydanticCodec, Step, StepClass


class Blind(Decomposer[int, int]):
    """Counts to 50; it knows neither its truth nor where its steps are."""

    name = "blind"
    version = 1

    def __init__(self, params: Any = None) -> None:
        self.state = PydanticCodec(int)
        self.action = PydanticCodec(int)
        self.kind: StepClass[int, int] = StepClass("next", parse=int)
        self.classes = (self.kind,)

    Params = Params

    def start(self) -> int:
        return 0

    def next(self, state: int) -> Step[int, int] | Done:
        return Step(self.kind, f"{state} + 1 =") if state < 50 else Done(state)

    def apply(self, state: int, action: int) -> int:
        return action
