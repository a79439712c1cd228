"""What it means for a plan that votes of one request share a fate, and what it costs to ask each in its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from maker.calibration.moment import WHEN_STEADY, change_words
from maker.calibration.observations import Calibration, FateFound, Kept
from maker.errors import BadInput, OutOfReach
from maker.job.estimate import votes_per_request
from maker.job.job import Job
from maker.job.probe import expected_steps
from maker.job.rules import vote_prices
from maker.models.settings import PoolSettings, VllmSettings
from maker.types import money

USUAL_VOTES = 3
"""So many votes a step are priced, before k is known."""


def fate_words(job: Job, calibration: Calibration) -> str:
    """Return a line on whether votes of one request share a fate, and then what to do; "" if it was not asked."""
    fate = calibration.fate
    if fate is None:
        return ""
    if fate.shared:
        return f"{_shared(fate, calibration.votes)}. To plan, {_advice(job, calibration)}"
    if not fate.steps:
        return "no votes on a step differ, so nothing shows whether votes of one request agree more than those of two"
    steps = "1 step whose votes differ shows" if fate.steps == 1 else f"{fate.steps:,} steps whose votes differ show"
    return f"votes of one request agree no more than those of two, as far as {steps} it {_span(fate)}"


def asks_together(job: Job) -> bool:
    """Say whether a request of the job may ask for several votes on a step."""
    return max(votes_per_request(job)) > 1


def usable(job: Job, found: Sequence[Kept]) -> list[Kept]:
    """Return the calibrations that the job may be planned by; ``found`` are all that fit, newest first.

    Where votes of one request share a fate, a pilot of such votes says nothing of votes that are asked one by one, and
    those asked one by one say nothing of a run that asks for several together.

    Raises:
        OutOfReach: The job asks for several votes a request, and the newest calibration that compared them found that
            they share a fate.
        BadInput: The job asks for one vote a request, and there is no calibration of such votes.
    """
    if asks_together(job):
        compared = next((one for one in found if one.calibration.fate is not None), None)
        if compared is not None:
            refuse_shared_fate(job, compared)
        return list(found)
    kept = [one for one in found if not (one.calibration.fate and one.calibration.fate.shared)]
    if found and not kept:
        raise BadInput(
            f"in calibration {found[0].key} votes of one request share a fate, so it says nothing of votes that are"
            " asked one a request",
            fix="calibrate again with the same settings: `maker calibrate JOB`",
        )
    return kept


def refuse_shared_fate(job: Job, kept: Kept) -> None:
    """Raise `OutOfReach` if votes of one request share a fate, and the job asks for several in one."""
    key, calibration = kept
    fate = calibration.fate
    if fate is not None and fate.shared and asks_together(job):
        raise OutOfReach(f"calibration {key}: {_shared(fate, calibration.votes)}", fix=_advice(job, calibration))


def _shared(fate: FateFound, votes: int) -> str:
    return f"votes of one request share a fate {_span(fate)}: {votes} of them count as {fate.counts_as(votes):.1f}"


def _span(fate: FateFound) -> str:
    low, estimate, high = fate.correlation
    return f"(correlation {estimate:.2f}, 95 % {low:.2f} to {high:.2f})"


def _advice(job: Job, calibration: Calibration) -> str:
    """Return what to set, in the imperative, and what it costs.

    The requests for a step were made at two times. Where the model changed between them, one vote a request is no help.
    """
    if change_words(calibration):
        return WHEN_STEADY
    if isinstance(job.model, PoolSettings):
        named = [f"model.members.{name}" for name, one in job.members.items() if not isinstance(one, VllmSettings)]
    else:
        named = [] if isinstance(job.model, VllmSettings) else ["model"]
    how = f"set {' and '.join(f'{name}.max_n = 1' for name in named)}" if named else ""
    how = how or "serve the model with an OpenAI-compatible server and set model.max_n = 1"
    return f"{how}, which asks each vote in a request of its own{_price(job, calibration)}, and calibrate again"


def _price(job: Job, calibration: Calibration) -> str:
    steps = expected_steps(job)
    tokens = round((steps or 1) * (USUAL_VOTES - 1) * calibration.prompt)
    prices = vote_prices(job)
    cost = "" if prices is None else f" ({money(prices.of(tokens, 0))})"
    whole = "a step" if steps is None else f"for {steps:,} steps"
    return f" and costs about {tokens:,} prompt tokens{cost} more {whole} of {USUAL_VOTES} votes"
