"""Seals of the rows that a resume reads, and a check sum of each run's counts."""

from __future__ import annotations

import sqlalchemy as sa

from maker.store.backend.operations import Operations

WEIGHTS = {"steps": 1, "votes": 3, "red_flags": 7, "disputed": 31, "reused": 127, "saved": 8191}
SEALED = ("maker_run", "maker_chain", "maker_fork", "maker_outcome", "maker_snapshot", "maker_memo")


def upgrade(op: Operations) -> None:
    """Add the columns. What is stored already has no seal, and is taken as it is; its counts are summed as they are."""
    for name in SEALED:
        op.add_column(name, sa.Column("seal", sa.LargeBinary))
    op.add_column("maker_run", sa.Column("counted", sa.BigInteger, nullable=False, server_default="0"))
    run = op.table("maker_run", "counted", *WEIGHTS)
    op.execute(sa.update(run).values(counted=sum(weight * run.c[name] for name, weight in WEIGHTS.items())))
