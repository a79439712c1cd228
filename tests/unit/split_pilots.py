"""Pilots whose wrong votes are split among several rivals."""

from __future__ import annotations

import random
from collections import Counter

Splits = dict[tuple[int, tuple[int, ...]], int]
"""(Votes for the right answer, votes for each rival, most first) → steps."""


def drawn(p: float, rivals: int, *, steps: int = 300, votes: int = 10, seed: int = 1) -> Splits:
    """Draw a pilot of steps that are alike, with equal rivals."""
    draw = random.Random(seed)
    found = Counter[tuple[int, tuple[int, ...]]]()
    for _ in range(steps):
        heard = Counter(draw.choices(range(rivals + 1), [p, *[(1 - p) / rivals] * rivals], k=votes))
        right = heard.pop(0, 0)
        found[right, tuple(sorted(heard.values(), reverse=True))] += 1
    return dict(found)
