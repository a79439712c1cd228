"""Which margins a run needs, by the calibration that fits its job. The statistics are `maker.stats.margins`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from operator import attrgetter
from typing import NamedTuple, Unpack

from maker.calibration.budget_plan import plan_budget
from maker.calibration.contradicted import (
    contradicted,
    refuse_contradicted,
    refuse_strange_labels,
    within_reach,
)
from maker.calibration.fate import refuse_shared_fate, usable
from maker.calibration.forecast import UNSEEN, Plan, described, risk_budget_of
from maker.calibration.observations import CONFIDENCE, VERSION, Calibration, Kept
from maker.calibration.readings import Reading, other_readings
from maker.calibration.refusals import refused
from maker.engine.vote_budget import BudgetTerms
from maker.errors import BadInput, OutOfReach, StoreMissing
from maker.job.fingerprint import calibration_fingerprint, difference
from maker.job.job import Job
from maker.job.keywords import JobKeywords
from maker.job.load import JobLike, load_job
from maker.job.plan_words import WRONG, row_error_line
from maker.job.probe import distinct_questions, expected_steps
from maker.job.rules import rules_of
from maker.job.vote_budget import budget_terms, refuse_small
from maker.stats.margins import Margins, Reason, Refusal, budget, cheapest, given
from maker.stats.risk import RiskBudget
from maker.store.backend.database import Database, open_database
from maker.store.calibrations import read_calibrations

TARGET = 0.95
"""The wanted probability that a run is right, where none is given."""
NONE = "there is no calibration of this task with this model"
CALIBRATE = "make one with `maker calibrate JOB`"


def plan(job: JobLike, overrides: Iterable[str] = (), **keywords: Unpack[JobKeywords]) -> Plan:
    """Return the cheapest plan that reaches a job's target, by the calibration that fits it.

    It takes what `maker.run` does. The target is ``vote.target``, `TARGET` where none is given; for a map with
    ``vote.row_error`` it is one row's.

    Raises:
        BadInput: There is no calibration, or it is one of another task or model; a class was not asked; it is not known
            how many steps of a class there are.
        OutOfReach: The right answer is not the likeliest one, on all steps or on too many; no margin reaches the
            target, or the pilot cannot show that one does; labels look like those of other steps; or votes of one
            request share a fate.
    """
    job = load_job(job, overrides, **keywords)
    try:
        with closing(open_database(job.store.url, create=False)) as database:
            kept = calibration_of(database, job)
    except StoreMissing as missing:
        raise BadInput(f"{NONE}: {missing.message}", fix=CALIBRATE) from missing
    return plan_from(job, kept)


def plan_from(job: Job, kept: Kept) -> Plan:
    """Return the cheapest plan that reaches the job's target, by a calibration, without a store. Raises as `plan`."""
    key, calibration = kept
    refuse_shared_fate(job, kept)
    row_error = None if job.vote.target is not None else job.vote.row_error
    target = 1 - row_error if row_error is not None else TARGET if job.vote.target is None else job.vote.target
    refuse_strange_labels(calibration, key)
    counted = _decisions(job, _steps(job, calibration))
    loads = [risk_budget_of(job, calibration, name, steps) for name, steps in counted.items() if steps]
    if not loads:
        raise BadInput(f"the run asks no step of the classes that calibration {key} has heard", fix=CALIBRATE)
    if (terms := budget_terms(job)) is not None:
        return _with_budget(job, kept, loads, terms)
    if job.vote.budget is not None:
        bought = _within(loads, job.vote.budget)
        _refuse_cap(job, bought)
        return described(job, key, calibration, None, loads, bought)
    refuse_contradicted(contradicted(calibration, loads), target, key)
    # A row error holds with the confidence, as that of a pilot of a map does; a target holds on average.
    loads, found = _cheapest(job, calibration, loads, target, sure=row_error is not None)
    if isinstance(found, Refusal):
        raise refused(found, kept, loads, target)
    _refuse_cap(job, found)
    made = described(job, key, calibration, target, loads, found)
    if row_error is None:
        return made
    _refuse_unshown(made, row_error)
    return made._replace(of_rows=True)


def _with_budget(job: Job, kept: Kept, loads: list[RiskBudget], terms: BudgetTerms) -> Plan:
    """Return what is to be expected of a map with its own k, and what its budget of votes buys."""
    refuse_small(job, loads[0].steps)
    margins = given(loads, {load.name: terms.k for load in loads}, CONFIDENCE)
    made = described(job, kept.key, kept.calibration, None, loads, margins)
    call_cost = None if made.cost is None else made.cost.estimate / made.calls.estimate
    heard = kept.calibration.classes[loads[0].name]
    return made._replace(budget=plan_budget(terms, loads[0], heard, call_cost))


class _Choice(NamedTuple):
    """Margins, or why there are none, and the loads that they are for."""

    loads: list[RiskBudget]
    found: Margins | Refusal


def _cheapest(job: Job, calibration: Calibration, loads: list[RiskBudget], target: float, *, sure: bool) -> _Choice:
    """Return the cheapest margins, or why there are none, with the reading of the pilot that they rest on.

    All readings of several rivals (`maker.calibration.readings`) are on the safe side, so that the cheapest margins are
    taken. That the target is out of reach is shown only if all of them say so, or if a rival is shown to lead.
    """
    choices = [_Choice(loads, found := cheapest(loads, target, CONFIDENCE, sure=sure))]
    if isinstance(found, Refusal) and found.kind is Reason.RIVAL:
        return choices[0]
    for other in _other_loads(job, calibration, loads):
        if within_reach(contradicted(calibration, other), target):
            choices.append(_Choice(other, cheapest(other, target, CONFIDENCE, sure=sure)))
    made = [(one.found.tokens.estimate, place) for place, one in enumerate(choices) if isinstance(one.found, Margins)]
    if made:
        return choices[min(made)[1]]
    unshown = [
        (one.found.right.estimate, -place)
        for place, one in enumerate(choices)
        if isinstance(one.found, Refusal) and not one.found.shown
    ]
    return choices[-max(unshown)[1]] if unshown else choices[0]


def _other_loads(job: Job, calibration: Calibration, loads: Sequence[RiskBudget]) -> Iterator[list[RiskBudget]]:
    """Yield the loads by each other reading of the classes with several rivals, as far as the pilot supports it."""
    others = {load.name: other_readings(calibration.classes[load.name]) for load in loads if load.several}
    for reading in Reading:
        if any(reading in supported for supported in others.values()):
            yield [
                risk_budget_of(job, calibration, load.name, load.steps, reading=reading)
                if reading in others.get(load.name, ())
                else load
                for load in loads
            ]


def _refuse_unshown(made: Plan, row_error: float) -> None:
    """Refuse a row error that checked answers do not show: it is a bound, whatever the rows are like."""
    if made.shown is None:
        return
    worst = max(made.shown.classes, key=attrgetter("failure"))
    if worst.failure <= row_error:
        return
    labels = "" if worst.needed is None else f"a pilot of about {worst.needed:,} rows would show it, or "
    raise OutOfReach(
        f"calibration {made.key} shows that {row_error_line(worst.failure, CONFIDENCE, WRONG)} ({worst.doubtful:,} of"
        f" {worst.heard:,} pilot rows are doubtful), and vote.row_error = {row_error:g} asks for less",
        fix=f"{labels}more --votes where rows are doubtful; or raise vote.row_error",
    )


def _refuse_cap(job: Job, margins: Margins) -> None:
    """Refuse margins that a step could not reach within its most votes."""
    rules = rules_of(job)
    for kind in job.decomposer.classes:
        k, most = margins.k.get(kind.name, 0), rules.of(kind).max_votes
        if k > most:
            raise BadInput(
                f"vote.max_votes = {most} is below the planned k = {k} for class {kind.name!r}: no step could reach it",
                fix="raise vote.max_votes well above k; a step that reaches it stays undecided",
            )


def calibration_of(database: Database, job: Job) -> Kept:
    """Return the newest of the calibrations with most samples that the job may be planned by.

    Raises `BadInput` where none is the job's, and as `maker.calibration.fate.usable`.
    """
    wanted = calibration_fingerprint(job)
    fitting: list[Kept] = []
    others = ""
    for row in read_calibrations(database):
        if differs := difference(row.fingerprint, wanted):
            others = others or f"calibration {row.key} belongs to another task or model: {differs}"
            continue
        if row.fingerprint.keys() != wanted.keys():
            continue
        if json.loads(row.content)["version"] != VERSION:
            others = others or f"calibration {row.key} was written by another version of maker"
            continue
        fitting.append(Kept(row.key, Calibration.model_validate_json(row.content)))
    if not fitting:
        raise BadInput(f"{NONE}{f'; {others}' if others else ''}", fix=CALIBRATE)
    return max(usable(job, fitting), key=lambda one: one.calibration.samples)


def _steps(job: Job, calibration: Calibration) -> dict[str, int]:
    """Return how many steps of each class the run has. Raises `BadInput` where that is not known."""
    if job.vote.row_error is not None and job.vote.target is None:
        return dict.fromkeys(calibration.classes, 1)
    steps = {name: one.of for name, one in calibration.classes.items()}
    unseen = [name for name, n in steps.items() if n is None and not calibration.classes[name].steps]
    if unseen:
        raise BadInput(f"the pilot has asked no step of class {unseen[0]!r}", fix=UNSEEN)
    known = {name: n for name, n in steps.items() if n is not None}
    if len(known) == len(steps):
        return known
    total = expected_steps(job)
    if total is None:
        raise BadInput(
            f"{job.decomposer.name} does not say how many steps a run has, so no plan can be made",
            fix="return the number from the decomposer's `expected_steps()`, or set vote.k",
        )
    asked = sum(one.steps for one in calibration.classes.values())
    return {name: -(-total * one.steps // asked) for name, one in calibration.classes.items()}


def _decisions(job: Job, steps: Mapping[str, int]) -> dict[str, int]:
    """Return how many steps of each class are voted on: where decisions are taken again, as many as ask anew.

    All of them where the task does not say how many questions it asks: that is more than there are.
    """
    asked = distinct_questions(job)
    return {name: n if asked is None else min(n, asked.get(name, n)) for name, n in steps.items()}


def _within(loads: Sequence[RiskBudget], votes: int) -> Margins:
    """Return the best margins for so many votes. Raises `OutOfReach` where they are too few."""
    steps = sum(load.steps for load in loads)
    if votes < steps:
        raise OutOfReach(f"vote.budget = {votes:,}: the run has {steps:,} steps, and each needs at least one vote")
    return given(loads, budget(loads, votes), CONFIDENCE)
