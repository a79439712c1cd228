"""How close together steps with losing votes stand: pairs of them, and how likely so many are. Pure.

Of n steps in a row m are contested, each m of them as likely. A pair of contested steps is close if the later one is
among the `REACH` steps that follow the earlier one. Bad minutes make contested steps stand together: of ten in a row 35
pairs are close, though they touch one another in only nine places, so that pairs tell what runs of contested steps do
not.
"""

from __future__ import annotations

import math

from maker.errors import extra

REACH = 5
"""How many steps after a contested one another is close to it."""
WORTH = 2.0
"""Pairs that are fewer than so many square roots of their mean above it are not worth their tail."""


def pairs_of(bits: int) -> int:
    """Return how many pairs of contested steps are close; a bit for each step, set where it is contested.

    0b1011 has 3: all of its set bits are within `REACH` of one another.
    """
    return sum((bits & bits >> apart).bit_count() for apart in range(1, REACH + 1))


def expected(steps: int, contested: int) -> float:
    """Return the mean number of close pairs. 3 contested steps of 8 have 2.68: of 28 pairs of places 25 are close."""
    if contested < 2:
        return 0.0
    places = sum(max(0, steps - apart) for apart in range(1, REACH + 1))
    return places * contested * (contested - 1) / (steps * (steps - 1))


def many(steps: int, contested: int, found: int) -> float:
    """Return a bound on P(at least ``found`` pairs are close, given how many steps are contested).

    It is 1 up to `WORTH` above the mean, and `maker.stats.pair_law.tail` above.

    Raises:
        ExtraMissing: It is above, and the extra ``plan`` is not installed.
    """
    mean = expected(steps, contested)
    if found <= mean + WORTH * math.sqrt(mean):
        return 1.0
    # Its libraries take long to load, and few runs have so many.
    with extra("plan", "the monitor's test for bursts"):
        from maker.stats.pair_law import tail

    return tail(steps, contested, found, REACH)
