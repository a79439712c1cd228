"""Reads a job, wherever it is written: in a file, in a mapping, in Python objects, or loaded already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, Unpack

from maker.errors import JobError
from maker.job.file import Written, written_file
from maker.job.job import Job
from maker.job.keywords import WHOLE, JobKeywords, tables_of
from maker.job.objects import Task, as_written
from maker.job.resolve import resolve
from maker.job.settings import TABLES

JobLike: TypeAlias = str | Path | Mapping[str, Any] | Task | Job
STAGE = "stage"
"""The key of a job's stages, each a table."""


def load_job(job: JobLike, overrides: Iterable[str] = (), **keywords: Unpack[JobKeywords]) -> Job:
    """Read and check a job: a TOML file's path, its tables as a mapping, or its task.

    Keywords win over what the job says, and overrides, which are ``table.key=value`` words, over both. MAKER_TABLE_KEY
    variables stand between a file and the keywords; a mapping is a program's own word, and they do not touch it. In a
    mapping a class, an instance or a function may stand wherever a plugin or a function is named.

    Raises:
        JobError: A setting is wrong, or a loaded job is given others; or the job has stages.
        PluginError: The decomposer or the voter cannot be found or made, or an object cannot be found again by a name.
    """
    words, said = list(overrides), tables_of(keywords)
    if isinstance(job, Job):
        if words or said:
            first = words[0] if words else next(iter(keywords))
            raise JobError(f"{first!r} comes too late: the job is loaded already", fix="give it to load_job")
        return job
    written = written_job(job)
    if STAGE in written.tables:
        raise JobError(
            f"{written.shown}: this takes a job of one model, and the job has stages",
            fix="run it with `maker run JOB`, compare its costs with `maker plan JOB`; in Python use maker.run_stages",
        )
    raw = written.raw(written.tables)
    if isinstance(job, str | Path):
        raw.take_environment(os.environ, TABLES)
    raw.take_tables(said, WHOLE, "the call")
    raw.take_overrides(words)
    return resolve(raw)


def written_job(job: str | Path | Mapping[str, Any] | Task) -> Written:
    """Return what a job says, unchecked. Raises `JobError` or `PluginError` as `load_job` does."""
    if isinstance(job, str | Path):
        return written_file(Path(job))
    tables = job if isinstance(job, Mapping) else {"task": {"decomposer": job}}
    stages = {name: content for name, content in tables.items() if name == STAGE}
    rest = {name: content for name, content in tables.items() if name != STAGE}
    return Written(as_written(rest) | stages, Path.cwd(), "the job")
