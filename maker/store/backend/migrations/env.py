"""Alembic's entry point: runs the migrations on the connection that `Database` hands over, in one transaction.

On PostgreSQL the connection puts tables that name no schema into ours, wherever SQLAlchemy writes their names. What
Alembic writes itself, ``op.add_column`` and ``op.rename_table`` for two, and ``sa.table`` it leaves as they are: give
those ``schema=op.get_context().version_table_schema``, which is None on SQLite.
"""

from __future__ import annotations

from alembic import context

from maker.store.backend.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    version_table_schema=context.config.attributes["schema"],
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
