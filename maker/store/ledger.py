"""The ledger of what runs spend, and the grants that are reserved before anything is spent."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, FromClause, Table, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql

from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.backend.prepared import Prepared
from maker.store.backend.texts import stored
from maker.store.entry import Entry
from maker.store.lease import Lease
from maker.store.runs import fenced, inserted
from maker.store.sent_batches import hear_batches
from maker.store.shared_limits import SharedLimit, reserve_money, settle_money
from maker.types import NO_USAGE, NOTHING, Account, Allowance, RedFlag, Usage, sum_usage
from maker.voting.policy import JUDGE
from maker.voting.tally import unpack

_ledger, _worker = schema.ledger.c, schema.worker.c


class _SampleCounts(NamedTuple):
    """What became of an account's samples."""

    votes: int
    red_flags: int


_NONE_COUNTED = _SampleCounts(0, 0)
_ADDED = (*Usage._fields, *_SampleCounts._fields)
_SPENT = (
    update(schema.ledger)
    .where(
        _ledger.run == bindparam("of_run"),
        _ledger.model == bindparam("of_model"),
        _ledger.role == bindparam("of_role"),
    )
    .values({name: _ledger[name] + bindparam(f"more_{name}") for name in _ADDED})
)
_DONE = ("steps", "calls", "prompt_tokens", "completion_tokens")
_WORKED = (
    update(schema.worker)
    .where(
        _worker.run == bindparam("of_run"),
        _worker.stint == bindparam("of_stint"),
        _worker.number == bindparam("of_number"),
    )
    .values({name: _worker[name] + bindparam(f"more_{name}") for name in _DONE} | {"gone": bindparam("more_gone")})
)


@retried
def reserve(database: Database, lease: Lease, allowance: Allowance) -> int:
    """Reserve an allowance before it is used; returns the grant's key. Raises `LeaseLost` or `StoreFailed`."""
    with database.write() as connection:
        fenced(connection, lease)
        row = insert(schema.grant).values(run=lease.run, settled=False, **allowance._asdict())
        return inserted(connection, row)


@retried
def reserve_shared(
    database: Database, lease: Lease, allowance: Allowance, *, need: float, most: float, key: str
) -> tuple[int, float] | SharedLimit:
    """Reserve an allowance whose money is taken of a shared limit too: at least ``need``, at most ``most`` of it.

    Returns the grant's key and its money, or the limit that has not so much left. Raises as `reserve` does.
    """
    with database.write() as connection:
        fenced(connection, lease)
        taken = reserve_money(connection, key, allowance.cost, need=need, most=most)
        if isinstance(taken, SharedLimit):
            return taken
        values = allowance._replace(cost=taken.reserved)._asdict()
        row = insert(schema.grant).values(run=lease.run, settled=False, shared=key, **values)
        return inserted(connection, row), taken.usable


def add_spent(rows: FromClause) -> postgresql.Insert:
    """Return PostgreSQL's statement that adds rows to the ledger, each to the line that is there."""
    adding = postgresql.insert(schema.ledger).from_select(list(schema.ledger.c), select(rows))
    sums = {_ledger[name]: _ledger[name] + adding.excluded[name] for name in _ADDED}
    return adding.on_conflict_do_update(index_elements=[_ledger.run, _ledger.model, _ledger.role], set_=sums)


def add_worked(rows: FromClause) -> postgresql.Insert:
    """Return PostgreSQL's statement that adds rows to those of the workers."""
    adding = postgresql.insert(schema.worker).from_select(list(schema.worker.c), select(rows))
    sums = {_worker[name]: _worker[name] + adding.excluded[name] for name in _DONE}
    key = [_worker.run, _worker.stint, _worker.number]
    return adding.on_conflict_do_update(index_elements=key, set_={**sums, _worker.gone: adding.excluded.gone})


class CostRows(NamedTuple):
    """What one transaction adds to the ledger and to the run's workers: rows by the names of their columns."""

    spent: list[dict[str, Any]]
    worked: list[dict[str, Any]]


class Models(NamedTuple):
    """The names of a run's models, by number, and the role of each step class, by number.

    ``judged`` says that the run has a judge.
    """

    names: Sequence[str]
    roles: Sequence[str]
    judged: bool = False


class Accounts:
    """Writes what a run spends, by model and worker, in a transaction that its caller holds.

    Args:
        database: The store.
        run: The run's key.
        resumes: How often the run was resumed before.
        models: The run's models.
    """

    def __init__(self, database: Database, run: int, resumes: int, models: Models) -> None:
        self._run = run
        self._resumes = resumes
        self._models = models
        self._one = len(models.names) == 1 and len(set(models.roles)) == 1 and not models.judged
        self._spent = Prepared(database, _SPENT)
        self._worked = Prepared(database, _WORKED)

    def prepare(self, entries: Sequence[Entry]) -> CostRows:
        """Return what `write` adds for the entries."""
        spent: dict[Account, Usage] = {}
        for entry in entries:
            for account, usage in entry.spent.items():
                spent[account] = spent.get(account, NO_USAGE).plus(usage)
        counted = self._counted(entries)
        rows = [
            {"run": self._run, "model": self._models.names[account.model], "role": account.role}
            | spent.get(account, NO_USAGE)._asdict()
            | counted.get(account, _NONE_COUNTED)._asdict()
            for account in spent.keys() | counted.keys()
        ]
        return CostRows(rows, self._done(entries))

    def write(self, connection: Connection, entries: Sequence[Entry], rows: CostRows) -> None:
        """Add the entries' costs to the ledger, draw them from their grants, and update the workers."""
        for row in rows.spent:
            self._add(connection, self._spent, schema.ledger, ("run", "model", "role"), row)
        for row in rows.worked:
            self._add(connection, self._worked, schema.worker, ("run", "stint", "number"), row)
        self.write_rest(connection, entries)

    def write_rest(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Write what follows from the entries but for the rows of ledger and workers, which are written."""
        for entry in entries:
            if entry.grant is not None:
                _draw(connection, entry)
        self._abandon(connection, entries)
        hear_batches(connection, self._run, (number for entry in entries for number in entry.heard))
        rows = [event.values(self._run, time.time()) for entry in entries for event in entry.events]
        if rows:
            connection.execute(insert(schema.event), rows)

    @staticmethod
    def _add(connection: Connection, adds: Prepared, table: Table, key: Sequence[str], row: Mapping[str, Any]) -> None:
        """Add a row to the one that is there, or insert it."""
        values = {f"of_{name}" if name in key else f"more_{name}": value for name, value in row.items()}
        if adds.execute(connection, values).rowcount == 0:
            connection.execute(insert(table).values(row))

    def _counted(self, entries: Sequence[Entry]) -> dict[Account, _SampleCounts]:
        """Return votes and flagged samples by model and role, those of undecided steps too."""
        found: dict[Account, _SampleCounts] = {}

        def count(account: Account, votes: int, flags: int) -> None:
            before = found.get(account, _NONE_COUNTED)
            found[account] = _SampleCounts(before.votes + votes, before.red_flags + flags)

        for entry in entries:
            if self._one:
                # With one model and role the sums are enough: skip unpacking the tallies.
                count(Account(0, self._models.roles[0]), entry.counts.votes, entry.counts.flags)
            for tally in (unpack(step.tally) for step in entry.steps if step.votes and not self._one):
                for role, one in ((self._models.roles[tally.kind], tally), (JUDGE, tally.judge)):
                    for model, (votes, flags) in enumerate(zip(one.valid, one.flagged, strict=True) if one else ()):
                        count(Account(model, role), votes, flags)
            for account, flags in entry.dropped.items():
                count(account, 0, flags)
            for stuck in (*(one.stuck for one in entry.undecided), *entry.closing):
                votes = len(stuck.heard.samples) - stuck.judged
                for sample in stuck.heard.samples:
                    flagged = isinstance(sample.outcome, RedFlag)
                    count(Account(sample.model, stuck.role if sample.vote < votes else JUDGE), not flagged, flagged)
        return {account: numbers for account, numbers in found.items() if any(numbers)}

    def _done(self, entries: Sequence[Entry]) -> list[dict[str, Any]]:
        """Return what each worker has done, and where and why it is gone, as far as the entries say."""
        by_worker: dict[int, list[Entry]] = {}
        for entry in entries:
            if entry.worker is not None:
                by_worker.setdefault(entry.worker, []).append(entry)
        rows = []
        for worker, its in by_worker.items():
            usage = sum_usage(usage for entry in its for usage in entry.spent.values())
            rows.append(
                {
                    "run": self._run,
                    "stint": self._resumes,
                    "number": worker,
                    "place": next((entry.place for entry in its if entry.place), ""),
                    "steps": sum(entry.counts.decided for entry in its),
                    "calls": usage.calls,
                    "prompt_tokens": usage.prompt_tokens,
                    "completion_tokens": usage.completion_tokens,
                    "gone": stored(next((entry.gone for entry in its if entry.gone), "")),
                }
            )
        return rows

    def _abandon(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Reserve for good what requests cut off or cancelled in flight may have cost."""
        lost = NOTHING
        for entry in entries:
            lost = lost.plus(entry.abandoned)
        if lost != NOTHING:
            connection.execute(insert(schema.grant).values(run=self._run, settled=False, **lost._asdict()))


def _draw(connection: Connection, entry: Entry) -> None:
    """Draw an entry's costs from its grant, in the ledger's transaction: no call is counted twice or lost."""
    table, usage, lost = schema.grant, sum_usage(entry.spent.values()), entry.abandoned
    used = {"calls": usage.calls + lost.calls, "tokens": usage.tokens + lost.tokens, "cost": entry.cost + lost.cost}
    changes: dict[str, Any] = {name: table.c[name] - amount for name, amount in used.items()}
    drawn = update(table).where(table.c.id == entry.grant)
    if not entry.freed:
        connection.execute(drawn.values(changes))
        return
    freed = drawn.values(changes | {"settled": True}).returning(table.c.shared, table.c.cost)
    row = connection.execute(freed).first()
    if row is not None and row.shared is not None:
        settle_money(connection, row.shared, row.cost)
