"""A task whose prompts are worded in three ways."""

from __future__ import annotations

from typing import Any

from maker.plugin import Codec, Decomposer, Done, Oracle, Params, PydanticCodec, Step, StepClass, Truth

STEPS = 300


class Line(Decomposer[int, str]):
    """Asks for a letter again and again; x is right. The state counts the steps."""

    name = "line"
    version = 1
    Params = Params

    def __init__(self, params: Params) -> None:
        self.state: Codec[int] = PydanticCodec(int)
        self.action: Codec[str] = PydanticCodec(str)
        words = ("In words 1: ", "In words 2: ")
        self.kind: StepClass[int, str] = StepClass(
            "letter", str.strip, max_tokens=8, system="Plainly: ", paraphrases=words
        )  # fmt: skip
        self.classes = (self.kind,)

    def start(self) -> int:
        """Return 0."""
        return 0

    def next(self, state: int) -> Any:
        """Ask for a letter, or end."""
        return Step(self.kind, f"letter {state}") if state < STEPS else Done(state)

    def apply(self, state: int, action: str) -> int:
        """Count the letter."""
        return state + 1

    def oracle(self) -> Oracle:
        """Return x as right, a as wrong."""
        return lambda prompt: Truth(("x",), ("a",))
