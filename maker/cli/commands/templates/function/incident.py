"""A task as a list of typed questions: ``{report}`` is a parameter of the job, ``{minutes}`` an earlier answer."""

from __future__ import annotations

from typing import Literal

from decomposers.function import Question, Truth, questions


def possible(minutes: int) -> str | None:
    """Say why an answer is impossible, or None. Check the rules of the task only, never the answer itself."""
    return None if 0 <= minutes <= 24 * 60 else "an incident lasts between 0 minutes and a day"


incident = questions(
    "incident",
    [
        Question("minutes", "How many minutes did it last? Answer with the number alone.\n{report}", int, possible),
        Question("lost", "Was data lost? Answer true or false.\n{report}", bool),
        Question(
            "severity",
            "It lasted {minutes} minutes; data lost: {lost}. Was it minor, major or critical? One word.\n{report}",
            Literal["minor", "major", "critical"],
        ),
        Question(
            "tell",
            "The incident was {severity}. Who must be told: team, managers or customers? One word.\n{report}",
            Literal["team", "managers", "customers"],
        ),
    ],
    system="You are precise. You answer one question about a report from the operation of a shop.\n",
)


@incident.oracle
def truth(prompt: str) -> Truth:
    """Return right and wrong replies to a prompt, for the simulated model only."""
    for begin, right, wrong in KNOWN:
        if prompt.startswith(begin):
            return Truth((right,), wrong)
    raise LookupError("this question is not in KNOWN: add it there, or set a real model in job.toml")


KNOWN = (
    ("How many minutes", "45", ("85", "-45")),
    ("Was data lost?", "false", ("true",)),
    ("It lasted", "major", ("minor", "critical")),
    ("The incident was", "customers", ("managers", "team")),
)
