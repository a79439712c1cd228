"""Alembic's entry point: runs the migrations on the connection that `Database` hands over, in one transaction."""

from __future__ import annotations

from alembic import context

from maker.store.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
