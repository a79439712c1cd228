"""One bound on how deep JSON values may be nested: of rows, answers, states and results alike."""

from __future__ import annotations

import re
from itertools import accumulate, takewhile
from operator import itemgetter
from typing import Any

DEEPEST = 200
"""Most objects and lists within one another.

What is nested deeper may be written where little stands on the stack, and not be read where more does: Python's JSON
ends somewhere below 1,000, pydantic writes 255 and reads 201.
"""

_UP_TO_BRACKET = re.compile(r'(?:"(?:[^"\\]++|\\.)*+"?|[^][{}"]++)*+([][{}]|\Z)', re.DOTALL)
"""What does not nest, texts and all else that is no bracket, and then a bracket, or the end."""
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1, "": 0}


def written_too_deep(text: str, start: int = 0) -> bool:
    """Say whether the JSON value that starts at an index is nested more than `DEEPEST` deep, without decoding it.

    A decoder would go down to the end of the stack. Where Python collects garbage at that moment, what is to be closed
    then fails, and says so on stderr. Nothing is looked at behind the value.
    """
    if len(text) - start <= DEEPEST:
        return False
    brackets = map(itemgetter(1), _UP_TO_BRACKET.finditer(text, start))
    depths = accumulate(map(_STEPS.__getitem__, brackets))
    return any(map(DEEPEST.__lt__, takewhile(bool, depths)))


def too_deep(value: Any) -> str:
    """Say that a JSON value is nested more than `DEEPEST` deep, "" where it is not. Looks at each value in it once."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list | tuple)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return ""
    return f"nested more than {DEEPEST} deep"
