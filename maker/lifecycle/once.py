"""Runs under ids that their users give: started or put into a queue once, however often that is asked for."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from maker.errors import BadInput, RunIdTaken
from maker.job.fingerprint import code_digest, difference
from maker.job.job import Job
from maker.job.resolve import stored_job
from maker.job.settings import PilotFound, PlanFound
from maker.job.variants import with_pilot, with_plan
from maker.lifecycle.code_change import is_code_alone
from maker.lifecycle.control import refuse_used_output, take
from maker.lifecycle.events import RunEnded, RunStarted
from maker.lifecycle.limits import require_limit_within, required_limit
from maker.lifecycle.new_run import new_run
from maker.lifecycle.queries import RunReport, whole_report
from maker.lifecycle.session import OnEvent, ignore, work
from maker.store.admission import Begun, admit, admit_within, find_begun
from maker.store.backend.database import open_database, opened_if_there
from maker.store.queued import DEFAULT_QUEUE, QueuePlace
from maker.store.runs import LAST, OVER, NewRun, find_run, new_id, read_parts
from maker.store.seals import asked, asked_digest

if TYPE_CHECKING:
    from maker.store.admission import HostConnection

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a run may be called: safe in a shell, and in the names of the files that a map writes."""
MOST_PRIORITY = 2**31 - 1
LONGEST_KEY = 200
MOST_SHOWN = 90
"""Characters of a value in a message."""


def start_once(
    job: Job,
    run_id: str,
    *,
    limit_steps: int | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Start the run of an id, or go on with it as the job says now; return its report if it is over. Blocks.

    Margins are known, see `with_begun_margins`.

    Raises:
        RunIdTaken: The run of that id is another job's.
        RunHeld: A process works on it.
        Also as `maker.lifecycle.control.start` and `resume` do.
    """
    refuse_bad_id(run_id)
    new = new_run(job)
    with ExitStack() as resources:
        database = resources.enter_context(closing(open_database(job.store.url, create=True)))
        if (begun := find_begun(database, run_id)) is None:
            refuse_used_output(job)
            required_limit(database, job)
            begun = admit(database, run_id, new)
        if begun is not None:
            refuse_another(run_id, begun, new, job)
        row = find_run(database, run_id, exact=True)
        if row.sources and job.run.on_change == "pin":
            # The same job, of the code that the run keeps.
            parts = read_parts(database, row.key)
            kept = stored_job(job.settings, run_id, parts=parts, kept=row.sources)
            job = replace(kept, store=job.store)
        if row.status in OVER:
            notify = on_event or ignore
            notify(RunStarted(row.run_id, True, row.steps, row.steps))
            notify(RunEnded(row.run_id, row.status, row.reason, row.result))
            return whole_report(database, run_id)
        held = take(database, row, resources, job=job)
    return work(held, limit_steps, on_event, stop)


def enqueue(
    job: Job,
    *,
    run_id: str | None = None,
    queue: str = DEFAULT_QUEUE,
    priority: int = 0,
    key: str | None = None,
    due: datetime | None = None,
    connection: HostConnection | None = None,
) -> str:
    """Put a run of a job with known margins into a queue, for a worker to claim; returns its id.

    A run of that id and job that is there already is left as it is. With ``connection`` all is written in its
    transaction, which the caller commits.

    Raises:
        RunIdTaken: The run of that id is another job's.
        BadInput: The job cannot be run as it is; or the id, the queue, the priority or the time will not do.
    """
    if run_id is not None:
        refuse_bad_id(run_id)
    new = new_run(job)
    place = QueuePlace(queue, priority, key or "", due_s(due), code_digest(new.fingerprint))
    refuse_bad_place(place)
    known = run_id or new_id()
    if connection is not None:
        require_limit_within(connection, job)
        begun = admit_within(connection, known, new, place)
    else:
        with closing(open_database(job.store.url, create=True)) as database:
            required_limit(database, job)
            begun = admit(database, known, new, place)
    if begun is not None:
        refuse_another(known, begun, new, job)
    return known


def with_begun_margins(job: Job, run_id: str | None) -> Job:
    """Return a job that leaves its margins open with those that the run of an id was begun with, if there is one.

    A later plan or pilot may find others, and the run would be another job's.
    """
    if run_id is None or not (job.needs_pilot or job.needs_plan):
        return job
    with opened_if_there(job.store.url) as database:
        begun = None if database is None else find_begun(database, run_id)
    vote: Mapping[str, Any] = {} if begun is None else begun.settings.get("vote", {})
    if job.needs_pilot and vote.get("pilot"):
        job = with_pilot(job, PilotFound.model_validate(vote["pilot"]))
    if job.needs_plan and vote.get("plan"):
        job = with_plan(job, PlanFound.model_validate(vote["plan"]))
    return job


def refuse_bad_id(run_id: str) -> None:
    """Raise `BadInput` for a text that cannot be a run's id."""
    if not RUN_ID.fullmatch(run_id) or run_id == LAST:
        raise BadInput(
            f"{run_id!r:.120} cannot be a run id",
            fix="use 1 to 100 letters, digits, dots, dashes and underscores, the first one a letter or a digit; "
            f"{LAST!r} stands for the newest run",
        )


def refuse_bad_place(place: QueuePlace) -> None:
    """Raise `BadInput` for a place that no queue has."""
    refuse_bad_queue(place.queue)
    if len(place.key) > LONGEST_KEY or not place.key.isprintable():
        raise BadInput(f"{place.key!r:.120} cannot be a key", fix=f"use a text of at most {LONGEST_KEY} characters")
    if abs(place.priority) > MOST_PRIORITY:
        raise BadInput(f"the priority is {place.priority}", fix=f"give one from {-MOST_PRIORITY} to {MOST_PRIORITY}")


def refuse_bad_queue(queue: str) -> None:
    """Raise `BadInput` for a name that no queue can have."""
    if not queue.strip() or len(queue) > LONGEST_KEY or not queue.isprintable():
        raise BadInput(
            f"{queue!r:.120} cannot be the name of a queue", fix=f"use a text of 1 to {LONGEST_KEY} characters"
        )


def due_s(due: datetime | None) -> float:
    """Return a time as seconds since 1970, 0 for None. Raises `BadInput` for one without a time zone."""
    if due is None:
        return 0.0
    if due.tzinfo is None:
        raise BadInput(f"{due.isoformat()} has no time zone", fix="give one: datetime.now(UTC), for example")
    return due.timestamp()


def refuse_another(run_id: str, begun: Begun, new: NewRun, job: Job) -> None:
    """Raise `RunIdTaken` unless a run was begun with the same fingerprint, and asked to do the same.

    Its code may be other code where the job says what then becomes of the run.
    """
    was, now = _stored(asked(begun.settings)), _stored(asked(new.settings))
    here = _stored(new.fingerprint)
    changed = difference(begun.fingerprint, here)
    alone = bool(changed) and is_code_alone(begun.fingerprint, here, job)
    if alone and job.run.on_change != "refuse":
        changed = ""
    same = begun.digest == asked_digest(new.settings) or was == now
    if changed or not same:
        # A setting says more than the digest of a prompt that follows from it.
        told = "; ".join(_differences(was, now)) or changed or "its settings were others when it began"
        raise RunIdTaken(
            f"run {run_id} is another job's: {told}",
            fix=f"give this job another run id; `maker show {run_id}` shows the job that has it"
            + ('; or set run.on_change = "migrate", to go on with the new code' if alone and same else ""),
            run_id=run_id,
        )


def _stored(value: Mapping[str, Any]) -> Any:
    """Return a value as it is after it was stored: what was a tuple is a list."""
    return json.loads(json.dumps(value))


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield in what settings differ."""
    for table in {**was, **now}:
        old, new = was.get(table, {}), now.get(table, {})
        for name in {**old, **new}:
            if old.get(name) != new.get(name):
                yield f"{table}.{name} was {_short(old.get(name))}, is {_short(new.get(name))}"


def _short(value: object) -> str:
    """Return a value as text with its beginning and its end: long paths part at their end."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN // 3]}…{text[-MOST_SHOWN // 2 :]}"
