"""JSON lines: an object a line; blank lines are passed over."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, ClassVar

from maker.inputs.formats.lines import split_lines
from maker.inputs.formats.records import Cut, Records
from maker.inputs.nesting import DEEPEST, written_too_deep
from maker.inputs.parts import Broken, BrokenRow, Undecodable

_BLANK = " \t\r\n"
_WORDS = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True, slots=True)
class JsonLines(Records):
    """Rows of their own columns each. They are kept as text, and parsed each time that one is asked for."""

    uniform: ClassVar[bool] = False

    word = "JSON lines"

    def cut(self, data: bytes, *, final: bool) -> Cut:
        """Cut data at its newlines."""
        lines = split_lines(data, self.encoding, "\n", final=final)
        entries: list[Any] = lines.texts
        for place, why in lines.bad.items():
            entries[place] = Undecodable.of(self.encoding.name, why)
        taken = lines.ends[-1] if lines.ends else 0
        kept = [place for place, entry in enumerate(entries) if isinstance(entry, Broken) or entry.strip(_BLANK)]
        return Cut([entries[place] for place in kept], [lines.ends[place] for place in kept], taken, bool(lines.bad))

    def values(self, entry: Any, columns: tuple[str, ...], name: str) -> dict[str, Any]:
        """Return the line's object."""
        return object_of(entry)


def object_of(text: str) -> dict[str, Any]:
    """Return the object that a text is, no value of which is changed. Raises `BrokenRow` where that is not possible."""
    if written_too_deep(text):
        raise BrokenRow(f"is nested more than {DEEPEST} deep")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BrokenRow(f"is not JSON: {error.msg} at its character {error.pos}") from error
    except (ValueError, RecursionError) as error:
        raise BrokenRow(f"is not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise BrokenRow(f"is not a JSON object but {_WORDS.get(type(value), 'a number')}")
    return value


def _exact(numeral: str) -> float:
    """Return a number, which what is written after it must be able to hold. Raises ``ValueError``."""
    if math.isinf(value := float(numeral)):
        raise ValueError(f"it holds {numeral[:40]}, which is too large for a number")
    # Up to 15 digits are kept by every number that is not nearly 0.
    if (len(numeral) > 16 or not abs(value) > 1e-290) and not _is_print(numeral, value):
        raise ValueError(f"it holds {numeral[:40]}, which has more digits than a number keeps; write it as a text")
    return value


def _is_print(numeral: str, value: float) -> bool:
    """Say whether a number is a float as programs print it: in the shortest form, or rounded to so many digits."""
    told = Decimal(numeral)
    if not value:
        return not told
    return told in (Decimal(repr(value)), Decimal(value).quantize(told, context=Context(prec=len(numeral) + 2)))


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of these members. Raises ``ValueError`` where two have one name: which counts is not known."""
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"it has more than one {twice!r:.40}")
    return members


def _no_number(word: str) -> float:
    """Refuse NaN and Infinity, which Python reads though JSON has none."""
    raise ValueError(f"it holds {word}")


_DECODER = json.JSONDecoder(parse_float=_exact, parse_constant=_no_number, object_pairs_hook=_members)
