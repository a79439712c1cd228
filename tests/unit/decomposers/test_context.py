"""What a node is told of the levels above it: how it is cut, and that nothing goes past its room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decomposers.recursive.context import GAP, LEAST, LEVEL_LEAST, Budget, Finding, Level, block, cut, size, told, whole

TEXTS = st.text(st.sampled_from("ab zä€𝄞"), min_size=1, max_size=120)
LEVELS = st.builds(Level, TEXTS, st.lists(st.builds(Finding, TEXTS, TEXTS), max_size=6).map(tuple))
ROOM = st.integers(LEVEL_LEAST, 1500)


@given(text=TEXTS, most=st.integers(size(GAP), 300))
def test_a_cut_text_keeps_both_ends(text: str, most: int) -> None:
    """It has at most so many bytes, is whole where it fits, and else the text's own ends around a gap."""
    found = cut(text, most)
    assert size(found) <= most
    if size(text) <= most:
        assert found == text
    else:
        head, gap, tail = found.partition(GAP)
        assert gap
        assert text.startswith(head)
        assert text.endswith(tail)
        # Of what there is room for, at most half of a character is lost at either side of the gap.
        assert size(found) >= most - 6


def test_no_text_is_cut_to_less_than_the_gap() -> None:
    """There is no room for the sign that something is left out: an error, which says so."""
    with pytest.raises(ValueError, match="2 bytes are too few"):
        cut("a long text", 2)


@given(level=LEVELS, most=ROOM)
def test_a_level_keeps_to_its_room(level: Level, most: int) -> None:
    """Whatever its texts are, its lines have at most so many bytes, and it is one line at least."""
    lines = block(level, most)
    assert size(lines) <= most
    assert lines.startswith("Goal: ")
    assert lines.endswith("\n")


@given(level=LEVELS)
def test_what_fits_is_whole(level: Level) -> None:
    """Where there is room, every problem and every conclusion is there word for word."""
    lines = block(level, 5000).split("\n")
    known = [f"Known: {found.goal} => {found.conclusion}" for found in level.findings]
    assert lines == [f"Goal: {level.goal}", *known, ""]


@given(level=LEVELS, most=ROOM)
def test_conclusions_are_whole_or_left_out_earliest_first(level: Level, most: int) -> None:
    """The last ones are shown, none is cut, and what is left out is counted; none is, as long as all find room."""
    lines = block(level, most).split("\n")[1:-1]
    gone = 0
    if lines and lines[0].startswith(f"Known: {GAP} ") and lines[0].endswith(" before"):
        gone = int(lines.pop(0).split()[-2])
    assert (gone > 0) == (not whole(level, most))
    assert len(lines) == len(level.findings) - gone
    for line, found in zip(lines, level.findings[gone:], strict=True):
        assert line.endswith(f" => {found.conclusion}")


def test_problems_are_cut_before_a_conclusion_goes() -> None:
    """With 100 bytes two problems of 60 lose their middles and the conclusion stays; it goes where it has no room."""
    level = Level("a" * 60, (Finding("b" * 60, "c" * 20),))
    assert block(level, 200) == f"Goal: {'a' * 60}\nKnown: {'b' * 60} => {'c' * 20}\n"
    goal, known, _ = block(level, 100).split("\n")
    assert GAP in goal
    assert known.endswith(f"b => {'c' * 20}")
    assert size(goal) - len("Goal: ") == size(known) - len("Known: ") - len(f" => {'c' * 20}")
    goal, known, _ = block(level, 70).split("\n")
    assert known == f"Known: {GAP} 1 before"


@given(levels=st.lists(LEVELS, max_size=8), most=ROOM)
def test_each_level_is_cut_by_itself(levels: list[Level], most: int) -> None:
    """What a node is told begins with what its parent is told, byte for byte: a cache of prefixes stays warm."""
    lines = told(levels, most)
    assert size(lines) <= most * len(levels)
    assert lines.startswith(told(levels[:-1], most))


def test_a_budget_grows_by_level() -> None:
    """The worked number: 800 bytes at the root and 280 a level are 4,720 at depth 14."""
    assert [Budget(800, 280).at(depth) for depth in (0, 1, 14)] == [800, 1080, 4720]


def test_a_level_has_a_least_room() -> None:
    """One byte less than what a level needs at least is refused; that much is enough for any level."""
    worst = Level("€" * 100, tuple(Finding("𝄞" * 100, "x" * 500) for _ in range(1000)))
    assert size(block(worst, LEVEL_LEAST)) <= LEVEL_LEAST
    with pytest.raises(ValueError, match=f"give at least {LEVEL_LEAST}"):
        block(worst, LEVEL_LEAST - 1)
    assert size(cut("€" * 100, LEAST)) <= LEAST
