"""What runs spend: the ledger, and the grants that are written before anything is spent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, bindparam, insert, update

from maker.store import schema
from maker.store.database import Database, retried
from maker.store.entry import Entry
from maker.store.lease import Lease
from maker.store.prepared import Prepared
from maker.store.runs import fenced, inserted
from maker.types import NOTHING, Allowance, Usage

_ledger = schema.ledger.c
_SPENT = (
    update(schema.ledger)
    .where(
        _ledger.run == bindparam("of_run"),
        _ledger.model == bindparam("of_model"),
        _ledger.role == bindparam("of_role"),
    )
    .values({name: _ledger[name] + bindparam(f"more_{name}") for name in Usage._fields})
)


@retried
def reserve(database: Database, lease: Lease, allowance: Allowance) -> int:
    """Write a grant before it is used; returns its key. Raises `LeaseLost` or `StoreFailed`."""
    with database.write() as connection:
        fenced(connection, lease)
        row = insert(schema.grant).values(run=lease.run, settled=False, **allowance._asdict())
        return inserted(connection, row)


class Accounts:
    """Writes what a run spends, in a transaction that its caller holds.

    Args:
        database: Where to write.
        run: The run's key.
        model: The model's name in the ledger.
    """

    def __init__(self, database: Database, run: int, model: str) -> None:
        self._mine: dict[str, Any] = {"run": run, "model": model, "role": "vote"}
        self._spent = Prepared(database, _SPENT)

    def write(self, connection: Connection, entries: Iterable[Entry]) -> None:
        """Add what entries cost to the run's ledger, and draw it from their grants."""
        usage = Usage()
        for entry in entries:
            usage = usage.plus(entry.usage)
            _draw(connection, self._mine["run"], entry)
        if not any(usage):
            return
        changes = {f"of_{name}": value for name, value in self._mine.items()}
        changes |= {f"more_{name}": amount for name, amount in usage._asdict().items()}
        if self._spent.execute(connection, changes).rowcount == 0:
            connection.execute(insert(schema.ledger).values(self._mine | usage._asdict()))


def _draw(connection: Connection, run: Any, entry: Entry) -> None:
    """Move what was used from the grant to the ledger: together they never count a call twice or not at all."""
    table, left = schema.grant, entry.abandoned
    if entry.grant is not None:
        if left is None:
            used = {"calls": entry.usage.calls, "tokens": entry.usage.tokens, "cost": entry.cost}
            changes: dict[str, Any] = {name: table.c[name] - amount for name, amount in used.items()}
        else:
            changes = {"settled": left == NOTHING, **left._asdict()}
        connection.execute(update(table).where(table.c.id == entry.grant).values(changes))
    elif left is not None and left != NOTHING:
        connection.execute(insert(table).values(run=run, settled=False, **left._asdict()))
