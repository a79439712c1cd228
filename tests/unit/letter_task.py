"""A task of steps that all differ in what is asked: a letter each, in two classes; for tests of pilots and plans."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from maker.plugin import Decomposer, Done, Oracle, Params, PydanticCodec, Step, StepClass, Truth

LETTERS = "abcde"


class LettersParams(Params):
    """How many steps there are, and how many of the first ones are of the class ``first``; others are ``second``."""

    steps: int = Field(ge=1)
    first: int = Field(default=0, ge=0)


def _parse(text: str) -> str:
    if text not in tuple(LETTERS):
        raise ValueError(f"one letter of {LETTERS} is wanted")
    return text


def right(number: int) -> str:
    """Return what is right in a step."""
    return LETTERS[number * 7 % 5]


def _truth(prompt: str) -> Truth:
    letter = right(int(prompt.rsplit(maxsplit=1)[-1]))
    return Truth((letter,), tuple(one for one in LETTERS if one != letter))


class Letters(Decomposer[int, str]):
    """Asks for a letter at each number."""

    name: ClassVar[str] = "letters"
    version: ClassVar[int] = 1
    Params = LettersParams

    def __init__(self, params: LettersParams) -> None:
        self.params = params
        self.state = PydanticCodec(int)
        self.action = PydanticCodec(str)
        self.kinds: tuple[StepClass[int, str], ...] = tuple(
            StepClass(name, parse=_parse, max_tokens=14) for name in ("first", "second")
        )
        self.classes = self.kinds

    def start(self) -> int:
        """Return 0."""
        return 0

    def next(self, state: int) -> Step[int, str] | Done:
        """Ask for the letter of a number."""
        if state == self.params.steps:
            return Done(state)
        return Step(self.kinds[state >= self.params.first], f"The letter of {state}")

    def apply(self, state: int, action: str) -> int:
        """Return the next number."""
        return state + 1

    def expected_steps(self) -> int:
        """Return how many steps there are."""
        return self.params.steps

    def oracle(self) -> Oracle:
        """Return one letter as right, the others as wrong."""
        return _truth
