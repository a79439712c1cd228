"""The values of a statement: of one row, bound one by one; or of many rows, bound together as one JSON text.

PostgreSQL takes many rows by ``json_to_recordset``: an array for each column would cost the driver more time. Without a
limit it would reckon with 100 rows, and read tables of a few thousand rows from end to end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Integer, Subquery, Text, bindparam, column, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.types import TypeEngine

Types: TypeAlias = Mapping[str, TypeEngine[Any]]
Given: TypeAlias = Mapping[str, ColumnElement[Any]] | ReadOnlyColumnCollection[str, Any]
"""Where a statement takes its values from, by their names."""


def one_row(types: Types) -> Given:
    """Return values that are bound one by one."""
    return {name: bindparam(name, type_=type_) for name, type_ in types.items()}


def many_rows(name: str, types: Types) -> Subquery:
    """Return rows that are bound together, by the values that `together` makes of them."""
    columns = ", ".join(f'"{one}" {type_.compile(dialect=postgresql.dialect())}' for one, type_ in types.items())  # type: ignore[no-untyped-call]
    # Written out, because SQLAlchemy's own is so long that the driver would parse it anew each time.
    query = text(f"SELECT * FROM json_to_recordset(CAST(:{name} AS JSON)) AS given({columns}) LIMIT :{name}_count")  # noqa: S608 - names of columns
    bound = query.bindparams(bindparam(name, type_=Text), bindparam(f"{name}_count", type_=Integer))
    return bound.columns(*(column(one, type_) for one, type_ in types.items())).subquery(name)


def together(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of `many_rows` for these rows. Bytes are written as the input of type BYTEA."""
    return {name: json.dumps(rows, default=_written), f"{name}_count": len(rows)}


def _written(value: bytes) -> str:
    return f"\\x{value.hex()}"
