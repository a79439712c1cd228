"""Say in a sentence whether voting is worth it, as far as the labels show; and what would show more. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from maker.stats.paired import Difference, paired_difference, rows_to_settle


class Verdict(StrEnum):
    """What the labels show of the job's votes beside one call a row."""

    VOTE = "vote"
    """They are right on more rows than each of the calls."""
    CALL = "call"
    """They are not, or by less than is worth it."""
    OPEN = "open"
    """The labels do not settle it."""


class PlainCall(NamedTuple):
    """One call a row beside the votes: on how many rows only one of the two is right, and how much dearer votes are.

    ``times`` is the votes' price over the call's, in money where both have prices, else in tokens, as ``of`` says.
    """

    about: str
    only_votes: int
    only_call: int
    times: float
    of: str


class Advice(NamedTuple):
    """What follows. ``labels`` is about how many would settle it, None where they do, or where no number would."""

    verdict: Verdict
    text: str
    labels: int | None = None


class Labelled(NamedTuple):
    """How many rows are labelled, of how many, and what is asked of them.

    ``worth`` is how much more of the rows must be right for votes to be worth it, ``confidence`` that of what is shown.
    """

    rows: int
    of: int
    worth: float
    confidence: float


def advise(votes: str, calls: Sequence[PlainCall], labelled: Labelled) -> Advice:
    """Return what follows for the job's votes, beside one call a row or, for a pool, beside one of each member.

    That votes are better takes that they are better than each of the calls, each shown at the whole risk: it is wrong
    only if the test of a call is wrong that is as good. That one of several calls is as good is looked for among them,
    and takes an equal part of the risk for each.
    """
    rows, _, worth, confidence = labelled
    each = 1 - (1 - confidence) / len(calls)
    as_good = [one for one in calls if _difference(one, rows, each).high < worth]
    if as_good:
        cheapest = max(as_good, key=lambda one: one.times)
        return Advice(Verdict.CALL, _call_text(votes, cheapest, _difference(cheapest, rows, each), worth, each))
    found = [(_difference(one, rows, confidence), one) for one in calls]
    nearest, call = min(found, key=lambda pair: pair[0].low)
    if nearest.low > 0:
        return Advice(
            Verdict.VOTE, f"Vote: the {votes} are right on {_more(nearest, call, confidence)}, {_dearer(call)}."
        )
    needed = [rows_to_settle(one.only_votes, one.only_call, rows, worth=worth, confidence=each) for one in calls]
    labels = None if None in needed else max(n for n in needed if n is not None)
    text = f"Not settled: the {votes} are right on {_more(nearest, call, confidence)}, {_dearer(call)}."
    return Advice(Verdict.OPEN, f"{text} {_wanting(labels, labelled)}", labels)


def _difference(one: PlainCall, rows: int, confidence: float) -> Difference:
    return paired_difference(one.only_votes, one.only_call, rows, confidence)


def _call_text(votes: str, call: PlainCall, found: Difference, worth: float, confidence: float) -> str:
    """Say that one call a row will do."""
    said = "is better than" if found.high < 0 else "is as good as" if found.low <= 0 else "will do beside"
    limit = "" if found.high < 0 else f", and {100 * worth:g} are worth it"
    return (
        f"Ask once: {call.about} a row {said} the {votes}, at {1 / call.times:.0%} of their {call.of}. The votes are"
        f" right on {_more(found, call, confidence)}{limit}."
    )


def _more(found: Difference, call: PlainCall, confidence: float) -> str:
    low, high = 100 * found.low, 100 * found.high
    points = f"{low:+.1f} to {high:+.1f} points more"
    if low > 0:
        points = f"{low:.1f} to {high:.1f} points more"
    elif high < 0:
        points = f"{-high:.1f} to {-low:.1f} points fewer"
    return f"{points} of the rows than {call.about} ({100 * confidence:.3g} %)"


def _dearer(call: PlainCall) -> str:
    return f"at {call.times:.1f} times its {call.of}"


def _wanting(labels: int | None, labelled: Labelled) -> str:
    """Say how many labels would settle it."""
    if labels is None:
        return "No number of labels would settle it."
    beyond = f"; there are {labelled.of:,} rows" if labels > labelled.of else ""
    return f"About {labels:,} labels would settle it, if rows differ as on these {labelled.rows:,}{beyond}."
