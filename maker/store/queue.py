"""Claims of runs that wait in a queue: many workers, each run worked on by one.

A claim is a line in the run's row of ``maker_queue``. The run's own lease is taken after it, when all that can fail was
tried; a claim whose worker dies before or after is found by `claim`, and the run waits again. On PostgreSQL workers
pass over the rows that others have locked (``SKIP LOCKED``); on SQLite there is one writer at a time.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, func, select, update

from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.backend.texts import stored
from maker.store.backend.upsert import upsert
from maker.store.lease import LEASE_S, alive, this_process
from maker.store.outside import wakes_at
from maker.store.queued import CLAIMED, LEFT, WAITING
from maker.store.runs import OVER, PENDING
from maker.store.sent_batches import next_look

_queued, _run = schema.queued.c, schema.run.c


class QueueLimits(NamedTuple):
    """How many runs of a queue may be in work at once, over all workers: in all, and with one key; None for no limit.

    Runs without a key count in all only.
    """

    runs: int | None = None
    per_key: int | None = None


NO_LIMITS = QueueLimits()


class Claim(NamedTuple):
    """A run that this process has claimed: its key and id, which claim of it this is, and how it stood then.

    ``faults`` have stopped it in a row. ``code`` is a digest of the code of its plugins.
    """

    run: int
    run_id: str
    claims: int
    faults: int
    steps: int
    code: bytes


@retried
def claim(
    database: Database, queue: str, *, limits: QueueLimits = NO_LIMITS, aside: Collection[bytes] = ()
) -> Claim | None:
    """Claim the oldest run of the highest priority that is due; None if there is none, or a limit is met.

    Runs whose worker is gone are among them. Those of the codes ``aside`` are left to others. A claim whose commit was
    lost runs out.
    """
    if not _worth_a_try(database, queue, aside):
        return None
    with database.write() as connection:
        if limits != NO_LIMITS:
            _take_turns(connection, queue)
        _free_abandoned(connection, queue)
        row = _next(connection, queue, limits, aside)
        if row is None:
            return None
        claims = row.claims + 1
        changes = {"state": CLAIMED, "claims": claims, "holder": this_process(), "until": time.time() + LEASE_S}
        connection.execute(update(schema.queued).where(_queued.run == row.run).values(changes))
        return Claim(row.run, row.run_id, claims, row.faults, row.steps, row.code)


@retried
def serve(database: Database, queue: str) -> None:
    """Say, for the time of a lease, that this process serves a queue; forget those who have not said so for longer."""
    table, now = schema.queue_worker, time.time()
    mine = {"queue": queue, "holder": this_process(), "until": now + LEASE_S}
    with database.write() as connection:
        connection.execute(delete(table).where(table.c.queue == queue, table.c.until < now))
        adding = upsert(connection.dialect, table).values(mine)
        connection.execute(
            adding.on_conflict_do_update(index_elements=["queue", "holder"], set_={"until": mine["until"]})
        )


@retried
def serve_no_more(database: Database, queue: str) -> None:
    """Say that this process does not serve a queue any more."""
    table = schema.queue_worker
    with database.write() as connection:
        connection.execute(delete(table).where(table.c.queue == queue, table.c.holder == this_process()))


def keep(database: Database, claims: Sequence[Claim]) -> None:
    """Keep claims from running out while their runs are prepared, which may take longer than a lease. Not repeated."""
    mine = (_queued.run.in_([one.run for one in claims]), _queued.holder == this_process(), _queued.state == CLAIMED)
    with database.write() as connection:
        connection.execute(update(schema.queued).where(*mine).values(until=time.time() + LEASE_S))


@retried
def settle(
    database: Database,
    claim: Claim,
    *,
    again: bool,
    wait_s: float = 0.0,
    faults: int = 0,
    note: str = "",
    asleep: bool = False,
) -> None:
    """End a claim: let the run wait ``again``, for ``wait_s`` seconds at least, or leave it to whoever looks at it.

    One that is ``asleep`` stays paused, and is due when somebody answers or a deadline has passed. A run that is over
    waits for nobody. Does nothing if the claim is not this one any more.
    """
    with database.write() as connection:
        # The run's row first, as in every transaction that changes both.
        query = select(_run.status, _run.holder, _run.lease_until).where(_run.id == claim.run).with_for_update()
        row = connection.execute(query).first()
        if row is None:
            return
        again = again and row.status not in OVER
        changes: dict[str, Any] = {"state": WAITING if again else LEFT, "holder": "", "faults": faults}
        changes |= {"note": stored(note)} | ({"due": time.time() + wait_s} if wait_s else {})
        changes |= {"due": _wakes_at(connection, claim.run)} if asleep else {}
        mine = (_queued.run == claim.run, _queued.claims == claim.claims, _queued.state == CLAIMED)
        ended = connection.execute(update(schema.queued).where(*mine).values(changes)).rowcount
        if ended and again and not asleep and row.status == "paused" and not alive(row.holder, row.lease_until):
            waits = {"status": PENDING, "updated_at": time.time()}
            connection.execute(update(schema.run).where(_run.id == claim.run).values(waits))


def _wakes_at(connection: Connection, run: int) -> float:
    """Return when a run that sleeps has something to go on with: an answer, a deadline, a batch to look at."""
    look_at = next_look(connection, run)
    wakes_s = wakes_at(connection, run)
    return wakes_s if look_at is None else min(wakes_s, look_at)


def _worth_a_try(database: Database, queue: str, aside: Collection[bytes]) -> bool:
    """Say whether a claim may find something, by reading alone: workers that wait must not keep writers waiting."""
    with database.read() as connection:
        if connection.execute(select(_queued.run).where(*_claimable(queue, aside)).limit(1)).first() is not None:
            return True
        return any(not _lives(row) for row in connection.execute(_claimed(queue)))


def _claimable(queue: str, aside: Collection[bytes]) -> Sequence[Any]:
    ready = (_queued.queue == queue, _queued.state == WAITING, _queued.due <= time.time())
    return (*ready, _queued.code.not_in(aside)) if aside else ready


def _claimed(queue: str) -> Any:
    """Return the query of the queue's claims, and when each run was last written to."""
    columns = (_queued.run, _queued.holder, _queued.until, _run.updated_at, _run.status)
    joined = select(*columns).join(schema.run, _run.id == _queued.run)
    return joined.where(_queued.queue == queue, _queued.state == CLAIMED)


def _lives(row: Row[Any]) -> bool:
    # Whoever works on the run writes when it did so last. A worker that lives has a lease's time to settle it then.
    return alive(row.holder, max(row.until, row.updated_at + LEASE_S))


def _take_turns(connection: Connection, queue: str) -> None:
    """Wait until no other worker claims from the queue: two that count at once would both find room."""
    if connection.dialect.name == "postgresql":
        key = int.from_bytes(blake2b(queue.encode(), digest_size=8, person=b"maker-queue").digest(), signed=True)
        connection.execute(select(func.pg_advisory_xact_lock(key)))


def _free_abandoned(connection: Connection, queue: str) -> None:
    """Let runs wait again whose worker is gone."""
    for row in connection.execute(_claimed(queue).with_for_update(skip_locked=True, of=schema.queued)).all():
        if not _lives(row):
            state = LEFT if row.status in OVER else WAITING
            connection.execute(update(schema.queued).where(_queued.run == row.run).values(state=state, holder=""))


def _next(connection: Connection, queue: str, limits: QueueLimits, aside: Collection[bytes]) -> Any:
    """Return the run to claim, locked; None if there is none."""
    in_work = (_queued.queue == queue, _queued.state == CLAIMED)
    if limits.runs is not None:
        count = select(func.count()).select_from(schema.queued).where(*in_work)
        if connection.execute(count).scalar_one() >= limits.runs:
            return None
    wanted = _claimable(queue, aside)
    if limits.per_key is not None:
        counted = select(_queued.key).where(*in_work, _queued.key != "").group_by(_queued.key)
        full = connection.execute(counted.having(func.count() >= limits.per_key)).scalars().all()
        wanted = (*wanted, _queued.key.not_in(full)) if full else wanted
    columns = (_queued.run, _run.run_id, _queued.claims, _queued.faults, _run.steps, _queued.code)
    query = select(*columns).join(schema.run, _run.id == _queued.run).where(*wanted)
    oldest = query.order_by(_queued.rank, _queued.run).limit(1)
    return connection.execute(oldest.with_for_update(skip_locked=True, of=schema.queued)).first()
