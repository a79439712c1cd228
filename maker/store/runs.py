"""Create, find, list, lease and release runs."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import (
    Connection,
    Float,
    Insert,
    Row,
    RowMapping,
    Select,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from maker.errors import LeaseLost, RunHeld, RunNotFound, RunNotResumable, StoreFailed
from maker.store.backend import schema
from maker.store.backend.database import Database, retried
from maker.store.backend.texts import stored
from maker.store.backend.upsert import upsert
from maker.store.chains import chain_values, first_chain
from maker.store.code import (
    CODE_CHANGED,
    CodeChange,
    CodePlace,
    NewCode,
    Source,
    read_changes,
    read_sources,
    write_change,
    write_sources,
)
from maker.store.entry import StoredEvent
from maker.store.lease import LEASE_S, Lease, alive, describe, this_process
from maker.store.queued import Queued, QueuePlace, leave, place_values, read_queued, recode, why_pending
from maker.store.seals import COUNTED, asked_digest, run_seal, snapshot_seal, weighed
from maker.types import Allowance, InputPart, Usage, sum_usage

ACTIVE = "running"
PENDING = "pending"
"""The status of a run that nobody has begun, or that waits for a worker to go on with it."""
LAST = "last"
"""Stands, wherever a run's id is expected, for the newest run that the user started."""
PILOT, WAY, FORESIGHT, COMPARISON = "pilot of ", "way of the pilot of ", "foresight of ", "comparison of "
"""How the names of runs begin that maker starts for itself: pilots, runs that lead to their steps, precomputations,
and what a comparison asks."""
MOST_NAMED = 5
"""So many runs are named at most where a word stands for several."""
LONGER = 128
"""Characters that no run's id has: a longer word begins none, and databases bound the patterns they compare with."""
CANCELLED = "cancelled"
NOT_STARTED = "not started yet"
"""Why a run is paused that was made and not worked on."""
PAGE = 50
"""Runs that a listing reads at a time."""
CANCEL = "cancel"
PRUNING = "pruning"
RESTORE = "restore the database from a backup, or start a new run; `maker ls` shows the others"
OVER = ("done", "failed", CANCELLED, PRUNING)


R = TypeVar("R", bound="ListedRun")


class AccountRow(NamedTuple):
    """A line of the ledger: what a model cost in a role, and how many of its samples were votes or flagged."""

    model: str
    role: str
    usage: Usage
    votes: int
    red_flags: int


@dataclass(frozen=True, slots=True)
class ListedRun:
    """One run, without its code. ``key`` is its integer key, ``run_id`` its public id; JSON columns are parsed.

    ``accounts`` are the lines of the ledger. ``reserved`` was granted and never settled, and counts as spent. A run
    that was forked from another has that run's id and the step. ``monitor`` is the state of `maker.store.vote_monitor`.
    ``reused`` of its steps were taken from the memo; they took ``saved`` samples when they were decided, and ``cited``
    distinct decisions of other runs are among them. ``fence`` and ``batch`` are those of the last lease: as long as a
    run has both, nobody has decided anything in it. ``begun`` is a digest of what it was asked to do, None where that
    is not known. ``queued`` is its place in a queue, as long as the run is not over. ``counted`` is false where a count
    is not as it was written.
    """

    key: int
    run_id: str
    name: str
    status: str
    reason: str
    created_at: float
    updated_at: float
    settings: dict[str, Any]
    fingerprint: dict[str, Any]
    classes: tuple[str, ...]
    result: Any
    steps: int
    votes: int
    red_flags: int
    disputed: int
    digest: bytes
    wall_s: float
    resumes: int
    accounts: tuple[AccountRow, ...]
    reserved: Allowance
    forked_from: str | None
    forked_at: int | None
    monitor: str = ""
    reused: int = 0
    saved: int = 0
    cited: int = 0
    fence: int = 0
    batch: int = 0
    holder: str = ""
    lease_until: float = 0.0
    counted: bool = True
    begun: bytes | None = None
    queued: Queued | None = None

    @property
    def distinct(self) -> int:
        """How many distinct decisions the run's steps use, at most."""
        return self.steps - self.reused + self.cited

    @property
    def usage(self) -> Usage:
        """The run's total usage."""
        return sum_usage(account.usage for account in self.accounts)


@dataclass(frozen=True, slots=True)
class RunRow(ListedRun):
    """One run, with its code.

    ``sources`` are the files of code that it is pinned to, by their paths; ``changes`` say where it went on with other
    code: its fingerprint is that of the code it has now. ``sealed`` is false where settings, fingerprint, classes or
    changes are not as they were written.
    """

    sealed: bool = True
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    changes: tuple[CodeChange, ...] = ()

    @property
    def first_fingerprint(self) -> dict[str, Any]:
        """The fingerprint that it began with: its first step is linked to it."""
        return self.changes[0].fingerprint if self.changes else self.fingerprint


@dataclass(frozen=True, slots=True)
class NewRun:
    """The values of a new run. ``state`` is the root chain's first state, ``digest`` what its first step links to.

    A run forked from another continues chain ``base`` from step ``base_idx``. ``parts`` are the input files that it
    reads, ``events`` what is kept of its beginning. ``sources`` are the files of code that it is pinned to.
    ``before`` is the fingerprint of a run that it continues with other code.
    """

    name: str
    settings: dict[str, Any]
    fingerprint: dict[str, Any]
    classes: tuple[str, ...]
    digest: bytes
    state: str
    base: int | None = None
    base_idx: int = 0
    parts: tuple[InputPart, ...] = ()
    events: tuple[StoredEvent, ...] = ()
    sources: tuple[Source, ...] = ()
    before: dict[str, Any] | None = None


class Standing(NamedTuple):
    """How a new run stands: its status, and who holds it. Nobody has worked yet on one whose ``fence`` is 0."""

    status: str
    reason: str = ""
    fence: int = 1
    holder: str = ""
    until: float = 0.0


class Executes(Protocol):
    """A connection, as far as a new run needs one."""

    @property
    def dialect(self) -> Any:
        """The database's dialect."""

    def execute(self, statement: Any, parameters: Any = None, /) -> Any:
        """Execute a statement."""


def create_run(database: Database, new: NewRun, *, work: bool = True) -> tuple[str, Lease]:
    """Write a new run with its root chain and first snapshot. Returns its id and the right to write to it.

    With ``work`` this process holds it; else it is paused, and waits for a resume. Raises `RunNotFound` if the run
    that it continues is being deleted.
    """
    run_id = new_id()
    return run_id, Lease(_created(database, run_id, new, work=work), 1)


def new_id() -> str:
    """Return an id for a new run: the time in UTC, and six digits of chance."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(3)


@retried
def _created(database: Database, run_id: str, new: NewRun, *, work: bool) -> int:
    held = Standing(ACTIVE, holder=this_process(), until=time.time() + LEASE_S)
    with database.write() as connection:
        if new.base is not None:
            _needs(connection, new.base)
        key = write_run(connection, run_id, new, held if work else Standing("paused", NOT_STARTED))
        # Else the connection was lost at the commit, but the commit took place: the existing row is ours.
        found = select(schema.run.c.id).where(schema.run.c.run_id == run_id)
        return int(connection.execute(found).scalar_one()) if key is None else key


def write_run(
    connection: Executes, run_id: str, new: NewRun, standing: Standing, place: QueuePlace | None = None
) -> int | None:
    """Write a new run, and its place in a queue; returns its key, None if there is a run of that id already."""
    now = time.time()
    settings, fingerprint, classes = _ordered(new.settings), _json(new.fingerprint), _json(new.classes)
    adding = upsert(connection.dialect, schema.run).on_conflict_do_nothing(index_elements=["run_id"])
    added = connection.execute(
        adding.returning(schema.run.c.id).values(
            run_id=run_id, name=new.name, status=standing.status, reason=standing.reason, created_at=now,
            updated_at=now, settings=settings, fingerprint=fingerprint, classes=classes,
            steps=0, votes=0, red_flags=0, disputed=0, digest=new.digest, wall_s=0.0, resumes=0,
            fence=standing.fence, holder=standing.holder, lease_until=standing.until, asked="", batch=0, counted=0,
            seal=run_seal(run_id, settings, fingerprint, classes), begun=asked_digest(new.settings),
        )
    ).scalar()  # fmt: skip
    if added is None:
        return None
    key = int(added)
    root = chain_values(
        id=first_chain(key), run=key, cursor=new.base_idx, digest=new.digest, base=new.base, base_idx=new.base_idx
    )
    connection.execute(insert(schema.chain).values(root))
    snapshot = {"chain": root["id"], "idx": new.base_idx, "epoch": 0, "state": new.state}
    snapshot |= {"seal": snapshot_seal(root["id"], new.base_idx, 0, new.digest, new.state)}
    connection.execute(insert(schema.snapshot).values(snapshot))
    if new.parts:
        rows = [{"run": key, "number": number, **part._asdict()} for number, part in enumerate(new.parts)]
        connection.execute(insert(schema.input_part), rows)
    if new.events:
        connection.execute(insert(schema.event), [one.values(key, now) for one in new.events])
    write_sources(connection, key, new.sources)
    if new.before is not None:
        change = CodeChange(key, 0, now, new.before, root["id"], {root["id"]: CodePlace(new.base_idx, 0)})
        digest = write_change(connection, change, new.fingerprint)
        connection.execute(update(schema.run).where(schema.run.c.id == key).values(digest=digest))
    if place is not None:
        connection.execute(insert(schema.queued).values(place_values(key, place)))
    return key


def read_parts(database: Database, run: int) -> tuple[InputPart, ...]:
    """Return the input files of a run as they were when it began. Raises `StoreFailed` if a record is missing."""
    table = schema.input_part.c
    columns = [table[name] for name in InputPart._fields]
    rows = database.fetch(select(table.number, *columns).where(table.run == run).order_by(table.number))
    if [row[0] for row in rows] != list(range(len(rows))):
        raise StoreFailed(
            f"{database.shown}: run {run}: the record of one of its input files is missing",
            fix="restore it from a backup",
        )
    return tuple(InputPart(*row[1:]) for row in rows)


def read_workers(database: Database, run: int) -> list[dict[str, Any]]:
    """Return the rows of a run's workers, by session and number; ``stint`` is the older name of ``session``."""
    table = schema.worker.c
    columns = [column for column in table if column.name != "run"]
    query = select(*columns).where(table.run == run).order_by(table.stint, table.number)
    rows = (dict(zip([column.name for column in columns], row, strict=True)) for row in database.fetch(query))
    return [{"session": row["stint"], **row} for row in rows]


def read_events(database: Database, run: int) -> list[dict[str, Any]]:
    """Return the events of a run in order: ``at`` (seconds since 1970), ``kind``, and the facts.

    The place of a wait or an effect, which its event calls ``at``, is ``step`` here.
    """
    table = schema.event.c
    query = select(table.at, table.kind, table.facts).where(table.run == run).order_by(table.id)
    found = ((at, kind, json.loads(facts)) for at, kind, facts in database.fetch(query))
    return [
        {"at": at, "kind": kind} | {("step" if name == "at" else name): fact for name, fact in facts.items()}
        for at, kind, facts in found
    ]


@retried
def add_event(database: Database, run: int, event: StoredEvent) -> bool:
    """Add an event to a run that nobody need work on; False if it has the very same one already.

    Raises:
        RunNotFound: It was deleted meanwhile.
    """
    table, values = schema.event.c, event.values(run, time.time())
    with database.write() as connection:
        state = select(schema.run.c.status).where(schema.run.c.id == run).with_for_update()
        if connection.execute(state).scalar() in (None, PRUNING):
            raise RunNotFound("the run is being deleted", fix="list the runs with `maker ls`")
        same = select(table.id).where(table.run == run, table.kind == event.kind, table.facts == values["facts"])
        if connection.execute(same).first() is not None:
            return False
        connection.execute(insert(schema.event).values(values))
    return True


def _needs(connection: Connection, base: int) -> None:
    """Lock a chain's run against deletion: a deleting process waits for this transaction, and then sees the fork."""
    run, chain = schema.run, schema.chain
    query = select(run.c.status).join(chain, chain.c.run == run.c.id).where(chain.c.id == base)
    if connection.execute(query.with_for_update(read=True, of=run)).scalar() in (None, PRUNING):
        raise RunNotFound("the run to be forked is being deleted", fix="list the runs with `maker ls`")


def take_over(
    database: Database,
    run: RunRow,
    settings: dict[str, Any],
    *,
    claims: int | None = None,
    sources: Sequence[Source] = (),
    code: NewCode | None = None,
) -> Lease:
    """Take a run's lease for this process, count a resume, and store the settings in effect.

    From now on the run is pinned to ``sources``, where there are any, and goes on with ``code``.

    Whoever held the run writes nothing more. So whatever can fail is tried before, with the run as ``run`` says.
    ``claims`` is the number of the claim of a queue's worker. Without it the run leaves its queue.

    Raises:
        RunHeld: Another process works on it, or has since ``run`` was read.
        RunNotResumable: It has ended meanwhile.
        RunNotFound: It was deleted meanwhile.
    """
    taken: list[Lease] = []

    @retried
    def attempt() -> Lease:
        with database.write() as connection:
            row = locked_row(connection, run)
            if taken and (row["fence"], row["holder"]) == (taken[0].fence, this_process()):
                # The connection was lost at the commit, but the commit took place.
                return taken[0]
            _take_from_queue(connection, run, claims)
            lease = _take(connection, run, row, settings, code)
            write_sources(connection, run.key, sources)
            taken[:] = [lease]
        return taken[0]

    return attempt()


def taken_over(run: RunRow, lease: Lease, settings: dict[str, Any]) -> RunRow:
    """Return a run's row as `take_over` has left it, of a run that goes on with the code that it had."""
    now = time.time()
    return replace(
        run, status=ACTIVE, reason="", fence=lease.fence, holder=this_process(), lease_until=now + LEASE_S,
        updated_at=now, resumes=run.resumes + (run.fence > 0), settings=json.loads(_ordered(settings)), sealed=True,
    )  # fmt: skip


def _take_from_queue(connection: Connection, run: RunRow, claims: int | None) -> None:
    if claims is None:
        leave(connection, run.key)
    elif (found := read_queued(connection, run.key)) is None or found.claims != claims:
        raise RunHeld(
            f"another worker has claimed run {run.run_id} since", fix="leave it to that one", run_id=run.run_id
        )


def locked_row(connection: Connection, run: RunRow) -> RowMapping:
    """Return a run's row, locked until the transaction ends. Raises `RunNotFound`."""
    query = select(schema.run).where(schema.run.c.id == run.key).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise RunNotFound(
            f"run {run.run_id} was deleted meanwhile", fix="list the runs with `maker ls`", run_id=run.run_id
        )
    return row


def refuse_held(run_id: str, holder: str, lease_until: float, seen_at: float) -> None:
    """Raise `RunHeld` if a process works on a run; ``seen_at`` is when it last wrote to it."""
    if alive(holder, lease_until):
        seen_s = max(0.0, time.time() - seen_at)
        raise RunHeld(
            f"{describe(holder)} is working on run {run_id}, seen {seen_s:.0f} s ago",
            fix="wait for it, or end that process; if it died, the run is free at once on its own machine, "
            f"elsewhere after {LEASE_S:.0f} s",
            run_id=run_id,
        )


def refuse_newer(run: RunRow, fence: int, batch: int) -> None:
    """Raise `RunHeld` if a process has worked on a run since ``run`` was read: the run has another fence or batch."""
    if (fence, batch) != (run.fence, run.batch):
        raise RunHeld(
            f"another process has worked on run {run.run_id} since this one read it",
            fix="see its state with `maker show`, then give the command again",
            run_id=run.run_id,
        )


def _take(
    connection: Connection, run: RunRow, row: RowMapping, settings: dict[str, Any], code: NewCode | None
) -> Lease:
    now = time.time()
    refuse_held(run.run_id, row["holder"], row["lease_until"], row["updated_at"])
    refuse_over(run.run_id, row["status"])
    refuse_newer(run, row["fence"], row["batch"])
    fence, text = row["fence"] + 1, _ordered(settings)
    changes: dict[str, Any] = {"fingerprint": row["fingerprint"], "classes": row["classes"]}
    if code is not None:
        changes = {"fingerprint": _json(code.fingerprint), "classes": _json(code.classes)}
        if (digest := write_change(connection, code.change, code.fingerprint)) is not None:
            changes["digest"] = digest
        told = StoredEvent(CODE_CHANGED, code.facts)
        connection.execute(insert(schema.event).values(told.values(run.key, now)))
        connection.execute(delete(schema.source).where(schema.source.c.run == run.key))
        recode(connection, run.key, code.digest)
    connection.execute(
        update(schema.run)
        .where(schema.run.c.id == run.key)
        .values(
            **changes, fence=fence, holder=this_process(), lease_until=now + LEASE_S, status=ACTIVE, reason="",
            resumes=row["resumes"] + (row["fence"] > 0), updated_at=now, settings=text, asked="",
            seal=run_seal(row["run_id"], text, changes["fingerprint"], changes["classes"]),
        )
    )  # fmt: skip
    return Lease(run.key, fence, row["batch"])


def refuse_over(run_id: str, status: str, fix: str = "start a new run") -> None:
    """Raise `RunNotResumable` for a run that has ended."""
    if status in OVER:
        raise RunNotResumable(f"run {run_id} is {status} already, so it cannot be resumed", fix=fix)


def fenced(connection: Connection, lease: Lease, **changes: Any) -> str:
    """Renew the lease and update the run's row if the run is still ours; must be the first statement of a transaction.

    Returns what another process has asked of the run. Raises `LeaseLost`, which rolls the transaction back.
    """
    now = time.time()
    asked: str | None = connection.execute(
        update(schema.run)
        .where(schema.run.c.id == lease.run, schema.run.c.fence == lease.fence)
        .values({"updated_at": now, "lease_until": now + LEASE_S} | changes)
        .returning(schema.run.c.asked)
    ).scalar()
    if asked is None:
        raise lost_run(connection, lease)
    return asked


def renew(database: Database, lease: Lease) -> None:
    """Renew a lease that has half run out. Does nothing if it has not, or if the run is no longer this process's."""
    table, now = schema.run.c, time.time()
    due = (
        table.id == lease.run,
        table.fence == lease.fence,
        table.holder == this_process(),
        table.lease_until < now + LEASE_S / 2,
    )
    with database.read() as connection:
        if connection.execute(select(table.id).where(*due)).first() is None:
            return
    with database.write() as connection:
        connection.execute(update(schema.run).where(*due).values(updated_at=now, lease_until=now + LEASE_S))


def lost_run(connection: Connection, lease: Lease, batch: int = 0) -> LeaseLost | StoreFailed:
    """Return the error for a process whose run is not as it left it, ``batch`` transactions after it was created."""
    table = schema.run.c
    row = connection.execute(select(table.fence, table.batch).where(table.id == lease.run)).first()
    if row is not None and (row.fence < lease.fence or (row.fence == lease.fence and row.batch < batch)):
        commits = f" (it knows {row.batch:,} of {batch:,} commits)" if row.batch < batch else ""
        return StoreFailed(
            "the database no longer holds what this run has committed: it is a replica that lags behind, or was "
            f"restored from a backup{commits}",
            fix="connect to the primary server (`target_session_attrs=read-write` in the URL finds it among several "
            "hosts), then continue with `maker resume`",
        )
    return LeaseLost(
        "another process has taken over this run; this process has written nothing since",
        fix="see the state of the run with `maker show`",
    )


@retried
def release(database: Database, lease: Lease, status: str, reason: str) -> None:
    """Store a run's status and give its lease back. Raises `LeaseLost` or `StoreFailed`."""
    with database.write() as connection:
        fenced(connection, lease, status=status, reason=stored(reason), holder="", lease_until=0.0)


@retried
def find_run(database: Database, name: str, *, exact: bool = False) -> RunRow:
    """Return a run by its id, its name, the first characters of its id, or ``last``: every RUN that a user gives.

    ``last`` is the newest run that the user started: no pilot, no precomputation and no comparison. A whole id comes
    before all else. With ``exact`` only a whole id or name will do: what ends or deletes a run must not take another
    one by a slip.

    Raises:
        RunNotFound: There is no such run; or there are several, which are named.
    """
    if not name.strip():
        # Every id begins with "": what is empty by a slip, such as an unset variable, must name no run.
        raise RunNotFound("the run's id is empty", fix="list the runs with `maker ls`", run_id=name)
    run = schema.run.c
    query = select(schema.run).order_by((run.run_id == name).desc(), run.id.desc()).limit(MOST_NAMED + 1)
    if name == LAST:
        own = (run.name.startswith(begin, autoescape=True) for begin in (PILOT, WAY, FORESIGHT, COMPARISON))
        query = query.where(~or_(*own)).limit(1)
    else:
        query = query.where((run.name == name) | run.run_id.startswith(name[:LONGER], autoescape=True))
    with database.read() as connection:
        rows = connection.execute(query).mappings().all()
        if not rows:
            what = "no run that you started" if name == LAST else f"no run {name!r}"
            raise RunNotFound(f"{database.shown} holds {what}", fix="list the runs with `maker ls`", run_id=name)
        if len(rows) > 1 and rows[0]["run_id"] != name:
            more = ", …" if len(rows) > MOST_NAMED else ""
            raise RunNotFound(
                f"{name!r} stands for several runs: {', '.join(map(_named, rows[:MOST_NAMED]))}{more}",
                fix="give the whole id of one of them; `maker ls` lists the runs",
                run_id=name,
            )
        if exact and not names_whole(name, rows[0]["run_id"], rows[0]["name"]):
            raise RunNotFound(
                f"{name!r} is no run's whole id or name; it stands for run {_named(rows[0])}",
                fix=f"give {rows[0]['run_id']}",
                run_id=rows[0]["run_id"],
            )
        return _row(connection, rows[0])


def names_whole(given: str, run_id: str, name: str) -> bool:
    """Return whether ``given`` is the whole id or name of the run that it was resolved to, not a prefix or `last`."""
    return given != LAST and given in (run_id, name)


def _named(row: RowMapping) -> str:
    return f"{row['run_id']} ({row['name']})" if row["name"] else str(row["run_id"])


@retried
def run_at(database: Database, key: int) -> RunRow:
    """Return a run by its key. Raises `RunNotFound`."""
    with database.read() as connection:
        row = connection.execute(select(schema.run).where(schema.run.c.id == key)).mappings().first()
        if row is None:
            raise RunNotFound(
                f"{database.shown} has no run {key}, which another one was forked from",
                fix="restore the database from a backup",
            )
        return _row(connection, row)


def list_runs(
    database: Database,
    limit: int = 50,
    *,
    name: str = "",
    since: float = 0.0,
    wanted: Callable[[ListedRun], bool] = lambda _: True,
) -> list[ListedRun]:
    """Return the newest runs, newest first: those ``wanted``, with ``name`` in their name, in either case.

    Only runs that were made at ``since`` or later, in seconds since 1970. `find_run` reads one with its code.
    """
    found: list[ListedRun] = []
    before: int | None = None
    while len(found) < limit and (page := _page(database, name, since, before)):
        found += [row for row in page if wanted(row)]
        before = page[-1].key
    return found[:limit]


@retried
def _page(database: Database, name: str, since: float, before: int | None) -> list[ListedRun]:
    """Return the newest `PAGE` runs that are older than the one with key ``before``."""
    run = schema.run
    query = select(run).order_by(run.c.id.desc()).limit(PAGE)
    if name:
        query = query.where(func.lower(run.c.name).contains(name.lower(), autoescape=True))
    if since:
        query = query.where(run.c.created_at >= since)
    if before is not None:
        query = query.where(run.c.id < before)
    with database.read() as connection:
        return [_row_or_damaged(connection, row) for row in connection.execute(query).mappings().all()]


def _row_or_damaged(connection: Connection, row: RowMapping) -> ListedRun:
    """Return a run's row for a list, which one damaged run must not keep from being shown: its reason says it then."""
    try:
        return _made(ListedRun, connection, row, connection.execute(_beside(row["id"])).one())
    except StoreFailed as error:
        created = row["created_at"] if isinstance(row["created_at"], float) else 0.0
        return ListedRun(
            key=row["id"], run_id=str(row["run_id"]), name=str(row["name"]), status=str(row["status"]),
            reason=error.message, created_at=created, updated_at=0.0, settings={}, fingerprint={}, classes=(),
            result=None, steps=0, votes=0, red_flags=0, disputed=0, digest=b"", wall_s=0.0, resumes=0, accounts=(),
            reserved=Allowance(0, 0, 0.0), forked_from=None, forked_at=None,
        )  # fmt: skip


def _row(connection: Connection, row: RowMapping) -> RunRow:
    beside = connection.execute(_beside(row["id"])).one()
    changes = _changes(connection, row) if beside.changes else ()
    sealed = row["seal"] in (None, _seal(row)) and all(one.sealed for one in changes)
    sources = read_sources(connection, row["id"]) if beside.sources else {}
    return _made(RunRow, connection, row, beside, sealed=sealed, changes=changes, sources=sources)


def _made(
    kind: type[R], connection: Connection, row: RowMapping, beside: Row[bool, bool, bool, bool], **code: Any
) -> R:
    _check_types(row["run_id"], "maker_run", row)
    queued = None if row["status"] in OVER else read_queued(connection, row["id"])
    status, reason = _standing(row, queued)
    ledger = schema.ledger.c
    usage = [ledger[name].label(name) for name in Usage._fields]
    columns = (ledger.model, ledger.role, ledger.votes, ledger.red_flags, *usage)
    spent = select(*columns).where(ledger.run == row["id"]).order_by(ledger.model, ledger.role)
    open_grants = select(schema.grant.c.calls, schema.grant.c.tokens, schema.grant.c.cost).where(
        schema.grant.c.run == row["id"], ~schema.grant.c.settled
    )
    reserved = Allowance(0, 0, 0.0)
    lines = connection.execute(spent).mappings().all()
    for account in lines:
        _check_types(row["run_id"], "maker_ledger", account)
    accounts = tuple(
        AccountRow(
            line["model"],
            line["role"],
            Usage(**{name: line[name] for name in Usage._fields}),
            line["votes"],
            line["red_flags"],
        )
        for line in lines
    )
    for line in connection.execute(open_grants) if beside.grants else ():
        _check_types(row["run_id"], "maker_grant", line._mapping)
        # A grant reserves only what it limits; what it does not limit is drawn below zero.
        reserved = reserved.plus(Allowance(max(0, line.calls), max(0, line.tokens), max(0.0, line.cost)))
    forked = connection.execute(_forked_from(row["id"])).first() if beside.forked else None
    return kind(
        key=row["id"], run_id=row["run_id"], name=row["name"], status=status, reason=reason,
        created_at=row["created_at"], updated_at=row["updated_at"], settings=_settings(row),
        fingerprint=_fingerprint(row), classes=_classes(row), result=_read(row, "result"),
        steps=row["steps"], votes=row["votes"],
        red_flags=row["red_flags"], disputed=row["disputed"], digest=row["digest"], wall_s=row["wall_s"],
        resumes=row["resumes"], accounts=accounts, reserved=reserved,
        forked_from=None if forked is None else forked.run_id, forked_at=None if forked is None else forked.base_idx,
        monitor=row["monitor"], reused=row["reused"], saved=row["saved"],
        cited=_cited(connection, row["id"]) if row["reused"] else 0,
        fence=row["fence"], batch=row["batch"], holder=row["holder"], lease_until=row["lease_until"],
        counted=_adds_up(row), begun=row["begun"], queued=queued, **code,
    )  # fmt: skip


def _beside(run: int) -> Select[bool, bool, bool, bool]:
    """Return the query of what there is beside a run's row: most have nothing, and each look is a round trip."""
    root = schema.chain.c
    return select(
        exists().where(schema.change.c.run == run).label("changes"),
        exists().where(schema.source.c.run == run).label("sources"),
        exists().where(schema.grant.c.run == run).label("grants"),
        exists().where(root.run == run, root.base.is_not(None)).label("forked"),
    )


def _standing(row: RowMapping, queued: Queued | None) -> tuple[str, str]:
    """Return a run's status and its reason: what is stored may be of a process that is gone."""
    if row["status"] == PENDING and queued is not None:
        return PENDING, why_pending(queued)
    if row["status"] != ACTIVE or alive(row["holder"], row["lease_until"]):
        return row["status"], row["reason"]
    if queued is not None and queued.open:
        return "paused", f"its process is gone; the next free worker of queue {queued.queue!r} goes on with it"
    return "paused", f"its process is gone; continue with `maker resume {row['run_id']}`"


def _seal(row: RowMapping) -> bytes:
    return run_seal(*(str(row[name]) for name in ("run_id", "settings", "fingerprint", "classes")))


def _adds_up(row: RowMapping) -> bool:
    counts = {name: row[name] for name in COUNTED}
    return all(isinstance(count, int) for count in counts.values()) and row["counted"] == weighed(counts)


def _cited(connection: Connection, run: int) -> int:
    """Return how many distinct decisions of other runs a run reuses."""
    table = schema.memo_use
    return int(connection.execute(select(func.count()).select_from(table).where(table.c.run == run)).scalar_one())


def _forked_from(run: int) -> Select[tuple[str, int]]:
    base, root = schema.chain.alias("base"), schema.chain.alias("root")
    return (
        select(schema.run.c.run_id, root.c.base_idx)
        .join(base, base.c.run == schema.run.c.id)
        .join(root, root.c.base == base.c.id)
        .where(root.c.run == run, root.c.parent.is_(None))
    )


def _check_types(run_id: str, table: str, row: RowMapping) -> None:
    """Raise `StoreFailed` for a value that is of another type than its column: SQLite takes any."""
    for column in schema.metadata.tables[table].columns:
        name = column.key
        if name not in row or row[name] is None:
            continue
        of = (int, float) if isinstance(column.type, Float) else column.type.python_type
        if not isinstance(row[name], of):
            raise StoreFailed(
                f"run {run_id}: column {column.name} of {table} holds {row[name]!r:.60}, which is of another type",
                fix="restore the database from a backup",
            )


def _settings(row: RowMapping) -> dict[str, Any]:
    """Return a run's stored settings: tables by name."""
    settings = _read(row, "settings")
    if not isinstance(settings, dict):
        raise _unreadable(row, "settings", f"no tables, but {settings!r:.60}")
    for table, content in settings.items():
        if not isinstance(content, dict):
            raise _unreadable(row, "settings", f"no table [{table}], but {content!r:.60}")
    return settings


def _fingerprint(row: RowMapping) -> dict[str, Any]:
    fingerprint = _read(row, "fingerprint")
    if not isinstance(fingerprint, dict):
        raise _unreadable(row, "fingerprint", f"no table, but {fingerprint!r:.60}")
    return fingerprint


def _changes(connection: Connection, row: RowMapping) -> tuple[CodeChange, ...]:
    try:
        return read_changes(connection, row["id"])
    except ValueError as error:
        raise _unreadable(row, "changes", f"no places: {error}") from error


def _classes(row: RowMapping) -> tuple[str, ...]:
    classes = _read(row, "classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise _unreadable(row, "classes", f"no list of names, but {classes!r:.60}")
    return tuple(classes)


def _unreadable(row: RowMapping, column: str, holds: str) -> StoreFailed:
    return StoreFailed(
        f"run {row['run_id']} is damaged: its stored {column} hold {holds}", fix=RESTORE, run_id=row["run_id"]
    )


def _read(row: RowMapping, column: str) -> Any:
    try:
        return None if row[column] is None else json.loads(row[column])
    except (RecursionError, TypeError, ValueError) as error:
        raise StoreFailed(
            f"run {row['run_id']}: column {column} of maker_run cannot be read: {error}",
            fix=RESTORE,
            run_id=row["run_id"],
        ) from error


def inserted(connection: Connection, statement: Insert) -> int:
    """Insert one row; returns its key."""
    key = connection.execute(statement).inserted_primary_key
    assert key is not None  # noqa: S101 - every table has one
    return int(key[0])


def _ordered(settings: dict[str, Any]) -> str:
    # Keys keep their order: with structured output a model writes its fields in the schema's order.
    return _encodable(settings)


def _json(value: Any) -> str:
    return _encodable(value, sort_keys=True)


def _encodable(value: Any, *, sort_keys: bool = False) -> str:
    """Return JSON that UTF-8 can write: the name of a folder may hold bytes that are no text."""
    text = json.dumps(value, sort_keys=sort_keys, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=sort_keys)
    return text
