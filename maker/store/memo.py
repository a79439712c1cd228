"""Decisions that may be taken again, as the store holds them: remembered, loaded, cited, forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from maker.errors import StoreFailed
from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.chains import CHAIN_BITS, first_chain
from maker.store.runs import PRUNING
from maker.voting.chain import Decided
from maker.voting.memo import Known, Memory
from maker.voting.tally import Source, unpack

_memo, _use, _step, _run, _chain = (
    table.c for table in (schema.memo, schema.memo_use, schema.step, schema.run, schema.chain)
)
PAGE = 500


def load(database: Database, space: bytes, most: int) -> Memory:
    """Return the decisions of a space, the newest ``most`` of them, the oldest first."""
    pruning = {key for (key,) in database.fetch(select(_run.id).where(_run.status == PRUNING))}
    here = (_step.chain == _memo.chain) & (_step.idx == _memo.idx) & (_step.epoch == _memo.epoch)
    query = select(_memo.question, _step.action, _memo.chain, _memo.idx, _memo.epoch, _memo.calls)
    query = query.select_from(schema.memo.join(schema.step, here)).where(_memo.space == space)
    rows = database.fetch(query.order_by(_memo.chain.desc(), _memo.idx.desc()).limit(most))
    return tuple(
        (bytes(row[0]), Known(row[1], Source(*row[2:])))
        for row in reversed(rows)
        if row.chain >> CHAIN_BITS not in pruning
    )


def question_at(database: Database, chain: int, idx: int, epoch: int) -> bytes | None:
    """Return the question that a step is remembered for, None where it is not."""
    query = select(_memo.question).where(_memo.chain == chain, _memo.idx == idx, _memo.epoch == epoch)
    rows = database.fetch(query)
    return bytes(rows[0][0]) if rows else None


class MemoWriter:
    """Writes what a run decides into its space, and what it takes of other runs, in a transaction of its caller's.

    Args:
        database: Where to write.
        run: The run's key.
        space: Whose decisions they are, see `maker.voting.memo`.
    """

    def __init__(self, database: Database, run: int, space: bytes) -> None:
        dialect: Any = postgresql if database.engine.dialect.name == "postgresql" else sqlite
        self._run = run
        self._space = space
        self._remember = dialect.insert(schema.memo).on_conflict_do_nothing()
        self._cite = dialect.insert(schema.memo_use).on_conflict_do_nothing()

    def write(self, connection: Connection, steps: Sequence[Decided]) -> None:
        """Write what steps decided and cited: of two decisions on one question the first stays.

        Raises `StoreFailed` where the run of a cited step is gone, or being removed.
        """
        # In one order everywhere: two runs that remember the same questions would else wait for each other.
        new = sorted((step.memo, step.chain, step.idx, step.epoch, step.calls) for step in steps if step.memo)
        if new:
            names = ("question", "chain", "idx", "epoch", "calls")
            rows = [dict(zip(names, row, strict=True)) | {"space": self._space} for row in new]
            connection.execute(self._remember, rows)
        sources = {unpack(step.tally).source for step in steps if step.taken}
        others = sorted(one for one in sources if one is not None and one.chain >> CHAIN_BITS != self._run)
        if others:
            self._stay(connection, {one.chain >> CHAIN_BITS for one in others})
            uses = [{"run": self._run, "chain": one.chain, "idx": one.idx, "epoch": one.epoch} for one in others]
            connection.execute(self._cite, uses)

    def drop(self, connection: Connection) -> None:
        """Forget what the run has decided: it has failed, and nobody knows which of its decisions was wrong."""
        connection.execute(delete(schema.memo).where(*_of_run(self._run)))

    def _stay(self, connection: Connection, runs: set[int]) -> None:
        """Make sure that runs stay: who removes one waits for this transaction, and then sees that it is cited."""
        query = select(_run.id).where(_run.id.in_(sorted(runs)), _run.status != PRUNING).order_by(_run.id)
        there = set(connection.execute(query.with_for_update(read=True, key_share=True)).scalars())
        if runs - there:
            raise StoreFailed(
                "a run whose decisions this run reuses is being deleted",
                fix="continue with `maker resume`; it votes on those steps itself",
            )


def forget_run(connection: Connection, run: int) -> None:
    """Forget all that a run has decided, and what it has cited."""
    connection.execute(delete(schema.memo).where(*_of_run(run)))
    connection.execute(delete(schema.memo_use).where(_use.run == run))


def citing(connection: Connection, run: int) -> list[str]:
    """Return the ids of other runs that have taken decisions of a run."""
    query = select(_run.run_id).distinct().join(schema.memo_use, _use.run == _run.id)
    query = query.where(_use.chain >= first_chain(run), _use.chain < first_chain(run + 1), _run.id != run)
    return list(connection.execute(query.order_by(_run.run_id)).scalars())


def forget_cut(connection: Connection, chain: int, idx: int, epoch: int, *, single: bool) -> None:
    """Forget what a cut supersedes: a chain's steps from ``idx`` on, and all of the children that they forked.

    ``single`` says that it supersedes that one step alone, a child of a fork of single steps.
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
