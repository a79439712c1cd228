"""Rows that people have decided after their votes were over."""

from __future__ import annotations

import sqlalchemy as sa

from maker.store.backend.operations import Operations

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Index = sa.BigInteger().with_variant(sa.Integer, "postgresql")


def upgrade(op: Operations) -> None:
    """Add the table."""
    op.create_table(
        "maker_review",
        sa.Column("chain", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("idx", _Index, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("run", _Key, sa.ForeignKey("maker_run.id"), nullable=False),
        sa.Column("row", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("tally", sa.LargeBinary, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("seal", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("maker_review_run", "maker_review", ["run"])
