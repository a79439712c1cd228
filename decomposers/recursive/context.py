"""What a node of a tree of problems is told of the levels above it, and how large a prompt may be at its depth. Pure.

A level is one ancestor's problem, and the conclusions that were drawn below it before, as far as the way down to the
node needs them; never what was said on the way to them (arXiv 2507.16784). Every level has the same room, so a prompt
grows with its node's depth, and not with the work that is done: at most `Budget.base` + depth * `Budget.level`.

The measure is bytes of UTF-8. A tokenizer whose tokens stand for one byte or more, as all that fall back to bytes do,
makes no more tokens of a text than it has bytes; of English, commonly a quarter of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

GAP = "…"
"""Stands where the middle of a text was left out."""
LEAST = 24
"""No problem is cut to fewer bytes than so many."""
LEVEL_LEAST = 64
"""Bytes that a level needs at least: for its problem, cut as far as that may be, and the number of its conclusions."""


class Finding(NamedTuple):
    """A problem that is solved, and what its answer is."""

    goal: str
    conclusion: str


class Level(NamedTuple):
    """An ancestor's problem, and what was found below it that the way down to the node needs, in the plan's order."""

    goal: str
    findings: tuple[Finding, ...] = ()


class Budget(NamedTuple):
    """How many bytes a prompt may have: ``base`` at the root, and ``level`` more for each level above its node."""

    base: int
    level: int

    def at(self, depth: int) -> int:
        """Return how many bytes a prompt of a node at a depth (the root's is 0) may have.

        With a base of 800 and 280 a level: 800 at the root, 800 + 14 * 280 = 4,720 at depth 14.
        """
        return self.base + depth * self.level


def size(text: str) -> int:
    """Return how many bytes of UTF-8 a text has; half of a surrogate pair, which is no text, counts as three."""
    return len(text.encode("utf-8", "surrogatepass"))


def told(above: Iterable[Level], most: int) -> str:
    """Return what a node is told of the levels above it, root first.

    Each level has its own ``most`` bytes and is cut by itself. So what is said of a level is the same for every node
    below it that needs the same of it, and stands at the same place of their prompts: a cache of prefixes stays warm.

    Args:
        above: From the root to the node's parent.
        most: Bytes of each level, line breaks included.
    """
    return "".join([block(level, most) for level in above])


@lru_cache(maxsize=10_000)
def block(level: Level, most: int) -> str:
    """Return the lines of one level, in at most so many bytes.

    What does not fit is left out in this order: the middles of all its problems, each cut to the same length, the
    largest that fits, but not below `LEAST` bytes; then whole conclusions, the earliest first, with their number in
    their place. A conclusion that is shown is whole.

    Raises:
        ValueError: ``most`` is less than `LEVEL_LEAST`.
    """
    if most < LEVEL_LEAST:
        raise ValueError(f"{most} bytes are too few for a level; give at least {LEVEL_LEAST}")
    longest = max(size(text) for text in (level.goal, *(found.goal for found in level.findings)))
    numbers = range(len(level.findings) + 1)
    left_out = next(n for n in numbers if size(_lines(level, n, LEAST)) <= most)
    low, high = LEAST, max(LEAST, longest)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(_lines(level, left_out, middle)) <= most else (low, middle - 1)
    return _lines(level, left_out, low)


def whole(level: Level, most: int) -> bool:
    """Say whether all conclusions of a level find room in so many bytes, the problems being cut as far as they may."""
    return size(_lines(level, 0, LEAST)) <= most


def fullest(level: Level, most: int) -> Level:
    """Return a level, whose conclusions all find room, so that its lines are as long as with any shorter conclusions.

    What shorter conclusions leave free goes to the problems where these are cut: their lines may then be some bytes
    longer, up to ``most``, as cuts fall on whole characters. Such a level gets its last conclusion longer by as much.
    """
    lines, longest = block(level, most), max(size(text) for text in (level.goal, *(one.goal for one in level.findings)))
    if not level.findings or lines == _lines(level, 0, longest):
        return level
    *others, last = level.findings
    return Level(level.goal, (*others, Finding(last.goal, last.conclusion + "9" * (most - size(lines)))))


def cut(text: str, most: int) -> str:
    """Return a text in at most so many bytes: its middle is left out, with `GAP` in its place.

    Raises:
        ValueError: ``most`` is less than `GAP` takes.
    """
    if size(text) <= most:
        return text
    room = most - size(GAP)
    if room < 0:
        raise ValueError(f"{most} bytes are too few to cut a text to; give at least {size(GAP)}")
    raw = text.encode("utf-8", "surrogatepass")
    tail = room // 2
    head = raw[: room - tail].decode("utf-8", "ignore")
    return head + GAP + raw[len(raw) - tail :].decode("utf-8", "ignore")


def lines_of(findings: Sequence[Finding], mark: str) -> str:
    """Return a line for each finding, which begins with a mark."""
    return "".join([f"{mark}: {found.goal} => {found.conclusion}\n" for found in findings])


def _lines(level: Level, left_out: int, most: int) -> str:
    """Return a level's lines without its first findings, each problem cut to ``most`` bytes."""
    shown = [Finding(cut(found.goal, most), found.conclusion) for found in level.findings[left_out:]]
    gone = f"Known: {GAP} {left_out} before\n" if left_out else ""
    return f"Goal: {cut(level.goal, most)}\n{gone}{lines_of(shown, 'Known')}"
