"""Short answers: what the last line of a reply says, if no other line says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class LastLine(Generic[A]):
    """A parser of what ``read`` makes of a reply's last line; lines before it may hold anything that is no answer.

    A value, so that step classes with the same parser are equal.
    """

    read: Callable[[str], A]

    def __call__(self, text: str) -> A:
        """Return the answer.

        Raises:
            ValueError: The last line is no answer, or a line before it is another one: nobody can tell which is meant.
        """
        before, _, line = text.strip().rpartition("\n")
        answer = self.read(line.strip())
        if not before:
            # The replies of a trained microagent are one line.
            return answer
        for other in map(str.strip, before.split("\n")):
            try:
                found = self.read(other)
            except ValueError:
                continue
            if found != answer:
                raise ValueError(f"several answers, {other[:40]!r} and {line.strip()[:40]!r}")
        return answer


@dataclass(frozen=True, slots=True)
class AnyLastLine(Generic[A]):
    """A parser of what ``read`` makes of the last line, as earlier versions did, for `StepClass.read_before`."""

    read: Callable[[str], A]

    def __call__(self, text: str) -> A:
        """Return the answer. Raises ``ValueError``."""
        return self.read(text.strip().rpartition("\n")[2].strip())
