"""Prompts made of rows: a text with ``{{column}}`` where a value goes; every other brace is left alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_HOLE = re.compile(r"\{\{\s*([^{}\n]+?)\s*\}\}")


class Template:
    """A prompt with places for the values of a row. Picklable.

    A value that is no text is written as JSON, a missing one (null) as nothing.

    Args:
        text: The template.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = _HOLE.split(text)
        self.columns: tuple[str, ...] = tuple(dict.fromkeys(self._parts[1::2]))
        """The columns that it names, each once, in their order."""

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the prompt of a row. Raises ``ValueError`` for a column that the row does not have."""
        if missing := [name for name in self.columns if name not in values]:
            same = [name for name in values if name.strip().casefold() == missing[0].strip().casefold()]
            meant = f"; did you mean {same[0]!r}?" if same else ""
            raise ValueError(f"the row has no column {missing[0]!r}, which the template names{meant}")
        if bad := [name for name in self.columns if isinstance(values[name], ValueError)]:
            raise ValueError(f"the row's {bad[0]!r} {values[bad[0]]}")
        parts = list(self._parts)
        parts[1::2] = [_written(values[name]) for name in parts[1::2]]
        return "".join(parts)


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)
