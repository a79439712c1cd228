"""Batches of requests that providers work on."""

from __future__ import annotations

import sqlalchemy as sa

from maker.store.backend.operations import Operations

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Add the table: runs that are there have sent no batches."""
    op.create_table(
        "maker_batch",
        sa.Column("run", _Key, sa.ForeignKey("maker_run.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("names", sa.LargeBinary, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("batch", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("begun_at", sa.Float, nullable=False),
        sa.Column("look_at", sa.Float, nullable=False),
        sa.Column("grant_id", _Key, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
