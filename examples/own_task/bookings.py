"""A task that reads a file: what a till holds after each line of bookings.csv."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from maker.plugin import (
    Codec,
    Decomposer,
    Done,
    Input,
    InputPart,
    Oracle,
    Params,
    Place,
    PydanticCodec,
    Step,
    StepClass,
    Truth,
)


class BookingsParams(Params):
    """What a job says in its table ``[task]``; a relative path starts from the job file's folder."""

    file: Annotated[str, Place()]


@dataclass(frozen=True)
class State:
    """How many lines are booked, and what the till holds then."""

    booked: int
    holds: int


class Bookings(Decomposer[State, int]):
    """Asks after each line of the file what the till holds."""

    name: ClassVar[str] = "bookings"
    version: ClassVar[int] = 1
    Params = BookingsParams

    def __init__(self, params: BookingsParams, known: Sequence[InputPart] = ()) -> None:
        self.params = params
        # Opens nothing yet, and travels to the workers. It reads no more than what is known, if something is.
        self._lines = Input(params.file, known=known, grow=False)
        self.state: Codec[State] = PydanticCodec(State)
        self.action: Codec[int] = PydanticCodec(int)
        self.kind: StepClass[State, int] = StepClass("booking", parse=int, max_tokens=16)
        self.classes = (self.kind,)

    def parts(self) -> tuple[InputPart, ...]:
        """Declare the file."""
        return self._lines.scan()

    def with_parts(self, parts: Sequence[InputPart]) -> Self:
        """Return the task of the file as it was when the run began."""
        return type(self)(self.params, parts)

    def start(self) -> State:
        """Return an empty till."""
        return State(booked=0, holds=0)

    def next(self, state: State) -> Step[State, int] | Done:
        """Ask about the next line of the file."""
        if state.booked == self.expected_steps():
            return Done({"holds": state.holds})
        line = self._lines.row(state.booked).values
        return Step(self.kind, f"What is {state.holds} {line['sign']} {line['amount']}? The number alone:")

    def apply(self, state: State, action: int) -> State:
        """Book the answer."""
        return State(booked=state.booked + 1, holds=action)

    def expected_steps(self) -> int:
        """Return how many lines there are. The first call in a process reads the file through, later ones do not."""
        return sum(part.rows for part in self._lines.scan())

    def oracle(self) -> Oracle:
        """Return what the simulated model knows. A real model needs none of it."""
        return truth


def truth(prompt: str) -> Truth:
    """Return right and wrong replies to a prompt."""
    found = re.search(r"What is (\d+) ([+-]) (\d+)", prompt)
    if not found:
        raise LookupError(f"no booking: {prompt}")
    held, amount = int(found[1]), int(found[3])
    right, wrong = (held + amount, held - amount) if found[2] == "+" else (held - amount, held + amount)
    return Truth((str(right),), (str(wrong),))
