"""``maker.map``: from a table to a table in one call, which goes on where it was when it is given again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from maker.api.answer_columns import ADDED, AnswerColumns, answer_columns
from maker.api.asked_rows import PROMPT, AskedRows, ask_rows, rows_folder
from maker.api.given_rows import GivenRows, Rows, given_rows
from maker.api.map_progress import Progress, shown_progress
from maker.api.map_result import MapResult
from maker.api.questions import Prompt, Question
from maker.api.sync import load_job, run_unless_held
from maker.core.plugins import near
from maker.core.user_code import call_user_code
from maker.errors import BadInput, RunIdTaken
from maker.job.job import Job
from maker.job.keywords import JobKeywords
from maker.job.resolve import stored_job
from maker.lifecycle import control, once
from maker.lifecycle.admin import another_round
from maker.lifecycle.new_run import new_run
from maker.lifecycle.queries import RunReport, store_url
from maker.lifecycle.session import OnEvent, work
from maker.plugin import NEW, InputPart, Oracle
from maker.store.admission import Begun, find_begun
from maker.store.backend.database import Database, folder_of, open_database, opened_if_there, shown_url, sqlite_file
from maker.store.remove import remove_run
from maker.store.runs import OVER, ListedRun, RunRow, find_run, list_runs, new_id, read_parts, refuse_over
from maker.store.sent_batches import read_batches
from maker.store.unresolved import count_outcomes

TEMPLATE = f"{{{{{PROMPT}}}}}"
"""What a map's job asks: each row has its whole prompt."""
FOLDER = "maker-rows"
"""The folder beside the store that holds what rows are asked."""
HOW = ("limits", "swarm")
"""Tables of a job that a run goes on with as they are now; so is the model's where it is the same model."""


class Asked(NamedTuple):
    """What a call of `maker.map` asks of which rows, as it was given; ``task`` are the settings of the table."""

    rows: Rows
    prompt: Prompt
    answer: object
    task: Mapping[str, Any]


class _Call(NamedTuple):
    """A call of `maker.map`, checked. ``run_id`` is the name that was given, or a new id."""

    run_id: str
    job: Job
    given: GivenRows
    question: Question
    columns: AnswerColumns
    folder: Path


class _Begun(NamedTuple):
    """The run of a name: its rounds, the oldest first; the files that the newest reads; and the rows before its own."""

    rounds: tuple[RunRow, ...]
    parts: tuple[InputPart, ...]
    before: int


def map(
    rows: Rows,
    prompt: Prompt,
    answer: object = str,
    *,
    system: str = "",
    fields: Mapping[str, str | Mapping[str, object]] | None = None,
    truth: Oracle | None = None,
    max_tokens: int = 256,
    progress: bool | None = None,
    stop: threading.Event | None = None,
    stages: Sequence[Mapping[str, Any]] = (),
    accept: Mapping[str, Any] | None = None,
    **keywords: Unpack[JobKeywords],
) -> MapResult:
    """Ask each row of a table, vote on each answer, and return the rows with their answers. Blocks.

        found = maker.map(frame, "Is this a question? {{text}}", bool, model=model, name="questions")
        found.to_pandas()

    What each row is asked is written beside the store before the model is asked. Given again with the same ``name``, it
    goes on where it was, and asks only rows that are asked something new; without one each call is a new run.

    Args:
        rows: A table of pandas, Polars or Arrow, dicts, or a path, a pattern or a URL of files.
        prompt: A template with ``{{column}}`` where a value goes, or a function of the row, called once a row. A resume
            in another process needs neither.
        answer: ``str``, ``int``, ``bool``, a ``Literal``, an ``Enum``, a pydantic model, or a JSON schema.
        system: The part of the prompt that all rows share.
        fields: How the answer's fields count in the vote, see docs/maps.md; ``exact`` where nothing is said. The field
            of an answer that is no object is ``answer``.
        truth: What a simulated model asks: ``truth(prompt)`` returns a `maker.plugin.Truth`.
        max_tokens: Most tokens of a reply.
        progress: Show how far it is: None does so in a terminal and in a notebook.
        stop: Set it from another thread to pause the run.
        stages: Models that are asked one after another, each about what the one before leaves: tables with ``name``,
            ``model`` and perhaps ``vote``, in place of ``model``.
        accept: With stages: ``error``, ``confidence`` and ``labels``, right answers by the numbers of rows that were
            drawn at random.
        keywords: Settings as `maker.run` takes them: ``model``, ``k`` (3), ``name``, ``store``, ``limits`` and others.

    Raises:
        BadInput: The rows, the prompt, the answer type or a setting will not do; or none of the rows is one of the
            run's of that name.
        RunIdTaken: The run of that name is asked for another answer, or of another model or vote. One that came to no
            row's outcome is begun anew instead.
        Also as `maker.run` does.
    """
    task = _task(system, fields, truth, max_tokens)
    if stages or accept is not None:
        from maker.api.staged_map import map_in_stages

        return map_in_stages(
            Asked(rows, prompt, answer, task), stages, accept or {}, progress=progress, stop=stop, keywords=keywords
        )
    call = _checked_call(rows, prompt, answer, task, keywords)
    with rows_folder(call.folder), shown_progress(len(call.given), wanted=progress) as bar:
        begun = _begun(call)
        parts = begun.parts if begun else ()
        asked = ask_rows(call.given, call.question, call.folder, parts, call.run_id)
        run_ids = _worked_on(call, begun, asked, bar, stop)
    return MapResult(run_ids, call.job.store.url, call.given, asked, call.columns.kinds)


async def amap(
    rows: Rows,
    prompt: Prompt,
    answer: object = str,
    *,
    system: str = "",
    fields: Mapping[str, str | Mapping[str, object]] | None = None,
    truth: Oracle | None = None,
    max_tokens: int = 256,
    progress: bool | None = None,
    stages: Sequence[Mapping[str, Any]] = (),
    accept: Mapping[str, Any] | None = None,
    **keywords: Unpack[JobKeywords],
) -> MapResult:
    """Do as `map` does in an event loop, which goes on meanwhile. Who is cancelled while waiting pauses the run."""
    stop = threading.Event()
    work = partial(
        map, rows, prompt, answer, system=system, fields=fields, truth=truth, max_tokens=max_tokens, progress=progress,
        stop=stop, stages=stages, accept=accept, **keywords,
    )  # fmt: skip
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({task})
        raise


def _task(
    system: str, fields: Mapping[str, str | Mapping[str, object]] | None, truth: Oracle | None, max_tokens: int
) -> dict[str, Any]:
    given = {"system": system, "fields": dict(fields or {}), "truth": truth}
    return {"max_tokens": max_tokens} | {name: value for name, value in given.items() if value}


def _checked_call(
    rows: Rows, prompt: Prompt, answer: object, task: Mapping[str, Any], keywords: Mapping[str, Any]
) -> _Call:
    run_id = keywords.get("name") or new_id()
    once.refuse_bad_id(run_id)
    question, columns, given = Question(prompt), answer_columns(answer), given_rows(rows)
    refuse_columns(question, columns, given)
    url = store_url(keywords.get("store"))
    folder = rows_of(url, run_id)
    tables = {"task": task_table(folder, task, columns)}
    job = load_job(tables, **{**keywords, "name": run_id, "store": url})
    return _Call(run_id, once.with_begun_margins(job, run_id), given, question, columns, folder)


def task_table(folder: Path, task: Mapping[str, Any], columns: AnswerColumns) -> dict[str, Any]:
    """Return the task of a map over the rows of a folder."""
    schema = {} if columns.schema is None else {"schema": dict(columns.schema)}
    return {"decomposer": "map", "input": str(folder), "template": TEMPLATE, **task, **schema}


def refuse_columns(question: Question, columns: AnswerColumns, given: GivenRows, added: Sequence[str] = ADDED) -> None:
    """Raise `BadInput` where the prompt's columns are not there, or the answer's are."""
    missing = [name for name in question.columns or () if name not in given.columns]
    if missing:
        raise BadInput(
            f"the prompt names {{{{{missing[0]}}}}}, and the rows have no such column",
            fix=near(missing[0], list(given.columns)),
        )
    filled = (*columns.kinds, *added)
    if both := [name for name in filled if name in given.columns]:
        raise BadInput(
            f"the column {both[0]!r} of the rows is one that the answers fill too", fix="rename it, or leave it out"
        )


def rows_of(url: str, run_id: str) -> Path:
    """Return the folder of a map's rows: that of the run, else one beside a SQLite file or in the working directory.

    Raises `RunIdTaken` where the run is no map that `map` has begun.
    """
    with opened_if_there(url) as database:
        begun = None if database is None else find_begun(database, run_id)
    if begun is None:
        file = "" if (path := sqlite_file(url)) is None else path.name
        return folder_of(url) / FOLDER / (file or sha256(shown_url(url).encode()).hexdigest()[:8]) / run_id
    if begun.settings["task"].get("template") != TEMPLATE:
        raise RunIdTaken(
            f"run {run_id} is another job's: it was not begun by maker.map", fix="give another name", run_id=run_id
        )
    return Path(begun.settings["task"]["input"])


def _begun(call: _Call) -> _Begun | None:
    """Return the run of the call's name, None if there is none. Raises `RunIdTaken` where it is another job's."""
    with opened_if_there(call.job.store.url) as database:
        begun = None if database is None else find_begun(database, call.run_id)
        if database is None or begun is None:
            return None
        first = find_run(database, call.run_id, exact=True)
        try:
            _refuse_another(call, begun, read_parts(database, first.key))
        except RunIdTaken:
            if not _came_to_nothing(database, first):
                raise
            remove_run(database, first)
            return None
        rounds = tuple(_rounds(database, first))
        before = sum(part.rows for part in read_parts(database, rounds[-2].key)) if len(rounds) > 1 else 0
        return _Begun(rounds, read_parts(database, rounds[-1].key), before)


def _came_to_nothing(database: Database, run: RunRow) -> bool:
    """Say whether a run has no row's outcome: its model refused what the first call had set, say.

    A provider may still answer what it was sent in batches.
    """
    return not (run.steps or count_outcomes(database, run.key) or read_batches(database, run.key))


def _refuse_another(call: _Call, begun: Begun, parts: Sequence[InputPart]) -> None:
    """Raise `RunIdTaken` unless the run was begun for the same answers of the same model. Its limits may be others."""
    task = call.job.decomposer
    job = replace(call.job, decomposer=call_user_code(f"{task.name}: with_parts", task.with_parts, parts))
    new = new_run(job)
    limits = {"limits": begun.settings["limits"]} if "limits" in begun.settings else {}
    try:
        once.refuse_another(call.run_id, begun, replace(new, settings=new.settings | limits), job)
    except RunIdTaken as error:
        raise RunIdTaken(
            error.message,
            fix=f"give another name; `maker show {call.run_id}` shows what the run of this one was asked",
            run_id=call.run_id,
        ) from error


def _rounds(database: Database, first: RunRow) -> Iterator[RunRow]:
    """Yield a map's run, and those that asked more of its rows after it."""
    here: RunRow | None = first
    while here is not None:
        yield here
        found = list_runs(database, 1, name=first.name, wanted=partial(_follows, here))
        here = find_run(database, found[0].run_id, exact=True) if found else None


def _follows(before: RunRow, row: ListedRun) -> bool:
    was, now = (one.settings.get("task", {}) for one in (before, row))
    return row.forked_from == before.run_id and now.get("round") == was.get("round", 0) + 1


def _worked_on(
    call: _Call, begun: _Begun | None, asked: AskedRows, bar: Progress, stop: threading.Event | None
) -> list[str]:
    """Ask what is open, and then what is new; return the ids of the rounds, the oldest first."""
    if begun is None:
        return [run_unless_held(call.job, call.run_id, on_event=bar.after(0), stop=stop).run_id]
    newest, run_ids = begun.rounds[-1], [one.run_id for one in begun.rounds]
    status = newest.status
    if status not in OVER:
        status = _gone_on_with(call, newest.run_id, on_event=bar.after(begun.before), stop=stop).status
    if status not in OVER:
        return run_ids
    told = bar.after(len(call.given) - asked.new)
    if asked.new:
        if status != "done":
            refuse_over(newest.run_id, status, "give another name to ask the new rows")
        run_ids.append(another_round(newest.run_id, (NEW,), store=call.job.store.url).run_id)
        _gone_on_with(call, run_ids[-1], on_event=told, stop=stop)
    return run_ids


def _gone_on_with(call: _Call, run_id: str, *, on_event: OnEvent, stop: threading.Event | None) -> RunReport:
    """Go on with a round, by the model's address, the limits and the swarm that are given now.

    One that ``maker retry`` has begun with another model goes on with that.
    """
    with ExitStack() as resources:
        database = resources.enter_context(closing(open_database(call.job.store.url, create=False)))
        row = find_run(database, run_id, exact=True)
        same = call.job.model.identity() == stored_job(row.settings, run_id, kept=row.sources).model.identity()
        tables = (*HOW, "model") if same else HOW
        settings = row.settings | {table: call.job.settings.get(table, {}) for table in tables}
        job = stored_job(settings, run_id, parts=read_parts(database, row.key), kept=row.sources)
        held = control.take(database, row, resources, job=job)
    return work(held, None, on_event, stop)
