"""How two items compare, for simulated models, training and tests alone: the decomposer never asks it."""

from __future__ import annotations

from decomposers.sort.prompts import read, read_by_column
from decomposers.sort.rules import SIGNS
from maker.plugin import Truth


def by_column(prompt: str) -> Truth:
    """Return how two integers compare that are shown column by column."""
    first, second = read_by_column(prompt)
    return _truth((first > second) - (first < second))


def by_value(prompt: str) -> Truth:
    """Return how two integers compare."""
    first, second = map(int, read(prompt))
    return _truth((first > second) - (first < second))


def by_alphabet(prompt: str) -> Truth:
    """Return how two words compare, by the code points of their letters."""
    first, second = read(prompt)
    return _truth((first > second) - (first < second))


def _truth(way: int) -> Truth:
    right = SIGNS[way + 1]
    return Truth([right], [sign for sign in SIGNS if sign != right])
