"""Short answers: a whole number, yes or no, or one of some choices, as the last line of a reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from decomposers.common.last_line import LastLine

_YES_NO = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class Choice:
    """Reads the choice that a line names; case counts only where two choices differ in nothing else.

    A value, so that step classes with the same parser are equal.

    Args:
        choices: What a line says for each choice, and the choice as JSON.
    """

    choices: tuple[tuple[str, Any], ...]

    def __call__(self, line: str) -> Any:
        """Return the choice. Raises ``ValueError`` for a line that names none."""
        found = [value for text, value in self.choices if text == line] or [
            value for text, value in self.choices if text.casefold() == line.casefold()
        ]
        if len(found) != 1:
            raise ValueError(f"{line[:40]!r} is none of {', '.join(text for text, _ in self.choices)}"[:200])
        return found[0]


def whole(line: str) -> int:
    """Return the whole number that a line is. Raises ``ValueError``."""
    digits = line.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError(f"{line[:40]!r} is no whole number")
    return int(line)


def yes_or_no(line: str) -> bool:
    """Return what a line says. Raises ``ValueError`` for one that is neither yes nor no."""
    try:
        return _YES_NO[line.rstrip(".").casefold()]
    except KeyError:
        raise ValueError(f"{line[:40]!r} is neither yes nor no, true nor false") from None


def short_reader(schema: Any) -> Callable[[str], Any] | None:
    """Return what reads a short answer from a reply, by its JSON schema; None where the schema is for no such answer.

    Short are answers by ``enum`` or ``const`` of texts, whole numbers, true and false, and by the types ``integer``
    and ``boolean``.
    """
    if not isinstance(schema, Mapping):
        return None
    named = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(named, list) and named and all(isinstance(one, str | int) for one in named):
        return LastLine(Choice(tuple((str(one), one) for one in named)))
    reader: Callable[[str], Any] | None = {"integer": whole, "boolean": yes_or_no}.get(str(schema.get("type")))
    return None if reader is None else LastLine(reader)
