"""What a run needs by its calibration: margins, samples, tokens and money, and how sure it is to come out right.

The statistics are `maker.margins`; here a calibration of the job is found, and put into their terms.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

from maker.asking import requests_per_step
from maker.calibration import VERSION, By, Calibration, ClassFound
from maker.difficulty import Difficulty, Interval, clopper_pearson, fit
from maker.errors import BadInput, OutOfReach
from maker.job import Job, difference
from maker.jobfile import DEFAULT_VOTER
from maker.loads import Curve, Load
from maker.margins import Margins, Refusal, budget, cheapest, given
from maker.planning import Block, blocks
from maker.settings import AUTO, PlanFound
from maker.store.calibrations import read_calibrations
from maker.store.database import Database, open_database

TARGET, CONFIDENCE = 0.95, 0.95
SEVERAL = 1.05
"""There is more than one rival where all wrong votes are by this more than the strongest rival's."""
UNSEEN = "calibrate with more steps, or with labels for it; or set vote.k by class"
TOGETHER = 3
BLOCKS = (1, 2, 3, 5, 10, 20)
"""So many votes a prompt is taken to be read for, before k is known."""
RESTS_ON = {
    By.ORACLE: "the run's steps are like those that the pilot asked, and right is what the task's oracle says",
    By.LABELS: "the run's steps are like those that the pilot asked, and right is what the labels say",
    By.VOTES: "the run's steps are like those that the pilot asked; it is agreement with what votes settle on, and"
    " nobody has said whether that is right",
}


class FlagWorth(NamedTuple):
    """What a red flag buys: the margins, and the samples of the run, if those that it was raised on voted.

    It was raised on ``samples``; ``right`` of them would have been right votes, ``wrong`` wrong ones. ``k`` is {} and
    ``calls`` None where no margins would do.
    """

    kind: str
    flag: str
    samples: int
    right: int
    wrong: int
    k: Mapping[str, int]
    calls: float | None


class Greedy(NamedTuple):
    """One greedy sample a step in place of votes: the probability that the whole run is right, and the samples."""

    right: Interval
    calls: float


class ClassPlan(NamedTuple):
    """What is planned for a class: steps of the run and of the pilot, margin, and what is expected of it."""

    name: str
    steps: int
    asked: int
    k: int
    p: Interval
    failures: Interval
    votes: Interval
    unproven: float


class Plan(NamedTuple):
    """A plan. Intervals are two-sided at `CONFIDENCE`, each by itself.

    Args:
        key: The calibration that it rests on.
        calibration: The same.
        target: Wanted probability that the whole run is right; of ``row_error``, that one row is. None with a budget.
        margins: k by class, and what is to be expected with it.
        classes: The same by class.
        calls: Samples, flagged ones included.
        tokens: Prompt and completion tokens.
        cost: In the currency of the job's prices, None without them.
        seconds: At the speed of the pilot, which asks many steps side by side.
        unproven: How many steps of the run may be of a kind that the pilot saw none of.
        own: What is to be expected with the margins that the job has itself, None where it leaves them to the plan.
        flags: What each red flag buys.
        greedy: None where the pilot has not asked.
        blocks: What samples that decide several steps at a time would take, the cheapest size first, by formulas for
            steps that are alike and with the same p in a block; () where there are classes, or p says no.
        rests_on: What the numbers are conditional on, in words.
    """

    key: int
    calibration: Calibration
    target: float | None
    margins: Margins
    classes: tuple[ClassPlan, ...]
    calls: Interval
    tokens: Interval
    cost: Interval | None
    seconds: Interval
    unproven: float
    own: Margins | None
    flags: tuple[FlagWorth, ...]
    greedy: Greedy | None
    blocks: tuple[Block, ...]
    rests_on: str

    def found(self) -> PlanFound:
        """Return what is stored with a run."""
        return PlanFound(
            k=dict(self.margins.k), target=self.target, rests_on=self.rests_on, calibration=self.key,
            right=(self.margins.right.low, self.margins.right.estimate, self.margins.right.high),
        )  # fmt: skip


def plan(job: Job) -> Plan:
    """Return the cheapest plan that reaches the job's target, by the calibration that fits it.

    The target is ``vote.target``, `TARGET` where none is given; for a map with ``vote.row_error`` it is one row's.

    Raises:
        BadInput: There is no calibration, or it is one of another task or model; a class was not asked; it is not known
            how many steps of a class there are.
        OutOfReach: The right answer is not the likeliest one, no margin reaches the target, or the pilot cannot show
            that one does.
    """
    # Where there is no database there is no calibration either: it says so, and names the one that was looked for.
    with closing(open_database(job.store.url, create=False)) as database:
        key, calibration = calibration_of(database, job)
    target = TARGET if job.vote.target is None else job.vote.target
    if job.vote.row_error is not None and job.vote.target is None:
        target = 1 - job.vote.row_error
    loads = [_load(job, calibration, name, steps) for name, steps in _steps(job, calibration).items() if steps]
    if job.vote.budget is not None:
        return _described(job, key, calibration, None, loads, _within(loads, job.vote.budget))
    found = cheapest(loads, target, CONFIDENCE)
    if isinstance(found, Refusal):
        needed, fix = dict(found.needed), found.fix
        if needed and all(calibration.classes[name].whole for name in needed):
            needed, fix = {}, "the pilot has asked all steps of the task: calibrate with more votes, and --closer"
        raise OutOfReach(f"calibration {key}: {found.reason}", fix=fix, needed=needed)
    _refuse_cap(job, found)
    return _described(job, key, calibration, target, loads, found)


def _refuse_cap(job: Job, margins: Margins) -> None:
    """Refuse margins that a step could not reach within its most votes."""
    rules = job.rules()
    for kind in job.decomposer.classes:
        k, most = margins.k.get(kind.name, 0), rules.of(kind).max_votes
        if k > most:
            raise BadInput(
                f"vote.max_votes = {most}: the plan takes k = {k} for class {kind.name!r}, which needs as many",
                fix="raise vote.max_votes, well above k: a step that takes more stays undecided",
            )


def calibration_of(database: Database, job: Job) -> tuple[int, Calibration]:
    """Return the newest of the calibrations with most samples that are the job's, and its key. Raises `BadInput`."""
    wanted = job.asked_fingerprint()
    best: tuple[int, Calibration] | None = None
    others = ""
    for row in read_calibrations(database):
        if differs := difference(row.fingerprint, wanted):
            others = others or f"calibration {row.key} is of another one: {differs}"
            continue
        if row.fingerprint.keys() != wanted.keys():
            continue
        if json.loads(row.content)["version"] != VERSION:
            others = others or f"calibration {row.key} was written by another version of maker"
            continue
        found = Calibration.model_validate_json(row.content)
        if best is None or found.samples > best[1].samples:
            best = row.key, found
    if best is None:
        raise BadInput(
            f"there is no calibration of this task with this model{f'; {others}' if others else ''}",
            fix="`maker calibrate JOB` makes one",
        )
    return best


def _steps(job: Job, calibration: Calibration) -> dict[str, int]:
    """Return how many steps of each class the run has. Raises `BadInput` where that is not known."""
    if job.vote.row_error is not None and job.vote.target is None:
        return dict.fromkeys(calibration.classes, 1)
    steps = {name: one.of for name, one in calibration.classes.items()}
    unseen = [name for name, n in steps.items() if n is None and not calibration.classes[name].steps]
    if unseen:
        raise BadInput(f"the pilot has asked no step of class {unseen[0]!r}: nothing is known of it", fix=UNSEEN)
    known = {name: n for name, n in steps.items() if n is not None}
    if len(known) == len(steps):
        return known
    total = job.expected_steps()
    if total is None:
        raise BadInput(
            f"{job.decomposer.name} does not say how many steps it takes: nothing can be planned for the whole run",
            fix="let the decomposer say `expected_steps`, or set vote.k",
        )
    asked = sum(one.steps for one in calibration.classes.values())
    return {name: -(-total * one.steps // asked) for name, one in calibration.classes.items()}


def _load(job: Job, calibration: Calibration, name: str, steps: int, through: str = "") -> Load:
    """Return a class's steps as they were heard; with ``through``, as if samples with that flag had voted.

    Raises `BadInput` where nothing was heard.
    """
    one = calibration.classes[name]
    if not one.right + one.wrong:
        raise BadInput(f"the pilot has no valid vote on a step of class {name!r}: nothing is known of it", fix=UNSEEN)
    together = 1 - (1 - CONFIDENCE) / len(calibration.classes)
    difficulty, rivals = _difficulty(one, through, together)
    more = one.flags[through].right + one.flags[through].wrong if through else 0
    # A race with the strongest rival counts the votes for two answers alone: there are others beside them.
    beside = (one.right + one.wrong + more) / difficulty.votes
    # A prompt is read for a few votes together; for how many is counted when k is known.
    prompt = calibration.prompt_tokens / max(1, calibration.requests) / TOGETHER
    return Load(
        name=name,
        steps=steps,
        difficulty=difficulty,
        calls_per_vote=one.samples / (one.voted + more) * beside,
        tokens_per_call=one.tokens / one.samples + prompt,
        consequence=job.vote.consequence.get(name, 1.0),
        rivals=rivals,
        # Of steps with labels nobody says that the run has them.
        asked=one.steps if one.of is not None and difficulty.steps == one.steps <= steps else 0,
    )


def _difficulty(one: ClassFound, through: str, confidence: float) -> tuple[Difficulty, float]:
    """Return how hard the steps of a class are, and how many rivals a step may be lost to.

    With one rival a race is between the right answer and all others. Where there are clearly more, it is lost to each
    of them no more often than a race with the strongest alone, which is won more easily; they are as many as would have
    all wrong votes if each had the strongest one's.
    """
    table = one.through[through] if through else one.heard
    rivals = one.wrong / one.rival if one.rival and not through else 1.0
    if rivals > SEVERAL:
        return fit(_cells(one.duel), confidence, tested=_cells(one.heard)), rivals
    return fit(_cells(table), confidence, None if through else _cells(one.closer)), 1.0


def _cells(table: Iterable[tuple[int, int, int]]) -> dict[tuple[int, int], int]:
    return {(right, others): steps for right, others, steps in table}


def _within(loads: Sequence[Load], votes: int) -> Margins:
    """Return the best margins for so many votes. Raises `OutOfReach` where they are too few."""
    steps = sum(load.steps for load in loads)
    if votes < steps:
        raise OutOfReach(f"vote.budget = {votes:,}: the run has {steps:,} steps, and each takes a vote at least")
    return given(loads, budget(loads, votes), CONFIDENCE)


class _Bill(NamedTuple):
    """What the steps of a class take: samples, and tokens of prompts and of completions."""

    calls: Interval
    prompts: Interval
    completions: Interval


def _bill(job: Job, calibration: Calibration, load: Load, k: int) -> _Bill:
    """Return what a class takes. Its steps' prompts are read once a request."""
    one, prompt = calibration.classes[load.name], calibration.prompt_tokens / max(1, calibration.requests)
    votes = load.difficulty.votes_per_step(k)
    calls = _scaled(votes, load.calls_per_vote)
    rotation = next(job.rules().of(kind) for kind in job.decomposer.classes if kind.name == load.name).rotation
    requests_for = partial(job.requests_for, rotation)
    requests = Interval(*(requests_per_step(v, k, 1 / load.calls_per_vote, requests_for) for v in votes))
    if calibration.votes > 1 and calibration.requests >= calibration.samples:
        # The model takes one reply a request.
        requests = calls
    samples = _scaled(calls, load.steps)
    return _Bill(samples, _scaled(requests, load.steps * prompt), _scaled(samples, one.tokens / max(1, one.samples)))


def _described(
    job: Job, key: int, calibration: Calibration, target: float | None, loads: Sequence[Load], margins: Margins
) -> Plan:
    bills = [_bill(job, calibration, load, margins.k[load.name]) for load in loads]
    calls, prompts, completions = (_sum(parts) for parts in zip(*bills, strict=True))
    prices, largest = job.vote_prices, max(margins.k.values())
    return Plan(
        key=key,
        calibration=calibration,
        target=target,
        # A class that the task has no step of gets the largest margin: nobody knows what it would be for.
        margins=margins._replace(k={name: margins.k.get(name, largest) for name in calibration.classes}),
        classes=tuple(_class_plan(load, margins.k[load.name], calibration) for load in loads),
        calls=calls,
        tokens=_sum((prompts, completions)),
        cost=None if prices is None else Interval(*map(prices.of, prompts, completions)),
        seconds=_scaled(calls, calibration.seconds / calibration.samples),
        unproven=_unproven(loads, calibration),
        own=_own(job, loads),
        flags=() if target is None else tuple(_flags(job, calibration, target, loads)),
        greedy=_greedy(calibration, loads),
        blocks=() if target is None else _blocks(calibration, target, loads),
        rests_on=RESTS_ON[calibration.by],
    )


def _own(job: Job, loads: Sequence[Load]) -> Margins | None:
    k = job.settings["vote"].get("k")
    if k == AUTO or job.voter_plugin.name != DEFAULT_VOTER or job.vote.row_error is not None:
        return None
    roles = {kind.name: job.rules().of(kind).voter for kind in job.decomposer.classes}
    return given(loads, {name: voter.least for name, voter in roles.items()}, CONFIDENCE)


def _class_plan(load: Load, k: int, calibration: Calibration) -> ClassPlan:
    one = calibration.classes[load.name]
    return ClassPlan(
        name=load.name,
        steps=load.steps,
        asked=one.steps,
        k=k,
        p=load.difficulty.p if load.rivals == 1 else fit(_cells(one.heard), load.difficulty.confidence).p,
        failures=_failures(load, k),
        votes=load.difficulty.votes_per_step(k),
        unproven=_unproven([load], calibration),
    )


def _failures(load: Load, k: int) -> Interval:
    """Return how many steps of a class are decided wrongly."""
    found = Curve(load._replace(consequence=1.0), math.inf).at(k)
    return Interval(float(found.min()), float(found[0]), float(found.max()))


def _unproven(loads: Sequence[Load], calibration: Calibration) -> float:
    """Return how many steps of the run may be of a kind that the pilot saw none of; none where it asked all of them."""
    return sum(load.steps * load.difficulty.hard_share for load in loads if not calibration.classes[load.name].whole)


def _flags(job: Job, calibration: Calibration, target: float, loads: Sequence[Load]) -> Iterator[FlagWorth]:
    """Yield what each flag buys that was raised on samples which could have voted."""
    for number, load in enumerate(loads):
        one = calibration.classes[load.name]
        for flag in one.through:
            voting = _load(job, calibration, load.name, load.steps, flag)
            found = cheapest([*loads[:number], voting, *loads[number + 1 :]], target, CONFIDENCE)
            k, calls = ({}, None) if isinstance(found, Refusal) else (dict(found.k), found.calls.estimate)
            raised = one.flags[flag]
            yield FlagWorth(load.name, flag, raised.samples, raised.right, raised.wrong, k, calls)


def _greedy(calibration: Calibration, loads: Sequence[Load]) -> Greedy | None:
    """Return what one greedy sample a step would come to; a flagged one leaves its step undecided."""
    right = [1.0, 1.0, 1.0]
    for load in loads:
        asked = calibration.classes[load.name].greedy
        if asked is None:
            return None
        share = asked[0] / sum(asked)
        low, high = clopper_pearson(share, sum(asked), 1 - (1 - CONFIDENCE) / len(loads))
        for end, one in enumerate((low, share, high)):
            right[end] *= one**load.steps
    return Greedy(Interval(*right), sum(load.steps for load in loads))


def _blocks(calibration: Calibration, target: float, loads: Sequence[Load]) -> tuple[Block, ...]:
    p = loads[0].difficulty.p.estimate
    if len(loads) > 1 or not 0.5 < p < 1:
        return ()
    one, prompt = calibration.classes[loads[0].name], calibration.prompt_tokens / max(1, calibration.requests)
    return tuple(blocks(p, loads[0].steps, target, prompt / TOGETHER, one.tokens / one.samples, BLOCKS))


def _scaled(interval: Interval, by: float) -> Interval:
    return Interval(*(value * by for value in interval))


def _sum(intervals: Iterable[Interval]) -> Interval:
    return Interval(*map(sum, zip(*intervals, strict=True)))
