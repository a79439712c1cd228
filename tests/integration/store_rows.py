"""Rows for maker's tables, made up."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Table


def made_up(table: Table, **known: Any) -> tuple[Any, ...]:
    """Return a row with a value for every column: what is given, else nothing of the column's type."""
    return tuple(known.pop(column.name) if column.name in known else _nothing(column) for column in table.columns)


def _nothing(column: Column[Any]) -> Any:
    return None if column.nullable else column.type.python_type()
