"""Opens forks again as the store holds them, for a run that goes on."""

from __future__ import annotations

from collections import deque
from typing import Any

from maker.engine.open_fork import OpenFork
from maker.engine.recovery import RecoveryPoint, rows, unfinished
from maker.plugin import Decomposer
from maker.store.backend.database import Database
from maker.store.chains import count_children
from maker.voting.forks import is_outside, opened


def reopen(database: Database, decomposer: Decomposer[Any, Any], point: RecoveryPoint) -> OpenFork:
    """Return the fork that a chain waits at. Its unfinished chains are restored one by one, as they are asked for."""
    row = point.fork
    assert row is not None  # noqa: S101 - the caller has looked
    broken, _ = opened(decomposer, point.at)
    fork = OpenFork(
        point.at, row.children, single=row.single, lenient=broken.missed is not None, outside=is_outside(broken)
    )
    fork.joined, fork.folded, fork.digest = row.joined, row.state, row.digest
    if not row.single:
        fork.next, fork.finished = count_children(database, row)
        fork.again = unfinished(database, decomposer, row, point.at)
        return fork
    found = rows(database, row, point.at.path, lenient=fork.lenient)
    fork.rows, fork.settled, fork.ahead, fork.next = found.chain.key, found.cursor, found.ahead, found.next
    fork.finished, fork.missed = found.finished, found.missed
    while fork.settled in fork.ahead:
        fork.ahead.remove(fork.settled)
        fork.settled += 1
    fork.again_rows = deque(found.again)
    fork.first_wrong = min(found.wrong, default=row.children)
    fork.wrong, fork.refused = found.wrong, found.refused
    return fork
