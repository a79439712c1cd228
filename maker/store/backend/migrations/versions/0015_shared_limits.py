"""Limits that the workers of several runs share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add shared limits with the workers that use them, and a column to grants: older ones share nothing."""
    schema = op.get_context().version_table_schema
    op.add_column("maker_grant", sa.Column("shared", sa.Text), schema=schema)
    op.create_table(
        "maker_limit",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("tokens_per_minute", sa.BigInteger),
        sa.Column("concurrency", sa.Integer),
        sa.Column("max_cost", sa.Float),
        sa.Column("window", sa.Text, nullable=False),
        sa.Column("paused_until", sa.Float, nullable=False),
        sa.Column("spent", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "maker_limit_worker",
        sa.Column("key", sa.Text, sa.ForeignKey("maker_limit.key"), primary_key=True),
        sa.Column("worker", sa.Text, primary_key=True),
        sa.Column("slots", sa.BigInteger, nullable=False),
        sa.Column("wanted", sa.BigInteger, nullable=False),
        sa.Column("least", sa.BigInteger),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
