"""Kinds of steps that a run asks and its pilot has not heard. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from maker.calibration.observations import Calibration

NAMED = 12
"""A plan names so many kinds of steps that the pilot has not heard, those that the run asks most."""


class Unheard(NamedTuple):
    """A kind of steps that the run asks and the pilot has not heard: about ``steps`` of them, None: not known."""

    name: str
    kind: str
    steps: int | None


def unheard_kinds(calibration: Calibration) -> tuple[Unheard, ...]:
    """Return the kinds that a pilot has not heard, in the order of its classes."""
    return tuple(
        Unheard(name, kind, heard.of)
        for name, one in calibration.classes.items()
        for kind, heard in one.kinds.items()
        if not heard.steps
    )


def unheard_words(kinds: Sequence[Unheard]) -> str:
    """Return what a plan takes for granted of kinds that the pilot has not heard; "" where there are none."""
    if not kinds:
        return ""
    most = sorted(kinds, key=lambda one: -(one.steps or 0))[:NAMED]
    shown = [one for one in kinds if one in most]
    named = "; ".join(
        f"{name}: {'; '.join(f'{one.kind} ({_about(one.steps)})' for one in of_class)}"
        for name, of_class in groupby(shown, attrgetter("name"))
    )
    more = f"; and {len(kinds) - NAMED:,} more" if len(kinds) > NAMED else ""
    return f", and that the kinds of steps that the pilot has not heard are no harder than the others: {named}{more}"


def _about(steps: int | None) -> str:
    if steps is None:
        return "some steps"
    return "about 1 step" if steps == 1 else f"about {steps:,} steps"
