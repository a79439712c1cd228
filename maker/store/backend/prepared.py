"""Render frequent statements once: SQLAlchemy's way of executing one costs more time than SQLite's work on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult
from sqlalchemy.sql import ClauseElement

from maker.store.backend.database import Database


class _Rendered(NamedTuple):
    sql: str
    order: Sequence[str] | None
    """The names of the values in their order; None where the driver takes them by name."""


class Prepared:
    """One statement as a database's text. Values go to the driver as they are: numbers, texts and bytes.

    A process renders it once for each database that it has open: that takes longer than the statement itself.

    Args:
        database: Whose text.
        statement: A constant, with a `bindparam` for every value.
    """

    def __init__(self, database: Database, statement: ClauseElement) -> None:
        rendered: _Rendered = database.once(statement, lambda: _rendered(database, statement))
        self._sql, self._order = rendered

    def execute(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Execute it once."""
        return connection.exec_driver_sql(self._sql, self._given(values))

    def execute_many(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Execute it for every row; returns how many rows of the table it matched in all."""
        return connection.exec_driver_sql(self._sql, [self._given(values) for values in rows]).rowcount

    def _given(self, values: Mapping[str, Any]) -> Any:
        return values if self._order is None else tuple(values[name] for name in self._order)


def _rendered(database: Database, statement: ClauseElement) -> _Rendered:
    order: Sequence[str] | None = statement.compile(dialect=database.engine.dialect).positiontup  # type: ignore[attr-defined]
    return _Rendered(database.sql(statement), order)
