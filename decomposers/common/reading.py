"""What tells a parser from others: its name and what it holds, the same on every machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any


def reading_of(parse: Callable[[str], Any]) -> str | None:
    """Return what tells a parser from every other one, on any machine; None where no name does."""
    if isinstance(parse, partial):
        inner, bound = reading_of(parse.func), _plain([list(parse.args), sorted(parse.keywords.items())])
        return None if inner is None or bound is None else f"{inner} {bound}"
    name: str = getattr(parse, "__qualname__", "<lambda>")
    # A lambda's name is every lambda's, and what a method reads depends on its object too.
    if name.endswith("<lambda>") or not isinstance(getattr(parse, "__self__", None), ModuleType | type | None):
        return None
    code = getattr(parse, "__code__", None)
    if code is None:
        # A type, or what is written in C.
        return f"{getattr(parse, '__module__', '')} {name}"
    cells = [cell.cell_contents for cell in getattr(parse, "__closure__", None) or ()]
    held = _plain([cells, getattr(parse, "__defaults__", None), getattr(parse, "__kwdefaults__", None)])
    return None if held is None else f"{Path(code.co_filename).name} {name} {held}"


def _plain(value: Any) -> str | None:
    """Return values that are the same on every machine as text, None for any others."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return None
