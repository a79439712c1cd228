"""Effects and waits of runs."""

from __future__ import annotations

import sqlalchemy as sa

from maker.store.backend.operations import Operations

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Add the table."""
    op.create_table(
        "maker_outside",
        sa.Column("chain", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("run", _Key, sa.ForeignKey("maker_run.id"), nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("answers", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("begun_at", sa.Float, nullable=False),
        sa.Column("deadline", sa.Float),
        sa.Column("answer", sa.Text),
        sa.Column("answered_by", sa.Text, nullable=False),
        sa.Column("answered_at", sa.Float),
    )
    op.create_index("maker_outside_run", "maker_outside", ["run", "state"])
    op.create_index("maker_outside_state", "maker_outside", ["state", "deadline"])
