"""What was claimed of a run before its first step. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maker.job.settings import PilotFound
from maker.reporting.decision_rules import Ruled


@dataclass(frozen=True, slots=True)
class Claim:
    """What was claimed, in sentences; ``plan`` holds the figures where the run was planned or piloted.

    ``made`` is False where nothing was claimed.
    """

    made: bool
    text: tuple[str, ...]
    plan: Mapping[str, Any] | None = None


def claimed(vote: Mapping[str, Any], rules: tuple[Ruled, ...]) -> Claim:
    """Return what a run's ``[vote]`` table and the rules of its step classes claim.

    A plan (``vote.plan``) has a ``target``, ``right``, which holds a lower bound, an estimate and an upper bound of the
    probability that all steps are right, and says in ``rests_on`` what it rests on.
    """
    if plan := vote.get("plan"):
        low, value, high = plan["right"]
        said = f"all steps are right with a probability of {value:.4g} ({low:.4g} to {high:.4g})"
        aim = "; its votes were given" if plan["target"] is None else f"; the target was {plan['target']:g}"
        return Claim(True, (said + aim, f"It is so given that {plan['rests_on']}"), plan)
    if pilot := vote.get("pilot"):
        return Claim(True, _piloted(PilotFound.model_validate(pilot)), pilot)
    if promises := {text for one in rules if (text := promised(one))}:
        return Claim(True, tuple(sorted(promises)))
    given = sorted({one.lost or f"{one.voter} was given {one.said or 'no parameter'}" for one in rules})
    return Claim(False, (f"nothing was claimed: {'; '.join(given) or 'no step is decided'}",))


def _piloted(found: PilotFound) -> tuple[str, ...]:
    return (
        f"another vote would decide at most {found.at_most:.2%} of the decided rows otherwise, with a confidence of"
        f" {found.confidence:.1%}: a pilot found k = {found.k} for that",
        f"It rests on {found.both:,} rows, drawn at random from {found.of:,}, that were decided twice:"
        f" {found.differ:,} of them not alike",
        "What all votes on a row are wrong about together a pilot cannot see",
    )


def promised(one: Ruled) -> str:
    """Return what a voter promises of its steps, or was given to keep to, "" where there is neither."""
    if one.promise is not None:
        return one.promise.each
    if one.error is None:
        return ""
    return f"of steps {one.kind}, {one.voter} was given error = {one.error:g}; what it makes of that is its own affair"
