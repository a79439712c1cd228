"""What each model of a pool and each worker did, and what happened to a run."""

from __future__ import annotations

import sqlalchemy as sa

from maker.store.backend.operations import Operations

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Count more in the ledger, name each sample's model, and add tables of workers and events."""
    for name in ("cached_tokens", "retries", "untold", "votes", "red_flags"):
        op.add_column("maker_ledger", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    _name_the_solver(op)
    op.add_column("maker_sample", sa.Column("model", sa.Integer, nullable=False, server_default="0"))
    op.add_column("maker_sample", sa.Column("logprob", sa.Float))
    op.create_table(
        "maker_worker",
        sa.Column("run", _Key, sa.ForeignKey("maker_run.id"), primary_key=True),
        sa.Column("stint", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("steps", sa.BigInteger, nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("gone", sa.Text, nullable=False),
    )
    op.create_table(
        "maker_event",
        sa.Column("id", _Key, primary_key=True),
        sa.Column("run", _Key, sa.ForeignKey("maker_run.id"), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
    )
    op.create_index("maker_event_run", "maker_event", ["run"])


def _name_the_solver(op: Operations) -> None:
    """Give the one line that a run's ledger had the role of today, and the votes and flags of its decided steps.

    Those of steps that were undecided or superseded then were counted nowhere.
    """
    counts = ("votes", "red_flags")
    ledger = op.table("maker_ledger", "run", "role", *counts)
    run = op.table("maker_run", "id", *counts)
    of_it = {name: sa.select(run.c[name]).where(run.c.id == ledger.c.run).scalar_subquery() for name in counts}
    op.execute(ledger.update().where(ledger.c.role == "vote").values(role="solver", **of_it))
