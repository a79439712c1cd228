"""What the monitor of a run's votes has counted, and how a sample was asked for where that was done otherwise."""

from __future__ import annotations

import sqlalchemy as sa

from maker.store.backend.operations import Operations


def upgrade(op: Operations) -> None:
    """Add a column to runs and two to samples: of what is there already nothing was counted, nor asked otherwise."""
    op.add_column("maker_run", sa.Column("monitor", sa.Text, nullable=False, server_default=""))
    op.add_column("maker_sample", sa.Column("system", sa.LargeBinary))
    op.add_column("maker_sample", sa.Column("temperature", sa.Float))
