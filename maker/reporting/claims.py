"""Collect what was claimed about a run before its first step. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from maker.job.plan_words import OTHERWISE, like_seen, row_error_line, second_number
from maker.job.settings import PilotFound, PlanFound
from maker.reporting.decision_rules import DecisionRule

AGAINST = "The vote monitor's alarms speak against what this rests on"


@dataclass(frozen=True, slots=True)
class Claim:
    """What was claimed, in sentences; ``plan`` holds the figures where the run was planned or piloted.

    ``made`` is False where nothing was claimed.
    """

    made: bool
    text: tuple[str, ...]
    plan: Mapping[str, Any] | None = None


def claimed(vote: Mapping[str, Any], rules: tuple[DecisionRule, ...], *, alarmed: bool = False) -> Claim:
    """Return what a run's ``[vote]`` table and the rules of its step classes claim.

    A plan (``vote.plan``) has two numbers: what holds if steps are like the pilot's, and what the pilot shows.
    ``alarmed`` says that the vote monitor raised alarms, which speak against a claim.
    """
    found = _claimed(vote, rules)
    return replace(found, text=(*found.text, AGAINST)) if alarmed and found.made else found


def _claimed(vote: Mapping[str, Any], rules: tuple[DecisionRule, ...]) -> Claim:
    by_parts = tuple(dict.fromkeys(_of_parts(one) for one in rules if one.by_parts))
    if plan := vote.get("plan"):
        return Claim(True, (*_planned(PlanFound.model_validate(plan)), *by_parts), plan)
    if pilot := vote.get("pilot"):
        return Claim(True, _piloted(PilotFound.model_validate(pilot)), pilot)
    if promises := {text for one in rules if (text := promised(one))}:
        return Claim(True, (*sorted(promises), *by_parts))
    reasons = sorted({one.lost or f"{one.voter} with {one.said or 'no parameter'} promises nothing" for one in rules})
    return Claim(False, (f"nothing was claimed: {'; '.join(reasons) or 'no step is decided'}", *by_parts))


def _planned(found: PlanFound) -> tuple[str, ...]:
    aim = "its votes were fixed by vote.budget" if found.target is None else f"the target was {found.target:g}"
    told = (f"{like_seen(found)}; {aim}", second_number(found), f"This assumes that {found.rests_on}")
    return tuple(text for text in told if text)


def _of_parts(one: DecisionRule) -> str:
    """Return what holds for each part of an answer that is voted on part by part."""
    each = f"Steps {one.kind} are voted on part by part: what is said of a step holds for each part by itself"
    if one.k is None:
        return each
    return (
        f"{each}. If a vote is right on a part with probability p, the part is decided wrongly with a chance of at most"
        f" ((1-p)/p)^{one.k}, and a step with m parts in question with at most m times that"
    )


def _piloted(found: PilotFound) -> tuple[str, ...]:
    return (
        f"{row_error_line(found.at_most, found.confidence, OTHERWISE)}: a pilot found k = {found.k} for this",
        f"In the pilot {found.both:,} rows, drawn at random from {found.of:,}, were decided twice, and"
        f" {found.differ:,} of them got two answers",
        "A pilot cannot see an error that all votes on a row share",
    )


def promised(one: DecisionRule) -> str:
    """Return what a voter promises for its steps, or the ``error`` it was given; "" if there is neither."""
    if one.promise is not None:
        return one.promise.each
    if one.error is None:
        return ""
    return f"{one.voter} was given error = {one.error:g} for steps {one.kind}; maker does not know what it promises"
