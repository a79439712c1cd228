"""Write probabilities for a reader. Pure."""

from __future__ import annotations

from maker.reporting.fit import Range

SURE = 1e-15
"""A probability this close to 1 is shown as a bound: doubles do not resolve it."""


def chance(value: float) -> str:
    """Return a probability as text with its significant digits: 0.87, 1 − 2.3e-07."""
    if value >= 1:
        return "1"
    if 1 - value < SURE:
        return f"1 − less than {SURE:g}"
    return f"1 − {1 - value:.2g}" if value > 0.999 else f"{value:.4g}"


def span(value: Range) -> str:
    """Return an interval of probabilities."""
    return f"{chance(value.low)} to {chance(value.high)}"
