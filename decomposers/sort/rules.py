"""Merge sort: its items, where a part of the list stands, and how that is written. Nothing here compares items."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

MOST_ITEMS = 10_000
MOST_CHARS = 32
"""Of an item. No prompt is longer than two of them, a blank and an equals sign."""
BLOCK = 16
"""A part of so many items or fewer is one chain; a longer one is halved, and its halves are sorted side by side."""

SIGNS = "<=>"
Item: TypeAlias = int | str


class Part(NamedTuple):
    """Where the sorting of items ``first`` to before ``stop`` stands.

    ``runs`` are sorted runs of item numbers; the first two are being merged. ``taken`` says from which of them each
    item of the merged run came so far: a 0 or a 1 each. A part that waits for its halves has fewer than two runs.
    """

    first: int
    stop: int
    runs: tuple[tuple[int, ...], ...]
    taken: str


def items_of(value: Any) -> tuple[Item, ...]:
    """Return the items of a list, or of a text with one a line; white space around an item means nothing.

    Raises:
        ValueError: One is empty, has white space within, is too long or no item at all, or there are too many; or a
            text is one line without an end and no integer, which is rather the name of a file that is not there.
    """
    if isinstance(value, str):
        if value.strip() and "\n" not in value and not re.fullmatch("-?[0-9]+", value.strip()):
            raise ValueError(f"{value[:80]!r} is neither a file nor a list; for a single item, write a list of one")
        value = value.rstrip().split("\n") if value.strip() else ()
    if isinstance(value, bytes) or not isinstance(value, Sequence):
        raise ValueError("give a list of items, or a file with one item per line")
    if len(value) > MOST_ITEMS:
        raise ValueError(f"there are {len(value):,} items; at most {MOST_ITEMS:,} are allowed")
    return tuple(_item(one, number) for number, one in enumerate(value, 1))


def number_text(item: Item) -> str:
    """Return an integer as it is compared: ``007`` as ``7``, ``-0`` as ``0``. Raises ``ValueError`` for other texts."""
    if isinstance(item, str) and not re.fullmatch("-?[0-9]+", item):
        meant = _meant(item)
        fix = 'for words set order = "word"' if meant is None else f"write {meant}"
        raise ValueError(f"{item!r} is not an integer, written with digits 0 to 9 and a - before them at most; {fix}")
    return str(int(item))


def where(number: int) -> str:
    """Return how messages name an item, by its number from 1; a file has one item a line."""
    return f"item {number} (line {number} of a file)"


def _meant(item: str) -> int | None:
    """Return the integer that a text is elsewhere: with a plus, other digits, another minus. None where it is none."""
    try:
        return int(re.sub("[\u2010-\u2015\u2212\ufe63\uff0d]", "-", item))
    except ValueError:
        return None


def fresh(first: int, stop: int) -> Part:
    """Return a part that nothing is done of: with runs of one item each, or without any, to be halved."""
    runs = tuple((item,) for item in range(first, stop)) if stop - first <= BLOCK else ()
    return Part(first, stop, runs, "")


def half(part: Part, number: int) -> Part:
    """Return the first or the second half (0 or 1) of a part, fresh."""
    middle = (part.first + part.stop) // 2
    return fresh(part.first, middle) if number == 0 else fresh(middle, part.stop)


def with_half(part: Part, result: Iterable[int]) -> Part:
    """Return a part with one more half sorted."""
    return part._replace(runs=(*part.runs, tuple(result)))


def heads(part: Part) -> tuple[int, int]:
    """Return the numbers of the two items that are to be compared next, one of each run."""
    ones = part.taken.count("1")
    return part.runs[0][len(part.taken) - ones], part.runs[1][ones]


def merged(part: Part, sign: str) -> Part:
    """Return a part after a comparison of its heads.

    Of equal ones the one that comes first in the list is taken, so that the order of equal items stays. A merged run
    goes behind the others: in a block the runs are merged in turn, the short ones before the long ones.

    Args:
        part: The part as it was.
        sign: How the first run's head compares with the second's.
    """
    left, right = heads(part)
    from_first = sign == "<" or (sign == "=" and left < right)
    taken = part.taken + ("0" if from_first else "1")
    first, second = part.runs[:2]
    ones = taken.count("1")
    if len(taken) - ones < len(first) and ones < len(second):
        return part._replace(taken=taken)
    sources = iter(first), iter(second)
    run = [next(sources[int(which)]) for which in taken]
    return Part(part.first, part.stop, (*part.runs[2:], (*run, *sources[0], *sources[1])), "")


def most_comparisons(count: int) -> int:
    """Return the most comparisons that sorting so many items takes: one less than items in every merge."""
    if count > BLOCK:
        return count - 1 + most_comparisons(count // 2) + most_comparisons(count - count // 2)
    lengths, most = [1] * count, 0
    while len(lengths) > 1:
        lengths = [*lengths[2:], lengths[0] + lengths[1]]
        most += lengths[-1] - 1
    return most


def _item(value: Any, number: int) -> Item:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{where(number)} is {value!r:.40}: it must be an integer or a word")
    item = value.strip() if isinstance(value, str) else value
    # Longer ones than Python writes out are too long anyway.
    length = len(item) if isinstance(item, str) else MOST_CHARS + 1 if abs(item) >= 10**MOST_CHARS else len(str(item))
    if length > MOST_CHARS:
        raise ValueError(f"{where(number)} has over {MOST_CHARS} characters, the most allowed")
    if isinstance(item, str) and not item:
        raise ValueError(f"{where(number)} is empty: leave it out")
    if isinstance(item, str) and (not item.isprintable() or len(item.split()) > 1):
        raise ValueError(
            f"{where(number)} is {item!r}: an item cannot contain blanks or unprintable characters; write one a line"
        )
    return item
