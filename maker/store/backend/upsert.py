"""Insert rows that may be there already: SQLite and PostgreSQL each have a statement of their own for it."""

from __future__ import annotations

from sqlalchemy import Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite


def upsert(dialect: Dialect, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an insert into a table that takes `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)
