"""What a migration does to tables: the few changes that ours have needed, each in one statement.

Alembic would do them too. It is not used because every installation changes old SQLite files when it opens them, and
needs nothing else of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Index, MetaData, Table, TableClause, column, insert, table
from sqlalchemy.schema import CreateColumn, SchemaItem
from sqlalchemy.sql.base import Executable
from sqlalchemy.types import TypeEngine


class Operations:
    """Changes tables on a connection, in the transaction that it is in.

    Tables are given by name, and are those of maker's own schema.

    Args:
        connection: A connection in a write transaction.
        schema: The database's schema that holds maker's tables, None where it has no schemas.

    Attributes:
        connection: For queries. Write their tables as `table` gives them.
        dialect: ``sqlite`` or ``postgresql``.
    """

    def __init__(self, connection: Connection, schema: str | None) -> None:
        self.connection = connection
        self.dialect = connection.dialect.name
        self._schema = schema

    def table(self, name: str, *columns: str) -> TableClause:
        """Return a table for statements, with these of its columns."""
        return table(name, *map(column, columns), schema=self._schema)

    def create_table(self, name: str, *items: SchemaItem, **options: Any) -> None:
        """Create a table of columns and constraints; the options are those of SQLAlchemy's ``Table``."""
        made = self._table(name, *items, **options)
        for key in made.foreign_keys:
            # Only the name of what it refers to is written.
            target, _, referred = key.target_fullname.rpartition(".")
            known = f"{self._schema}.{target}" if self._schema else target
            if known not in made.metadata.tables:
                Table(target, made.metadata, Column(referred, key.parent.type))
        made.create(self.connection, checkfirst=False)

    def drop_table(self, name: str) -> None:
        """Drop a table, with its rows."""
        self._table(name).drop(self.connection, checkfirst=False)

    def rename_table(self, name: str, new: str) -> None:
        """Give a table another name."""
        self._alter(self._table(name), f"RENAME TO {self._quoted(new)}")

    def add_column(self, name: str, added: Column[Any]) -> None:
        """Add a column; one that is not nullable needs a default on the server."""
        changed = self._table(name, added)
        self._alter(changed, f"ADD COLUMN {CreateColumn(added).compile(dialect=self.connection.dialect)}")

    def change_type(self, name: str, changed: str, new: TypeEngine[Any]) -> None:
        """Change a column's type; SQLite cannot."""
        self._alter(
            self._table(name),
            f"ALTER COLUMN {self._quoted(changed)} TYPE {new.compile(dialect=self.connection.dialect)}",
        )

    def create_index(self, index: str, name: str, columns: Sequence[str]) -> None:
        """Create an index of a table."""
        indexed = self._table(name, *(Column(one) for one in columns))
        Index(index, *indexed.columns).create(self.connection)

    def insert(self, into: TableClause, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, each a value by column; none is no work."""
        if rows:
            self.connection.execute(insert(into), [dict(row) for row in rows])

    def execute(self, statement: Executable) -> None:
        """Execute a statement that returns nothing."""
        self.connection.execute(statement)

    def _table(self, name: str, *items: SchemaItem, **options: Any) -> Table:
        return Table(name, MetaData(schema=self._schema), *items, **options)

    def _alter(self, changed: Table, what: str) -> None:
        shown = self.connection.dialect.identifier_preparer.format_table(changed)
        self.connection.exec_driver_sql(f"ALTER TABLE {shown} {what}")

    def _quoted(self, name: str) -> str:
        return self.connection.dialect.identifier_preparer.quote(name)
