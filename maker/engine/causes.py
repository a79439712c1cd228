"""Why a run rests: the reasons that the driver writes, and what kind of cause each one tells of. Pure."""

from __future__ import annotations

import re
from enum import StrEnum

from maker.store.runs import NOT_STARTED

LIMIT = "limit "
"""What the reason of a run begins with that is paused at a limit."""
INTERRUPTED = "interrupted"
STOPPED = "stopped"
STEPS = "reached the limit of "
"""What the reason of a run begins with that has decided as many steps as it was to."""
MONITOR = "alarm of the vote monitor "
"""What the reason of a run begins with that its own `monitor.policy` pauses."""
_UNDECIDED = re.compile(r"(chain \S+: )?step \d+ \(.*?\) is undecided: ")


class Cause(StrEnum):
    """What kind of cause a run is paused by."""

    LIMIT = "limit"
    """A limit of the job."""
    REQUEST = "request"
    """Somebody asked for it: Ctrl-C, a number of steps, a stop."""
    UNDECIDED = "undecided"
    """A step that no vote could settle."""
    FAULT = "fault"
    """The model, the store, a worker or the task's own code."""


def undecided(idx: int, kind: str, why: str) -> str:
    """Return the reason of a step that no vote could settle."""
    return f"step {idx} ({kind}) is undecided: {why}"


def cause_of(reason: str) -> Cause:
    """Return what kind of cause a paused run's reason tells of."""
    if reason.startswith((LIMIT, MONITOR)):
        return Cause.LIMIT
    if reason in (INTERRUPTED, STOPPED, NOT_STARTED) or reason.startswith(STEPS):
        return Cause.REQUEST
    return Cause.UNDECIDED if _UNDECIDED.match(reason) else Cause.FAULT
