"""Render frequent statements once: SQLAlchemy's way of executing one costs more time than SQLite's work on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult
from sqlalchemy.sql import ClauseElement

from maker.store.backend.database import Database


class Prepared:
    """One statement as a database's text. Values go to the driver as they are: numbers, texts and bytes.

    Args:
        database: Whose text.
        statement: With a `bindparam` for every value.
    """

    def __init__(self, database: Database, statement: ClauseElement) -> None:
        self._sql = database.sql(statement)
        self._order: Sequence[str] | None = statement.compile(dialect=database.engine.dialect).positiontup  # type: ignore[attr-defined]

    def execute(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Execute it once."""
        return connection.exec_driver_sql(self._sql, self._given(values))

    def execute_many(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Execute it for every row; returns how many rows of the table it matched in all."""
        return connection.exec_driver_sql(self._sql, [self._given(values) for values in rows]).rowcount

    def _given(self, values: Mapping[str, Any]) -> Any:
        return values if self._order is None else tuple(values[name] for name in self._order)
