"""What a row is asked: a template, or a function of the row, made into a text."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any, TypeAlias

from maker.core.csv_cells import plain_digits
from maker.core.user_code import call_user_code
from maker.errors import BadInput
from maker.inputs.template import Template

Prompt: TypeAlias = str | Callable[[Mapping[str, Any]], str]
"""A template with ``{{column}}`` where a value goes, or a function that returns a row's prompt."""
_MISSING = ("NaTType", "NAType")
"""How pandas calls what is missing: a time, and anything else."""


class Question:
    """Makes the prompts of rows. Raises `BadInput` for a template that names no column."""

    def __init__(self, prompt: Prompt) -> None:
        if not (isinstance(prompt, str) or callable(prompt)):
            raise BadInput(f"prompt is a {type(prompt).__name__}", fix="give a template, or a function of the row")
        self._made = Template(prompt) if isinstance(prompt, str) else prompt
        if isinstance(self._made, Template) and not self._made.columns:
            raise BadInput("the prompt names no column", fix="write {{column}} where a row's value goes")

    @property
    def columns(self) -> Sequence[str] | None:
        """The columns that it reads; None: it may read all."""
        return self._made.columns if isinstance(self._made, Template) else None

    def of(self, number: int, row: Mapping[str, Any]) -> str:
        """Return a row's prompt.

        Raises:
            ValueError: The row has no such column, or no prompt can hold a value of it; says why.
            TaskFailed: The function raised.
            BadInput: The function returned no text.
        """
        if isinstance(self._made, Template):
            told = {name: _as_told(row[name]) for name in self._made.columns if name in row}
            prompt = self._made.render(told)
        else:
            prompt = call_user_code(f"row {number}: its prompt", self._made, row)
            if not isinstance(prompt, str):
                raise BadInput(f"row {number}: prompt returned {prompt!r:.80}", fix="return a text")
        if not prompt.strip():
            raise ValueError("its prompt is empty")
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"its prompt is not valid Unicode: {prompt[error.start]!a}") from None
        return prompt


def _as_told(value: Any) -> Any:
    """Return a value as a template writes it: a text as it stands, a number in plain digits, what is missing as none.

    What no text can hold comes back as a ``ValueError``, for the template to raise.
    """
    if isinstance(value, Enum):
        value = value.value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        # A number of numpy's.
        value = value.item()
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, float | Decimal):
        return plain_digits(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return ValueError("holds bytes, which no prompt can hold: decode them first")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value
