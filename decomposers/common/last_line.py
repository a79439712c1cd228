"""Short answers: what the last line of a reply says, if no other line says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

A = TypeVar("A")


def read_last_line(text: str, read: Callable[[str], A]) -> A:
    """Return what ``read`` makes of a reply's last line; lines before it may hold anything that is no answer.

    Raises:
        ValueError: The last line is no answer, or a line before it is another one: nobody can tell which is meant.
    """
    before, _, line = text.strip().rpartition("\n")
    answer = read(line.strip())
    # The replies of a trained microagent are one line.
    for other in map(str.strip, before.split("\n") if before else ()):
        try:
            found = read(other)
        except ValueError:
            continue
        if found != answer:
            raise ValueError(f"several answers, {other[:40]!r} and {line.strip()[:40]!r}")
    return answer


def read_any_last_line(text: str, read: Callable[[str], A]) -> A:
    """Return what ``read`` makes of the last line, as earlier versions did, for `StepClass.read_before`."""
    return read(text.strip().rpartition("\n")[2].strip())
