"""The first argument of a workflow: what it can ask for, each durable. Pure."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from decomposers.workflow.answers import AnswerType, answer_type
from decomposers.workflow.asked import Asked, Awaited, Child, Effected, Mapped, Now, Together, Waited, takes_key
from decomposers.workflow.scan import SOLVER, class_name

if TYPE_CHECKING:
    from decomposers.workflow.decorator import Workflow

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item
MAX_TOKENS = 256
LONGEST = timedelta(days=36525)
"""A wait may last a hundred years."""


class Run:
    """What a workflow's function is given first. Await what its methods return, and nothing else.

    The function must depend on its arguments and on what it has awaited alone: a resume calls it again, and gives it
    the answers of the log. For chance there is `random`.
    """

    def __init__(self, place: str) -> None:
        seed = blake2b(place.encode("utf-8", "surrogatepass"), digest_size=8, person=b"maker-random").digest()
        self.random = random.Random(seed)
        """Random numbers that are the same when the run goes on."""

    @overload
    def ask(
        self, prompt: str, *, name: str = "", k: int | None = None, role: str = SOLVER, system: str = "",
        max_tokens: int = MAX_TOKENS, parse: Callable[[str], str] | None = None,
        check: Callable[[str], str | None] | None = None, truth: str | None = None,
    ) -> Awaited[str]: ...  # fmt: skip
    @overload
    def ask(
        self, prompt: str, answer: type[T], *, name: str = "", k: int | None = None, role: str = SOLVER,
        system: str = "", max_tokens: int = MAX_TOKENS, parse: Callable[[str], T] | None = None,
        check: Callable[[T], str | None] | None = None, truth: T | None = None,
    ) -> Awaited[T]: ...  # fmt: skip
    @overload
    def ask(
        self, prompt: str, answer: object, *, name: str = "", k: int | None = None, role: str = SOLVER,
        system: str = "", max_tokens: int = MAX_TOKENS, parse: Callable[[str], object] | None = None,
        check: Callable[[Any], str | None] | None = None, truth: object = None,
    ) -> Awaited[Any]: ...  # fmt: skip
    def ask(
        self, prompt: str, answer: Any = str, *, name: str = "", k: int | None = None, role: str = SOLVER,
        system: str = "", max_tokens: int = MAX_TOKENS, parse: Callable[[str], Any] | None = None,
        check: Callable[[Any], str | None] | None = None, truth: Any = None,
    ) -> Awaited[Any]:  # fmt: skip
        """Ask one question, which is decided by votes: a step.

        Args:
            prompt: The part of the prompt that varies.
            answer: ``str``, ``int``, ``bool``, an ``Enum``, a ``Literal`` (annotate what you get), a pydantic model.
            name: The step class. Steps of a class should be about equally hard: a plan and the monitor go by class.
            k: The margin of the class, where the job names none for it. Write ``k``, ``role`` and ``name`` as plain
                values: they are read from your source before the run begins.
            role: Who decides it; a job may give each role models and a margin of its own.
            system: The shared part of the prompt.
            max_tokens: Most tokens of a reply.
            parse: Reads the answer from a reply; raises ``ValueError`` where it cannot. Not with the memo, unless it is
                a function with a name.
            check: Says why the rules forbid an answer, or None. It must know the rules only, not the answer.
            truth: What is right, for a rehearsal with the simulated model.
        """
        return Asked(
            prompt, answer_type(answer), class_name(name, role, k), system, max_tokens, parse, check, truth
        )  # fmt: skip

    def child(
        self, workflow: Workflow[P, T] | Callable[Concatenate[Run, P], Coroutine[Any, Any, T]],
        *args: P.args, **kwargs: P.kwargs,
    ) -> Awaited[T]:  # fmt: skip
        """Run another workflow, or an async function of the same kind, as a chain of its own."""
        from decomposers.workflow.decorator import called

        return Child(called(workflow), args, kwargs)

    def gather(self, *each: Awaited[T]) -> Awaited[list[T]]:
        """Do several of these side by side; returns what each comes to, in their order."""
        for one in each:
            if not isinstance(one, Awaited):
                raise TypeError(
                    f"run.gather takes what the methods of a run return, not {type(one).__name__}: of an async"
                    " function, give run.child(function, …)"
                )
        return Together(each)

    @overload
    def effect(
        self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, name: str = "",
        retry: Literal["ask", "same-key"] = "ask", truth: T | None = None, **kwargs: Any,
    ) -> Awaited[T]: ...  # fmt: skip
    @overload
    def effect(
        self, function: Callable[..., T], *args: Any, name: str = "", retry: Literal["ask", "same-key"] = "ask",
        truth: T | None = None, **kwargs: Any,
    ) -> Awaited[T]: ...  # fmt: skip
    def effect(
        self, function: Callable[..., Any], *args: Any, name: str = "", retry: Literal["ask", "same-key"] = "ask",
        truth: Any = None, **kwargs: Any,
    ) -> Awaited[Any]:  # fmt: skip
        """Do something in the world, once: call a function, in a thread, and record what it returns.

        That it is about to be called is committed before it is. Its result is recorded and never voted on, and what is
        recorded is never called again. A process that dies between leaves the effect in doubt: ``retry`` says what
        then becomes of it.

        Args:
            function: Plain or async; its result is what pydantic can write as JSON, by the type it says it returns. If
                it has a parameter ``idempotency_key``, it is given the effect's key: the same whenever this effect is
                tried again, and no other's.
            *args: What it is called with.
            **kwargs: The same, by name.
            name: What it does, for people; the function's name by default.
            retry: ``ask``: the run pauses until a person has said what came of it. ``same-key``: it is called again
                with the same key, for a function that hands the key on, or does no harm twice.
            truth: What stands for its result in a pilot, which does nothing in the world and else ends here.
        """
        if not callable(function):
            raise TypeError(f"run.effect calls a function, and {function!r:.80} is none: write run.effect(send, text)")
        # A call that cannot succeed would else be an effect in doubt.
        _check_arguments(function, args, kwargs)
        called, kind = name or getattr(function, "__name__", "effect"), answer_type(_returned(function))
        return Effected(function, args, kwargs, called, retry, kind, _stands_for(kind, truth))

    @overload
    def wait(self, name: str, *, prompt: str = "", deadline: timedelta | None = None) -> Awaited[str]: ...
    @overload
    def wait(
        self, name: str, answer: type[T], *, prompt: str = "", deadline: timedelta | None = None, truth: T | None = None
    ) -> Awaited[T]: ...
    @overload
    def wait(
        self, name: str, answer: object, *, prompt: str = "", deadline: timedelta | None = None, truth: object = None
    ) -> Awaited[Any]: ...
    def wait(
        self, name: str, answer: Any = str, *, prompt: str = "", deadline: timedelta | None = None, truth: Any = None
    ) -> Awaited[Any]:
        """Wait for a person or another system: the run rests until `maker answer` or `maker.answer` names it.

        Args:
            name: What is waited for.
            answer: The type of the answer.
            prompt: What a person is to read.
            deadline: After so long nobody is waited for any more: ``TimeoutError`` is raised here.
            truth: What stands for the answer in a pilot, which waits for nobody and else ends here.
        """
        if not name:
            raise ValueError("give run.wait a name: `maker answer` needs it")
        kind = answer_type(answer)
        seconds = None if deadline is None else _seconds(deadline)
        return Waited(name, kind, prompt, seconds, _stands_for(kind, truth))

    def sleep(self, duration: timedelta | float) -> Awaited[None]:
        """Wait for so long, in seconds if it is a number. A run with nothing else to do rests meanwhile."""
        return Waited("", answer_type(None), "", max(0.0, _seconds(duration)))

    def now(self) -> Awaited[datetime]:
        """Return the time (UTC), as the log has it: a run that goes on is given the same again."""
        return Now()

    @overload
    def map(
        self, each: str | Callable[[I], str], items: Iterable[I], answer: type[T], *, name: str = "",
        k: int | None = None, role: str = SOLVER, system: str = "", max_tokens: int = MAX_TOKENS,
        check: Callable[[T], str | None] | None = None, truth: Callable[[I], T] | None = None,
    ) -> Awaited[list[T]]: ...  # fmt: skip
    @overload
    def map(
        self, each: Callable[[Run, I], Coroutine[Any, Any, T]] | Workflow[Concatenate[I, ...], T], items: Iterable[I]
    ) -> Awaited[list[T]]: ...
    def map(
        self, each: Any, items: Iterable[Any], answer: Any = None, *, name: str = "", k: int | None = None,
        role: str = SOLVER, system: str = "", max_tokens: int = MAX_TOKENS,
        check: Callable[[Any], str | None] | None = None, truth: Callable[[Any], Any] | None = None,
    ) -> Awaited[list[Any]]:  # fmt: skip
        """Do the same for each item, side by side.

        ``each`` is a prompt in which ``{}`` stands for the item, or a function from item to prompt; then ``answer`` is
        the type of each answer. Or it is a workflow of one item. ``truth`` makes what is right of an item; the other
        arguments are those of `ask`.
        """
        kept = list(items)
        if answer is None:
            return Together(Mapped(partial(self.child, each), kept, single=False))
        settings = {
            "name": name, "k": k, "role": role, "system": system, "max_tokens": max_tokens, "check": check,
        }  # fmt: skip
        return Together(Mapped(partial(_ask_of, self, each, answer, settings, truth), kept, single=True))


def _seconds(duration: timedelta | float) -> float:
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not seconds <= LONGEST.total_seconds():
        raise ValueError(f"nobody waits for {seconds:g} seconds: give at most a hundred years, or no deadline")
    return seconds


def _check_arguments(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise ``TypeError`` where a function does not take these arguments, and the key that it is given."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Some that are written in C do not say what they take.
        return
    key = {"idempotency_key": ""} if takes_key(function) else {}
    try:
        signature.bind(*args, **{**kwargs, **key})
    except TypeError as error:
        raise TypeError(f"run.effect({getattr(function, '__name__', 'effect')}, …): {error}") from error


def _returned(function: Callable[..., Any]) -> Any:
    """Return the type that a function says it returns, any where it does not say."""
    try:
        of = inspect.signature(function, eval_str=True).return_annotation
    except (NameError, TypeError, ValueError):
        # A name that only a type checker knows, or a function written in C.
        return Any
    return Any if of is inspect.Signature.empty else of


def _stands_for(kind: AnswerType[Any], truth: Any) -> tuple[Any, ...]:
    """Return what stands for something in a pilot, as JSON: one value, or none."""
    return () if truth is None and kind.of not in (None, type(None)) else (kind.stored(truth),)


def _filled(prompt: str, item: Any) -> str:
    """Return a prompt with the item in place of ``{}``. Raises ``ValueError`` for other braces."""
    try:
        return prompt.format(item)
    except (LookupError, ValueError) as error:
        raise ValueError(
            f"{prompt[:80]!r} has braces other than {{}}, which stands for the item: double them, or give a function"
            " that makes the prompt"
        ) from error


def _ask_of(run: Run, each: Any, answer: Any, settings: dict[str, Any], truth: Any, item: Any) -> Awaited[Any]:
    prompt = _filled(each, item) if isinstance(each, str) else each(item)
    return run.ask(prompt, answer, truth=None if truth is None else truth(item), **settings)
