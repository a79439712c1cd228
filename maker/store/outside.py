"""Effects and waits: what runs do in the world, and what they wait for. The log has what came of them."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, select, update

from maker.store.backend import schema
from maker.store.backend.database import Database
from maker.store.queued import NEVER, store_answer
from maker.store.referrals import answered_in
from maker.voting.paths import step_name

_outside = schema.outside.c
PAGE = 1000
WAIT_BEGUN, WAIT_ENDED, IN_DOUBT = "wait_begun", "wait_ended", "effect_in_doubt"
"""Kinds of the events that tell of waits with a name, and of effects in doubt."""


class Kind(StrEnum):
    """What a run has to do with the world."""

    EFFECT = "effect"
    WAIT = "wait"


class State(StrEnum):
    """How an effect or a wait stands."""

    BEGUN = "begun"
    """An effect that is being done, or was when its process died."""
    DOUBT = "doubt"
    """An effect of which nobody knows whether it was done: a person is asked."""
    OPEN = "open"
    """A wait without an answer."""
    CLOSED = "closed"
    """What came of it is in the log."""


class OutsideRow(NamedTuple):
    """An effect or a wait.

    Args:
        chain: The key of the child chain that holds the record.
        place: The chain that waits for it, as people name it, and ``step`` there.
        kind: Which of the two it is.
        name: Its name.
        prompt: What a person is to read.
        answers: The JSON schema of its answer.
        state: How it stands.
        begun_at: When it began, in seconds since 1970.
        deadline: When a wait is over without an answer, None: never.
        answer: What somebody has given, None as long as nobody has: an object with ``value``, or of an effect in doubt
            with ``again``.
        by: Who has.
        answered_at: When.
    """

    chain: int
    place: str
    step: int
    kind: Kind
    name: str
    prompt: str
    answers: Mapping[str, Any]
    state: State
    begun_at: float
    deadline: float | None = None
    answer: Mapping[str, Any] | None = None
    by: str = ""
    answered_at: float | None = None

    @property
    def at(self) -> str:
        """The step that waits, as people name it: ``3``, or ``0.17:3`` in another chain than the root."""
        return step_name(self.place, self.step)

    def values(self, run: int) -> dict[str, Any]:
        """Return it as values of the table's columns."""
        answer = None if self.answer is None else json.dumps(self.answer)
        return {
            "chain": self.chain, "run": run, "place": self.place, "step": self.step, "kind": str(self.kind),
            "name": self.name, "prompt": self.prompt, "answers": json.dumps(self.answers), "state": str(self.state),
            "begun_at": self.begun_at, "deadline": self.deadline, "answer": answer, "answered_by": self.by,
            "answered_at": self.answered_at,
        }  # fmt: skip


class Waiting(NamedTuple):
    """An effect or a wait that a person can answer, and the run's id and name."""

    run_id: str
    run_name: str
    row: OutsideRow


def read_outside(database: Database, run: int, *states: State) -> list[OutsideRow]:
    """Return a run's effects and waits in these states, in all states if none is named; oldest first."""
    query = select(schema.outside).where(_outside.run == run).order_by(_outside.begun_at, _outside.chain)
    if states:
        query = query.where(_outside.state.in_([str(state) for state in states]))
    return [_row(found._mapping) for found in database.fetch(query)]


def read_waiting(database: Database) -> Iterator[Waiting]:
    """Yield what people can answer in all runs that are not over: open waits, and effects in doubt; oldest first."""
    table, asked = schema.run.c, [str(State.OPEN), str(State.DOUBT)]
    query = (
        select(schema.outside, table.run_id, table.name.label("run_name"))
        .join(schema.run, table.id == _outside.run)
        .where(_outside.state.in_(asked), _outside.answer.is_(None), _outside.name != "")
        .where(table.status.in_(["running", "paused"]))
        .order_by(_outside.begun_at, _outside.chain)
        .limit(PAGE)
    )
    last: tuple[float, int] | None = None
    while True:
        page = query
        if last is not None:
            after = (_outside.begun_at > last[0]) | ((_outside.begun_at == last[0]) & (_outside.chain > last[1]))
            page = query.where(after)
        rows = database.fetch(page)
        for found in rows:
            held = found._mapping
            yield Waiting(held["run_id"], held["run_name"], _row(held))
        if len(rows) < PAGE:
            return
        last = (rows[-1].begun_at, rows[-1].chain)


def effects_under(database: Database, run: int, chains: Collection[int]) -> list[OutsideRow]:
    """Return the effects of a run that stand in one of these chains, or in a chain below one."""
    effects = [row for row in read_outside(database, run) if row.kind == Kind.EFFECT]
    found, level = [], {row.chain: [row] for row in effects}
    while level and chains:
        above: dict[int, list[OutsideRow]] = {}
        keys = sorted(level)
        for start in range(0, len(keys), PAGE):
            chosen = select(schema.chain.c.id, schema.chain.c.parent).where(
                schema.chain.c.id.in_(keys[start : start + PAGE]), schema.chain.c.parent.is_not(None)
            )
            for key, parent in database.fetch(chosen):
                above.setdefault(parent, []).extend(level[key])
        found += [row for parent, rows in above.items() if parent in chains for row in rows]
        level = {parent: rows for parent, rows in above.items() if parent not in chains}
    return found


def give_answer(database: Database, run: int, chain: int, answer: Mapping[str, Any], by: str) -> bool:
    """Store an answer to a wait, or to an effect in doubt; returns False if it has one already, or is over."""
    asked = [str(State.OPEN), str(State.DOUBT)]
    query = update(schema.outside).where(_outside.chain == chain, _outside.state.in_(asked), _outside.answer.is_(None))
    given = {"answer": json.dumps(answer), "answered_by": by, "answered_at": time.time()}
    return store_answer(database, run, query.values(given))


def wakes_at(connection: Connection, run: int) -> float:
    """Return when a run that waits has something to go on with: now, if it has been answered; at its next deadline."""
    rows = connection.execute(
        select(_outside.answer, _outside.deadline).where(
            _outside.run == run, _outside.state.in_([str(State.OPEN), str(State.DOUBT)])
        )
    ).all()
    if any(row.answer is not None for row in rows) or answered_in(connection, run):
        return time.time()
    return min((row.deadline for row in rows if row.deadline is not None), default=NEVER)


def _row(held: RowMapping) -> OutsideRow:
    answer = held["answer"]
    return OutsideRow(
        chain=held["chain"],
        place=held["place"],
        step=held["step"],
        kind=Kind(held["kind"]),
        name=held["name"],
        prompt=held["prompt"],
        answers=json.loads(held["answers"]),
        state=State(held["state"]),
        begun_at=held["begun_at"],
        deadline=held["deadline"],
        answer=None if answer is None else json.loads(answer),
        by=held["answered_by"],
        answered_at=held["answered_at"],
    )
