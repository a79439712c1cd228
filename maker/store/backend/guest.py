"""Writes to maker's tables by a connection of the program that maker is embedded in, in its own transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, column, inspect, select, table

from maker.errors import StoreUnusable
from maker.store.backend.schema import HEAD, VERSION_TABLE


class Guest:
    """A program's own connection, by which statements find maker's tables in maker's schema.

    It begins and ends no transaction. Errors of the database are left as SQLAlchemy raises them: the transaction that
    they break is the program's.

    Raises:
        StoreUnusable: The database holds no tables of this version of maker.
    """

    def __init__(self, connection: Connection) -> None:
        self.dialect: Any = connection.dialect
        self._connection = connection
        self._schema = _schema(connection)
        self._options: dict[str, Any] = {} if self._schema is None else {"schema_translate_map": {None: self._schema}}
        self._check()

    def execute(self, statement: Any, parameters: Any = None, /) -> Any:
        """Execute a statement."""
        return self._connection.execute(statement, parameters, execution_options=self._options)

    def _check(self) -> None:
        found = None
        # Asked first: on PostgreSQL a statement that fails would break the program's transaction.
        if inspect(self._connection).has_table(VERSION_TABLE, schema=self._schema):
            kept = table(VERSION_TABLE, column("version_num"), schema=self._schema)
            found = self._connection.execute(select(kept.c.version_num)).scalar()
        if found != HEAD:
            has = f"has schema {found}" if found else "has no maker tables"
            raise StoreUnusable(
                f"the database of the given connection {has}; this maker needs {HEAD}",
                fix="give one to the store's own database, upgraded by `maker db upgrade`",
            )


def _schema(connection: Connection) -> str | None:
    if connection.dialect.name != "postgresql":
        return None
    from maker.store.backend.postgres import SCHEMA

    return SCHEMA
