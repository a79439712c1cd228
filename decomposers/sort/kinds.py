"""The kinds of pairs that are compared: what the examples teach, an exam reports on, and a pilot draws all have these.

A model that is right on nearly all pairs may be wrong on every pair of one kind. So no figure over all pairs is enough.
"""

from __future__ import annotations

from enum import StrEnum

from decomposers.sort.prompts import read, read_by_column


class Signs(StrEnum):
    """How many of two integers are below 0."""

    PLAIN = "none below 0"
    MIXED = "one below 0"
    NEGATIVE = "both below 0"


def of_integers(first: int, second: int) -> str:
    """Return the kind of a pair of integers: their signs, and whether they are equal or as long.

    A minus is no part of a length: of -7 and 12 it is ``one below 0, of two lengths``.
    """
    signs = (Signs.PLAIN, Signs.MIXED, Signs.NEGATIVE)[(first < 0) + (second < 0)]
    return f"{signs}, {_lengths(first == second, len(str(abs(first))), len(str(abs(second))))}"


def of_words(first: str, second: str) -> str:
    """Return the kind of a pair of words: whether they are equal, or as long."""
    return _lengths(first == second, len(first), len(second))


def by_column(prompt: str) -> str:
    """Return the kind of two integers that are shown column by column. Raises ``ValueError``."""
    return of_integers(*read_by_column(prompt))


def by_value(prompt: str) -> str:
    """Return the kind of two integers. Raises ``ValueError``."""
    first, second = map(int, read(prompt))
    return of_integers(first, second)


def by_alphabet(prompt: str) -> str:
    """Return the kind of two words. Raises ``ValueError``."""
    return of_words(*read(prompt))


def _lengths(equal: bool, first: int, second: int) -> str:
    if equal:
        return "equal"
    return "of one length" if first == second else "of two lengths"
