"""The comparisons that a microagent is trained on: those of a usual list, and pairs that are easily mistaken."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from string import ascii_lowercase
from typing import TypeAlias

from decomposers.sort.prompts import COMPARE
from maker.plugin import ExampleSet

DIGITS = 6
"""The longest numbers that are shown."""
LETTERS = 8
"""The longest words that are shown."""
SIZE = 1_000_000_000
"""Of each set: far more than anybody draws."""

Pair: TypeAlias = Callable[[Random], tuple[str, str]]
Ask: TypeAlias = Callable[[str, str], str]


def examples(order: str, ask: Ask) -> tuple[ExampleSet, ...]:
    """Return the examples for numbers of up to 6 digits, or for words of up to 8 small letters, asked by ``ask``."""
    one = _number if order == "number" else _word
    pairs: list[tuple[Pair, float]] = [
        (partial(_apart, one), 1.0), (partial(_long_prefix, one), 2.0), (partial(_same, one), 0.5),
    ]  # fmt: skip
    if order == "number":
        pairs += [(_uniform, 1.0), (_neighbours, 1.0), (_below_zero, 0.5)]
    else:
        pairs += [(_begins_the_other, 1.0)]
    return tuple(
        ExampleSet(COMPARE, SIZE, partial(_prompt, ask, f"{order} {which}", pair), weight)
        for which, (pair, weight) in enumerate(pairs)
    )


def _prompt(ask: Ask, which: str, pair: Pair, number: int) -> str:
    return ask(*pair(Random(f"sort {which} {number}")))


def _number(rng: Random, length: int = 0) -> str:
    length = length or rng.randint(1, DIGITS)
    return str(rng.randrange(10 ** (length - 1) if length > 1 else 0, 10**length))


def _word(rng: Random, length: int = 0) -> str:
    return "".join(rng.choices(ascii_lowercase, k=length or rng.randint(1, LETTERS)))


def _uniform(rng: Random) -> tuple[str, str]:
    """Two numbers of a list as most are: drawn evenly up to 999,999, or only up to 999."""
    most = 10 ** rng.choice((3, DIGITS))
    return str(rng.randrange(most)), str(rng.randrange(most))


def _apart(one: Callable[[Random], str], rng: Random) -> tuple[str, str]:
    """Two items of any lengths."""
    return one(rng), one(rng)


def _same(one: Callable[[Random], str], rng: Random) -> tuple[str, str]:
    """One item twice."""
    item = one(rng)
    return item, item


def _long_prefix(one: Callable[[Random, int], str], rng: Random) -> tuple[str, str]:
    """Two items of one length, with one to all of their characters but the last in common."""
    length = rng.randint(2, DIGITS if one is _number else LETTERS)
    item = one(rng, length)
    at = rng.randrange(1, length)
    tail = [rng.choice(sorted({*_kin(item)} - {item[at]})), *rng.choices(_kin(item), k=length - at - 1)]
    # The rest is often the same as well, so that one place alone decides.
    if rng.random() < 0.5:
        tail[1:] = item[at + 1 :]
    return item, item[:at] + "".join(tail)


def _kin(item: str) -> str:
    return "0123456789" if item.isdecimal() else ascii_lowercase


def _neighbours(rng: Random) -> tuple[str, str]:
    """Numbers that lie close together: 999 and 1000, 41 and 42."""
    length = rng.randint(1, DIGITS)
    low = max(0, rng.choice((10 ** (length - 1), int(_number(rng)))) - rng.randint(1, 3))
    return tuple(rng.sample((str(low), str(low + rng.randint(1, 3))), 2))  # type: ignore[return-value]


def _below_zero(rng: Random) -> tuple[str, str]:
    """Numbers of which one or both are below 0."""
    draw = rng.choice((_uniform, _neighbours, partial(_apart, _number), partial(_long_prefix, _number)))
    first, second = draw(rng)
    pair = f"-{first}", rng.choice(("-", "")) + second
    return tuple(rng.sample([str(int(item)) for item in pair], 2))  # type: ignore[return-value]


def _begins_the_other(rng: Random) -> tuple[str, str]:
    """A word, and one that goes on from it."""
    word = _word(rng, rng.randint(2, LETTERS))
    return tuple(rng.sample((word, word[: rng.randrange(1, len(word))]), 2))  # type: ignore[return-value]
