"""The writer: one thread that commits what was decided, in groups, and renews the run's lease."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Insert, delete, insert, select, update

from maker.chain import Decided, Stuck
from maker.election import Heard
from maker.errors import LeaseLost
from maker.store import schema
from maker.store.database import Database, retry_locked
from maker.store.lease import LEASE_S, Lease
from maker.store.runs import fenced, inserted
from maker.types import NOTHING, Allowance, RedFlag, Usage

QUEUE_ENTRIES = 64
"""How many reports may wait for the writer before the driver waits too: memory stays bounded."""


class Ending(NamedTuple):
    """How a run stands at the end of this process's work; written with its last steps."""

    status: str
    reason: str
    result: Any


class Entry(NamedTuple):
    """What one report adds to the log: steps in chain order, and what they cost.

    ``grant`` is the reservation that the cost is drawn from. ``abandoned`` closes it and frees what is left of it but
    this much, which requests that were cancelled in flight may cost all the same. ``undecided`` is the step that a
    chain is stuck at, by chain: its samples are kept.
    """

    decided: Sequence[Decided] = ()
    usage: Usage = Usage()
    cost: float = 0.0
    grant: int | None = None
    abandoned: Allowance | None = None
    undecided: tuple[int, Stuck] | None = None
    ending: Ending | None = None


class Journal:
    """Takes entries from the driver and commits them, many in one transaction, in the order they came in.

    ``on_commit`` is called in the writer's thread after each commit with the entries that are now durable: whatever
    is to be seen by others becomes visible there, never before. What it raises stops the run, and is raised by `put`.

    Args:
        database: Where to write.
        lease: The right to write to the run.
        model: The model's name in the ledger.
        on_commit: Called with what was committed.
    """

    def __init__(
        self, database: Database, lease: Lease, *, model: str, on_commit: Callable[[list[Entry]], None]
    ) -> None:
        self._database = database
        self._lease = lease
        self._model = model
        self._on_commit = on_commit
        self._queue: queue.Queue[Entry | None] = queue.Queue(QUEUE_ENTRIES)
        self._failure: Exception | None = None
        self._clock = time.monotonic()
        self._inserts = _compiled(database)
        self._begun: set[int] = set()
        self._thread = threading.Thread(target=self._work, name="maker-journal", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Hand an entry over; blocks while the writer is far behind. Raises what stopped the writer."""
        while True:
            self._raise()
            try:
                self._queue.put(entry, timeout=1.0)
                return
            except queue.Full:
                continue

    def flush(self) -> None:
        """Wait until all that was handed over is committed. Raises what stopped the writer."""
        self._queue.join()
        self._raise()

    def close(self) -> None:
        """Commit what is left and stop the writer. Raises nothing; call `flush` first to hear of failures."""
        self._queue.put(None)
        self._thread.join()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while True:
            entries, last = self._take()
            if self._failure is None and (entries or not last):
                try:
                    self._commit(entries)
                    self._on_commit(entries)
                except Exception as error:  # noqa: BLE001 - the driver raises it; a dead writer would let it wait for ever
                    self._failure = error
            for _ in range(len(entries) + last):
                self._queue.task_done()
            if last:
                return

    def _take(self) -> tuple[list[Entry], bool]:
        """Return all that waits, and whether that was the end; an empty list when only the lease is due."""
        try:
            entries = [self._queue.get(timeout=LEASE_S / 3)]
        except queue.Empty:
            return [], False
        while True:
            try:
                entries.append(self._queue.get_nowait())
            except queue.Empty:
                break
        taken = [entry for entry in entries if entry is not None]
        return taken, len(taken) < len(entries)

    @retry_locked
    def _commit(self, entries: list[Entry]) -> None:
        now = time.monotonic()
        decided = [step for entry in entries for step in entry.decided]
        with self._database.write() as connection:
            fenced(connection, self._lease, **self._changes(decided, entries, now - self._clock))
            self._append(connection, decided)
            self._keep_undecided(connection, entries)
            self._close_chains(connection, entries)
            self._account(connection, entries)
        self._clock = now

    def _changes(self, decided: list[Decided], entries: list[Entry], seconds: float) -> dict[str, Any]:
        run = schema.run.c
        changes: dict[str, Any] = {"wall_s": run.wall_s + seconds}
        if decided:
            changes |= {
                "steps": run.steps + len(decided),
                "votes": run.votes + sum(step.votes for step in decided),
                "red_flags": run.red_flags + sum(step.flags for step in decided),
                "disputed": run.disputed + sum(step.disputed for step in decided),
                "digest": decided[-1].digest,
            }
        for entry in entries:
            if entry.ending is not None:
                status, reason, result = entry.ending
                changes |= {"status": status, "reason": reason, "holder": "", "lease_until": 0.0}
                changes["result"] = None if result is None else json.dumps(result, ensure_ascii=False)
        return changes

    def _close_chains(self, connection: Connection, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.ending is not None:
                stands = {"status": entry.ending.status, "reason": entry.ending.reason}
                connection.execute(update(schema.chain).where(schema.chain.c.run == self._lease.run).values(stands))

    def _append(self, connection: Connection, decided: list[Decided]) -> None:
        if not decided:
            return
        heads: dict[tuple[int, int], tuple[int, Decided]] = {}
        for step in decided:
            first, _ = heads.get((step.chain, step.epoch), (step.idx, step))
            heads[step.chain, step.epoch] = (first, step)
        for (chain, epoch), (first, newest) in heads.items():
            self._advance(connection, chain, epoch, first, newest)
            if chain not in self._begun:
                self._begun.add(chain)
                self._forget_samples(connection, chain, first)
        self._insert(connection, "step", [step[:7] for step in decided])
        self._insert(
            connection,
            "snapshot",
            [(step.chain, step.idx + 1, step.epoch, step.state) for step in decided if step.state],
        )
        rows = [row for step in decided for row in _sample_rows(step.chain, step.idx, step.epoch, step.heard)]
        self._insert(connection, "sample", rows)

    def _keep_undecided(self, connection: Connection, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.undecided is not None:
                chain, stuck = entry.undecided
                self._forget_samples(connection, chain, stuck.idx)
                self._insert(connection, "sample", _sample_rows(chain, stuck.idx, stuck.epoch, stuck.heard))

    def _forget_samples(self, connection: Connection, chain: int, idx: int) -> None:
        """Make room for the samples of a step that was stuck before and has been voted on again."""
        connection.execute(delete(schema.sample).where(schema.sample.c.chain == chain, schema.sample.c.idx == idx))

    def _advance(self, connection: Connection, chain: int, epoch: int, first: int, newest: Decided) -> None:
        """Move a chain's cursor on, if it stands where these steps begin: no step can be written twice."""
        table = schema.chain
        done = connection.execute(
            update(table)
            .where(table.c.id == chain, table.c.epoch == epoch, table.c.cursor == first)
            .values(cursor=newest.idx + 1, digest=newest.digest)
        )
        if done.rowcount != 1:
            found = connection.execute(select(table.c.cursor).where(table.c.id == chain)).scalar()
            raise LeaseLost(
                f"chain {chain} stands at step {found}, not at {first}, where this process left it",
                fix="another process has written to it; `maker show` says how the run stands",
            )

    def _insert(self, connection: Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
        # Tuples straight to the driver's executemany: three times the rows a second of a list of dicts.
        if rows:
            connection.exec_driver_sql(self._inserts[table], rows)

    def _account(self, connection: Connection, entries: list[Entry]) -> None:
        usage = Usage()
        for entry in entries:
            usage = usage.plus(entry.usage)
            self._draw(connection, entry)
        if not any(usage):
            return
        table = schema.ledger
        spent = {name: table.c[name] + amount for name, amount in usage._asdict().items()}
        mine = (table.c.run == self._lease.run, table.c.model == self._model, table.c.role == "vote")
        if connection.execute(update(table).where(*mine).values(spent)).rowcount == 0:
            first = {"run": self._lease.run, "model": self._model, "role": "vote"} | usage._asdict()
            connection.execute(insert(table).values(first))

    def _draw(self, connection: Connection, entry: Entry) -> None:
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
            connection.execute(insert(table).values(run=self._lease.run, settled=False, **left._asdict()))


@retry_locked
def reserve(database: Database, lease: Lease, allowance: Allowance) -> int:
    """Write a grant before it is used; returns its key. Raises `LeaseLost` or `StoreFailed`."""
    with database.write() as connection:
        fenced(connection, lease)
        row = insert(schema.grant).values(run=lease.run, settled=False, **allowance._asdict())
        return inserted(connection, row)


def _compiled(database: Database) -> dict[str, str]:
    tables = {"step": schema.step, "snapshot": schema.snapshot, "sample": schema.sample}
    return {name: _sql(insert(table), database) for name, table in tables.items()}


def _sql(statement: Insert, database: Database) -> str:
    return str(statement.compile(dialect=database.engine.dialect))


def _sample_rows(chain: int, idx: int, epoch: int, samples: Iterable[Heard]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    verdict: tuple[str | None, str | None, str]
    for heard in samples:
        outcome = heard.outcome
        if isinstance(outcome, RedFlag):
            verdict = (None, str(outcome.reason), _unicode(outcome.detail))
        else:
            verdict = (outcome, None, "")
        rows.append((chain, idx, epoch, heard.vote, _unicode(heard.sample.text), heard.sample.tokens, *verdict))
    return rows


def _unicode(text: str) -> str:
    """Return a text that a database takes: what is no Unicode (half a surrogate pair) is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()
