"""Draw counts as an SVG plot: bars for found counts, marks for expected ones. Pure.

Colours come from the page's style sheet, so that a plot follows light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

MOST = 30
"""How many bars are drawn; the rest is added up in one more."""
FEWEST = 8
"""With fewer columns, bars are as wide as with this many."""
WIDTH, HEIGHT = 560, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 12, 46
LOWEST = 1e-2
"""The lowest start of an axis of counts."""


class Column(NamedTuple):
    """A bar: its label, the found count, and the expected count or None."""

    label: str
    found: float
    expected: float | None


def plot(columns: Sequence[Column], title: str, across: str) -> Markup:
    """Return a plot of counts of steps, on a logarithmic axis, as an ``svg`` element.

    Args:
        columns: From left to right; add up those beyond `MOST` before.
        title: Text for screen readers.
        across: What the labels count.
    """
    values = [value for one in columns for value in (one.found, one.expected or 0.0) if value > 0]
    low = max(LOWEST, 10.0 ** math.floor(math.log10(min([*values, 1.0]) * 0.999)))
    high = 10.0 ** math.ceil(math.log10(max([*values, 10.0])))
    decades = round(math.log10(high / low))
    bottom = HEIGHT - BOTTOM
    tall = bottom - TOP

    def up(value: float) -> float:
        return bottom - tall * min(1.0, max(0.0, math.log10(max(value, low) / low) / decades))

    wide = (WIDTH - LEFT - RIGHT) / max(FEWEST, len(columns))
    parts = [
        Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, title),
        *_axis(low, decades, up),
    ]
    every = max(1, math.ceil(len(columns) / 16))
    for number, one in enumerate(columns):
        left = LEFT + number * wide
        expected = "" if one.expected is None else f", {one.expected:,.3g} expected"
        parts.append(Markup("<g><title>{}: {:,} steps{}</title>").format(one.label, round(one.found), expected))
        if one.found > 0:
            parts.append(_bar(left + 0.18 * wide, up(one.found), 0.64 * wide, bottom))
        if one.expected is not None and one.expected >= low:
            parts.append(_mark(left, up(one.expected), wide))
        if number % every == 0:
            parts.append(_text(left + wide / 2, bottom + 15, one.label, "middle"))
        parts.append(Markup("</g>"))
    parts += [_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 8, across, "middle"), Markup("</svg>")]
    return Markup("").join(parts)


def _axis(low: float, decades: int, up: object) -> list[Markup]:
    assert callable(up)  # noqa: S101 - for the type checker
    every = max(1, math.ceil(decades / 6))
    lines = []
    for power in range(0, decades + 1, every):
        value = low * 10.0**power
        lines.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, up(value), up(value)
            )
        )
        lines.append(_text(LEFT - 6, up(value) + 4, f"{value:,.0f}" if value >= 1 else f"{value:g}", "end"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    lines.append(
        Markup(
            '<text transform="translate(12 {:.0f}) rotate(-90)" text-anchor="middle">steps, logarithmic</text>'
        ).format(middle)
    )
    return lines


def _bar(left: float, top: float, wide: float, bottom: float) -> Markup:
    return Markup('<rect class="found" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        left, top, wide, max(1.0, bottom - top)
    )


def _mark(left: float, y: float, wide: float) -> Markup:
    # A line across the bar and a diamond on it: distinct from the bar even without colour.
    middle = left + wide / 2
    return Markup(
        '<path class="expected" d="M{:.1f} {:.1f}h{:.1f}"/><path class="diamond" d="M{:.1f} {:.1f}l4 -4l4 4l-4 4z"/>'
    ).format(left + 0.06 * wide, y, 0.88 * wide, middle - 4, y)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)
