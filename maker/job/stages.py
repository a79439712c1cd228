"""Reads a job with stages: each is a job of its own, over the rows that the one before leaves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Unpack

from pydantic import ValidationError

from maker.core.plugins import near
from maker.errors import JobError, PluginError
from maker.job.file import Written
from maker.job.job import Job
from maker.job.keywords import WHOLE, JobKeywords, tables_of
from maker.job.load import STAGE, JobLike, written_job
from maker.job.objects import as_written
from maker.job.parameters import params_of
from maker.job.resolve import STAGES, resolve, stored_job
from maker.job.settings import TABLES, AcceptSettings, StageSettings, StagesSettings
from maker.plugin import RowDecomposer
from maker.types import InputPart

OWN = ("model", "vote")
"""Tables that each stage has of its own."""
NO_FILES = ('task.output=""', 'task.output_format="jsonl"', "task.output_single=false")
"""No stage writes files: those of all stages together are written when the last has ended."""


class StagedJob(NamedTuple):
    """A job with stages.

    Args:
        jobs: A job for each, with the limits of all stages together.
        names: What they are called.
        output: The folder for the answers, "" where the job names none.
        output_format: How they are written.
    """

    jobs: tuple[Job, ...]
    names: tuple[str, ...]
    output: str
    output_format: str

    @property
    def accept(self) -> AcceptSettings:
        """What is promised of the accepted rows of all stages, and by which labels."""
        assert self.jobs[0].accept is not None  # noqa: S101 - `load_staged` refuses a job without
        return self.jobs[0].accept

    def stages(self, first: str, number: int, tuning: Sequence[int] = ()) -> StagesSettings:
        """Return what the run of a stage stores of all stages; ``first`` is the id of the first one's run."""
        told = tuple(
            StageSettings(name=name, model=job.settings["model"], vote=job.settings["vote"])
            for name, job in zip(self.names, self.jobs, strict=True)
        )
        where = {"output": self.output, "output_format": self.output_format}
        return StagesSettings(number=number, first=first, all=told, tuning=tuple(tuning), **where)


def load_staged(job: JobLike, overrides: Iterable[str] = (), **keywords: Unpack[JobKeywords]) -> StagedJob | None:
    """Read and check a job with stages; None for a job without. Takes what `load_job` takes.

    An override of one stage begins with its name, as ``stage.cheap.vote.k=4``; others are for all stages.

    Raises:
        JobError: A setting is wrong; or there is a single stage, two have one name, one has no model, one comes after
            people, or no labels are named.
        PluginError: As `load_job`.
    """
    if isinstance(job, Job) or STAGE not in (written := written_job(job)).tables:
        return None
    stages = _stages(written)
    _refuse_model(written, keywords)
    words = _words_by_stage(overrides, [one.name for one in stages])
    said = tables_of(keywords)
    probe = _resolved(written, stages[0], said, words[0])
    jobs = tuple(_resolved(written, one, said, [*own, *NO_FILES]) for one, own in zip(stages, words, strict=True))
    names = tuple(one.name for one in stages)
    _check(jobs, names, written)
    task = probe.settings["task"]
    return StagedJob(jobs, names, str(task["output"]), str(task.get("output_format", "jsonl")))


def stored_stages(settings: Mapping[str, Any], run_id: str, overrides: Iterable[str] = ()) -> StagedJob:
    """Return the job with stages that a run belongs to, overridden as `load_staged` takes it. Raises `JobError`."""
    told = StagesSettings.model_validate(settings[STAGES])
    names = [one.name for one in told.all]
    whole = {**settings, "task": {name: value for name, value in settings["task"].items() if name != "rows"}}
    whole.pop(STAGES)
    jobs = tuple(
        stored_job({**whole, "model": one.model, "vote": one.vote}, run_id, own)
        for one, own in zip(told.all, _words_by_stage(overrides, names), strict=True)
    )
    return StagedJob(jobs, tuple(names), told.output, told.output_format)


def is_stage(settings: Mapping[str, object]) -> bool:
    """Say whether settings are those of one stage of several."""
    return STAGES in settings


def stage_job(
    job: Job,
    stages: StagesSettings,
    rows: Sequence[int] | None,
    *,
    limits: Iterable[str] = (),
    parts: Sequence[InputPart] = (),
) -> Job:
    """Return a stage's job over some rows, None for all, with what its run stores of the stages.

    ``limits`` are overrides, and ``parts`` the input files as they were when the first stage began.
    """
    task = {**job.settings["task"], **job.given}
    if rows is not None:
        task["rows"] = list(rows)
    settings = {**job.settings, "task": task, STAGES: stages.model_dump()}
    made = stored_job(settings, f"of stage {stages.all[stages.number].name}", limits, parts)
    return replace(made, store=made.store.model_copy(update={"url": job.store.url}))


def words_of(overrides: Iterable[str], names: Sequence[str], number: int) -> list[str]:
    """Return the overrides of one stage, in the words of a job without stages. Raises `JobError`."""
    return _words_by_stage(overrides, names)[number]


def _stages(written: Written) -> list[StageSettings]:
    """Return the stages as they were written. Raises `JobError`."""
    given = written.tables[STAGE]
    if isinstance(given, Mapping) or not isinstance(given, Sequence) or isinstance(given, str):
        raise JobError(f"{written.shown}: {STAGE} is not a list of tables", fix="write [[stage]] above each")
    found = [_stage(written, number, one) for number, one in enumerate(given, 1)]
    if len(found) < 2:
        raise JobError(
            f"{written.shown}: there is {len(found)} stage", fix="add a second one, or give its model as [model]"
        )
    names = [one.name.lower() for one in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise JobError(f"{written.shown}: two stages are called {twice!r}", fix="give each a name of its own")
    return found


def _stage(written: Written, number: int, given: Any) -> StageSettings:
    shown = f"{written.shown}: stage {number}"
    if isinstance(given, Mapping) and "accept" in given:
        raise JobError(
            f"{shown}: a stage has no accept: one promise is made for the accepted rows of all stages together",
            fix="write [accept] once, with error, confidence and labels",
        )
    if isinstance(given, Mapping) and "model" not in given:
        raise JobError(
            f"{shown} names no model",
            fix="give it one; people need no stage: what the last model does not settle is listed for review",
        )
    try:
        return StageSettings.model_validate(as_written(given) if isinstance(given, Mapping) else given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = list(StageSettings.model_fields)
            raise JobError(f"{shown}: there is no such setting {key!r}", fix=near(key, known)) from error
        said = first["msg"].removeprefix("Value error, ")
        takes = f"a stage takes {', '.join(StageSettings.model_fields)}"
        raise JobError(f"{shown}: {key}: {said}", fix=takes) from error


def _refuse_model(written: Written, keywords: Mapping[str, Any]) -> None:
    if "model" in written.tables or "model" in keywords:
        raise JobError(
            f"{written.shown}: a job with stages has a model beside them", fix="give each stage its model, in the stage"
        )


def _words_by_stage(overrides: Iterable[str], names: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each stage: those that name it without its name, and those that name none."""
    found: list[list[str]] = [[] for _ in names]
    for word in overrides:
        table, _, rest = word.partition(".")
        if table == "model":
            raise JobError(
                f"{word!r} does not say of which stage", fix=f"write it as stage.{names[0]}.{word}, for example"
            )
        if table != STAGE:
            for one in found:
                one.append(word)
            continue
        name, _, own = rest.partition(".")
        if name not in names:
            raise JobError(f"{word!r}: there is no stage {name!r}", fix=near(name, list(names)))
        if own.partition(".")[0] not in OWN:
            raise JobError(f"{word!r}: a stage has settings of model and of vote", fix=f"write stage.{name}.vote.…")
        found[names.index(name)].append(own)
    return found


def _resolved(written: Written, stage: StageSettings, said: Mapping[str, Any], words: Sequence[str]) -> Job:
    """Return a stage's job. Raises `JobError` or `PluginError`, which name the stage."""
    rest = {name: content for name, content in written.tables.items() if name != STAGE}
    tables = {**rest, "model": stage.model, "vote": {**rest.get("vote", {}), **stage.vote}}
    try:
        raw = written.raw(tables)
        if written.text:
            raw.take_environment(os.environ, [name for name in TABLES if name not in OWN])
        raw.take_tables(said, WHOLE, "the call")
        raw.take_overrides(words)
        return resolve(raw)
    except (JobError, PluginError) as error:
        raise type(error)(f"stage {stage.name}: {error.message}", fix=error.fix, **error.facts) from error


def _check(jobs: Sequence[Job], names: Sequence[str], written: Written) -> None:
    """Refuse what stages cannot be. Raises `JobError`."""
    first, shown = jobs[0], written.shown
    task = first.decomposer
    if not isinstance(task, RowDecomposer) or "rows" not in params_of(first.decomposer_plugin).model_fields:
        raise JobError(f"{shown}: stages are for rows, and {task.name} has none", fix='use decomposer = "map"')
    if first.settings["task"].get("rows"):
        raise JobError(
            f"{shown}: task.rows does not go with stages, which say themselves what is asked", fix="leave it out"
        )
    if first.accept is None or not first.accept.labels:
        raise JobError(
            f"{shown}: stages need labels: they say how much each keeps, and how many accepted rows may be wrong",
            fix="draw rows of the input at random, write their right answers, and set error and labels in [accept]",
        )
    if len(first.accept.by) > 1:
        raise JobError(f"{shown}: accept.by names several signals", fix="name one: rows of all stages go by it")
    if first.limits.max_undecided is not None:
        raise JobError(
            f"{shown}: limits.max_undecided does not go with stages: a row that one leaves undecided goes to the next",
            fix="leave it out",
        )
    for job, name, then in zip(jobs, names, [*names[1:], ""], strict=True):
        if job.needs_pilot or job.needs_plan:
            raise JobError(f"{shown}: stage {name} leaves its margin open", fix="set k in the stage's vote")
        if then and job.vote.on_undecided == "ask":
            raise JobError(
                f"{shown}: stage {name} asks people, and stage {then} would come after them",
                fix='set vote = { on_undecided = "ask" } in the last stage alone',
            )
