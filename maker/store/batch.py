"""Write the log's part of one journal transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import chain as chained
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from maker.errors import LeaseLost
from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.backend.prepared import Prepared
from maker.store.backend.texts import stored
from maker.store.chains import chain_values
from maker.store.entry import Closed, Entry, Folded, NewChain, NewFork
from maker.store.memo import MemoWriter
from maker.types import RedFlag
from maker.voting.chain import Decided, KeptVotes
from maker.voting.tally import text_digest

KEPT_TEXTS = 100_000
"""How many digests of stored texts are remembered, so that the same text is not sent to the database again."""

_chain, _fork = schema.chain.c, schema.fork.c
_MOVED = (
    update(schema.chain)
    .where(_chain.id == bindparam("key"), _chain.epoch == bindparam("of"), _chain.cursor == bindparam("first"))
    .values(cursor=bindparam("cursor"), digest=bindparam("digest"))
)
_SETTLED = update(schema.chain).where(_chain.id == bindparam("key")).values(cursor=bindparam("cursor"))
_CLOSED = (
    update(schema.chain)
    .where(_chain.id == bindparam("key"))
    .values(status=bindparam("status"), reason=bindparam("reason"), result=bindparam("result"))
)
_FOLDED = (
    update(schema.fork)
    .where(_fork.chain == bindparam("of"), _fork.idx == bindparam("at"), _fork.epoch == bindparam("in"))
    .values(joined=bindparam("joined"), state=bindparam("state"), digest=bindparam("digest"))
)


class LogWriter:
    """Writes entries to the tables of the log, in a transaction that its caller holds.

    Args:
        database: The store.
        run: The run's key.
        memo: Writes decisions to the memo; None if the run has no memo in the store.
    """

    def __init__(self, database: Database, run: int, memo: MemoWriter | None = None) -> None:
        self._database = database
        self._run = run
        self._memo = memo
        self._texts: set[bytes] = set()
        self._new_texts: dict[bytes, str] = {}
        dialect: Any = postgresql if database.engine.dialect.name == "postgresql" else sqlite
        self._moved = Prepared(database, _MOVED)
        self._add_text = dialect.insert(schema.text).on_conflict_do_nothing()

    def write(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Write the entries. Raises `LeaseLost` if a chain's cursor is not where the entries begin."""
        self._new_texts.clear()
        self._begin(connection, _all(entries, lambda entry: entry.chains), _all(entries, lambda entry: entry.forks))
        decided = _all(entries, lambda entry: entry.decided)
        rows = _all(entries, lambda entry: entry.rows)
        self._advance(connection, decided)
        # A fork of single steps is settled row by row: only the last count of a chain matters.
        settled = dict(chained.from_iterable(entry.settled for entry in entries))
        self._many(connection, _SETTLED, [{"key": key, "cursor": n} for key, n in settled.items()])
        self._forget(connection, _all(entries, lambda entry: entry.forgotten))
        self._append(connection, decided + rows)
        if self._memo is not None:
            self._memo.write(connection, decided + rows)
            if any(entry.ending is not None and entry.ending.status == "failed" for entry in entries):
                self._memo.drop(connection)
        self._take_snapshots(connection, decided, _all(entries, lambda entry: entry.forks))
        self._keep(connection, decided + rows, entries)
        self._close(connection, entries)

    def committed(self) -> None:
        """Remember that the texts written last are committed."""
        if len(self._texts) > KEPT_TEXTS:
            self._texts.clear()
        self._texts.update(self._new_texts)

    def _begin(self, connection: Connection, chains: list[NewChain], forks: list[NewFork]) -> None:
        self._insert(connection, schema.chain, [_chain_row(self._run, new) for new in chains])
        self._insert(
            connection, schema.fork, [(*new[:3], new.children, new.single, 0, new.state, b"") for new in forks]
        )

    def _advance(self, connection: Connection, decided: list[Decided]) -> None:
        """Advance the chains' cursors if they are where these steps begin, so that no step is written twice."""
        heads: dict[tuple[int, int], tuple[int, Decided]] = {}
        for step in decided:
            first, _ = heads.get((step.chain, step.epoch), (step.idx, step))
            heads[step.chain, step.epoch] = (first, step)
        moves = [
            {"key": chain, "of": epoch, "first": first, "cursor": newest.idx + 1, "digest": newest.digest}
            for (chain, epoch), (first, newest) in heads.items()
        ]
        if moves and self._moved.execute_many(connection, moves) != len(moves):
            raise LeaseLost(
                _elsewhere(connection, moves),
                fix="another process has written to the run; see its state with `maker show`",
            )

    def _append(self, connection: Connection, steps: list[Decided]) -> None:
        # Sorted by key: with many chains at once, neighbouring rows are inserted together.
        self._insert(connection, schema.step, sorted(step[:7] for step in steps))

    def _take_snapshots(self, connection: Connection, steps: list[Decided], forks: list[NewFork]) -> None:
        """Write snapshots. A fork may be at an index that has one already, from before or from this batch."""
        taken = {(step.chain, step.idx + 1, step.epoch): step.state for step in steps if step.state is not None}
        for fork in forks:
            place = (fork.chain, fork.idx, fork.epoch)
            taken[place] = fork.state
            table = schema.snapshot.c
            here = (table.chain == fork.chain, table.idx == fork.idx, table.epoch == fork.epoch)
            connection.execute(delete(schema.snapshot).where(*here))
        self._insert(connection, schema.snapshot, [(*place, state) for place, state in taken.items()])

    def _forget(self, connection: Connection, places: list[tuple[int, int, int]]) -> None:
        """Delete the samples of undecided steps that have been voted on again."""
        for table in (schema.sample, schema.prompt, schema.outcome):
            for chain, idx, epoch in places:
                here = (table.c.chain == chain, table.c.idx == idx, table.c.epoch == epoch)
                connection.execute(delete(table).where(*here))

    def _keep(self, connection: Connection, steps: list[Decided], entries: Sequence[Entry]) -> None:
        kept = [(step.chain, step.idx, step.epoch, step.heard) for step in steps if step.heard is not None]
        for entry in entries:
            kept += [(chain, stuck.idx, stuck.epoch, stuck.heard) for chain, stuck in entry.undecided]
        if not kept:
            return
        prompts = [(*place, self._text(heard.system), self._text(heard.prompt)) for *place, heard in kept]
        samples = [row for *place, heard in kept for row in self._samples(place, heard)]
        if self._new_texts:
            # Sorted: two runs that store the same texts in different orders would deadlock.
            texts = [{"digest": digest, "body": body} for digest, body in sorted(self._new_texts.items())]
            connection.execute(self._add_text, texts)
        self._insert(connection, schema.prompt, prompts)
        self._insert(connection, schema.sample, samples)

    def _samples(self, place: Sequence[int], heard: KeptVotes) -> Iterable[tuple[Any, ...]]:
        for vote, sample, outcome, model, way in heard.samples:
            verdict: tuple[str | None, str | None, str] = (None, None, "")
            if isinstance(outcome, RedFlag):
                verdict = (None, str(outcome.reason), stored(outcome.detail))
            else:
                verdict = (outcome, None, "")
            system, temperature = heard.ways[way] if way else (None, None)
            wording = None if system is None else self._text(system)
            reply = self._text(sample.text)
            yield (*place, vote, reply, sample.tokens, *verdict, model, sample.logprob, wording, temperature)

    def _text(self, text: str) -> bytes:
        body = stored(text)
        digest = text_digest(body)
        if digest not in self._texts:
            self._new_texts[digest] = body
        return digest

    def _close(self, connection: Connection, entries: Sequence[Entry]) -> None:
        self._many(connection, _FOLDED, [_fold_row(fold) for entry in entries for fold in entry.folded])
        self._many(connection, _CLOSED, [_closed_row(closed) for entry in entries for closed in entry.closed])
        missed = _all(entries, lambda entry: entry.missed)
        self._insert(connection, schema.outcome, [one._replace(reason=stored(one.reason)) for one in missed])
        for entry in entries:
            if entry.ending is not None:
                root = (schema.chain.c.run == self._run, schema.chain.c.parent.is_(None))
                stands = {"status": entry.ending.status, "reason": stored(entry.ending.reason)}
                connection.execute(update(schema.chain).where(*root).values(stands))

    def _insert(self, connection: Connection, table: Any, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            self._database.insert_rows(connection, table, rows)

    def _many(self, connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
        if rows:
            connection.execute(statement, rows)


def _all(entries: Sequence[Entry], part: Callable[[Entry], Sequence[Any]]) -> list[Any]:
    return list(chained.from_iterable(map(part, entries)))


def _chain_row(run: int, new: NewChain) -> tuple[Any, ...]:
    values = chain_values(
        id=new.key, run=run, parent=new.parent, at=new.at, fork_epoch=new.fork_epoch, number=new.number,
        digest=new.digest,
    )  # fmt: skip
    return tuple(values[column.name] for column in schema.chain.columns)


def _fold_row(fold: Folded) -> dict[str, Any]:
    return {
        "of": fold.chain, "at": fold.idx, "in": fold.epoch,
        "joined": fold.joined, "state": fold.state, "digest": fold.digest,
    }  # fmt: skip


def _closed_row(closed: Closed) -> dict[str, Any]:
    result = None if closed.result is None else json.dumps(closed.result)
    return {"key": closed.chain, "status": closed.status, "reason": stored(closed.reason), "result": result}


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
