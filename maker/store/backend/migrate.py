"""Brings a database's tables to a schema: runs the migrations that it has not had, and notes the last one."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, delete, insert

from maker.store.backend import migrations
from maker.store.backend.operations import Operations
from maker.store.backend.schema import HEAD, VERSION_TABLE


def migrate(connection: Connection, schema: str | None, found: str | None, *, to: str = HEAD) -> None:
    """Run the migrations after ``found``, None for all of them, up to ``to``, in the transaction of a connection.

    Args:
        connection: A connection in a write transaction; nobody else may change tables meanwhile.
        schema: The database's schema that holds maker's tables, None where it has no schemas.
        found: The number of the last migration that the database has had.
        to: The number of the last one to run.
    """
    operations = Operations(connection, schema)
    for name in _names():
        if (found or "") < name[:4] <= to:
            importlib.import_module(f"{migrations.__name__}.{name}").upgrade(operations)
    kept = Table(
        VERSION_TABLE,
        MetaData(schema=schema),
        Column("version_num", String(32), nullable=False),
        # As Alembic named it, which made this table in older databases.
        PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
    )
    kept.create(connection, checkfirst=True)
    connection.execute(delete(kept))
    connection.execute(insert(kept).values(version_num=to))


def _names() -> Iterator[str]:
    """Give the modules of the migrations, in order."""
    (folder,) = migrations.__path__
    return (file.stem for file in sorted(Path(folder).glob("[0-9]*.py")))
