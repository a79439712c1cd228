"""Comparisons in the store: kept by the task and the model that they are about, and quoted by plans and reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from maker.errors import StoreMissing
from maker.job.fingerprint import calibration_fingerprint, difference
from maker.job.job import Job
from maker.store.backend.database import Database, open_database
from maker.store.calibrations import keep_comparison, read_comparisons


def keep(job: Job, content: Mapping[str, Any]) -> None:
    """Keep a comparison of a job, as JSON, in the job's store."""
    with closing(open_database(job.store.url, create=False)) as database:
        keep_comparison(database, calibration_fingerprint(job), json.dumps(content))


def newest_comparison(job: Job) -> Mapping[str, Any] | None:
    """Return the newest comparison of a job's task and model as JSON, with its key; None where there is none."""
    try:
        with closing(open_database(job.store.url, create=False)) as database:
            return comparison_of(database, calibration_fingerprint(job))
    except StoreMissing:
        return None


def comparison_of(database: Database, wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the newest comparison of a task and a model, as `maker.job.fingerprint.of_samples` names them."""
    for row in read_comparisons(database):
        if row.fingerprint.keys() == wanted.keys() and not difference(row.fingerprint, wanted):
            content: dict[str, Any] = json.loads(row.content)
            return content | {"comparison": row.key}
    return None


def comparison_line(stored: Mapping[str, Any]) -> str:
    """Return what a kept comparison says."""
    return f"Comparison {stored['comparison']}, by {stored['rows']:,} labelled rows: {stored['advice']['text']}"
