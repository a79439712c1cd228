"""What batches mean for a job: how many rounds, within how many hours, with how many votes. Without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from maker.job.job import Job
from maker.job.rules import batches
from maker.plugin import RowDecomposer
from maker.stats.batch_rounds import ENDED, Rounds, rounds_of

WINDOW_HOURS = 24
"""Within so many hours providers answer a batch, or let it expire."""
LIKELY = 0.99
"""How often a vote is taken to be right where nobody has asked the model."""


class Race(NamedTuple):
    """Steps that are decided alike: how many, by which lead, and how often a vote is right."""

    steps: int
    k: int
    p: float


class BatchPlan(NamedTuple):
    """Rounds of batches with so many ``extra`` votes: how many at most in 95 of 100 runs, and in how many hours.

    ``first`` is the share of steps that the first round decides, ``calls`` how many samples are asked for.
    """

    extra: int
    rounds: int
    hours: int
    first: float
    calls: float


def plan_batches(job: Job, races: Sequence[Race]) -> tuple[BatchPlan, ...]:
    """Return the rounds of a map that asks in batches: as the job has ``vote.extra``, with none, and with k more.

    Returns nothing for a job without batches. Of a task whose steps wait for each other nobody knows how many do.
    """
    if batches(job) is None or not isinstance(job.decomposer, RowDecomposer) or not races:
        return ()
    k = max(race.k for race in races)
    return tuple(_plan(races, extra) for extra in dict.fromkeys((job.vote.extra, 0, k)))


def batch_lines(plans: Sequence[BatchPlan], cost: Callable[[BatchPlan], str]) -> list[str]:
    """Return plans in words, a line each: the job's own first. ``cost`` says what one costs, "" if nobody knows."""
    return [
        f"vote.extra = {one.extra}: {_rounds(one)} with {1 - ENDED:.0%} probability, {one.hours} hours at most;"
        f" the first round decides {one.first:.1%} of the rows; {one.calls:,.0f} calls"
        + (f", {told}" if (told := cost(one)) else "")
        for one in plans
    ]


def _rounds(one: BatchPlan) -> str:
    return "1 round" if one.rounds == 1 else f"{one.rounds} rounds or fewer"


def _plan(races: Sequence[Race], extra: int) -> BatchPlan:
    found: list[tuple[Race, Rounds]] = [(race, rounds_of(race.p, race.k, race.steps, extra)) for race in races]
    steps = sum(race.steps for race in races)
    rounds = max(one.rounds for _, one in found)
    first = sum(race.steps * one.first for race, one in found) / max(1, steps)
    return BatchPlan(extra, rounds, rounds * WINDOW_HOURS, first, sum(race.steps * one.votes for race, one in found))
