"""Seals of the rows that a resume reads, and a check sum of each run's counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

WEIGHTS = {"steps": 1, "votes": 3, "red_flags": 7, "disputed": 31, "reused": 127, "saved": 8191}
SEALED = ("maker_run", "maker_chain", "maker_fork", "maker_outcome", "maker_snapshot", "maker_memo")


def upgrade() -> None:
    """Add the columns. What is stored already has no seal, and is taken as it is; its counts are summed as they are."""
    schema = op.get_context().version_table_schema
    for name in SEALED:
        op.add_column(name, sa.Column("seal", sa.LargeBinary), schema=schema)
    op.add_column("maker_run", sa.Column("counted", sa.BigInteger, nullable=False, server_default="0"), schema=schema)
    run = sa.table("maker_run", *map(sa.column, ("counted", *WEIGHTS)), schema=schema)
    op.execute(sa.update(run).values(counted=sum(weight * run.c[name] for name, weight in WEIGHTS.items())))
