"""Why a pilot gives no plan, in words: that no k would do is said only where labels or an oracle show it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from maker.calibration.contradicted import BOUND, MEND, behind_line
from maker.calibration.greedy import greedy_would_do
from maker.calibration.observations import By, Kept
from maker.calibration.readings import silenced_words
from maker.errors import OutOfReach
from maker.job.plan_words import event_of
from maker.stats.margins import Reason, Refusal, not_shown, with_ends
from maker.stats.risk import RiskBudget


def refused(found: Refusal, kept: Kept, loads: Sequence[RiskBudget], target: float) -> OutOfReach:
    """Return a refusal, with what would lift it.

    That no k will do is said only where a pilot step's own label shows it: that the right answer is behind there.
    """
    labelled = kept.calibration.labelled
    needed, (reason, fix) = dict(found.needed), _said(found, target, labelled=labelled)
    behind = behind_line(kept.calibration, loads) if labelled else ""
    if found.shown and labelled and not behind and found.kind is not Reason.RIVAL:
        reason, fix = _unsettled(found, target)
    reason += silenced_words(kept.calibration)
    if behind and found.kind is not Reason.RIVAL and not needed:
        reason = f"{reason}; {behind}"
        # Where it is shown that no k will do, this is all that helps.
        fix = f"{MEND}{BOUND}" if found.shown else f"{fix}; or {MEND}{BOUND}"
    if needed and all(kept.calibration.classes[name].whole for name in needed):
        needed, fix = {}, "the pilot has asked every step of the task; calibrate with more --votes, and with --closer"
    if greedy := greedy_would_do(kept.calibration):
        fix = f"{fix}; or: {greedy}"
    elif found.kind is Reason.RIVAL and kept.calibration.by == By.LABELS:
        fix = f"check that each label stands at its own step; if they do, {fix}"
    return OutOfReach(f"calibration {kept.key}: {reason}", fix=fix, needed=needed)


def _said(found: Refusal, target: float, *, labelled: bool) -> tuple[str, str]:
    """Return why there are no margins, and what to do: without labels in words of agreement, which is all it tells."""
    if labelled:
        return found.reason, found.fix
    reason = f"{not_shown(target)}, {event_of(agreement=True)} with probability {with_ends(found.right)}"
    if not found.shown:
        return reason, found.fix
    unchecked = f"votes on steps of {', '.join(found.classes)} agree too little, and no one has checked which is right"
    return f"{reason}; {unchecked}", f"{found.fix}; --labels of `maker calibrate` show which answers are right"


def _unsettled(found: Refusal, target: float) -> tuple[str, str]:
    """Return why there are no margins, and what to do, where the right answer leads on all of the pilot's steps."""
    reason = f"{not_shown(target)}, the run is right with probability {with_ends(found.right)}"
    return (
        f"{reason}; the right answer leads on every pilot step, on too many of them by little",
        f"calibrate with more --votes, which show whether it does; or {found.fix}",
    )
