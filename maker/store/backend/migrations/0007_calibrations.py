"""Calibrations."""

from __future__ import annotations

import sqlalchemy as sa

from maker.store.backend.operations import Operations

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Add the table of calibrations."""
    op.create_table(
        "maker_calibration",
        sa.Column("id", _Key, primary_key=True),
        sa.Column("made_at", sa.Float, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
