"""What a microagent is told of one comparison: two items, and nothing else."""

from __future__ import annotations

import re
from hashlib import blake2b

COMPARE = "compare"
"""The one step class."""

_PROMPT = re.compile(r"(\S+) (\S+)=")
_COLUMNS = re.compile(r"(?:[+-]{2} )?[0-9]{2}(?: [0-9]{2})*=")
_TURNED = {"<": ">", ">": "<", "=": "="}
_ANSWER = (
    "Answer with one sign alone: < where the first of the two comes before the second, > where it comes after it, "
)

SYSTEM = {
    "number": f"You compare two integers by their value. {_ANSWER}= where they are equal: for 12 7= it is >.\n\n",
    "word": f"You compare two words by the alphabet, letter by letter, a capital before any small letter. {_ANSWER}= "
    "where they are the same: for bear ant= it is >.\n\n",
}


def ask(left: str, right: str) -> str:
    """Return the prompt of a comparison, as ``12 7=``; equal questions are equal prompts, whichever item was the left.

    Which item comes first is drawn from a digest of each, so that it says nothing of the answer.
    """
    return f"{left} {right}=" if stays(left, right) else f"{right} {left}="


def ask_by_column(left: str, right: str) -> str:
    """Return the prompt of a comparison of integers, column by column: ``10 27=`` for 12 and 7, in the same order.

    A column holds a digit of the first and a digit of the second, the highest first; before them stand the signs, where
    one of both is below 0, as in ``-+ 10 27=``. The first column that differs decides.
    """
    pair = (left, right) if stays(left, right) else (right, left)
    width = max(len(text.lstrip("-")) for text in pair)
    signs = ["".join("-" if text.startswith("-") else "+" for text in pair)] if "-" in left + right else []
    first, second = (text.lstrip("-").zfill(width) for text in pair)
    return " ".join([*signs, *map("".join, zip(first, second, strict=True))]) + "="


def stays(left: str, right: str) -> bool:
    """Say whether the left one of two items is shown first."""
    return _place(left) <= _place(right)


def turned(sign: str) -> str:
    """Return how the second compares with the first, where ``sign`` is how the first compares with the second."""
    return _TURNED[sign]


def read_by_column(prompt: str) -> tuple[int, int]:
    """Return the two integers as they are shown column by column. Raises ``ValueError``."""
    if not _COLUMNS.fullmatch(prompt):
        raise ValueError(f"not the prompt of a comparison by columns: {prompt[:120]!r}")
    first, second = zip(*prompt[:-1].split(" "), strict=True)
    return int("".join(first)), int("".join(second))


def read(prompt: str) -> tuple[str, str]:
    """Return the two items as they are shown. Raises ``ValueError``."""
    match = _PROMPT.fullmatch(prompt)
    if match is None:
        raise ValueError(f"not the prompt of a comparison: {prompt[:120]!r}")
    return match[1], match[2]


def _place(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()
