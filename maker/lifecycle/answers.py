"""Answer undecided steps: by a candidate, or by a reply that the task itself accepts. Checked before it is stored."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from maker.core.user_code import FIX_PARSE, call_user_code, unfit
from maker.engine.referrals import Asked, asked_at, decide
from maker.errors import BadInput, RunNotResumable, TaskFailed
from maker.job.fingerprint import difference, settings_fingerprint
from maker.job.job import Job
from maker.job.resolve import stored_job
from maker.job.rules import rules_of
from maker.lifecycle.code_change import job_in_order
from maker.store.backend.database import Database
from maker.store.referrals import OpenReferral, ReferralRow, give_step_answer
from maker.store.runs import RunRow, read_parts, run_at
from maker.types import RedFlag, Sample, Step
from maker.voting.messages import Decided
from maker.voting.policy import Shared
from maker.voting.red_flags import Candidate, screen
from maker.voting.tally import Person
from maker.voting.thinking import AS_IT_IS

CANDIDATE, REPLY = "@", "="
"""What an answer begins with that is a candidate's number, or a reply to the letter."""


def answer_step(
    database: Database, row: RunRow, name: str, steps: Sequence[OpenReferral], value: Any, by: str
) -> OpenReferral:
    """Store a person's answer to an undecided step of a run; returns the step as it was asked about.

    Args:
        database: The store.
        row: The run.
        name: What the step is called, or where it is.
        steps: Those of that name or place, oldest first.
        value: A candidate, by what a vote for it says, its text or its number; or a reply. What is no text is taken as
            the JSON of a reply.
        by: Who answers.

    Raises:
        BadInput: The step is answered already, or several wait by that name; the rules refuse the answer, and say why.
        RunNotResumable: The code of the task has changed since the run began.
        JobError: The task cannot be loaded.
    """
    one = _asked(row, name, steps)
    decided = checked(database, answering_job(database, row), one, value, by)
    if not give_step_answer(database, row.key, one.row.key, decided.action, by):
        raise BadInput(f"{one.row.name} of run {row.run_id} is answered already", fix="see `maker waits`", over=True)
    return one


def checked(database: Database, job: Job, one: OpenReferral, value: Any, by: str) -> Decided:
    """Return the step that an answer would decide, ``value`` and ``by`` as in `answer_step`. Stores nothing.

    Raises:
        BadInput: The rules refuse the answer, and say why.
    """
    if problem := unfit(by):
        raise BadInput(f"nobody can be called {by!r:.80}: {problem}", fix="give a name in plain text")
    try:
        asked = asked_at(database, job.decomposer, one.row.key)
        text = _chosen(job, asked, one.row, value)
        person = Person(by, int(time.time() * 1000))
        return decide(Shared.of(job.decomposer, rules_of(job)), asked, one.row, text, person).decided
    except TaskFailed as error:
        raise BadInput(f"{one.row.name} of run {one.run_id} takes no such answer: {error.message}") from error


def _asked(row: RunRow, name: str, steps: Sequence[OpenReferral]) -> OpenReferral:
    """Return the step of that name that has no answer yet. Raises `BadInput`."""
    waiting = [one for one in steps if one.row.answer is None]
    if not waiting:
        by = f", by {steps[-1].row.by}" if steps[-1].row.by else ""
        said = f"{steps[-1].row.name} of run {row.run_id} is over: it has been answered{by}"
        raise BadInput(said, fix="see `maker waits`", over=True)
    if len(waiting) > 1:
        places = ", ".join(one.row.at for one in waiting[:5])
        raise BadInput(
            f"{len(waiting)} steps of run {row.run_id} are called {name!r}", fix=f"name one by its place: {places}"
        )
    return waiting[0]


def answering_job(database: Database, row: RunRow) -> Job:
    """Return the run's job, whose code says what is an answer. Raises `RunNotResumable` if it has changed."""
    job = stored_job(row.settings, row.run_id, parts=read_parts(database, row.key), kept=row.sources)
    if changed := difference(row.fingerprint, settings_fingerprint(job)):
        raise RunNotResumable(
            f"run {row.run_id} was started with another task or voter: {changed}",
            fix="answer it with the code that it was started with",
        )
    return job_in_order(job, row.classes) if row.changes else job


def answering_jobs(database: Database) -> Callable[[int], Job]:
    """Return a function that gives the job of a run, by its key, as `answering_job` does: each is loaded once."""
    return cache(lambda run: answering_job(database, run_at(database, run)))


def _chosen(job: Job, asked: Asked, row: ReferralRow, value: Any) -> str:
    """Return the action that an answer stands for, as the task writes it. Raises `BadInput`."""
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    texts = [one.text for one in row.proposals]
    by_key = {one.key: one.text for one in row.proposals}
    if said.startswith(CANDIDATE) and said[1:].isdecimal():
        return _numbered(row, texts, said[1:])
    if said.startswith(REPLY):
        return accepted(job, asked, row.name, said[1:])
    exact = by_key.get(said, said if said in texts else None)
    if not (said.isdecimal() and len(said) < 6 and 1 <= int(said) <= len(texts)):
        return accepted(job, asked, row.name, said) if exact is None else exact
    chosen = _numbered(row, texts, said)
    try:
        reply = accepted(job, asked, row.name, said) if exact is None else exact
    except BadInput:
        return chosen
    if reply == chosen:
        return chosen
    raise BadInput(
        f"{said} may be candidate {said} of {row.name}, which is {chosen}, or an answer of its own",
        fix=f"give {CANDIDATE}{said} for the candidate, or {REPLY}{said} for the answer",
    )


def _numbered(row: ReferralRow, texts: Sequence[str], number: str) -> str:
    if len(number) > 6 or not 1 <= int(number) <= len(texts):
        raise BadInput(f"{row.name} has no candidate {number:.9}; it has {len(texts)}", fix="see `maker waits`")
    return texts[int(number) - 1]


def accepted(job: Job, asked: Asked, name: str, reply: str) -> str:
    """Return the action that a reply to a step proposes. Raises `BadInput` with the reason why it gets no vote."""
    task = job.decomposer
    state = asked.state_of(task)
    move = call_user_code(f"{name}: {task.name}: next", task.next, state)
    if not isinstance(move, Step):
        raise TaskFailed(f"{task.name} asks for no step there any more")
    screened: Candidate[Any] | RedFlag = call_user_code(
        f"{name}: {task.name}: parse and check", screen, move.kind, state, Sample(reply, 0), task.action, AS_IT_IS,
        fix=FIX_PARSE,
    )  # fmt: skip
    if isinstance(screened, RedFlag):
        why = f"{screened.reason}: {screened.detail}" if screened.detail else str(screened.reason)
        raise BadInput(
            f"{name} takes no such answer: {why}",
            fix="give a candidate, or what a reply of the model would be that the rules allow",
        )
    return screened.text
