"""The memo in the store: decisions that runs may reuse are written, loaded, cited and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, delete, select

from maker.errors import StoreFailed
from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.backend.upsert import upsert
from maker.store.chains import CHAIN_BITS, first_chain
from maker.store.intact import damaged
from maker.store.locations import path_of
from maker.store.runs import PRUNING, RunRow
from maker.store.seals import memo_seal
from maker.voting.memo import Known, Memory, Remembered
from maker.voting.messages import Decided
from maker.voting.paths import chain_name, is_single
from maker.voting.tally import Source, unpack

_memo, _use, _step, _run, _chain = (
    table.c for table in (schema.memo, schema.memo_use, schema.step, schema.run, schema.chain)
)
PAGE = 500


def load(database: Database, space: bytes, most: int, own: RunRow | None = None) -> Memory:
    """Return the newest ``most`` decisions of a cache namespace, oldest first.

    Leaves out those that are not as they were written. Raises `RunDamaged` for one of the run ``own``.
    """
    pruning = {key for (key,) in database.fetch(select(_run.id).where(_run.status == PRUNING))}
    here = (_step.chain == _memo.chain) & (_step.idx == _memo.idx) & (_step.epoch == _memo.epoch)
    columns = (_memo.question, _step.action, _memo.chain, _memo.idx, _memo.epoch, _memo.calls, _memo.seal)
    query = select(*columns)
    query = query.select_from(schema.memo.join(schema.step, here)).where(_memo.space == space)
    rows = database.fetch(query.order_by(_memo.chain.desc(), _memo.idx.desc()).limit(most))
    return tuple(
        Remembered(bytes(row.question), Known(row.action, Source(row.chain, row.idx, row.epoch, row.calls)))
        for row in reversed(rows)
        if row.chain >> CHAIN_BITS not in pruning and _fits(database, space, row, own)
    )


def _fits(database: Database, space: bytes, row: Any, own: RunRow | None) -> bool:
    """Say whether a decision is as it was written. Raises `RunDamaged` for one of the run ``own`` that is not."""
    question, action, chain, idx, epoch, calls, seal = row
    if seal is None or seal == memo_seal(space, question, chain, idx, epoch, calls, action):
        return True
    if own is None or chain >> CHAIN_BITS != own.key:
        return False
    path = path_of(database, chain)
    where = f"chain {chain}" if path is None else f"chain {chain_name(path, idx if is_single(path) else None)}"
    what = f"{where}, step {idx}: its action, or what the memo holds of it, is not as it was written"
    raise damaged(own.run_id, what)


def question_at(database: Database, chain: int, idx: int, epoch: int) -> bytes | None:
    """Return the question that a step answers in the memo, None if it is not there."""
    query = select(_memo.question).where(_memo.chain == chain, _memo.idx == idx, _memo.epoch == epoch)
    rows = database.fetch(query)
    return bytes(rows[0][0]) if rows else None


class MemoWriter:
    """Writes a run's decisions to its cache namespace, and its uses of other runs' decisions.

    Args:
        database: The store.
        run: The run's key.
        space: The cache namespace, see `maker.voting.memo`.
    """

    def __init__(self, database: Database, run: int, space: bytes) -> None:
        dialect = database.engine.dialect
        self._run = run
        self._space = space
        self._remember = upsert(dialect, schema.memo).on_conflict_do_nothing()
        self._cite = upsert(dialect, schema.memo_use).on_conflict_do_nothing()

    def write(self, connection: Connection, steps: Sequence[Decided]) -> None:
        """Write the decisions of steps, and the sources of reused ones, in the caller's transaction.

        If a question has two decisions, the first stays. Raises `StoreFailed` if the run of a source was deleted, or is
        being deleted.
        """
        # Sorted: two runs that write the same questions in different orders would deadlock.
        new = sorted((step for step in steps if step.memo), key=attrgetter("memo", "chain", "idx", "epoch"))
        if new:
            connection.execute(self._remember, list(map(self._row, new)))
        sources = {unpack(step.tally).source for step in steps if step.taken}
        others = sorted(one for one in sources if one is not None and one.chain >> CHAIN_BITS != self._run)
        if others:
            self._stay(connection, {one.chain >> CHAIN_BITS for one in others})
            uses = [{"run": self._run, "chain": one.chain, "idx": one.idx, "epoch": one.epoch} for one in others]
            connection.execute(self._cite, uses)

    def _row(self, step: Decided) -> dict[str, Any]:
        seal = memo_seal(self._space, step.memo, step.chain, step.idx, step.epoch, step.calls, step.action)
        place = {"chain": step.chain, "idx": step.idx, "epoch": step.epoch, "calls": step.calls}
        return {"space": self._space, "question": step.memo, "seal": seal} | place

    def drop(self, connection: Connection) -> None:
        """Delete the run's decisions from the memo: it has failed, and no one knows which decision was wrong."""
        connection.execute(delete(schema.memo).where(*_of_run(self._run)))

    def _stay(self, connection: Connection, runs: set[int]) -> None:
        """Lock runs against deletion: a deleting process waits for this transaction, and then sees the citation."""
        query = select(_run.id).where(_run.id.in_(sorted(runs)), _run.status != PRUNING).order_by(_run.id)
        there = set(connection.execute(query.with_for_update(read=True, key_share=True)).scalars())
        if runs - there:
            raise StoreFailed(
                "a run whose decisions this run reuses is being deleted",
                fix="continue with `maker resume`; it votes on those steps itself",
            )


def forget_run(connection: Connection, run: int) -> None:
    """Delete a run's decisions and its citations from the memo."""
    connection.execute(delete(schema.memo).where(*_of_run(run)))
    connection.execute(delete(schema.memo_use).where(_use.run == run))


def citing(connection: Connection, run: int) -> list[str]:
    """Return the ids of other runs that reuse a run's decisions."""
    query = select(_run.run_id).distinct().join(schema.memo_use, _use.run == _run.id)
    query = query.where(_use.chain >= first_chain(run), _use.chain < first_chain(run + 1), _run.id != run)
    return list(connection.execute(query.order_by(_run.run_id)).scalars())


def forget_cut(connection: Connection, chain: int, idx: int, epoch: int, *, single: bool) -> None:
    """Delete from the memo what a cut supersedes: a chain's steps from ``idx`` on, and the steps of their children.

    ``single`` says that the cut supersedes only that step, a child of a fork of single steps.
    """
    run = chain >> CHAIN_BITS
    if connection.execute(select(_memo.chain).where(*_of_run(run)).limit(1)).first() is None:
        return
    here = _memo.idx == idx if single else _memo.idx >= idx
    connection.execute(delete(schema.memo).where(_memo.chain == chain, here, _memo.epoch < epoch))
    if single:
        return
    forked = select(_chain.id).where(_chain.parent == chain, _chain.at >= idx, _chain.fork_epoch < epoch)
    young = list(connection.execute(forked).scalars())
    while young:
        page, young = young[:PAGE], young[PAGE:]
        connection.execute(delete(schema.memo).where(_memo.chain.in_(page)))
        young += connection.execute(select(_chain.id).where(_chain.parent.in_(page))).scalars()


def _of_run(run: int) -> tuple[Any, Any]:
    return _memo.chain >= first_chain(run), _memo.chain < first_chain(run + 1)
