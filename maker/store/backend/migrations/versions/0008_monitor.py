"""What the monitor of a run's votes has counted, and how a sample was asked for where that was done otherwise."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column to runs and two to samples: of what is there already nothing was counted, nor asked otherwise."""
    schema = op.get_context().version_table_schema
    op.add_column("maker_run", sa.Column("monitor", sa.Text, nullable=False, server_default=""), schema=schema)
    op.add_column("maker_sample", sa.Column("system", sa.LargeBinary), schema=schema)
    op.add_column("maker_sample", sa.Column("temperature", sa.Float), schema=schema)
