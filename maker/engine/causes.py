"""Why a run rests: the reasons that the driver writes, and what kind of cause each one tells of. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from enum import StrEnum

from maker.store.outside import OutsideRow
from maker.store.runs import MOST_NAMED, NOT_STARTED

LIMIT = "limit "
"""What the reason of a run begins with that is paused at a limit."""
INTERRUPTED = "interrupted"
STOPPED = "stopped"
STEPS = "reached the limit of "
"""What the reason of a run begins with that has decided as many steps as it was to."""
MONITOR = "alarm of the vote monitor "
"""What the reason of a run begins with that its own `monitor.policy` pauses."""
WAITS = "waits for "
"""What the reason of a run begins with that rests until somebody answers, or until a time."""
BATCHES = f"{WAITS}its batches: "
"""What the reason of a run begins with that rests while its batches are out: their provider's ids follow."""
DOUBTFUL = re.compile(r"(chain \S+, )?step \d+: effect .* is in doubt: ")
"""What the reason of a run begins with that rests until a person has said what came of an effect."""
_UNDECIDED = re.compile(r"(chain \S+: )?step \d+ \(.*?\) is undecided: ")


class Cause(StrEnum):
    """What kind of cause a run is paused by."""

    LIMIT = "limit"
    """A limit of the job."""
    REQUEST = "request"
    """Somebody asked for it: Ctrl-C, a number of steps, a stop."""
    UNDECIDED = "undecided"
    """A step that no vote could settle."""
    WAITS = "waits"
    """An answer of a person or another system, a batch of requests, or a time that has not come."""
    FAULT = "fault"
    """The model, the store, a worker or the task's own code."""


def undecided(idx: int, kind: str, why: str) -> str:
    """Return the reason of a step that no vote could settle."""
    return f"step {idx} ({kind}) is undecided: {why}"


def waiting(waits: Sequence[OutsideRow], steps: Sequence[str] = (), count: int = 0) -> str:
    """Return the reason of a run that waits, for these and for nothing else.

    ``steps`` are the first of ``count`` undecided steps that people are asked about.
    """
    names = [*(one.name or _until(one) for one in waits[:MOST_NAMED]), *steps][:MOST_NAMED]
    left = len(waits) + count - len(names)
    more = f" and {left:,} more" if left else ""
    return f"{WAITS}{', '.join(names)}{more}"


def _until(one: OutsideRow) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(one.deadline or 0.0))


def cause_of(reason: str) -> Cause:
    """Return what kind of cause a paused run's reason tells of."""
    if reason.startswith((LIMIT, MONITOR)):
        return Cause.LIMIT
    if reason in (INTERRUPTED, STOPPED, NOT_STARTED) or reason.startswith(STEPS):
        return Cause.REQUEST
    if reason.startswith(WAITS) or DOUBTFUL.match(reason):
        return Cause.WAITS
    return Cause.UNDECIDED if _UNDECIDED.match(reason) else Cause.FAULT
