"""Read a stored run and its job, for the commands that resume or watch it."""

from __future__ import annotations

from collections.abc import Iterable

from maker.job.job import Job
from maker.job.resolve import stored_job
from maker.lifecycle.queries import RunReport, opened, report
from maker.store.backend.database import Database
from maker.store.runs import find_run, read_parts


def stored_run(run_id: str, overrides: Iterable[str] = (), *, store: str) -> tuple[RunReport, Job]:
    """Return a run's report and its job. Raises `RunNotFound`, `JobError` or `PluginError`."""
    with opened(store) as database:
        found = report(find_run(database, run_id))
        return found, job_of(database, found.run_id, overrides)


def job_of(database: Database, run_id: str, overrides: Iterable[str] = ()) -> Job:
    """Return a run's job, with the row counts of its input files as stored when it began: no file is read."""
    row = find_run(database, run_id)
    return stored_job(row.settings, row.run_id, overrides, read_parts(database, row.key), kept=row.sources)
