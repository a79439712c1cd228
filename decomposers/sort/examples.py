"""The comparisons that a microagent is trained on: those of a usual list, and pairs that are easily mistaken."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from string import ascii_lowercase
from typing import TypeAlias

from decomposers.sort.kinds import Signs
from decomposers.sort.prompts import COMPARE
from maker.plugin import ExampleSet

DIGITS = 6
"""The longest numbers that are shown."""
LETTERS = 8
"""The longest words that are shown."""
SIZE = 1_000_000_000
"""Of each set: far more than anybody draws."""
SHORT, FAR = 99, 10_000
"""How far from 0 all pairs are examined, and how far all equal ones and all neighbours."""
SIGNED = {Signs.PLAIN: 3.0, Signs.MIXED: 1.0, Signs.NEGATIVE: 3.0}
"""How often numbers are shown with these signs. Those of mixed signs are the easiest: the signs decide."""

Pair: TypeAlias = Callable[[Random], tuple[str, str]]
Ask: TypeAlias = Callable[[str, str], str]


def examples(order: str, ask: Ask) -> tuple[ExampleSet, ...]:
    """Return the examples for numbers of up to 6 digits, or for words of up to 8 small letters, asked by ``ask``."""
    pairs = _number_pairs() if order == "number" else _word_pairs()
    taught = (
        ExampleSet(COMPARE, SIZE, partial(_prompt, ask, f"{order} {which}", pair), weight)
        for which, (pair, weight) in enumerate(pairs)
    )
    return (*taught, *_exams(ask)) if order == "number" else tuple(taught)


def _exams(ask: Ask) -> tuple[ExampleSet, ...]:
    """Return whole sets of pairs: every short one, every number twice, and every two neighbours."""

    def short(number: int) -> str:
        first, second = divmod(number, 2 * SHORT + 1)
        return ask(str(first - SHORT), str(second - SHORT))

    def equal(number: int) -> str:
        return ask(str(number - FAR), str(number - FAR))

    def neighbours(number: int) -> str:
        return ask(str(number - FAR), str(number - FAR + 1))

    return (
        ExampleSet(COMPARE, (2 * SHORT + 1) ** 2, short, exam=f"all pairs of {-SHORT} to {SHORT}"),
        ExampleSet(COMPARE, 2 * FAR + 1, equal, exam=f"all equal pairs, {-FAR:,} to {FAR:,}"),
        ExampleSet(COMPARE, 2 * FAR, neighbours, exam=f"all neighbours, {-FAR:,} to {FAR:,}"),
    )


def _number_pairs() -> list[tuple[Pair, float]]:
    """Return pairs of every shape with all signs: a model that knows a shape from 0 on may still err below 0."""
    shapes: list[tuple[Pair, float]] = [
        (partial(_apart, _number), 1.0), (partial(_long_prefix, _number), 2.0), (partial(_same, _number), 1.0),
        (_uniform, 2.0), (_neighbours, 1.0), (_about_zero, 0.5),
    ]  # fmt: skip
    return [
        (partial(_signed, signs, shape), often * weight) for signs, often in SIGNED.items() for shape, weight in shapes
    ]


def _word_pairs() -> list[tuple[Pair, float]]:
    return [
        (partial(_apart, _word), 1.0), (partial(_long_prefix, _word), 2.0), (partial(_same, _word), 0.5),
        (_begins_the_other, 1.0),
    ]  # fmt: skip


def _prompt(ask: Ask, which: str, pair: Pair, number: int) -> str:
    return ask(*pair(Random(f"sort {which} {number}")))


def _number(rng: Random, length: int = 0) -> str:
    length = length or rng.randint(1, DIGITS)
    return str(rng.randrange(10 ** (length - 1) if length > 1 else 0, 10**length))


def _word(rng: Random, length: int = 0) -> str:
    return "".join(rng.choices(ascii_lowercase, k=length or rng.randint(1, LETTERS)))


def _uniform(rng: Random) -> tuple[str, str]:
    """Two numbers of a list as most are: drawn evenly, up to 999,999 or a lower power of ten."""
    most = 10 ** rng.randint(1, DIGITS)
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


def _about_zero(rng: Random) -> tuple[str, str]:
    """Numbers of one or two digits."""
    return str(rng.randrange(20)), str(rng.randrange(20))


def _signed(signs: Signs, shape: Pair, rng: Random) -> tuple[str, str]:
    """Two numbers of a shape, with these signs; 0 is 1 where it has to be below 0."""
    first, second = map(int, shape(rng))
    if signs is not Signs.PLAIN:
        first = -max(1, first)
    if signs is Signs.NEGATIVE:
        second = -max(1, second)
    return tuple(rng.sample((str(first), str(second)), 2))  # type: ignore[return-value]


def _begins_the_other(rng: Random) -> tuple[str, str]:
    """A word, and one that goes on from it."""
    word = _word(rng, rng.randint(2, LETTERS))
    return tuple(rng.sample((word, word[: rng.randrange(1, len(word))]), 2))  # type: ignore[return-value]
