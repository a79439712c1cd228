"""A slice of a text as units that a reply can name by number: sentences or lines, never much shorter than a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

LEAST, MOST = 40, 400
"""Characters of a unit: shorter sentences are taken together, longer ones are divided. The last may be shorter."""
MARK = 9
"""The most characters that numbering adds to a unit: two brackets, five digits, a blank, a newline."""
GROWTH = (LEAST + MARK) / LEAST
"""Numbered units take at most so many times the characters of their text, and `MARK` more."""

_SENTENCE = re.compile(r"[^\n]*?(?:[.!?](?=\s)|\n|$)|\n", re.DOTALL)


class Finding(NamedTuple):
    """A unit that bears on a question, word for word, and the number of the slice that it stands in."""

    slice: int
    text: str


def units(text: str) -> list[str]:
    """Return the units of a slice, in order; what is blank is left out.

    So many at most as `LEAST` goes into the text, and one more for each that is divided.
    """
    found: list[str] = []
    for unit in _together(_SENTENCE.findall(text)):
        found.extend(_divided(" ".join(unit.split())))
    return found


def numbered(lines: Iterable[str]) -> str:
    """Return units with their numbers, from 1, one a line."""
    return "".join(f"[{number}] {line}\n" for number, line in enumerate(lines, 1))


def groups(findings: Sequence[Finding], room: int) -> list[Sequence[Finding]]:
    """Return findings in groups that take at most ``room`` characters when they are numbered; at least one each."""
    found: list[list[Finding]] = []
    taken = room + 1
    for finding in findings:
        size = len(finding.text) + MARK
        if taken + size > room:
            found.append([])
            taken = 0
        found[-1].append(finding)
        taken += size
    return [tuple(group) for group in found]


def _together(sentences: Iterable[str]) -> Iterator[str]:
    unit = ""
    for sentence in sentences:
        unit += sentence
        if len(unit.strip()) >= LEAST:
            yield unit
            unit = ""
    if unit.strip():
        yield unit


def _divided(unit: str) -> Iterator[str]:
    while len(unit) > MOST:
        at = unit.rfind(" ", LEAST, MOST) + 1 or MOST
        yield unit[:at].rstrip()
        unit = unit[at:]
    yield unit
