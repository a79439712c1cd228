"""A chain: a task in which every step needs the one before, as a class with a state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from maker.plugin import (
    Codec,
    Decomposer,
    Done,
    Oracle,
    Params,
    PydanticCodec,
    Step,
    StepClass,
    Truth,
)


class TillParams(Params):
    """The parameters that a job sets in its table ``[task]``."""

    start: int
    bookings: tuple[str, ...]


@dataclass(frozen=True)
class State:
    """The state of the chain; it is stored as JSON."""

    done: int
    holds: int


class Till(Decomposer[State, int]):
    """Asks after each booking what the till holds."""

    name: ClassVar[str] = "till"
    version: ClassVar[int] = 1
    Params = TillParams

    def __init__(self, params: TillParams) -> None:
        self.params = params
        self.state: Codec[State] = PydanticCodec(State)
        self.action: Codec[int] = PydanticCodec(int)
        self.kind: StepClass[State, int] = StepClass("booking", parse=read, check=possible, max_tokens=16)
        self.classes = (self.kind,)

    def start(self) -> State:
        """Return the state that the chain starts in."""
        return State(done=0, holds=self.params.start)

    def next(self, state: State) -> Step[State, int] | Done:
        """Return the question to ask in a state, or the result when all is done."""
        if state.done == len(self.params.bookings):
            return Done({"holds": state.holds})
        booking = self.params.bookings[state.done]
        return Step(
            self.kind, f"The till held {state.holds}. Then: {booking}. What does it hold now? The number alone:"
        )

    def apply(self, state: State, action: int) -> State:
        """Return the state after an answer."""
        return State(done=state.done + 1, holds=action)

    def expected_steps(self) -> int:
        """Return how many steps there are, for the progress display."""
        return len(self.params.bookings)

    def oracle(self) -> Oracle:
        """Return the right answers for the simulated model. A real model does not need them."""
        return truth


def read(text: str) -> int:
    """Parse the answer from a reply. If it raises ``ValueError``, the reply is red-flagged and gets no vote."""
    return int(text.strip().rstrip("."))


def possible(state: State, action: int) -> str | None:
    """Say why an answer is impossible, or None. Check the rules of the task only, never the answer itself."""
    return "a till cannot hold less than nothing" if action < 0 else None


def truth(prompt: str) -> Truth:
    """Return right and wrong replies to a prompt."""
    found = re.search(r"held (\d+)\. Then: (received|paid) (\d+)", prompt)
    if not found:
        raise LookupError("write bookings like `paid 12 for varnish`, or set a real model in job.toml")
    held, amount = int(found[1]), int(found[3])
    right, wrong = (held + amount, held - amount) if found[2] == "received" else (held - amount, held + amount)
    return Truth((str(right),), (str(wrong), str(right + 10)))
