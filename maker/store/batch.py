"""Write the log's part of one journal transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain as chained
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    LargeBinary,
    Table,
    Update,
    bindparam,
    delete,
    func,
    select,
    update,
)

from maker.errors import LeaseLost
from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.backend.given import Given, Types, one_row
from maker.store.backend.prepared import Prepared
from maker.store.backend.texts import stored
from maker.store.backend.upsert import upsert
from maker.store.chains import chain_values, first_chain
from maker.store.entry import Closed, Ending, Entry, Folded, Missed, NewChain, NewFork
from maker.store.memo import MemoWriter
from maker.store.referrals import StepKey, at_step
from maker.store.seals import ROOT_PLACE, chain_seal, fork_seal, outcome_seal, snapshot_seal
from maker.types import RedFlag
from maker.voting.messages import Decided, KeptVotes
from maker.voting.policy import PromptVariant
from maker.voting.tally import text_digest

KEPT_TEXTS = 100_000
"""How many digests of stored texts are remembered, so that the same text is not sent to the database again."""

_chain, _fork = schema.chain.c, schema.fork.c
MOVE: Types = {
    "key": BigInteger(), "of": Integer(), "first": BigInteger(), "cursor": BigInteger(), "digest": LargeBinary(),
}  # fmt: skip
"""How a chain's cursor moves: from ``first`` to ``cursor``."""


def advance(given: Given) -> Update:
    """Return the statement that moves a chain's cursor if it is where a `MOVE` begins."""
    return (
        update(schema.chain)
        .where(_chain.id == given["key"], _chain.epoch == given["of"], _chain.cursor == given["first"])
        .values(cursor=given["cursor"], digest=given["digest"])
    )


_MOVED = advance(one_row(MOVE))
_STEP_ROW = attrgetter(*schema.step.columns.keys())
"""Returns a decided step as a row: the table's columns are fields of `Decided`."""
_SETTLED = update(schema.chain).where(_chain.id == bindparam("key")).values(cursor=bindparam("cursor"))
_CLOSED = (
    update(schema.chain)
    .where(_chain.id == bindparam("key"))
    .values(status=bindparam("status"), reason=bindparam("reason"), result=bindparam("result"), seal=bindparam("seal"))
)
_FOLDED = (
    update(schema.fork)
    .where(_fork.chain == bindparam("of"), _fork.idx == bindparam("at"), _fork.epoch == bindparam("in"))
    .values(joined=bindparam("joined"), state=bindparam("state"), digest=bindparam("digest"), seal=bindparam("seal"))
)

_outcome = schema.outcome.c
_RULED = (
    update(schema.outcome)
    .where(_outcome.chain == bindparam("of"), _outcome.idx == bindparam("at"), _outcome.epoch == bindparam("in"))
    .values(
        outcome=bindparam("outcome"),
        # How far a row's election has come stands there, as long as it is open.
        reason=func.coalesce(func.nullif(bindparam("reason"), ""), _outcome.reason),
        seal=bindparam("seal"),
    )
)
_STANDS = update(schema.outside).where(schema.outside.c.chain == bindparam("of")).values(state=bindparam("now"))


_FORGOTTEN = tuple(
    delete(table).where(
        table.c.chain == bindparam("of"), table.c.idx == bindparam("at"), table.c.epoch == bindparam("in")
    )
    for table in (schema.sample, schema.prompt, schema.outcome, schema.referral)
)
_AS_THE_STEP = PromptVariant()


class _Sample(NamedTuple):
    """A row of ``maker_sample``: its columns, in their order."""

    chain: int
    idx: int
    epoch: int
    vote: int
    text: bytes
    tokens: int
    candidate: str | None
    flag: str | None
    detail: str
    model: int
    logprob: float | None
    system: bytes | None
    temperature: float | None


class LogRows(NamedTuple):
    """What one transaction writes to the log: rows in the order of their tables' columns, and values of statements."""

    chains: list[tuple[Any, ...]]
    forks: list[tuple[Any, ...]]
    moves: list[dict[str, Any]]
    settled: dict[int, int]
    forgotten: list[StepKey]
    decided: list[Decided]
    steps: list[tuple[Any, ...]]
    failed: bool
    forked: list[tuple[int, int, int]]
    snapshots: list[tuple[Any, ...]]
    texts: list[dict[str, Any]]
    prompts: list[tuple[Any, ...]]
    samples: list[_Sample]
    folded: list[dict[str, Any]]
    closed: list[dict[str, Any]]
    missed: list[tuple[Any, ...]]
    ruled: list[dict[str, Any]]
    outside: list[tuple[Any, ...]]
    stands: list[dict[str, Any]]
    referred: list[tuple[Any, ...]]
    answered: list[StepKey]
    endings: list[Ending]


class LogWriter:
    """Writes entries to the tables of the log, in a transaction that its caller holds.

    Args:
        database: The store.
        run: The run's key.
        memo: Writes decisions to the memo; None if the run has no memo in the store.

    Attributes:
        joins: Whether its rows may be written in a transaction of several runs. Decisions for the memo may not: two
            processes could write the same questions in different orders.
    """

    def __init__(self, database: Database, run: int, memo: MemoWriter | None = None) -> None:
        self._database = database
        self._run = run
        self._memo = memo
        self._texts: set[bytes] = set()
        self._new_texts: dict[bytes, str] = {}
        self._moved = Prepared(database, _MOVED)
        self.joins = memo is None
        self._add_text = upsert(database.engine.dialect, schema.text).on_conflict_do_nothing()

    def prepare(self, entries: Sequence[Entry]) -> LogRows:
        """Return what `write` writes of the entries, ready to be sent: an open transaction locks others out."""
        self._new_texts.clear()
        decided = _all(entries, lambda entry: entry.decided)
        steps = decided + _all(entries, lambda entry: entry.rows)
        forks = _all(entries, lambda entry: entry.forks)
        kept = [(StepKey(step.chain, step.idx, step.epoch), step.heard) for step in steps if step.heard is not None]
        for entry in entries:
            for chain, stuck in (*entry.undecided, *entry.deferred):
                kept.append((StepKey(chain, stuck.idx, stuck.epoch), stuck.heard))
        prompts = [(*key, self._text(heard.system), self._text(heard.prompt)) for key, heard in kept]
        samples = [row for key, heard in kept for row in self._samples(key, heard)]
        missed = _all(entries, lambda entry: entry.missed)
        return LogRows(
            chains=[_chain_row(self._run, new) for new in _all(entries, lambda entry: entry.chains)],
            forks=[_fork_row(new) for new in forks],
            moves=_moves(decided),
            # A fork of single steps is settled row by row: only the last count of a chain matters.
            settled={one.chain: one.before for entry in entries for one in entry.settled},
            forgotten=_all(entries, lambda entry: entry.forgotten),
            decided=steps,
            # Sorted by key: with many chains at once, neighbouring rows are inserted together.
            steps=sorted(map(_STEP_ROW, steps)),
            failed=any(entry.ending is not None and entry.ending.status == "failed" for entry in entries),
            forked=[(fork.chain, fork.idx, fork.epoch) for fork in forks],
            snapshots=_snapshots(decided, forks),
            # Sorted: two runs that store the same texts in different orders would deadlock.
            texts=[{"digest": digest, "body": body} for digest, body in sorted(self._new_texts.items())],
            prompts=prompts,
            samples=samples,
            folded=[_fold_row(fold) for entry in entries for fold in entry.folded],
            closed=[_closed_row(closed) for entry in entries for closed in entry.closed],
            missed=[(*one[:4], stored(one.reason), outcome_seal(*one[:4])) for one in missed],
            ruled=[_ruled_row(one) for entry in entries for one in entry.ruled],
            outside=[_row(schema.outside, one.values(self._run)) for one in _all(entries, lambda entry: entry.outside)],
            stands=[{"of": one.chain, "now": str(one.state)} for one in _all(entries, lambda entry: entry.stands)],
            referred=[
                _row(schema.referral, one.values(self._run)) for one in _all(entries, lambda entry: entry.referred)
            ],
            answered=_all(entries, lambda entry: entry.answered),
            endings=[entry.ending for entry in entries if entry.ending is not None],
        )

    def write(self, connection: Connection, rows: LogRows) -> None:
        """Write what was prepared. Raises `LeaseLost` if a chain's cursor is not where the steps begin."""
        self._insert(connection, schema.chain, rows.chains)
        self._insert(connection, schema.fork, rows.forks)
        self._advance(connection, rows.moves)
        self._insert(connection, schema.step, rows.steps)
        self.write_rest(connection, rows)

    def write_rest(self, connection: Connection, rows: LogRows) -> None:
        """Write what was prepared but for new chains and forks, moved cursors and steps, which are written."""
        self._many(connection, _SETTLED, [{"key": key, "cursor": before} for key, before in rows.settled.items()])
        self._forget(connection, rows.forgotten)
        # Before outcomes are inserted: an answer may end wrong.
        self._close_referrals(connection, rows.answered)
        if self._memo is not None:
            self._memo.write(connection, rows.decided)
            if rows.failed:
                self._memo.drop(connection)
        table = schema.snapshot.c
        for chain, idx, epoch in rows.forked:
            # A fork may be at an index that has a snapshot already, from before.
            here = (table.chain == chain, table.idx == idx, table.epoch == epoch)
            connection.execute(delete(schema.snapshot).where(*here))
        self._insert(connection, schema.snapshot, rows.snapshots)
        if rows.texts:
            connection.execute(self._add_text, rows.texts)
        self._insert(connection, schema.prompt, rows.prompts)
        self._insert(connection, schema.sample, rows.samples)
        self._many(connection, _FOLDED, rows.folded)
        self._many(connection, _CLOSED, rows.closed)
        self._insert(connection, schema.outcome, rows.missed)
        self._many(connection, _RULED, rows.ruled)
        self._insert(connection, schema.outside, rows.outside)
        self._many(connection, _STANDS, rows.stands)
        self._insert(connection, schema.referral, rows.referred)
        for ending in rows.endings:
            self._end(connection, ending)

    def committed(self) -> None:
        """Remember that the texts written last are committed."""
        if len(self._texts) > KEPT_TEXTS:
            self._texts.clear()
        self._texts.update(self._new_texts)

    def _advance(self, connection: Connection, moves: list[dict[str, Any]]) -> None:
        """Advance the chains' cursors if they are where these steps begin, so that no step is written twice."""
        if moves and self._moved.execute_many(connection, moves) != len(moves):
            raise LeaseLost(
                _elsewhere(connection, moves),
                fix="another process has written to the run; see its state with `maker show`",
            )

    def _forget(self, connection: Connection, steps: list[StepKey]) -> None:
        """Delete the samples of undecided steps that have been voted on again."""
        rows = [{"of": step.chain, "at": step.idx, "in": step.epoch} for step in steps]
        for statement in _FORGOTTEN:
            self._many(connection, statement, rows)

    def _close_referrals(self, connection: Connection, steps: list[StepKey]) -> None:
        """Note that steps are decided that people were asked about. Their samples stay."""
        for step in steps:
            connection.execute(delete(schema.outcome).where(at_step(schema.outcome, step)))
            connection.execute(update(schema.referral).where(at_step(schema.referral, step)).values(closed=True))

    def _end(self, connection: Connection, ending: Ending) -> None:
        key = first_chain(self._run)
        seal = chain_seal(key, ROOT_PLACE, ending.status, None)
        stands = {"status": ending.status, "reason": stored(ending.reason), "seal": seal}
        changed = connection.execute(update(schema.chain).where(_chain.id == key).values(stands))
        if changed.rowcount == 0:
            # The first schema numbered chains in another way.
            old = (_chain.run == self._run, _chain.parent.is_(None))
            connection.execute(update(schema.chain).where(*old).values(stands | {"seal": None}))

    def _samples(self, key: StepKey, heard: KeptVotes) -> Iterable[_Sample]:
        for vote, sample, outcome, model, way in heard.samples:
            candidate, flag, detail = None, None, ""
            if isinstance(outcome, RedFlag):
                flag, detail = str(outcome.reason), stored(outcome.detail)
            else:
                candidate = outcome
            variant = heard.ways[way] if way else _AS_THE_STEP
            yield _Sample(
                chain=key.chain,
                idx=key.idx,
                epoch=key.epoch,
                vote=vote,
                text=self._text(sample.text),
                tokens=sample.tokens,
                candidate=candidate,
                flag=flag,
                detail=detail,
                model=model,
                logprob=sample.logprob,
                system=None if variant.system is None else self._text(variant.system),
                temperature=variant.temperature,
            )

    def _text(self, text: str) -> bytes:
        body = stored(text)
        digest = text_digest(body)
        if digest not in self._texts:
            self._new_texts[digest] = body
        return digest

    def _insert(self, connection: Connection, table: Any, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            self._database.insert_rows(connection, table, rows)

    def _many(self, connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
        if rows:
            connection.execute(statement, rows)


def _all(entries: Sequence[Entry], part: Callable[[Entry], Sequence[Any]]) -> list[Any]:
    return list(chained.from_iterable(map(part, entries)))


def _moves(decided: list[Decided]) -> list[dict[str, Any]]:
    """Return how the cursors of the chains move."""
    newest = {(step.chain, step.epoch): step for step in decided}
    oldest = {(step.chain, step.epoch): step.idx for step in reversed(decided)}
    return [
        {"key": chain, "of": epoch, "first": oldest[chain, epoch], "cursor": step.idx + 1, "digest": step.digest}
        for (chain, epoch), step in newest.items()
    ]


def _snapshots(decided: list[Decided], forks: list[NewFork]) -> list[tuple[Any, ...]]:
    """Return the rows of snapshots; a fork's stands for one that a step of the same batch takes."""
    taken = {
        (step.chain, step.idx + 1, step.epoch): (step.digest, text)
        for step in decided
        if (text := step.state) is not None
    }
    taken |= {(fork.chain, fork.idx, fork.epoch): (fork.before, fork.state) for fork in forks}
    return [(*place, state, snapshot_seal(*place, before, state)) for place, (before, state) in taken.items()]


def _chain_row(run: int, new: NewChain) -> tuple[Any, ...]:
    values = chain_values(
        id=new.key, run=run, parent=new.parent, at=new.at, fork_epoch=new.fork_epoch, number=new.number,
        digest=new.digest,
    )  # fmt: skip
    return _row(schema.chain, values)


def _fork_row(new: NewFork) -> tuple[Any, ...]:
    values = {
        "chain": new.chain, "idx": new.idx, "epoch": new.epoch, "count": new.children, "single": new.single,
        "joined": 0, "state": new.state, "digest": b"",
        "seal": fork_seal(
            new.chain, new.idx, new.epoch, new.children, 0, b"", new.state, single=new.single
        ),
    }  # fmt: skip
    return _row(schema.fork, values)


def _row(table: Table, values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return values by the names of a table's columns, in the order of these."""
    return tuple(values[column.key] for column in table.columns)


def _fold_row(fold: Folded) -> dict[str, Any]:
    return {
        "of": fold.chain, "at": fold.idx, "in": fold.epoch,
        "joined": fold.joined, "state": fold.state, "digest": fold.digest,
        "seal": fork_seal(
            fold.chain, fold.idx, fold.epoch, fold.children, fold.joined, fold.digest, fold.state, single=fold.single
        ),
    }  # fmt: skip


def _ruled_row(one: Missed) -> dict[str, Any]:
    return {
        "of": one.chain, "at": one.idx, "in": one.epoch, "outcome": one.outcome, "reason": stored(one.reason),
        "seal": outcome_seal(*one[:4]),
    }  # fmt: skip


def _closed_row(closed: Closed) -> dict[str, Any]:
    result = None if closed.result is None else json.dumps(closed.result)
    seal = chain_seal(closed.chain, closed.place, closed.status, result)
    return {
        "key": closed.chain, "status": closed.status, "reason": stored(closed.reason), "result": result, "seal": seal,
    }  # fmt: skip


def _elsewhere(connection: Connection, moves: list[dict[str, Any]]) -> str:
    """Say which chain is not where this process left it."""
    for move in moves:
        table = schema.chain.c
        cursor, epoch = connection.execute(select(table.cursor, table.epoch).where(table.id == move["key"])).one()
        if len(moves) == 1 or (cursor, epoch) != (move["cursor"], move["of"]):
            return (
                f"chain {move['key']} is at step {cursor} of epoch {epoch}, but this process left it at {move['first']}"
            )
    return "a chain is not where this process left it"
