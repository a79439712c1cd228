"""What a workflow waits for: values that its coroutine hands out, one after another. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar, overload

from decomposers.workflow.answers import AnswerType
from maker.plugin import ContractBroken

if TYPE_CHECKING:
    from decomposers.workflow.decorator import Workflow

T = TypeVar("T")
SHOWN = 200
"""Characters of a question that the log keeps with its answer; a longer one is kept with a digest of all of it."""


class Awaited(Generic[T]):
    """What can be awaited in a workflow, or put side by side by `Run.gather`."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, T]:
        answer: T = yield self
        return answer

    # Without its `await` a wait would be as good as an approval, and a step's answer a text of ours in the next prompt.
    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self.question!r} is not awaited: write `await` before it is used")

    def __format__(self, _form: str) -> NoReturn:
        raise TypeError(f"{self.question!r} is not awaited: write `await` before it is used")

    @property
    def question(self) -> str:
        """What is asked, in up to some 200 characters: it tells one question from another."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Asked(Awaited[T]):
    """One voted step; the fields are the arguments of `Run.ask`."""

    prompt: str
    answer: AnswerType[T]
    name: str
    system: str
    max_tokens: int
    parse: Callable[[str], T] | None
    check: Callable[[T], str | None] | None
    truth: T | None

    @property
    def question(self) -> str:
        """The prompt."""
        return shortened(self.prompt)


@dataclass(frozen=True, slots=True)
class Child(Awaited[T]):
    """Another workflow, or an async function of the same kind, with its arguments."""

    workflow: Workflow[Any, T]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def question(self) -> str:
        """The workflow's name."""
        return f"workflow {self.workflow.name}"


@dataclass(frozen=True, slots=True)
class Effected(Awaited[T]):
    """Something that is done in the world, once; the fields are the arguments of `Run.effect`."""

    function: Callable[..., T | Awaitable[T]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str
    retry: Literal["ask", "same-key"]
    result: AnswerType[T]
    truth: tuple[Any, ...]

    @property
    def question(self) -> str:
        """The effect's name."""
        return f"effect {self.name}"

    def call(self, key: str) -> Any:
        """Do it; returns its result as JSON, or what can be awaited for it."""
        named = {"idempotency_key": key} if takes_key(self.function) else {}
        result = self.function(*self.args, **self.kwargs, **named)
        return self._later(result) if inspect.isawaitable(result) else self._stored(result)

    async def _later(self, result: Awaitable[T]) -> Any:
        return self._stored(await result)

    def _stored(self, result: T) -> Any:
        try:
            return self.result.stored(result)
        except ValueError as error:
            raise ContractBroken(
                f"it was done, but what it returned cannot be stored: {error}", "return what the function says"
            ) from error


@dataclass(frozen=True, slots=True)
class Now(Awaited[datetime]):
    """The time, as the log has it."""

    @property
    def question(self) -> str:
        """What is asked."""
        return "now"


@dataclass(frozen=True, slots=True)
class Waited(Awaited[T]):
    """An answer from outside, or a time; the fields are the arguments of `Run.wait`."""

    name: str
    answer: AnswerType[T]
    prompt: str
    deadline_s: float | None
    truth: tuple[Any, ...] = ()

    @property
    def question(self) -> str:
        """What is waited for."""
        return f"wait {self.name}" if self.name else f"sleep {self.deadline_s:g}"


@dataclass(frozen=True, slots=True)
class Together(Awaited[list[T]]):
    """Several of these, side by side."""

    each: Sequence[Awaited[T]]

    @property
    def question(self) -> str:
        """How many there are, and the first of them."""
        return f"{len(self.each)} side by side" + (f": {self.each[0].question}" if self.each else "")

    @property
    def single(self) -> bool:
        """Whether all of them are single steps."""
        if isinstance(self.each, Mapped):
            return self.each.single
        return all(isinstance(one, Asked) for one in self.each)


@dataclass(frozen=True, slots=True)
class Mapped(Sequence[Awaited[T]]):
    """One of these for each of some items, made when it is looked at: a million items are no million objects."""

    make: Callable[[Any], Awaited[T]]
    items: Sequence[Any]
    single: bool

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, at: int) -> Awaited[T]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Awaited[T]]: ...
    def __getitem__(self, at: int | slice) -> Awaited[T] | Sequence[Awaited[T]]:
        if isinstance(at, slice):
            return Mapped(self.make, self.items[at], self.single)
        return self.make(self.items[at])


def takes_key(function: Callable[..., Any]) -> bool:
    """Say whether a function has a parameter for an effect's key."""
    try:
        return "idempotency_key" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        # Some that are written in C do not say what they take.
        return False


def shortened(text: str) -> str:
    """Return a text of up to `SHOWN` characters as it is; a longer one's beginning, and a digest of all of it."""
    if len(text) <= SHOWN:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=b"maker-question").hexdigest()
    return f"{text[: SHOWN - 20]}… {digest}"
