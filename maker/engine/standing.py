"""Finds where a run stands: its newest snapshot, and the few actions after it."""

from __future__ import annotations

from typing import Any

from maker.chain import ChainAt
from maker.errors import TaskFailed
from maker.plugin import Decomposer
from maker.store.database import Database
from maker.store.log import newest_snapshot, read_steps
from maker.store.runs import ChainRow


def standing(database: Database, chain: ChainRow, decomposer: Decomposer[Any, Any]) -> ChainAt:
    """Return the place that a chain goes on from. Reads one snapshot and the steps after it, never the history."""
    snapshot = newest_snapshot(database, chain.key, chain.cursor)
    try:
        state = decomposer.state.read(snapshot.state)
        for step in read_steps(database, chain.key, snapshot.idx, chain.cursor):
            state = decomposer.apply(state, decomposer.action.read(step.action))
        text = decomposer.state.write(state)
    except Exception as error:
        raise TaskFailed(
            f"the state before step {chain.cursor} cannot be rebuilt from the snapshot at {snapshot.idx}: {error!r}",
            fix="`maker verify` names the first bad step",
        ) from error
    return ChainAt(chain.key, chain.path, chain.cursor, chain.epoch, chain.digest, text)
