"""Runs that wait in queues, and what each run was asked to do."""

from __future__ import annotations

import sqlalchemy as sa

from maker.store.backend.operations import Operations

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Add the queue, and a column to runs: of those that are there nobody knows what they were asked at first."""
    op.add_column("maker_run", sa.Column("begun", sa.LargeBinary))
    op.create_table(
        "maker_queue",
        sa.Column("run", _Key, sa.ForeignKey("maker_run.id"), primary_key=True),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("due", sa.Float, nullable=False),
        sa.Column("code", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("claims", sa.Integer, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("faults", sa.Integer, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("maker_queue_next", "maker_queue", ["queue", "state", "rank", "run"])
