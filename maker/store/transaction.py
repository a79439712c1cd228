"""What a journal writes in one transaction, alone or together with those of other runs.

Alone, the first statement checks the run's fence, and what follows waits for that. Together on PostgreSQL, where each
statement costs a round trip, one statement writes what nearly every transaction consists of: marks, cursors, steps and
what they cost, of all runs. On SQLite the runs are written one after the other.

Where anything is not as it should be, nothing is written of any run. Each is written alone then: so one run never hurts
another, and who is to blame hears of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Float,
    LargeBinary,
    Select,
    Table,
    Text,
    Update,
    func,
    insert,
    select,
    update,
)

from maker.errors import LeaseLost
from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.backend.given import Given, Types, many_rows, one_row, together
from maker.store.backend.prepared import Prepared
from maker.store.backend.texts import stored
from maker.store.batch import MOVE, LogRows, LogWriter, advance
from maker.store.entry import Ending, Entry, sum_counts
from maker.store.lease import LEASE_S, Lease
from maker.store.ledger import Accounts, CostRows, add_spent, add_worked
from maker.store.runs import fenced, lost_run
from maker.store.seals import weighed

MOST_ROWS = 100
"""A transaction of more rows is written alone: others would wait for it."""
_run, _chain, _step = schema.run.c, schema.chain.c, schema.step.c
_ADDED = ("steps", "votes", "red_flags", "disputed", "reused", "saved", "counted")
_MARK: Types = {
    "of_run": BigInteger(), "of_fence": BigInteger(), "after": BigInteger(), "number": BigInteger(), "now": Float(),
    "until": Float(), "seconds": Float(), "newest": LargeBinary(), "noted": Text(),
    **{f"more_{name}": BigInteger() for name in _ADDED},
}  # fmt: skip


def _marks(given: Given) -> Update:
    """Return what renews the lease of a run and adds to its counts, if its fence and its batch are as they were."""
    return (
        update(schema.run)
        .where(_run.id == given["of_run"], _run.fence == given["of_fence"], _run.batch == given["after"])
        .values(
            updated_at=given["now"],
            lease_until=given["until"],
            batch=given["number"],
            wall_s=_run.wall_s + given["seconds"],
            digest=func.coalesce(given["newest"], _run.digest),
            monitor=func.coalesce(given["noted"], _run.monitor),
            **{name: _run[name] + given[f"more_{name}"] for name in _ADDED},
        )
    )


_MARKED = _marks(one_row(_MARK)).returning(_run.asked)


def _all_at_once() -> Select[Any]:
    """Return the statement that writes marks, cursors, steps and costs of many runs.

    It gives a row for each run that was marked: its key, what was asked of it, and how many cursors were moved in all.
    """
    marks = _marks(many_rows("marks", _MARK).c).returning(_run.id, _run.asked).cte("marked")
    moves = advance(many_rows("moves", MOVE).c).returning(_chain.id).cte("moved")
    steps = insert(schema.step).from_select(list(_step), select(many_rows("steps", _types(schema.step))))
    spent = add_spent(many_rows("spent", _types(schema.ledger)))
    worked = add_worked(many_rows("worked", _types(schema.worker)))
    moved = select(func.count()).select_from(moves).scalar_subquery()
    others = (steps.cte("stepped"), spent.cte("paid"), worked.cte("toiled"))
    return select(marks.c.id, marks.c.asked, moved).add_cte(*others)


def _types(table: Table) -> Types:
    return {column.key: column.type for column in table.columns}


_TOGETHER = _all_at_once()


@dataclass(slots=True)
class RunTransaction:
    """What the journal of a run writes in one transaction.

    ``asked`` is what another process has asked of the run, once this is written.

    Args:
        database: The store.
        lease: The right to write to the run.
        batch: How many transactions the run's journals have written before.
        entries: What is written.
        mark: What becomes of the run's row, by the names of the statement's values.
        log: Writes ``rows``, what the entries add to the log.
        accounts: Writes ``costs``, what they add to the ledger.
    """

    database: Database
    lease: Lease
    batch: int
    entries: Sequence[Entry]
    mark: dict[str, Any]
    log: LogWriter
    rows: LogRows
    accounts: Accounts
    costs: CostRows
    asked: str | None = None

    @property
    def joins(self) -> bool:
        """Whether it may be written together with those of other runs: it is small, and begins no chain."""
        rows = self.rows
        most = len(rows.steps) + len(rows.samples) + len(rows.missed)
        return self.log.joins and most <= MOST_ROWS and not (rows.chains or rows.forks)


def run_mark(
    lease: Lease, batch: int, entries: Sequence[Entry], *, root: int, seconds: float, noted: str | None
) -> dict[str, Any]:
    """Return what becomes of a run's row: ``root`` is its root chain, ``noted`` the vote monitor's state if it has one.

    ``seconds`` have passed since the transaction before.
    """
    now = time.time()
    counts = sum_counts(entry.counts for entry in entries)
    own = (step for entry in reversed(entries) for step in reversed(entry.decided) if step.chain == root)
    newest = next(own, None)
    more = {
        "steps": counts.decided, "votes": counts.votes, "red_flags": counts.flags, "disputed": counts.disputed,
        "reused": counts.reused, "saved": counts.saved,
    }  # fmt: skip
    return {
        "of_run": lease.run,
        "of_fence": lease.fence,
        "now": now,
        "until": now + LEASE_S,
        "after": batch,
        "number": batch + 1,
        "seconds": seconds,
        "newest": None if newest is None else newest.digest,
        "more_counted": weighed(more),
        "noted": noted,
        **{f"more_{name}": count for name, count in more.items()},
    }


@retried
def write_alone(one: RunTransaction) -> None:
    """Write a transaction, unless it has taken place already. Raises `LeaseLost` or `StoreFailed`."""
    with one.database.write() as connection:
        if _mark(connection, one):
            one.log.write(connection, one.rows)
            one.accounts.write(connection, one.entries, one.costs)


def write_together(several: Sequence[RunTransaction]) -> None:
    """Write what several runs of one database have, in one transaction.

    Raises:
        LeaseLost: One of the runs or chains is not as its process left it.
        StoreFailed: The database takes nothing.
    """
    with several[0].database.write() as connection:
        if connection.dialect.name != "postgresql":
            for one in several:
                if not _mark(connection, one):
                    raise _other_state()
                one.log.write(connection, one.rows)
                one.accounts.write(connection, one.entries, one.costs)
            return
        _write_at_once(connection, several)
        for one in several:
            one.log.write_rest(connection, one.rows)
            one.accounts.write_rest(connection, one.entries)
            _end(connection, one)


def _write_at_once(connection: Connection, several: Sequence[RunTransaction]) -> None:
    moves = [move for one in several for move in one.rows.moves]
    columns = schema.step.columns.keys()
    values = (
        together("marks", [one.mark for one in several])
        | together("moves", moves)
        | together("steps", [dict(zip(columns, row, strict=True)) for one in several for row in one.rows.steps])
        | together("spent", [row for one in several for row in one.costs.spent])
        | together("worked", [row for one in several for row in one.costs.worked])
    )
    found = [tuple(row) for row in Prepared(several[0].database, _TOGETHER).execute(connection, values)]
    asked = {run: word for run, word, _ in found}
    if len(asked) != len(several) or any(moved != len(moves) for *_, moved in found):
        raise _other_state()
    for one in several:
        one.asked = asked[one.lease.run]


def _other_state() -> LeaseLost:
    return LeaseLost(
        "one of several runs is not as this process left it", fix="see the state of the runs with `maker ls`"
    )


def _mark(connection: Connection, one: RunTransaction) -> bool:
    """Renew the lease and update the run's row, if the run is still ours. Raises `LeaseLost`.

    Returns False if this transaction has taken place already: its connection was lost after the commit.
    """
    asked = Prepared(one.database, _MARKED).execute(connection, one.mark).scalar()
    if asked is None:
        query = select(_run.batch, _run.fence).where(_run.id == one.lease.run)
        if connection.execute(query).first() == (one.batch + 1, one.lease.fence):
            return False
        raise lost_run(connection, one.lease, one.batch)
    one.asked = asked
    _end(connection, one)
    return True


def _end(connection: Connection, one: RunTransaction) -> None:
    for entry in one.entries:
        if entry.ending is not None:
            fenced(connection, one.lease, **_ended(entry.ending))


def _ended(ending: Ending) -> dict[str, Any]:
    result = None if ending.result is None else json.dumps(ending.result)
    free = {"holder": "", "lease_until": 0.0}
    return {"status": ending.status, "reason": stored(ending.reason), "result": result} | free
