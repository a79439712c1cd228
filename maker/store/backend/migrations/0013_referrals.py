"""Undecided steps that people are asked about."""

from __future__ import annotations

import sqlalchemy as sa

from maker.store.backend.operations import Operations

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Index = sa.BigInteger().with_variant(sa.Integer, "postgresql")


def upgrade(op: Operations) -> None:
    """Add the table."""
    op.create_table(
        "maker_referral",
        sa.Column("chain", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("idx", _Index, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("run", _Key, sa.ForeignKey("maker_run.id"), nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("proposals", sa.Text, nullable=False),
        sa.Column("tally", sa.LargeBinary, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("closed", sa.Boolean, nullable=False),
        sa.Column("begun_at", sa.Float, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("answered_by", sa.Text, nullable=False),
        sa.Column("answered_at", sa.Float),
        sqlite_with_rowid=False,
    )
    op.create_index("maker_referral_run", "maker_referral", ["run", "closed", "begun_at"])
    op.create_index("maker_referral_name", "maker_referral", ["run", "name"])
