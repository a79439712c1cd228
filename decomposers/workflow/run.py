"""The first argument of a workflow: what it can ask for, each durable. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from decomposers.workflow.answers import answer_type
from decomposers.workflow.asked import Asked, Awaited, Child, Mapped, Together
from decomposers.workflow.scan import SOLVER, class_name

if TYPE_CHECKING:
    from decomposers.workflow.decorator import Workflow

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item
MAX_TOKENS = 256


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
        return Together(each)

    @overload
    def map(
        self, each: str | Callable[[I], str], items: Iterable[I], answer: type[T], *, name: str = "",
        k: int | None = None, role: str = SOLVER, system: str = "", max_tokens: int = MAX_TOKENS,
        check: Callable[[T], str | None] | None = None, truth: Callable[[I], T] | None = None,
    ) -> Awaited[list[T]]: ...  # fmt: skip
    @overload
    def map(
        self, each: Callable[[Run, I], Coroutine[Any, Any, T]] | Workflow[[I], T], items: Iterable[I]
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


def _ask_of(run: Run, each: Any, answer: Any, settings: dict[str, Any], truth: Any, item: Any) -> Awaited[Any]:
    prompt = each.format(item) if isinstance(each, str) else each(item)
    return run.ask(prompt, answer, truth=None if truth is None else truth(item), **settings)
