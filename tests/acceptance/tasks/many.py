"""A task of which no two logs are alike: many answers are acceptable, and every answer changes all that follows.

The state is a hash over the actions so far. The prompt shows two bits of it and never the step's number, so equal
prompts come up at many steps, and only the seeds can tell their samples apart.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import ClassVar

from pydantic import BaseModel, Field

from maker.plugin import Codec, Decomposer, Done, Oracle, Params, PydanticCodec, Step, StepClass, Truth

LETTERS = "abcdefghij"
PROMPTS = 4
TOO_LONG = "word " * 8
LIKELY = (0,) * 8 + (1,) * 4 + (2,) * 2 + (3, 4, 5)
"""Six letters are right, some of them likelier than others, so that elections end."""


class Chain(BaseModel):
    """How many steps are done, and the hash over them."""

    done: int
    hash: str


class ManyParams(Params):
    """How many steps the task takes."""

    steps: int = Field(ge=1)


def _parse(text: str) -> str:
    if text not in tuple(LETTERS):
        raise ValueError(f"one letter of {LETTERS} is wanted")
    return text


def _turn(state: Chain) -> int:
    return int(state.hash[0], 16) % PROMPTS


def _check(state: Chain, letter: str) -> str | None:
    return f"{letter} is forbidden after {state.hash}" if letter == LETTERS[-1 - _turn(state)] else None


def _truth(prompt: str) -> Truth:
    turn = int(prompt[-1])
    letters = LETTERS[turn:] + LETTERS[:turn]
    return Truth(tuple(letters[place] for place in LIKELY), (*letters[6:], "", TOO_LONG))


class Many(Decomposer[Chain, str]):
    """Asks for a letter, ``steps`` times."""

    name: ClassVar[str] = "many"
    version: ClassVar[int] = 1
    Params = ManyParams

    def __init__(self, params: ManyParams) -> None:
        self.steps = params.steps
        self.state: Codec[Chain] = PydanticCodec(Chain)
        self.action: Codec[str] = PydanticCodec(str)
        self.kind: StepClass[Chain, str] = StepClass("letter", parse=_parse, check=_check, max_tokens=20)
        self.classes = (self.kind,)

    def start(self) -> Chain:
        """Return the hash of nothing."""
        return Chain(done=0, hash="0" * 16)

    def next(self, state: Chain) -> Step[Chain, str] | Done:
        """Ask for a letter, or end."""
        if state.done == self.steps:
            return Done({"steps": state.done, "hash": state.hash})
        return Step(self.kind, f"Choose a letter. {_turn(state)}")

    def apply(self, state: Chain, action: str) -> Chain:
        """Take the letter into the hash."""
        return Chain(done=state.done + 1, hash=blake2b(f"{state.hash}{action}".encode(), digest_size=8).hexdigest())

    def expected_steps(self) -> int:
        """Return the number of steps."""
        return self.steps

    def oracle(self) -> Oracle:
        """Return six letters as right; four others, nothing and far too much as wrong."""
        return _truth
