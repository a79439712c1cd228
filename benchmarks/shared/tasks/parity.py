"""A map for the benchmarks: whether a number is even. How hard a row is follows from its number.

What a row's prompt says is all that decides: the simulated model and the benchmark's own server
(`shared/maps/server.py`) know the truth by the same function.
"""

from __future__ import annotations

import re
from typing import Literal

from decomposers.map import Map
from maker.plugin import Oracle, Truth

Kind = Literal["easy", "hard", "hopeless"]
EASY = "Is {{number}} even or odd?"
MIXED = "Is {{number}} even or odd? It may be hard."
"""As a template: the rows are easy, hard and hopeless ones by turns."""
SCHEMA = (
    '{type = "object", properties = {parity = {enum = ["even", "odd"]}}, '
    'required = ["parity"], additionalProperties = false}'
)
HARD_SHARE = 0.75
"""A hard row's sample is right with this share of the model's own p."""


class Parity(Map):
    """Asks of each row whether its number is even."""

    def oracle(self) -> Oracle:
        """Return the truth, which the simulated model asks."""
        return truth


def kind(number: int) -> Kind:
    """Return how hard a row is: a fifth are hard, and to one in a thousand every reply is against the schema."""
    if number % 1000 == 7:
        return "hopeless"
    return "hard" if number % 5 == 3 else "easy"


def reply(parity: str) -> str:
    """Return an answer as a model writes it."""
    return f'{{"parity": "{parity}"}}'


def right(number: int) -> str:
    """Return the right answer of a row."""
    return "odd" if number % 2 else "even"


def truth(prompt: str) -> Truth:
    """Return the right and the wrong replies to a prompt; of a hard row, one in four right ones is wrong."""
    number = int(re.search(r"\d+", prompt)[0])  # type: ignore[index]
    good, bad = reply(right(number)), reply(right(number + 1))
    found = kind(number) if "hard" in prompt else "easy"
    if found == "hopeless":
        return Truth((reply("neither"),), (reply("neither"),))
    return Truth((good, good, good, bad) if found == "hard" else (good,), (bad,))
