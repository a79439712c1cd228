"""A plan's claim in words: what is said of a run where it is planned, begun, shown and reported on. Pure."""

from __future__ import annotations

import math

from maker.job.settings import PlanFound, ShownFound

UNCHECKED = "not shown: no one has checked an answer, so nothing is known of right answers"
WRONG = "are wrong"
UNUSUAL = "get another than the model's most frequent answer"
OTHERWISE = "get another answer if you vote again"
"""What a row error is about: by right answers, by agreement, and by elections that were held twice."""


def event_of(*, agreement: bool, of_rows: bool = False) -> str:
    """Return what a plan gives the probability of."""
    if of_rows:
        return "a row gets the model's most frequent answer" if agreement else "a row is right"
    return "all steps get the model's most frequent answer" if agreement else "all steps are right"


def like_seen(found: PlanFound) -> str:
    """Return a plan's first number: what holds if steps are like the pilot's."""
    low, value, high = found.right
    return (
        f"if steps that the pilot has not heard are like those it has, {event_of(agreement=found.of_agreement)} with a"
        f" probability of {value:.4g} ({low:.4g} to {high:.4g})"
    )


def row_error_line(at_most: float, confidence: float, event: str) -> str:
    """Say what a row error bounds, with what confidence; ``event`` is what happens to so many of the decided rows."""
    return f"at most {at_most:.2%} of the decided rows {event}, with a confidence of {100 * confidence:g} %"


def second_number(found: PlanFound) -> str:
    """Return a plan's second number, what its pilot shows; "" for a plan of a version that computed none."""
    if found.shown is not None:
        return shown_line(found.shown)
    return UNCHECKED if found.of_agreement else ""


def shown_line(shown: ShownFound) -> str:
    """Say what is shown whatever the steps are like: wrong steps at most, and the least probability of none."""
    at = f"shown at {100 * shown.confidence:g} %"
    if shown.steps == 1:
        return f"{at}: a step is decided wrongly with a chance of at most {_up(shown.wrong)}"
    # Rounded down, so that no more is said than is shown.
    least = math.floor(shown.right * 10_000) / 10_000
    right = f"all are right with P >= {least:.4g}" if least else "that all are right is not shown"
    return f"{at}: at most {_up(shown.wrong)} of {shown.steps:,} steps are decided wrongly; {right}"


def _up(number: float) -> str:
    """Return a number with two digits or as a whole one, rounded up."""
    if number <= 0:
        return "0"
    if number >= 10:
        return f"{math.ceil(number):,}"
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / unit - 1e-9) * unit:.2g}"
