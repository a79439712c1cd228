"""What a job's run will take at least: counted from the task's prompts, without a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from maker.core.user_code import call_user_code
from maker.errors import JobError, TaskFailed
from maker.job.job import Job
from maker.job.probe import first_step, input_parts, least_steps
from maker.job.rules import rules_of
from maker.models.server_settings import ServerSettings
from maker.models.settings import MemberSettings
from maker.plugin import RowDecomposer
from maker.types import Fork
from maker.voting.in_flight import MANY
from maker.voting.policy import SOLVER

CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take at least: no dissent, no red flag.

    Args:
        steps: Steps of the task, or None where that is not known: then all figures are for one step.
        votes: Fewest votes that decide a step.
        prompt_characters: Length of the first step's prompt; the others are taken to be as long.
        reply_tokens: Most tokens of a reply.
        requests: In how many requests a step's votes are asked for: each is billed the prompt.
    """

    steps: int | None
    votes: int
    prompt_characters: int
    reply_tokens: int
    requests: int = 1

    @property
    def calls(self) -> int:
        """Fewest samples."""
        return (self.steps or 1) * self.votes

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens at four characters a token."""
        return (self.steps or 1) * self.requests * max(1, self.prompt_characters // CHARACTERS_PER_TOKEN)

    @property
    def most_completion_tokens(self) -> int:
        """Completion tokens of those samples, if each is as long as it may be."""
        return self.calls * self.reply_tokens


@dataclass(frozen=True, slots=True)
class Survey:
    """What a map's rows, or a text's slices, will take at least, from all of their prompts: no dissent, no red flag.

    Args:
        rows: Rows of the input, or slices of the text.
        unreadable: How many of them cannot be read or rendered: they will be ``failed``.
        prompt_characters: Of all prompts together, with the part that they share.
        longest_prompt: Characters of the longest one.
        votes: Fewest votes that decide a row.
        reply_tokens: Most tokens of a reply.
        requests: In how many requests a row's votes are asked for: each is billed the prompt.
        what: What is counted.
    """

    rows: int
    unreadable: int
    prompt_characters: int
    longest_prompt: int
    votes: int
    reply_tokens: int
    requests: int = 1
    what: str = "rows"

    @property
    def calls(self) -> int:
        """Fewest samples."""
        return (self.rows - self.unreadable) * self.votes

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens at four characters a token."""
        return self.requests * self.prompt_characters // CHARACTERS_PER_TOKEN

    @property
    def most_completion_tokens(self) -> int:
        """Completion tokens of those samples, if each is as long as it may be."""
        return self.calls * self.reply_tokens


def estimate_run(job: Job, steps: int | None = None) -> Estimate | None:
    """Return what a run will take at least; ``steps`` where it is not the whole task.

    None where the task's code makes no prompt to look at, as where none of a map's first rows can be read: whether a
    run can do without them is for the run to say.
    """
    try:
        first = first_step(job)
    except TaskFailed:
        return None
    return Estimate(
        steps=least_steps(job) if steps is None else steps,
        votes=job.voter.least,
        prompt_characters=len(first.prompt) + len(first.kind.system) if first else 0,
        reply_tokens=first.kind.max_tokens + most_reasoning(job) if first else 0,
        requests=_requests(job),
    )


def survey_rows(job: Job) -> Survey:
    """Go through all rows of a map, or slices of a document, without a model.

    Raises `BadInput` for a task that does not begin with a fork into single steps, or a wrong input.
    """
    task = job.decomposer
    input_parts(job)
    root = call_user_code(f"{task.name}: start", task.start)
    fork = call_user_code(f"{task.name}: next", task.next, root)
    if not (isinstance(fork, Fork) and fork.single):
        raise JobError(
            f"{task.name} is not a map over rows, nor a document: there are no rows and no slices to count",
            fix="see its prompts with `maker try JOB -n 5`",
        )
    unreadable = characters = longest = 0
    for number in range(fork.count):
        try:
            child = call_user_code(f"{task.name}: child", fork.child, root, number)
            step = call_user_code(task.name, task.next, child)
        except TaskFailed:
            unreadable += 1
            continue
        length = len(step.kind.system) + len(step.prompt)
        characters, longest = characters + length, max(longest, length)
    return Survey(
        rows=fork.count,
        unreadable=unreadable,
        prompt_characters=characters,
        longest_prompt=longest,
        votes=job.voter.least,
        reply_tokens=task.classes[0].max_tokens + most_reasoning(job),
        requests=_requests(job),
        what="rows" if isinstance(task, RowDecomposer) else "slices",
    )


def requests_for(job: Job, rotation: Sequence[int], samples: int) -> int:
    """Return in how many requests so many samples of a step are asked for, of the models of a rotation in turn."""
    most, votes = votes_per_request(job), Counter(rotation[vote % len(rotation)] for vote in range(samples))
    return sum(-(-n // most[number]) for number, n in votes.items())


def votes_per_request(job: Job) -> list[int]:
    """Return how many votes one request may ask for, by the number of the model."""
    return [_most_n(member) for member in job.members.values()]


def _most_n(member: MemberSettings) -> int:
    if isinstance(member, ServerSettings):
        return member.most_n
    return getattr(member, "max_n", None) or MANY


def most_reasoning(job: Job) -> int:
    """Return how many tokens a reply may take beside those of its step class, of whichever model."""
    return max(getattr(member, "reasoning_tokens", 0) for member in job.members.values())


def _requests(job: Job) -> int:
    """Return in how many requests the fewest votes of a step are asked for."""
    return requests_for(job, rules_of(job).roles[SOLVER].rotation, job.voter.least)
