"""Decisions that may be taken again, which of them runs have taken from others, and how many steps were taken so."""

from __future__ import annotations

import sqlalchemy as sa

from maker.store.backend.operations import Operations

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Index = sa.BigInteger().with_variant(sa.Integer, "postgresql")


def upgrade(op: Operations) -> None:
    """Add both tables, and two counts to runs: of what is there already nothing was remembered, nor taken again."""
    for name in ("reused", "saved"):
        op.add_column("maker_run", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "maker_memo",
        sa.Column("space", sa.LargeBinary, primary_key=True),
        sa.Column("question", sa.LargeBinary, primary_key=True),
        sa.Column("chain", sa.BigInteger, nullable=False),
        sa.Column("idx", _Index, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("calls", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("maker_memo_chain", "maker_memo", ["chain", "idx"])
    op.create_table(
        "maker_memo_use",
        sa.Column("run", _Key, sa.ForeignKey("maker_run.id"), primary_key=True),
        sa.Column("chain", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("idx", _Index, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_index("maker_memo_use_chain", "maker_memo_use", ["chain"])
