"""Reads a job, wherever it is written: in a file, in a mapping, or loaded already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from maker.errors import JobError
from maker.job.file import Raw, read_job_file
from maker.job.job import Job
from maker.job.resolve import resolve
from maker.job.settings import TABLES

JobLike = str | Path | Mapping[str, Any] | Job


def load_job(job: JobLike, overrides: Iterable[str] = ()) -> Job:
    """Read and check a job: a TOML file's path, or its tables as a mapping.

    Overrides are ``table.key=value`` words. MAKER_TABLE_KEY variables stand between a file and the overrides; a
    mapping is a program's own word, and they do not touch it.

    Raises:
        JobError: A setting is wrong, or a loaded job is given overrides.
        PluginError: The decomposer or the voter cannot be found or made.
    """
    words = list(overrides)
    if isinstance(job, Job):
        if words:
            raise JobError(f"{words[0]!r} comes too late: the job is loaded already", fix="give overrides to load_job")
        return job
    if isinstance(job, Mapping):
        raw = Raw(job, base=Path.cwd(), shown="the job")
    else:
        raw = read_job_file(Path(job))
        raw.take_environment(os.environ, TABLES)
    raw.take_overrides(words)
    return resolve(raw)
