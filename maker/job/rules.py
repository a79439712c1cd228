"""What a job says of how every step of its run is decided."""

from __future__ import annotations

from maker.job.job import Job
from maker.job.vote import voter_at
from maker.models.server_settings import ServerSettings, prices_of
from maker.models.settings import PoolSettings
from maker.types import Prices
from maker.voting.judge import PROMPT
from maker.voting.policy import JUDGE, SOLVER, Fallbacks, Judge, Role, Rules
from maker.voting.thinking import KNOWN, Thinking


def rules_of(job: Job) -> Rules:
    """Return what holds for every step of a run."""
    pool = job.model if isinstance(job.model, PoolSettings) else None
    numbers = {name: number for number, name in enumerate(job.members)}
    turns = tuple(numbers[name] for name in pool.rotation) if pool and pool.rotation else tuple(numbers.values())
    solver = Role(job.voter, job.vote.max_votes, turns, job.vote.extra)
    roles = {SOLVER: solver}
    for name, table in job.roles.items():
        rotation = tuple(numbers[member] for member in table.rotation) or solver.rotation
        most = solver.max_votes if table.max_votes is None else table.max_votes
        extra = solver.extra if table.extra is None else table.extra
        roles[name] = Role(job.voter if table.k is None else voter_at(job, table.k), most, rotation, extra)
    judging = roles.pop(JUDGE, None)
    return Rules(
        seed=job.run.seed,
        samples=job.store.samples,
        roles=roles,
        models=len(numbers),
        pass_on=pool is not None and pool.away == "pass",
        judge=None if judging is None else Judge(judging, job.roles[JUDGE].prompt or PROMPT),
        voters={name: voter_at(job, k) for name, k in margins_by_class(job).items()},
        others=Fallbacks(tuple(numbers[name] for name in job.monitor.members), job.monitor.temperature),
        thinking=thinking_of(job),
        # Pilots and precomputations leave open what votes leave open.
        ask=job.vote.on_undecided == "ask" and job.poll is None and job.foresight is None,
    )


def margins_by_class(job: Job) -> dict[str, int]:
    """Return the margins of step classes that have one of their own: by the job, else by the class itself."""
    if job.poll is not None:
        # A pilot draws the same number of votes on every step.
        return {}
    return {kind.name: kind.k for kind in job.decomposer.classes if kind.k is not None} | job.margins


def thinking_of(job: Job) -> Thinking:
    """Return what takes off a job's replies what is no answer."""
    further = job.vote.thinking
    if further is None:
        return KNOWN
    return Thinking(further or None)


def batches(job: Job) -> ServerSettings | None:
    """Return the model of a job that asks in batches, None where it does not."""
    return job.model if isinstance(job.model, ServerSettings) and job.model.batch else None


def prices(job: Job) -> tuple[Prices, ...]:
    """Return what a token costs by model, 0 where no price is given."""
    in_batches = batches(job) is not None
    return tuple(prices_of(member, batch=in_batches) or Prices() for member in job.members.values())


def vote_prices(job: Job) -> Prices | None:
    """Return what a token of a vote costs, in the mean over whose turn it is; None where a model has no prices."""
    found = [prices_of(member, batch=batches(job) is not None) for member in job.members.values()]
    turns = [found[number] for number in rules_of(job).roles[SOLVER].rotation]
    priced = [one for one in turns if one is not None]
    if len(priced) < len(turns):
        return None
    return Prices(*(sum(amounts) / len(priced) for amounts in zip(*priced, strict=True)))
