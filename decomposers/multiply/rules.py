"""Long multiplication: its factors, where it stands, and how both are written. Nothing here multiplies."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

MOST_DIGITS = 1000
"""Of a factor: two such factors take a million steps."""

_STATE = re.compile(r"([0-9]+) ([0-9]) ([0-9]+)")
_ALLOWED = "a factor is a whole number, 0 or more, written with the digits 0 to 9 only"


class Sum(NamedTuple):
    """What one step comes to, 0 to 99: the digit that stays in the column, and the carry to the next."""

    carry: int
    digit: int


class Columns(NamedTuple):
    """Where a multiplication stands: the steps so far, the carry, and the digit in every column, ones first."""

    step: int
    carry: int
    digits: str


def factor(value: Any) -> str:
    """Return a factor's digits, without zeros before the first other one.

    It may be given as a text or as an integer; zeros before it and white space around it mean nothing.

    Raises:
        ValueError: It has a sign, a blank, a point, or anything else that is no digit; it is empty, or too long.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{_ALLOWED}, as a text or an integer")
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        raise ValueError(f"it has more than {MOST_DIGITS:,} digits, the most a factor may have")
    text = str(value).strip()
    if not text:
        raise ValueError(f"it is empty: {_ALLOWED}; write 0 for zero")
    if text[0] in "+-":
        raise ValueError(f"it has a sign: {_ALLOWED}; leave the sign out and add it to the product yourself")
    if other := re.search("[^0-9]", text):
        raise ValueError(f"it holds {other[0]!r}: {_ALLOWED}")
    digits = text.lstrip("0") or "0"
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"it has {len(digits):,} digits: a factor has at most {MOST_DIGITS:,}")
    return digits


def read_sum(text: str) -> Sum:
    """Read ``25``, carry and digit. Raises ``ValueError``."""
    if not re.fullmatch("[0-9]{2}", text):
        raise ValueError(f"not a sum: {text[:80]!r}; write two digits, like 25 or 05")
    return Sum(int(text[0]), int(text[1]))


def put_down(state: Columns, across: int, action: Sum) -> Columns:
    """Return where a step leads: its digit stands in its column, and at a row's end its carry in the next one.

    Args:
        state: Where the multiplication stands.
        across: How many digits the first factor has, each of which is one step of a row.
        action: What the step came to.
    """
    row, place = divmod(state.step, across)
    at = row + place
    before, after = state.digits[:at], state.digits[at + 1 :]
    if place < across - 1:
        return Columns(state.step + 1, action.carry, f"{before}{action.digit}{after}")
    # No row before this one reached the column that the last carry goes to.
    return Columns(state.step + 1, 0, f"{before}{action.digit}{action.carry}{after[1:]}")


class SumCodec:
    """Writes ``25``; shows ``{"carry": 2, "digit": 5}``."""

    def write(self, value: Sum) -> str:
        """Return the canonical text."""
        return f"{value.carry}{value.digit}"

    def read(self, text: str) -> Sum:
        """Return the sum of a canonical text. Raises ``ValueError``."""
        return read_sum(text)

    def show(self, value: Sum) -> dict[str, int]:
        """Return carry and digit by name."""
        return value._asdict()


class ColumnsCodec:
    """Writes ``17 3 90210``: steps so far, carry, the columns. It grows with the factors, not with the steps done."""

    def write(self, value: Columns) -> str:
        """Return the canonical text."""
        return f"{value.step} {value.carry} {value.digits}"

    def read(self, text: str) -> Columns:
        """Return where a canonical text stands. Raises ``ValueError``."""
        match = _STATE.fullmatch(text)
        if match is None:
            raise ValueError(f"not a state of a multiplication: {text[:120]!r}")
        return Columns(int(match[1]), int(match[2]), match[3])

    def show(self, value: Columns) -> dict[str, Any]:
        """Return it as JSON."""
        return value._asdict()
