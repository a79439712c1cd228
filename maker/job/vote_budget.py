"""A budget of votes for all rows of a map: what a job says of it, and what contradicts it."""

from __future__ import annotations

from maker.engine.vote_budget import BudgetTerms
from maker.errors import JobError
from maker.job.file import DEFAULT_VOTER, Raw
from maker.job.job import Job
from maker.job.rules import batches, rules_of
from maker.job.settings import AUTO
from maker.models.server_settings import prices_of
from maker.plugin import RowDecomposer
from maker.voting.policy import JUDGE


def budget_terms(job: Job) -> BudgetTerms | None:
    """Return the budget that the rows of a job share, None where they share none.

    With ``k = "auto"`` a budget is what margins are planned for, and a pilot's votes are counted by itself.
    """
    if _said(job) is None or job.poll is not None or job.foresight is not None or job.needs_plan or job.vote.plan:
        return None
    kind = job.decomposer.classes[0]
    role = rules_of(job).of(kind)
    k = role.voter.race_margin
    if k is None or not isinstance(job.decomposer, RowDecomposer):
        return None
    # A round of batches takes hours: there are as few as may be.
    share = 1 if batches(job) is not None else 2
    return BudgetTerms(job.vote.budget, job.vote.budget_cost, kind.name, k, role.max_votes, role.extra, share)


def check_vote_budget(job: Job, raw: Raw) -> None:
    """Refuse a budget where there is nothing to spread it over, and what decides otherwise.

    A stored run was begun with it; one of an earlier version may have a budget that was for plans alone.
    """
    said = _said(job)
    if said is None or raw.stored or (said == "budget" and (job.needs_plan or job.vote.plan)):
        return
    what = f"{raw.place('vote', said)}: vote.{said}"
    if job.vote.budget is not None and job.vote.budget_cost is not None:
        raise JobError(f"{what} and vote.budget exclude each other", fix="leave one of them out")
    if job.settings["vote"].get("k") == AUTO:
        raise JobError(f'{what} and vote.k = "auto" exclude each other', fix="set vote.k to a number, or vote.budget")
    if not isinstance(job.decomposer, RowDecomposer) or len(job.decomposer.classes) != 1:
        plan = ', or set vote.k = "auto", which plans margins for it' if said == "budget" else ""
        raise JobError(
            f"{what} is spread over the rows of a map, and {job.decomposer.name} is not one", fix=f"leave it out{plan}"
        )
    if job.voter.race_margin is None:
        raise JobError(
            f"{what} needs {DEFAULT_VOTER} or another race to a lead of k, not {job.voter_plugin.name}",
            fix="leave vote.voter out",
        )
    for found, other in _beside(job):
        if found:
            raise JobError(f"{what} and {other} exclude each other", fix="leave one of them out")
    _check_limits(job, what)


def _said(job: Job) -> str | None:
    """Return which of the two settings of a budget is there."""
    return next((name for name in ("budget_cost", "budget") if getattr(job.vote, name) is not None), None)


def _beside(job: Job) -> list[tuple[bool, str]]:
    """Return what takes votes, or decides rows, beside a budget, and whether it is there."""
    roles = [name for name, table in job.roles.items() if name == JUDGE or not _only_rotates(job, name)]
    return [
        (bool(roles), f"roles.{next(iter(roles), '')}"),
        (job.vote.target is not None, "vote.target"),
        (job.vote.on_undecided == "ask", 'vote.on_undecided = "ask"'),
        (job.memo != "off", f'task.memo = "{job.memo}"'),
        (job.monitor.policy == "decorrelate", 'monitor.policy = "decorrelate"'),
    ]


def _only_rotates(job: Job, name: str) -> bool:
    table = job.roles[name]
    return (table.k, table.max_votes, table.extra) == (None, None, None)


def _check_limits(job: Job, what: str) -> None:
    """Refuse money without prices, and limits that pause the run before its budget is spent."""
    vote, limits = job.vote, job.limits
    unpriced = [name for name, member in job.members.items() if prices_of(member) is None]
    if vote.budget_cost is not None and unpriced:
        raise JobError(
            f"{what} needs prices of {', '.join(unpriced)}",
            fix="set prompt_price and completion_price of the model, per million tokens; or set vote.budget, in votes",
        )
    for name, budget, limit in (
        ("max_calls", vote.budget, limits.max_calls),
        ("max_cost", vote.budget_cost, limits.max_cost),
    ):
        if budget is not None and limit is not None and limit < budget:
            raise JobError(
                f"{what} = {budget:,}: limits.{name} = {limit:,} is less, and would pause the run before that is spent",
                fix=f"raise limits.{name}, or leave it out",
            )


def refuse_small(job: Job, rows: int) -> None:
    """Refuse a budget that does not let every row ask for the votes that could decide it.

    Raises:
        JobError: It does not; says how many votes are needed. What votes will cost is not known before.
    """
    terms = budget_terms(job)
    if terms is None or terms.votes is None or terms.votes >= (needed := rows * terms.first):
        return
    raise JobError(
        f"vote.budget = {terms.votes:,}: each of {rows:,} rows asks for {terms.first:,} votes first, which takes"
        f" {needed:,} together",
        fix=f"set vote.budget to {needed:,} or more, a smaller vote.k, or task.sample to ask fewer rows",
        setting="vote.budget",
    )
