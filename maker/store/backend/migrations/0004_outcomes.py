"""Outcomes of single steps: undecided, impossible to ask, or ended wrong."""

from __future__ import annotations

from maker.store.backend.operations import Operations

RENAMED = {"failed": "wrong", "rejected": "refused"}


def upgrade(op: Operations) -> None:
    """Give the outcomes that were there before their names of today."""
    table = op.table("maker_outcome", "outcome")
    for before, after in RENAMED.items():
        op.execute(table.update().where(table.c.outcome == before).values(outcome=after))
