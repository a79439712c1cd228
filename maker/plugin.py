"""All that a decomposer or a voter imports: the two doors, and the values that cross them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter

from maker.types import (
    Ballots,
    Decision,
    Done,
    Effect,
    Fork,
    More,
    Next,
    Oracle,
    Step,
    StepClass,
    Truth,
    Undecidable,
    Verdict,
    Wait,
)

__all__ = [
    "Ballots",
    "Codec",
    "Decision",
    "Decomposer",
    "Done",
    "Effect",
    "Fork",
    "More",
    "Next",
    "Oracle",
    "Params",
    "PydanticCodec",
    "Step",
    "StepClass",
    "Truth",
    "Undecidable",
    "Verdict",
    "Voter",
    "Wait",
]

S = TypeVar("S")
A = TypeVar("A")
T = TypeVar("T")


class Params(BaseModel):
    """Base of a plugin's parameters: unknown names are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Codec(Protocol[T]):
    """How a state or an action is written down.

    ``write`` is canonical: two actions are the same vote exactly when they are written the same. The store keeps
    what it returns, so short is good. A codec of actions may have a method ``key(value) -> str`` as well: then those
    with the same key are the same vote, and the first of them that was proposed is what wins.
    """

    def write(self, value: T) -> str:
        """Return the canonical text of a value."""
        ...

    def read(self, text: str) -> T:
        """Return the value of a canonical text. Raises ``ValueError`` for any other text."""
        ...

    def show(self, value: T) -> Any:
        """Return the value as JSON for people and programs to read."""
        ...


def vote_key(codec: Codec[T], value: T) -> str:
    """Return the text that says which vote an action is."""
    key = getattr(codec, "key", None)
    return codec.write(value) if key is None else key(value)


class PydanticCodec(Generic[T]):
    """The codec of any type that pydantic knows: canonical JSON, keys sorted, no blanks."""

    def __init__(self, of: Any) -> None:
        self._of = of
        self._adapter: TypeAdapter[T] = TypeAdapter(of)

    def write(self, value: T) -> str:
        """Return canonical JSON."""
        return json.dumps(self.show(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def read(self, text: str) -> T:
        """Return the value of a JSON text; raises pydantic's ``ValidationError``, a ``ValueError``."""
        return self._adapter.validate_json(text)

    def show(self, value: T) -> Any:
        """Return the value as JSON-compatible Python."""
        return self._adapter.dump_python(value, mode="json")

    def __reduce__(self) -> tuple[Any, ...]:
        return PydanticCodec, (self._of,)


class Decomposer(ABC, Generic[S, A]):
    """Breaks a task into minimal steps. Pure: no I/O, no clock, no randomness; it may be called again at will.

    The model proposes an action, ``apply`` makes the transition. An instance is built from its checked parameters,
    is pickled to the workers, and keeps no state between calls.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]] = Params

    classes: tuple[StepClass[S, A], ...]
    """Every step class that ``next`` may use. The order is stored with a run: append only within a version."""
    state: Codec[S]
    action: Codec[A]

    @abstractmethod
    def start(self) -> S:
        """Return the state that the root chain starts in."""

    @abstractmethod
    def next(self, state: S) -> Next[S, A]:
        """Say what is to be done in a state."""

    @abstractmethod
    def apply(self, state: S, action: A) -> S:
        """Return the state after an action. May consume its ``state`` argument."""

    def expected_steps(self) -> int | None:
        """Return how many steps the task takes, or None where that is not known beforehand."""
        return None

    def oracle(self) -> Oracle | None:
        """Return what a simulated model needs to know, or None where the truth is not known."""
        return None


class Voter(ABC):
    """Decides a step from its ballots. Pure; it calls nothing."""

    name: ClassVar[str]
    Params: ClassVar[type[BaseModel]] = Params

    @abstractmethod
    def decide(self, ballots: Ballots) -> Verdict:
        """Judge the votes so far.

        ``More(n)`` must name the fewest further votes that could settle it: the election asks for just as many, so
        that no vote is drawn that could not matter, and the order within a request cannot either.
        """

    @property
    @abstractmethod
    def least(self) -> int:
        """The fewest valid votes that can decide a step: what a run's estimate of cost rests on."""
