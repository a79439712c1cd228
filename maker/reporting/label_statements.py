"""Say what labels tell of a run: how that fits the votes' estimate, and whether a plain call would do as well. Pure."""

from __future__ import annotations

from maker.reporting.figures import CONFIDENCE, Share, Whole, share
from maker.reporting.row_labels import FirstReplies, LabelCheck
from maker.stats.paired import mcnemar

LEVEL = 0.05
"""A difference with a p up to here is shown."""


def error_share(check: LabelCheck) -> Share:
    """Return the share of wrong ones among the decided rows with a label, with its interval."""
    return share(check.wrong, check.decided)


def statements(check: LabelCheck, whole: Whole) -> tuple[str, ...]:
    """Return what labels say, then how the estimate from votes alone fits it, then how one plain call compares."""
    found = [_counts(check)]
    if check.decided:
        found.append(_estimate(check, whole))
    if check.first is not None:
        found.append(plain_call(check.first, check.unrecorded))
    elif check.unrecorded:
        found.append(
            f"How one plain call a row would have done is not known: the first replies of {check.unrecorded:,} of the"
            f" {check.labelled:,} labelled rows are not on record, and the others are no fair sample (set"
            ' store.samples = "disputed" or "all"; rows that were taken from the memo have no reply of their own)'
        )
    return tuple(f"{one}." for one in found)


def _counts(check: LabelCheck) -> str:
    missed = "".join(f", {count:,} {outcome}" for outcome, count in check.missed.items())
    said = f"Labels: of {check.labelled:,} labelled rows {check.right:,} are right, {check.wrong:,} wrong{missed}"
    if not check.decided:
        return f"{said}; none of them is decided"
    error = error_share(check)
    return (
        f"{said}. {_percent(error.found / error.of)} of the {check.decided:,} decided ones are wrong"
        f" ({_percent(error.low)} to {_percent(error.high)}, Clopper-Pearson at {100 * CONFIDENCE:g} %, if the"
        " labelled rows were drawn at random and the labels are right)"
    )


def _estimate(check: LabelCheck, whole: Whole) -> str:
    """Compare the share of wrong rows that votes alone lead to expect with the interval by labels."""
    if whole.wrong is None:
        return f"Votes alone give no estimate to compare with: {whole.missing}"
    expected, error = whole.wrong.value / whole.steps, error_share(check)
    alone = f"Votes alone lead to expect {expected * check.decided:.1f} wrong ones of these ({_percent(expected)})"
    if expected < error.low:
        return (
            f"{alone}, which is too few: it lies below that interval. {check.unopposed:,} of the {check.wrong:,} wrong"
            " rows have no vote for another answer: votes do not show an error on which replies agree"
        )
    if expected > error.high:
        return f"{alone}, which is too many: it lies above that interval"
    return f"{alone}, which fits: it lies within that interval"


def plain_call(first: FirstReplies, unrecorded: int) -> str:
    """Say whether one plain call a row does as well as the votes, with the counts that it rests on."""
    each = first.samples / first.rows
    whose = f"the first reply was right on {first.calls:,} of {first.rows:,} labelled rows, voting on {first.votes:,}"
    paid = f"with {each:.1f} replies a row (a row without a decision counts as not right)"
    differ = first.only_votes + first.only_call
    rests = (
        f"they differ on {differ:,} rows, {first.only_votes:,} of them right by votes alone and {first.only_call:,} by"
        f" the first reply alone (p = {first.p:.2g}, exact McNemar test)"
    )
    if mcnemar(0, first.rows) > LEVEL:
        said = "These labels are too few to say whether a plain call does as well as voting"
    elif first.p > LEVEL:
        said = "A plain call does as well as voting, as far as these labels show"
        if first.votes > first.calls:
            said = "These labels do not show that voting does better than a plain call"
    elif first.only_votes > first.only_call:
        said = "Voting does better than a plain call"
    else:
        said = "A plain call does better than voting"
    left = f"; {unrecorded:,} rows whose first reply is not on record are left out" if unrecorded else ""
    return f"{said}: {whose} {paid}; {rests}{left}"


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")
