"""What is to be expected of a run with given margins, by a calibration: votes, tokens, money, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from maker.calibration.budget_plan import BudgetPlan
from maker.calibration.contradicted import Contradicted, carried, contradicted
from maker.calibration.greedy import Greedy, greedy_of
from maker.calibration.moment import moment_words
from maker.calibration.observations import CONFIDENCE, By, Calibration
from maker.calibration.readings import Reading, cells_of, read, read_through, reading_words, silenced_words
from maker.calibration.shown import Shown, shown_of
from maker.calibration.unheard import Unheard, unheard_kinds, unheard_words
from maker.errors import BadInput
from maker.job.batch_plan import BatchPlan, Race, plan_batches
from maker.job.estimate import requests_for
from maker.job.job import Job
from maker.job.probe import distinct_questions, expected_steps
from maker.job.rules import rules_of, vote_prices
from maker.job.settings import AUTO, PlanFound
from maker.stats.difficulty import Interval, fit
from maker.stats.expected_requests import requests_per_step
from maker.stats.margins import Margins, Refusal, cheapest, given
from maker.stats.race import Block, blocks
from maker.stats.risk import RiskBudget, RiskProfile
from maker.stats.several_rivals import SeveralRivals
from maker.stats.truncation import share_unsettled

TOGETHER = 3
"""So many votes a prompt is taken to be read for, before k is known."""
BLOCKS = (1, 2, 3, 5, 10, 20)
"""Steps a sample could decide at a time."""
UNSEEN = "calibrate with more steps, or with --labels that have steps of the class; or set vote.k by class"
DISTINCT = "steps are distinct decisions, as the task counts them: a wrong decision is wrong wherever it is reused"
ALL_STEPS = "every step counts: task.memo reuses decisions, but the task does not say how many are distinct"
RESTS_ON = {
    By.ORACLE: "the run's steps are like the pilot's, and that the task's oracle is right",
    By.LABELS: "the run's steps are like those that you labelled, as a random sample of them is, and that your labels"
    " are right",
    By.VOTES: "the run's steps are like the pilot's",
}
AGREEMENT = (
    "; this is agreement with the model's most frequent answer, and no one has checked that this answer is right"
)
ALL_LABELLED = "your labels, of all the run's steps, are right"


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
        shown: What the pilot shows whatever kinds of steps it has not met; None where no one has checked an answer.
        undecided: How many steps would have taken ``vote.max_votes`` samples before anybody has won; the run pauses at
            the first.
        own: What is to be expected with the margins that the job has itself, None where it leaves them to the plan.
        flags: What each red flag buys.
        greedy: None where the pilot has not asked.
        blocks: What samples that decide several steps at a time would take, the cheapest size first, by formulas for
            steps that are alike and with the same p in a block; () where there are classes, or p says no.
        rests_on: What the numbers are conditional on, in words.
        reuse: What is counted as a step where decisions are taken again, in words; "" where they are not.
        unheard: Kinds of steps that the run asks and the pilot has not heard, as far as the task names kinds.
        of_rows: Whether it is for single rows, with a target that holds with `CONFIDENCE`, and not for a whole run.
        contradicted: Classes with pilot steps on which the likeliest answer is wrong; their share is carried into
            ``margins.right``.
        batches: For a map that asks in batches, rounds and hours by ``vote.extra``, the job's own first.
        budget: What the budget buys that all rows of a map have together; None without one.
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
    undecided: float
    own: Margins | None
    flags: tuple[FlagWorth, ...]
    greedy: Greedy | None
    blocks: tuple[Block, ...]
    rests_on: str
    reuse: str = ""
    unheard: tuple[Unheard, ...] = ()
    shown: Shown | None = None
    contradicted: tuple[Contradicted, ...] = ()
    of_rows: bool = False
    batches: tuple[BatchPlan, ...] = ()
    budget: BudgetPlan | None = None

    def found(self) -> PlanFound:
        """Return what is stored with a run."""
        contested = {name: self.calibration.classes[name].contested(k) for name, k in self.margins.k.items()}
        return PlanFound(
            k=dict(self.margins.k), target=self.target, rests_on=self.rests_on, calibration=self.key,
            right=(self.margins.right.low, self.margins.right.estimate, self.margins.right.high),
            by=self.calibration.by.value, shown=None if self.shown is None else self.shown.found(),
            contested={name: one for name, one in contested.items() if one is not None},
        )  # fmt: skip


def risk_budget_of(
    job: Job, calibration: Calibration, name: str, steps: int, through: str = "", *, reading: Reading | None = None
) -> RiskBudget:
    """Return a class's steps as they were heard; with ``through``, as if samples with that flag had voted.

    ``reading`` says who the wrong votes are for; None leaves it to what was heard (`maker.calibration.readings.read`).

    Raises `BadInput` where nothing was heard.
    """
    one = calibration.classes[name]
    if not one.right + one.wrong:
        raise BadInput(f"the pilot has no valid vote on any step of class {name!r}", fix=UNSEEN)
    together = 1 - (1 - CONFIDENCE) / len(calibration.classes)
    difficulty, rivals = read_through(one, through, together) if through else read(one, together, reading)
    more = one.flags[through].right + one.flags[through].wrong if through else 0
    # A race with the strongest rival counts the votes for two answers alone: there are others beside them.
    beside = 1 + (rivals - 1) * (1 - difficulty.p.estimate)
    # Where each rival counts, a step's own votes tell of p alone.
    own = one.of is not None and (one.whole or not one.drawn) and not isinstance(difficulty, SeveralRivals)
    # A prompt is read for a few votes together; for how many is counted when k is known.
    prompt = calibration.prompt / TOGETHER
    return RiskBudget(
        name=name,
        steps=steps,
        difficulty=difficulty,
        calls_per_vote=one.samples / (one.voted + more) * beside,
        tokens_per_call=one.tokens / one.samples + prompt,
        consequence=job.vote.consequence.get(name, 1.0),
        rivals=rivals,
        # Labelled rows count by their own votes where all are labelled. Of a sample that costs more than it tells: of
        # 100 pilots with 300 of 1,000 rows of Beta(19, 1) it had 11 refused in place of 1.
        asked=one.steps if own and difficulty.steps == one.steps <= steps else 0,
    )


class _Bill(NamedTuple):
    """What the steps of a class take: samples, and tokens of prompts and of completions."""

    calls: Interval
    prompts: Interval
    completions: Interval


def _bill(job: Job, calibration: Calibration, load: RiskBudget, k: int) -> _Bill:
    """Return what a class takes. Its steps' prompts are read once a request."""
    one = calibration.classes[load.name]
    votes = load.difficulty.votes_per_step(k)
    calls = _scaled(votes, load.calls_per_vote)
    rotation = next(rules_of(job).of(kind) for kind in job.decomposer.classes if kind.name == load.name).rotation
    asked_in = partial(requests_for, job, rotation)
    requests = Interval(*(requests_per_step(v, k, 1 / load.calls_per_vote, asked_in) for v in votes))
    if calibration.votes > 1 and calibration.requests >= calibration.samples:
        # The model takes one reply a request.
        requests = calls
    samples = _scaled(calls, load.steps)
    return _Bill(
        samples, _scaled(requests, load.steps * calibration.prompt), _scaled(samples, one.tokens / max(1, one.samples))
    )


def described(
    job: Job, key: int, calibration: Calibration, target: float | None, loads: Sequence[RiskBudget], margins: Margins
) -> Plan:
    """Return what is to be expected with margins; ``key`` is the calibration's, ``loads`` are by `risk_budget_of`."""
    bills = [_bill(job, calibration, load, margins.k[load.name]) for load in loads]
    calls, prompts, completions = (_sum(parts) for parts in zip(*bills, strict=True))
    prices, largest = vote_prices(job), max(margins.k.values())
    unheard, against = unheard_kinds(calibration), contradicted(calibration, loads)
    right = carried(margins.right, against)
    classes = tuple(_class_plan(load, margins.k[load.name], calibration) for load in loads)
    return Plan(
        key=key,
        calibration=calibration,
        target=target,
        # A class that the task has no step of gets the largest margin: nobody knows what it would be for.
        margins=margins._replace(k={name: margins.k.get(name, largest) for name in calibration.classes}, right=right),
        classes=classes,
        calls=calls,
        tokens=_sum((prompts, completions)),
        cost=None if prices is None else Interval(*map(prices.of, prompts, completions)),
        seconds=_scaled(calls, calibration.seconds / calibration.samples),
        unproven=_unproven(loads, calibration),
        undecided=sum(_undecided(job, load, margins.k[load.name]) for load in loads),
        own=_own(job, loads),
        flags=() if target is None else tuple(_flags(job, calibration, target, loads)),
        greedy=greedy_of(calibration, loads, margins.k, {one.name: one.failures for one in classes}),
        blocks=() if target is None else _blocks(calibration, target, loads),
        rests_on=_like_pilot(calibration)
        + moment_words(calibration)
        + _proportions(calibration)
        + silenced_words(calibration)
        + reading_words(loads)
        + unheard_words(unheard)
        + ("" if calibration.labelled else AGREEMENT),
        reuse="" if job.memo == "off" else ALL_STEPS if distinct_questions(job) is None else DISTINCT,
        unheard=unheard,
        shown=shown_of(calibration, loads, margins.k, target, right.low),
        contradicted=against,
        batches=plan_batches(job, _races(job, classes)),
    )


def _races(job: Job, classes: Sequence[ClassPlan]) -> list[Race]:
    """Return how the steps of a whole run are decided; a plan for single rows has one of each class."""
    known = expected_steps(job) if len(classes) == 1 else None
    return [Race(known or one.steps, one.k, one.p.estimate) for one in classes if one.steps]


def _like_pilot(calibration: Calibration) -> str:
    """Return what is taken for granted of the run's steps beside the pilot's, and of who says what is right."""
    every = all(one.whole for one in calibration.classes.values())
    return ALL_LABELLED if calibration.by == By.LABELS and every else RESTS_ON[calibration.by]


def _proportions(calibration: Calibration) -> str:
    """Return what is taken for granted of how often a run asks its classes, "" where that is known."""
    known = all(one.of is not None and (one.whole or not one.drawn) for one in calibration.classes.values())
    if len(calibration.classes) == 1 or known:
        return ""
    return ", and that the run asks steps of each class in the pilot's proportions"


def _own(job: Job, loads: Sequence[RiskBudget]) -> Margins | None:
    if job.settings["vote"].get("k") in (None, AUTO) or job.vote.row_error is not None:
        return None
    rules, kinds = rules_of(job), job.decomposer.classes
    margins = {kind.name: k for kind in kinds if (k := rules.of(kind).voter.race_margin) is not None}
    return given(loads, margins, CONFIDENCE) if len(margins) == len(kinds) else None


def _class_plan(load: RiskBudget, k: int, calibration: Calibration) -> ClassPlan:
    one = calibration.classes[load.name]
    return ClassPlan(
        name=load.name,
        steps=load.steps,
        asked=one.steps,
        k=k,
        p=load.difficulty.p if load.rivals == 1 else fit(cells_of(one.heard), load.difficulty.confidence).p,
        failures=_failures(load, k),
        votes=load.difficulty.votes_per_step(k),
        unproven=_unproven([load], calibration),
    )


def _undecided(job: Job, load: RiskBudget, k: int) -> float:
    """Return how many steps of a class are not decided within their most votes."""
    rules = rules_of(job)
    most = next(rules.of(kind).max_votes for kind in job.decomposer.classes if kind.name == load.name)
    votes = int(most / load.calls_per_vote)
    if isinstance(load.difficulty, SeveralRivals):
        return load.steps * load.difficulty.unsettled(k, votes)
    return load.steps * share_unsettled(load.difficulty, k, votes)


def _failures(load: RiskBudget, k: int) -> Interval:
    """Return how many steps of a class are decided wrongly."""
    found = RiskProfile(load._replace(consequence=1.0), math.inf).at(k)
    return Interval(float(found.min()), float(found[0]), float(found.max()))


def _unproven(loads: Sequence[RiskBudget], calibration: Calibration) -> float:
    """Return how many steps of the run may be of a kind that the pilot saw none of; none where it asked all of them."""
    return sum(load.steps * load.difficulty.hard_share for load in loads if not calibration.classes[load.name].whole)


def _flags(job: Job, calibration: Calibration, target: float, loads: Sequence[RiskBudget]) -> Iterator[FlagWorth]:
    """Yield what each flag buys that was raised on samples which could have voted."""
    for number, load in enumerate(loads):
        one = calibration.classes[load.name]
        for flag in one.through:
            voting = risk_budget_of(job, calibration, load.name, load.steps, flag)
            found = cheapest([*loads[:number], voting, *loads[number + 1 :]], target, CONFIDENCE)
            k, calls = ({}, None) if isinstance(found, Refusal) else (dict(found.k), found.calls.estimate)
            raised = one.flags[flag]
            yield FlagWorth(load.name, flag, raised.samples, raised.right, raised.wrong, k, calls)


def _blocks(calibration: Calibration, target: float, loads: Sequence[RiskBudget]) -> tuple[Block, ...]:
    p = loads[0].difficulty.p.estimate
    if len(loads) > 1 or not 0.5 < p < 1:
        return ()
    one = calibration.classes[loads[0].name]
    return tuple(blocks(p, loads[0].steps, target, calibration.prompt / TOGETHER, one.tokens / one.samples, BLOCKS))


def _scaled(interval: Interval, by: float) -> Interval:
    return Interval(*(value * by for value in interval))


def _sum(intervals: Iterable[Interval]) -> Interval:
    return Interval(*map(sum, zip(*intervals, strict=True)))
