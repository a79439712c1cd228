"""What runs wait for: list it, and answer. No process need work on the run; one that does takes the answer up."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from maker.core.plugins import near
from maker.errors import BadInput, RunNotResumable
from maker.inputs.nesting import too_deep
from maker.lifecycle.answers import answer_step
from maker.lifecycle.missed_rows import missed_rows
from maker.lifecycle.queries import opened
from maker.store.backend.database import Database
from maker.store.outside import Kind, OutsideRow, State, give_answer, read_outside, read_waiting
from maker.store.referrals import OpenReferral, find_referrals, open_names, read_open
from maker.store.runs import OVER, RunRow, find_run

MOST_NEAR = 1000
"""Among so many names of undecided steps one is looked for that is like a name that nothing waits by."""
YES_NO = {"yes": True, "no": False}


class VotedFor(NamedTuple):
    """A candidate of an undecided step: what a vote for it says, the whole action as its task writes it, its votes."""

    key: str
    text: str
    votes: int


@dataclass(frozen=True, slots=True)
class OpenWait:
    """Something that a run waits for: a person's answer, a time, word of an effect in doubt, or an undecided step.

    Args:
        run_id: The run.
        run_name: Its name, "" without one.
        at: The step that waits, as ``3``, or ``0.17:3`` in another chain than the root.
        kind: ``wait``, ``effect``, or ``step`` for an undecided one.
        name: What is waited for; "" for a time. Of an undecided step its name, for example ``step-3`` or a row's id.
        prompt: What a person is to read; of a step the part of its prompt that varies.
        answers: The JSON schema of the answer; of a step nothing: its task's parser and checks say what is one.
        begun_at: Since when, in seconds since 1970.
        deadline: Until when, None: for ever.
        candidates: Of an undecided step what was voted for, those with most votes first.
    """

    run_id: str
    run_name: str
    at: str
    kind: str
    name: str
    prompt: str
    answers: Mapping[str, Any]
    begun_at: float
    deadline: float | None
    candidates: Sequence[VotedFor] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"candidates": [one._asdict() for one in self.candidates]}


def waits(run_id: str = "", *, store: str | None = None) -> Iterator[OpenWait]:
    """Yield what can be answered: of one run, times too, or of all runs that are not over.

    What tasks themselves wait for comes first, then undecided steps; each oldest first.

    Raises:
        RunNotFound: There is no such run.
    """
    with opened(store) as database:
        if not run_id:
            for found in read_waiting(database):
                yield _open_wait(found.run_id, found.run_name, found.row)
            yield from map(_open_step, read_open(database))
            return
        row = find_run(database, run_id)
        for one in read_outside(database, row.key, State.OPEN, State.DOUBT):
            if one.answer is None:
                yield _open_wait(row.run_id, row.name, one)
        yield from map(_open_step, read_open(database, row.key))


def answer(run_id: str, name: str, value: Any, *, by: str | None = None, store: str | None = None) -> OpenWait:
    """Answer what a run waits for; returns it. Whoever works on the run takes the answer up, else the next `resume`.

    A row that a map has no decision on can be answered too, also where the run is over: see `maker.review`.

    Args:
        run_id: The run.
        name: What is waited for; or where, as ``0.17:3``, if several steps wait for one name.
        value: A JSON value that fits the wait's schema. To an undecided step, a candidate or its number, or a reply
            that the task's parser and checks accept; ``@2`` is always candidate 2, and ``=2`` always the reply 2.
        by: Who answers: kept in the log. The user of this process by default.
        store: The store.

    Raises:
        RunNotFound: There is no such run.
        RunNotResumable: The run is over, and has no such row.
        BadInput: It waits for no such thing, or no more; several steps do; the value does not fit.
        JobError: The task of an undecided step cannot be loaded.
    """
    with opened(store) as database:
        row, by = find_run(database, run_id), user() if by is None else by
        steps = find_referrals(database, row.key, name)
        if not any(step.row.answer is None for step in steps):
            missed = missed_rows(database, row)
            if missed is not None and (settled := missed.named(name)) is not None:
                return _open_step(missed.answer(settled, value, by))
        _refuse_over(row)
        rows = read_outside(database, row.key)
        if asked := _steps(row, steps, rows, name):
            return _open_step(answer_step(database, row, name, asked, value, by))
        one = _found(database, row, rows, name, Kind.WAIT)
        if problem := _misfit(one.answers, value):
            raise BadInput(f"{one.name} of run {row.run_id} takes no such answer: {problem}", fix=_takes(one.answers))
        _give(database, row, one, {"value": value}, by)
        return _open_wait(row.run_id, row.name, one)


def settle_effect(
    run_id: str, at: str, *, done: Any = None, again: bool = False, by: str | None = None, store: str | None = None
) -> OpenWait:
    """Say what came of an effect in doubt: it is ``done``, with this result, or is to be called ``again``.

    Args:
        run_id: The run.
        at: The step, as ``3`` or ``0.17:3``; or the effect's name, if one effect of that name is in doubt.
        done: What its function would have returned: a JSON value.
        again: Call it once more, with the same key, when the run goes on.
        by: Who says so: kept in the log. The user of this process by default.
        store: The store.

    Raises:
        RunNotFound: There is no such run.
        RunNotResumable: The run is over.
        BadInput: There is no such effect in doubt, or JSON cannot hold the value.
    """
    with opened(store) as database:
        row = _going(database, run_id)
        one = _found(database, row, read_outside(database, row.key), at, Kind.EFFECT)
        if problem := "" if again else _misfit({}, done):
            raise BadInput(f"effect {one.name} of run {row.run_id} cannot have that result: {problem}")
        _give(database, row, one, {"again": True} if again else {"value": done}, by)
        return _open_wait(row.run_id, row.name, one)


def refuse_repeated(run_id: str, effects: Sequence[OutsideRow], what: str) -> None:
    """Raise `BadInput` where something would do effects again that a run has begun."""
    if effects:
        names = ", ".join(f"{one.name} (step {one.at})" for one in effects[:5])
        more = f" and {len(effects) - 5:,} more" if len(effects) > 5 else ""
        raise BadInput(
            f"{what} would do effects of run {run_id} again: {names}{more}",
            fix="choose a later step; or say that they are to be done again with --repeat-effects",
        )


def answer_in(text: str, answers: Mapping[str, Any]) -> Any:
    """Return the answer that a text on a command line stands for: itself, where texts fit the schema, else JSON."""
    if answers.get("type") == "boolean" and text.casefold() in YES_NO:
        return YES_NO[text.casefold()]
    with suppress(ValueError):
        value = json.loads(text)
        if not (answers and isinstance(value, str)) and not (answers and _misfit(answers, value)):
            return value
    return text


def _going(database: Database, run_id: str) -> RunRow:
    row = find_run(database, run_id)
    _refuse_over(row)
    return row


def _refuse_over(row: RunRow) -> None:
    if row.status in OVER:
        raise RunNotResumable(f"run {row.run_id} is {row.status}, and waits for nothing", fix="start a new run")


def _steps(row: RunRow, steps: Sequence[OpenReferral], rows: Sequence[OutsideRow], name: str) -> Sequence[OpenReferral]:
    """Return the undecided steps of a name, () if a wait has it. Raises `BadInput` where both wait for an answer."""
    waits = [one for one in rows if one.kind == Kind.WAIT and one.state == State.OPEN and name in (one.name, one.at)]
    asked = [one.row for one in steps if one.row.answer is None]
    if waits and asked:
        places = ", ".join([*(one.at for one in waits), *(one.at for one in asked)])
        raise BadInput(
            f"a wait and a step of run {row.run_id} are called {name!r}", fix=f"name one by its place: {places}"
        )
    return () if waits else steps


def _found(database: Database, row: RunRow, rows: Sequence[OutsideRow], name: str, kind: Kind) -> OutsideRow:
    """Return what is waited for by that name or at that place. Raises `BadInput`."""
    of_kind = [one for one in rows if one.kind == kind and one.name]
    named = [one for one in of_kind if name in (one.name, one.at)]
    asked = [one for one in named if one.state in (State.OPEN, State.DOUBT)]
    what = "wait for" if kind == Kind.WAIT else "have an effect in doubt called"
    if not asked:
        over = [one for one in named if one.state == State.CLOSED]
        if over:
            by = f", by {over[-1].by}" if over[-1].by else ""
            raise BadInput(f"{name} of run {row.run_id} is over: it has been answered{by}", fix="see `maker waits`")
        known = [one.name for one in of_kind if one.state in (State.OPEN, State.DOUBT)]
        known += open_names(database, row.key, MOST_NEAR)[0] if kind == Kind.WAIT else []
        raise BadInput(f"run {row.run_id} does not {what} {name!r}", fix=near(name, known))
    if len(asked) > 1:
        places = ", ".join(one.at for one in asked[:5])
        raise BadInput(
            f"{len(asked)} steps of run {row.run_id} wait for {name!r}", fix=f"name one by its place: {places}"
        )
    return asked[0]


def _give(database: Database, row: RunRow, one: OutsideRow, given: Mapping[str, Any], by: str | None) -> None:
    if not give_answer(database, row.key, one.chain, given, user() if by is None else by):
        raise BadInput(f"{one.name} of run {row.run_id} is answered already", fix="see `maker waits`")


def _misfit(answers: Mapping[str, Any], value: Any) -> str:
    """Say why a value is no answer by a schema, "" if it is one."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return f"JSON cannot hold it: {error}"
    if deep := too_deep(value):
        return deep
    # It takes long to load.
    from jsonschema import Draft202012Validator

    errors = (error.message for error in Draft202012Validator(answers).iter_errors(value))
    return next(errors, "")


def _takes(answers: Mapping[str, Any]) -> str:
    return f"give what this JSON schema allows: {json.dumps(answers)[:500]}"


def user() -> str:
    """Return the name of whoever runs this process, "" where there is none."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container may have a user without a name.
        return ""


def _open_wait(run_id: str, name: str, row: OutsideRow) -> OpenWait:
    return OpenWait(
        run_id, name, row.at, str(row.kind), row.name, row.prompt, row.answers, row.begun_at, row.deadline
    )  # fmt: skip


def _open_step(one: OpenReferral) -> OpenWait:
    row = one.row
    candidates = [VotedFor(*proposal) for proposal in row.proposals]
    return OpenWait(
        one.run_id, one.run_name, row.at, "step", row.name, one.prompt, {}, row.begun_at, None, candidates
    )  # fmt: skip
