"""Jobs made from a job: with the margins that were found for it, as its pilot, as its precomputation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from maker.job.job import Job
from maker.job.probe import prompt_source
from maker.job.rules import thinking_of
from maker.job.settings import ForesightSettings, PilotFound, PlanFound, PollSettings, RoleSettings
from maker.job.vote import vote_of
from maker.sampling.labels import parse_labels
from maker.sampling.pilot import PilotTask, PilotVoter
from maker.sampling.precompute import PrecomputeTask
from maker.voting.policy import JUDGE


def with_plan(job: Job, found: PlanFound) -> Job:
    """Return the job with the margins that a plan found."""
    return _with_vote(job, {"k": found.k, "plan": found.model_dump(mode="json", exclude_unset=True)}, "plan")


def with_pilot(job: Job, found: PilotFound) -> Job:
    """Return the job with the margin that a pilot found."""
    return _with_vote(job, {"k": found.k, "pilot": found.model_dump()}, "pilot")


def _with_vote(job: Job, settings: dict[str, Any], origin: str) -> Job:
    """Return the job with other settings in its ``[vote]`` table, and all that follows from them made anew."""
    table = job.settings["vote"] | settings
    vote = vote_of(table, job.voter_plugin)
    return replace(
        job,
        vote=vote.settings,
        margins=vote.margins,
        voter=vote.voter,
        settings=job.settings | {"vote": table},
        origins=job.origins | {f"vote.{name}": origin for name in settings},
    )


def pilot_variant(job: Job, poll: PollSettings) -> Job:
    """Return what a job whose settings have a ``[poll]`` table is: its steps are asked, and none is decided."""
    return replace(
        job,
        vote=job.vote.model_copy(update={"max_votes": poll.votes, "extra": 0}),
        roles={name: RoleSettings(rotation=table.rotation) for name, table in job.roles.items() if name != JUDGE},
        decomposer=PilotTask(
            job.decomposer,
            poll.steps,
            job.run.seed,
            parse_labels(poll.labels),
            thinking_of(job),
            by_kind=poll.by_kind,
            rounds=poll.rounds,
        ),
        voter=PilotVoter(poll.votes),
        margins={},
        poll=poll,
        memo="off",
    )


def precompute_variant(job: Job, foresight: ForesightSettings) -> Job:
    """Return what a job whose settings have a ``[foresight]`` table is: its steps are decided, and end there."""
    labels = parse_labels(foresight.labels)
    task = PrecomputeTask(job.decomposer, foresight.steps, job.run.seed, labels, prompt_source(job), thinking_of(job))
    return replace(job, decomposer=task, foresight=foresight)
