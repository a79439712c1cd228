"""Store and read calibrations and comparisons: they are appended, and never changed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import insert, select

from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.runs import inserted

_table = schema.calibration.c
_COMPARISON = "comparison"
"""The key of a fingerprint that says of a row that it is no calibration, but a comparison of ways to answer."""


class CalibrationRow(NamedTuple):
    """A stored calibration or comparison: ``content`` is its JSON, ``fingerprint`` what of a job it depends on."""

    key: int
    made_at: float
    fingerprint: dict[str, Any]
    content: str


@retried
def keep_calibration(database: Database, fingerprint: dict[str, Any], content: str) -> int:
    """Store a calibration; returns its key."""
    row = {"made_at": time.time(), "fingerprint": json.dumps(fingerprint, sort_keys=True), "content": content}
    with database.write() as connection:
        return inserted(connection, insert(schema.calibration).values(row))


def keep_comparison(database: Database, fingerprint: dict[str, Any], content: str) -> int:
    """Store a comparison; returns its key."""
    return keep_calibration(database, fingerprint | {_COMPARISON: True}, content)


def read_calibrations(database: Database) -> Iterator[CalibrationRow]:
    """Yield the stored calibrations, newest first."""
    return (row for row in _read(database) if _COMPARISON not in row.fingerprint)


def read_comparisons(database: Database) -> Iterator[CalibrationRow]:
    """Yield the stored comparisons, newest first, each with the fingerprint of its job."""
    for row in _read(database):
        if row.fingerprint.pop(_COMPARISON, False):
            yield row


def _read(database: Database) -> Iterator[CalibrationRow]:
    query = select(_table.id, _table.made_at, _table.fingerprint, _table.content).order_by(_table.id.desc())
    with database.read() as connection:
        for key, made_at, fingerprint, content in connection.execute(query):
            yield CalibrationRow(key, made_at, json.loads(fingerprint), content)
