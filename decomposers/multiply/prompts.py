"""What a microagent is told of one digit step, and what it is taught: every prompt that there is."""

from __future__ import annotations

import re

from maker.plugin import ExampleSet

DIGIT = "digit"
"""The one step class."""

_PROMPT = re.compile(r"([0-9])\*([0-9])\+([0-9])\+([0-9])=")
_PAIRS = [(low, high) for high in range(10) for low in range(high + 1)]
PROMPTS = len(_PAIRS) ** 2

SYSTEM = """\
You do one step of a long multiplication: the product of two digits, plus the digit that stands in the column, plus the
carry. Answer with the sum alone, in two digits: for 3*4+0+5= it is 17, for 1*2+0+3= it is 05.

"""


def ask(first: int, second: int, column: int, carry: int) -> str:
    """Return the prompt of a step, as ``3*7+0+4=``: always eight characters.

    Of two digits that may change places the smaller one comes first: equal questions are equal prompts.
    """
    low, high = sorted((first, second))
    less, more = sorted((column, carry))
    return f"{low}*{high}+{less}+{more}="


def read(prompt: str) -> tuple[int, int, int, int]:
    """Return the two digits, and the two that are added to their product. Raises ``ValueError``."""
    match = _PROMPT.fullmatch(prompt)
    if match is None:
        raise ValueError(f"not a prompt of a multiplication: {prompt[:120]!r}")
    first, second, column, carry = map(int, match.groups())
    return first, second, column, carry


def every(number: int) -> str:
    """Return prompt ``number`` of all 3,025: 55 pairs of digits to multiply, with 55 to add."""
    times, plus = divmod(number, len(_PAIRS))
    return ask(*_PAIRS[times], *_PAIRS[plus])


EXAMPLES = (ExampleSet(DIGIT, PROMPTS, every, whole=True),)
