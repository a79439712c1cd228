"""Maps with stages: a cheap model first, a strong one for what that leaves, people for the rest."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from maker.core.user_code import call_user_code
from maker.errors import BadInput, JobError, RunIdTaken, RunNotFound, StoreMissing
from maker.inputs.chosen import packed, unpacked
from maker.job.job import Job
from maker.job.keywords import JobKeywords
from maker.job.load import JobLike
from maker.job.settings import StagesSettings
from maker.job.stages import StagedJob, is_stage, load_staged, stage_job, stored_stages, words_of
from maker.lifecycle import control, once
from maker.lifecycle.new_run import new_run
from maker.lifecycle.queries import RunReport, opened, report, show, store_url, whole_report
from maker.lifecycle.session import OnEvent
from maker.reporting.accepted_files import refuse_folder
from maker.reporting.cascade import CascadeAcceptance, accept_cascade, left_rows, read_stage_labels
from maker.reporting.cascade_files import StagedRow, refuse_other_run, staged_rows, write_cascade
from maker.reporting.cascade_log import CascadeLog
from maker.store.admission import Begun, find_begun
from maker.store.backend.database import Database, open_database
from maker.store.runs import RunRow, find_run, new_id, read_parts
from maker.types import InputPart

DONE = "done"


@dataclass(frozen=True, slots=True)
class StagesReport:
    """How a map with stages stands.

    Args:
        run_id: The first stage's run, by which all of them are named.
        reports: The runs of the stages that have begun, in their order.
        names: What all stages are called.
        accepted: What was accepted once all had ended; None before.
        out: The folder with the accepted rows and those for review, None before.
    """

    run_id: str
    reports: tuple[RunReport, ...]
    names: tuple[str, ...]
    accepted: CascadeAcceptance | None
    out: Path | None

    @property
    def last(self) -> RunReport:
        """The run of the stage that was worked on last; look at ``status`` and ``reason``."""
        return self.reports[-1]

    @property
    def cost(self) -> float | None:
        """What all stages cost, in the currency of their prices; None without prices."""
        costs = [one.cost for one in self.reports]
        return None if None in costs else sum(filter(None, costs))

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "run_id": self.run_id, "stages": list(self.names), "status": self.last.status, "reason": self.last.reason,
            "cost": self.cost, "runs": [one.to_json() for one in self.reports],
            "accepted": None if self.accepted is None else self.accepted.to_json(),
            "out": None if self.out is None else str(self.out),
        }  # fmt: skip


def run_stages(
    job: JobLike,
    overrides: Iterable[str] = (),
    *,
    run_id: str | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
    **keywords: Unpack[JobKeywords],
) -> StagesReport:
    """Run all stages of a job, one after another, accept rows of all together, and write both. Blocks.

    Each stage is a run of its own, which is resumed, verified and looked at as any other. Given again with the same
    ``run_id``, it goes on where it was.

    Args:
        job: A job file with ``[[stage]]`` tables, or its tables as a mapping with a list ``stage``.
        overrides: ``table.key=value`` words; of one stage ``stage.NAME.vote.k=4``.
        run_id: What the first stage's run is to be called; those of the others have their stage's name behind it.
        on_event: As for `maker.run`.
        stop: Set it from another thread to pause the stage that is at work.
        keywords: Settings as `maker.run` takes them; no ``model``.

    Raises:
        BadInput: The labels are missing, too few, or of rows that are not there; or as `maker.run`.
        JobError: The stages are not what stages can be.
        RunIdTaken: The run of that id is another job's, or has other stages.
    """
    staged = load_staged(job, overrides, **keywords)
    if staged is None:
        raise JobError("the job has no stages", fix="write a [[stage]] for each model, or use maker.run")
    return work_through(staged, run_id or new_id(), on_event=on_event, stop=stop)


def work_through(
    staged: StagedJob, first: str, *, on_event: OnEvent | None = None, stop: threading.Event | None = None
) -> StagesReport:
    """Do as `run_stages` does with a job that is loaded; ``first`` is the first stage's run."""
    once.refuse_bad_id(first)
    return _Sequence(staged, first, on_event, stop).work()


def resume_stages(
    run_id: str,
    overrides: Iterable[str] = (),
    *,
    store: str | None = None,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> StagesReport:
    """Go on with a map with stages, named by the run of any of them; see `run_stages`. Blocks.

    Overrides may change limits, which are of all stages together, and where and how the work is done.

    Raises:
        RunNotFound: There is no such run.
        BadInput: It is no stage; or as `run_stages`.
        RunNotResumable: A stage is over, or an override would change what it decides.
    """
    words = list(overrides)
    with opened(store) as database:
        cascade = CascadeLog(database, find_run(database, run_id))
        newest = cascade.stages[-1].run
        *before, _ = [one.run for one in cascade.stages]
        whole = _limits_of_all(newest, _spent(database, [one.run_id for one in before]))
        staged = stored_stages(newest.settings, newest.run_id, [*whole, *words])
    url = store_url(store)
    jobs = tuple(replace(one, store=one.store.model_copy(update={"url": url})) for one in staged.jobs)
    names = staged.names
    own = [[word for word in words_of(words, names, at) if not _is_limit(word)] for at in range(len(names))]
    return _Sequence(staged._replace(jobs=jobs), cascade.told.first, on_event, stop, own).work()


def show_stages(run_id: str, *, store: str | None = None) -> StagesReport:
    """Return how a map with stages stands, named by the run of any of them. Raises as `resume_stages`."""
    with opened(store) as database:
        cascade = CascadeLog(database, find_run(database, run_id))
        names = tuple(one.name for one in cascade.told.all)
        reports = tuple(whole_report(database, one.run.run_id) for one in cascade.stages)
        return StagesReport(cascade.told.first, reports, names, None, None)


def stage_results(run_id: str, *, store: str | None = None) -> Iterator[StagedRow]:
    """Yield the result of each row that a stage has the last word on, in input order. Raises as `resume_stages`."""
    with opened(store) as database:
        yield from staged_rows(CascadeLog(database, find_run(database, run_id)))


class _Sequence:
    """Works through the stages of a job in their order, each once the one before is done.

    Args:
        staged: The job, with the limits of all stages together.
        first: The id of the first stage's run.
        on_event: Told of what happens.
        stop: Pauses the stage that is at work.
        own: By stage what a resume of its run overrides.
    """

    def __init__(
        self,
        staged: StagedJob,
        first: str,
        on_event: OnEvent | None,
        stop: threading.Event | None,
        own: Sequence[Sequence[str]] = (),
    ) -> None:
        self._staged, self._first, self._own = staged, first, own
        self._on_event, self._stop = on_event, stop
        self._url = staged.jobs[0].store.url
        self._parts = parts_begun_with(self._url, first)
        self._labels = read_stage_labels(_with_parts(staged.jobs[0], self._parts), staged.accept)
        self._out = Path(staged.output or f"accept-{first}")
        refuse_folder(self._out, force=True)
        refuse_other_run(self._out, first)

    def work(self) -> StagesReport:
        """Go through all stages, accept rows, and write them; stop where a stage is not done."""
        reports: list[RunReport] = []
        for number in range(len(self._staged.jobs)):
            found = self._stage(number, [one.run_id for one in reports])
            if found is None:
                break
            reports.append(found)
            if found.status != DONE:
                return StagesReport(self._first, tuple(reports), self._staged.names, None, None)
        accepted = self._accepted()
        # What was accepted is an event of the first run.
        reports[0] = show(self._first, store=self._url)
        return StagesReport(self._first, tuple(reports), self._staged.names, accepted, self._out)

    def _stage(self, number: int, before: Sequence[str]) -> RunReport | None:
        """Start a stage or go on with it, until it rests; None where no row is left for it."""
        run_id = self._staged.stages(self._first, number).run_id(number)
        with closing(open_database(self._url, create=True)) as database:
            limits = _limits_left(self._staged, number, _spent(database, before))
            begun = find_begun(database, run_id)
            if begun is None:
                job = self._new(number, database, limits)
            else:
                self._refuse_another(number, run_id, begun)
                if (row := find_run(database, run_id, exact=True)).status == DONE:
                    return whole_report(database, row.run_id)
        if begun is not None:
            words = [*(self._own[number] if self._own else ()), *limits]
            return control.resume(run_id, words, store=self._url, on_event=self._on_event, stop=self._stop)
        if job is None:
            return None
        return once.start_once(job, run_id, on_event=self._on_event, stop=self._stop)

    def _new(self, number: int, database: Database, limits: Sequence[str]) -> Job | None:
        """Return the job of a stage that has not begun; None where the one before hands no row on."""
        job = self._staged.jobs[number]
        if not number:
            return stage_job(job, self._staged.stages(self._first, 0), None, limits=limits)
        cascade = CascadeLog(database, find_run(database, self._first, exact=True))
        if cascade.kept_all:
            return None
        rows, tuning = left_rows(cascade, self._labels, self._staged.accept)
        if not rows:
            cascade.keep_all(tuning)
            return None
        stages = self._staged.stages(self._first, number, packed(tuning))
        # Where the first stage began in this call, they were not known before.
        parts = self._parts or parts_begun_with(self._url, self._first)
        return stage_job(job, stages, rows, limits=limits, parts=parts)

    def _refuse_another(self, number: int, run_id: str, begun: Begun) -> None:
        """Raise `RunIdTaken` unless a stage was begun as the job has it. Its limits may be others."""
        if not is_stage(begun.settings):
            raise RunIdTaken(f"run {run_id} is no stage of a map", fix="give another run id", run_id=run_id)
        told = StagesSettings.model_validate(begun.settings["stages"])
        if told.first != self._first or [one.name for one in told.all] != list(self._staged.names):
            names = ", ".join(one.name for one in told.all)
            raise RunIdTaken(
                f"run {run_id} was begun with the stages {names}, and the job has {', '.join(self._staged.names)}",
                fix="give another run id", run_id=run_id,
            )  # fmt: skip
        chosen = begun.settings["task"].get("chosen")
        rows = unpacked(chosen) if chosen else None
        job = stage_job(self._staged.jobs[number], told, rows, parts=self._parts)
        new = new_run(job)
        limits = {"limits": begun.settings["limits"]} if "limits" in begun.settings else {}
        once.refuse_another(run_id, begun, replace(new, settings=new.settings | limits), job)

    def _accepted(self) -> CascadeAcceptance:
        with closing(open_database(self._url, create=False)) as database:
            cascade = CascadeLog(database, find_run(database, self._first, exact=True))
            found = accept_cascade(database, cascade, self._labels, self._staged.accept)
            write_cascade(self._out, cascade, found, format=self._staged.output_format, force=True)
        return found


def parts_begun_with(url: str, first: str) -> tuple[InputPart, ...]:
    """Return the input files as they were when a map's first stage began; () where it has not."""
    try:
        with opened(url) as database:
            return read_parts(database, find_run(database, first, exact=True).key)
    except (StoreMissing, RunNotFound):
        return ()


def _with_parts(job: Job, parts: Sequence[InputPart]) -> Job:
    if not parts:
        return job
    task = job.decomposer
    return replace(job, decomposer=call_user_code(f"{task.name}: with_parts", task.with_parts, parts))


def _is_limit(word: str) -> bool:
    return word.startswith("limits.")


def _spent(database: Database, run_ids: Sequence[str]) -> Mapping[str, float]:
    """Return what the runs of stages have spent, by the limit that it counts for."""
    spent = dict.fromkeys(("max_calls", "max_tokens", "max_cost", "max_wall_s"), 0.0)
    for run_id in run_ids:
        row = find_run(database, run_id, exact=True)
        spent["max_calls"] += row.usage.calls + row.reserved.calls
        spent["max_tokens"] += row.usage.prompt_tokens + row.usage.completion_tokens + row.reserved.tokens
        spent["max_cost"] += (report(row).cost or 0.0) + row.reserved.cost
        spent["max_wall_s"] += row.wall_s
    return spent


def _limits_left(staged: StagedJob, number: int, spent: Mapping[str, float]) -> list[str]:
    """Return the limits of a stage, as overrides: what those before it have left. Raises `BadInput` for nothing."""
    limits, words = staged.jobs[number].limits.model_dump(), list[str]()
    for name, gone in spent.items():
        if limits[name] is None or not gone:
            continue
        if (left := limits[name] - gone) <= 0:
            raise BadInput(
                f"limits.{name} = {limits[name]:g}: the stages before {staged.names[number]} have spent {gone:g}",
                fix=f"raise it, as limits.{name}={2 * gone:g}; it is of all stages together",
            )
        words.append(f"limits.{name}={int(left) if isinstance(limits[name], int) else left}")
    return words


def _limits_of_all(newest: RunRow, spent: Mapping[str, float]) -> list[str]:
    """Return the limits of all stages together, as overrides; those of a stage are what was left for it."""
    limits = newest.settings["limits"]
    found = {name: limits[name] + type(limits[name])(gone) for name, gone in spent.items() if limits.get(name)}
    return [f"limits.{name}={most}" for name, most in found.items()]
