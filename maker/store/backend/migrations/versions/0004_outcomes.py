"""Outcomes of single steps: undecided, impossible to ask, or ended wrong."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

RENAMED = {"failed": "wrong", "rejected": "refused"}


def upgrade() -> None:
    """Give the outcomes that were there before their names of today."""
    table = sa.table("maker_outcome", sa.column("outcome"), schema=op.get_context().version_table_schema)
    for before, after in RENAMED.items():
        op.execute(table.update().where(table.c.outcome == before).values(outcome=after))
