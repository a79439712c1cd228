"""The input files that runs read."""

from __future__ import annotations

import sqlalchemy as sa

from maker.store.backend.operations import Operations

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Add their table."""
    op.create_table(
        "maker_input_part",
        sa.Column("run", _Key, sa.ForeignKey("maker_run.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
    )
