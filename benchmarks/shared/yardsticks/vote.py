"""One step as every yardstick decides it: draw samples, parse, count, until a candidate is three votes ahead."""

from __future__ import annotations

import random
import re

P = 0.99
AHEAD = 3
_MOVE = re.compile(r"([1-9][0-9]?)([ABC])([ABC])")


def elect(seed: int, index: int) -> tuple[str, int]:
    """Decide a step; returns the winner and how many votes it took. A function of its arguments, so it may repeat."""
    draw = random.Random(seed << 40 | index).random
    right, wrong = f"{index % 19 + 1}AC", f"{index % 19 + 1}AB"
    counts: dict[str, int] = {}
    while True:
        disk, source, target = parse(right if draw() < P else wrong)
        key = f"{disk}{source}{target}"
        votes = counts[key] = counts.get(key, 0) + 1
        if votes - max((n for other, n in counts.items() if other != key), default=0) >= AHEAD:
            return key, sum(counts.values())


def parse(text: str) -> tuple[int, str, str]:
    """Read ``12AC``. Raises ``ValueError``."""
    match = _MOVE.fullmatch(text)
    if match is None:
        raise ValueError(f"no move: {text!r}")
    return int(match[1]), match[2], match[3]
