"""One bound on how deep JSON values may be nested: of rows, answers, states and results alike."""

from __future__ import annotations

from typing import Any

DEEPEST = 200
"""Most objects and lists within one another.

What is nested deeper may be written where little stands on the stack, and not be read where more does: Python's JSON
ends somewhere below 1,000, pydantic writes 255 and reads 201.
"""


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
