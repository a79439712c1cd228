"""Undecided steps that people are asked about: which are open, and what has been answered. The log has the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, func, select, tuple_, update

from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.backend.texts import stored
from maker.store.queued import store_answer
from maker.voting.messages import Proposal
from maker.voting.paths import ROOT, chain_name, step_name

_referral, _prompt = schema.referral.c, schema.prompt.c
_KEY = (_referral.chain, _referral.idx, _referral.epoch)
PAGE = 1000


class StepKey(NamedTuple):
    """A step as the store's tables name it."""

    chain: int
    idx: int
    epoch: int


def at_step(table: Table, step: StepKey) -> ColumnElement[bool]:
    """Return the condition that a table's row is that of a step."""
    return (table.c.chain == step.chain) & (table.c.idx == step.idx) & (table.c.epoch == step.epoch)


class ReferralRow(NamedTuple):
    """An undecided step that a person is asked about.

    Args:
        key: The step.
        place: Its chain, as people name it; of a child of a fork of single steps the child's.
        step: Its number there.
        name: What people call it: a row's id, else a name of its place.
        kind: Its step class.
        proposals: The candidates, those with most votes first.
        tally: The packed count of its votes, which nobody won.
        tokens: What the votes took.
        closed: Whether what came of it is in the log.
        begun_at: Since when it is asked, in seconds since 1970.
        answer: The action that somebody has chosen, as the task writes it; None as long as nobody has.
        by: Who has.
        answered_at: When.
    """

    key: StepKey
    place: str
    step: int
    name: str
    kind: str
    proposals: Sequence[Proposal]
    tally: bytes
    tokens: int
    closed: bool
    begun_at: float
    answer: str | None = None
    by: str = ""
    answered_at: float | None = None

    @property
    def at(self) -> str:
        """The step, as people name it: ``3``, or ``0.17:3`` in another chain than the root."""
        return step_name(self.place, self.step)

    def values(self, run: int) -> dict[str, Any]:
        """Return it as values of the table's columns."""
        proposals = json.dumps([[one.key, one.text, one.votes] for one in self.proposals])
        return self.key._asdict() | {
            "run": run, "place": self.place, "step": self.step, "name": stored(self.name), "kind": self.kind,
            "proposals": proposals, "tally": self.tally, "tokens": self.tokens, "closed": self.closed,
            "begun_at": self.begun_at, "answer": self.answer, "answered_by": self.by, "answered_at": self.answered_at,
        }  # fmt: skip


class OpenReferral(NamedTuple):
    """An undecided step that waits for a person: its run's id and name, the part of its prompt that varies."""

    run_id: str
    run_name: str
    row: ReferralRow
    prompt: str


def open_steps(database: Database, run: int) -> frozenset[StepKey]:
    """Return the steps of a run that people are asked about."""
    rows = database.fetch(select(*_KEY).where(_referral.run == run, ~_referral.closed))
    return frozenset(StepKey(*row) for row in rows)


def open_names(database: Database, run: int, most: int) -> tuple[list[str], int]:
    """Return the names of the steps of a run that wait longest, at most so many, and how many wait in all."""
    here = (_referral.run == run, ~_referral.closed)
    named = select(_referral.name).where(*here).order_by(_referral.begun_at, *_KEY).limit(most)
    return [row[0] for row in database.fetch(named)], count_open(database, run)


def count_open(database: Database, run: int) -> int:
    """Return how many steps of a run people are asked about."""
    query = select(func.count()).select_from(schema.referral)
    return int(database.fetch(query.where(_referral.run == run, ~_referral.closed))[0][0])


def answered_steps(database: Database, run: int) -> list[ReferralRow]:
    """Return steps of a run that are answered, and whose answers are still to be written to the log, a page at most."""
    here = (_referral.run == run, ~_referral.closed, _referral.answer.is_not(None))
    return [_row(found) for found in database.fetch(select(schema.referral).where(*here).order_by(*_KEY).limit(PAGE))]


def answered_in(connection: Connection, run: int) -> bool:
    """Say whether a step of a run has an answer that is still to be written to the log."""
    here = (_referral.run == run, ~_referral.closed, _referral.answer.is_not(None))
    return connection.execute(select(_referral.chain).where(*here).limit(1)).first() is not None


def read_open(database: Database, run: int | None = None) -> Iterator[OpenReferral]:
    """Yield the steps without an answer, of a run or of all that are not over, oldest first, in constant memory."""
    table, place = schema.run.c, (_referral.begun_at, *_KEY)
    query = _with_prompts().where(~_referral.closed, _referral.answer.is_(None))
    query = query.where(table.status.in_(["running", "paused"]) if run is None else _referral.run == run)
    query = query.order_by(*place).limit(PAGE)
    rows = database.fetch(query)
    while rows:
        for found in rows:
            yield OpenReferral(found.run_id, found.run_name, _row(found), found.prompt or "")
        last = rows[-1]
        after = (last.begun_at, last.chain, last.idx, last.epoch)
        rows = database.fetch(query.where(tuple_(*place) > after)) if len(rows) == PAGE else []


def find_referrals(database: Database, run: int, name: str) -> list[OpenReferral]:
    """Return a run's steps of that name or at that place, open and closed ones, oldest first."""
    place, _, step = name.rpartition(":")
    named: ColumnElement[bool] = _referral.name == stored(name)
    if step.isdecimal() and len(step) < 19:
        here = (_referral.place == (place or chain_name(ROOT))) & (_referral.step == int(step))
        named = named | here
    query = _with_prompts().where(_referral.run == run, named).order_by(_referral.begun_at, *_KEY)
    return [
        OpenReferral(found.run_id, found.run_name, _row(found), found.prompt or "") for found in database.fetch(query)
    ]


def _with_prompts() -> Select[Any]:
    run = schema.run.c
    asked = (_prompt.chain == _referral.chain, _prompt.idx == _referral.idx, _prompt.epoch == _referral.epoch)
    joined = schema.referral.join(schema.run, run.id == _referral.run)
    joined = joined.outerjoin(schema.prompt, asked[0] & asked[1] & asked[2])
    joined = joined.outerjoin(schema.text, schema.text.c.digest == _prompt.prompt)
    told = (run.run_id, run.name.label("run_name"), schema.text.c.body.label("prompt"))
    return select(schema.referral, *told).select_from(joined)


def give_step_answer(database: Database, run: int, key: StepKey, answer: str, by: str) -> bool:
    """Store an answer to an undecided step; returns False if it has one already, or is asked about no more."""
    query = update(schema.referral).where(at_step(schema.referral, key), ~_referral.closed, _referral.answer.is_(None))
    given = {"answer": answer, "answered_by": by, "answered_at": time.time()}
    return store_answer(database, run, query.values(given))


def withdraw(connection: Connection, chain: int, idx: int, *, single: bool) -> None:
    """Ask nobody any more about the steps that a cut supersedes, in the caller's transaction."""
    here = _referral.idx == idx if single else _referral.idx >= idx
    connection.execute(delete(schema.referral).where(_referral.chain == chain, here, ~_referral.closed))


def answered_among(connection: Connection, steps: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return those of some steps, each a chain and a number, that have an answer that is not in the log yet."""
    found: set[tuple[int, int]] = set()
    waiting = (~_referral.closed, _referral.answer.is_not(None))
    ordered = sorted(steps)
    for start in range(0, len(ordered), PAGE):
        chosen = tuple_(_referral.chain, _referral.idx).in_(ordered[start : start + PAGE])
        rows = connection.execute(select(_referral.chain, _referral.idx).where(chosen, *waiting))
        found |= {(row.chain, row.idx) for row in rows}
    return found


def _row(found: Any) -> ReferralRow:
    return ReferralRow(
        StepKey(found.chain, found.idx, found.epoch),
        found.place,
        found.step,
        found.name,
        found.kind,
        tuple(Proposal(*one) for one in json.loads(found.proposals)),
        bytes(found.tally),
        found.tokens,
        found.closed,
        found.begun_at,
        found.answer,
        found.answered_by,
        found.answered_at,
    )
