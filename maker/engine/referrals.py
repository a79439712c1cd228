"""Undecided steps that people are asked about: their names, their answers, and the step that an answer decides.

A chain that comes to such a step is let go, and the step waits in the store (`maker.store.referrals`). An answer is
checked before it is stored, and once more when it is written to the log: as the row of the step, with the votes that
were cast. Where the step stands is read from the store, so one that waits costs no memory.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.engine.recovery import found
from maker.errors import BadInput, TaskFailed
from maker.plugin import Decomposer, RowDecomposer, vote_key
from maker.store.backend.database import Database
from maker.store.chains import find_chain
from maker.store.locations import path_of
from maker.store.log import snapshot_at
from maker.store.referrals import ReferralRow, StepKey, answered_steps, open_names, open_steps
from maker.store.runs import MOST_NAMED
from maker.voting.chain import UNREAD, ChainRunner
from maker.voting.forks import opened
from maker.voting.messages import ChainAt, Decided, Ended, Stuck
from maker.voting.paths import ROOT, chain_name, is_single
from maker.voting.policy import Rules, Shared
from maker.voting.tally import Person, answered, unpack

LOOK_S = 0.5
"""The store is asked so often, in seconds, whether somebody has answered."""


class ReferredStep(NamedTuple):
    """A step that a person is to decide: where it stands, its fork if it is a single step of one, and its votes."""

    chain: int
    place: str
    fork: ChainAt | None
    stuck: Stuck


class AnsweredStep(NamedTuple):
    """What an answer comes to: the step's row, and how the chain goes on, or that a single step has ended."""

    decided: Decided
    after: ChainAt | Ended


class Asked(NamedTuple):
    """Where a step stands that a person is asked about; ``state`` is at hand for a single step of a fork."""

    at: ChainAt
    state: Any = UNREAD

    def state_of(self, decomposer: Decomposer[Any, Any]) -> Any:
        """Return the state that the step is taken in: one of its own each time, unless it is at hand."""
        if self.state is not UNREAD:
            return self.state
        return call_user_code(f"{decomposer.name}: state.read", decomposer.state.read, self.at.state)


def asked_at(database: Database, decomposer: Decomposer[Any, Any], key: StepKey) -> Asked:
    """Return where a step stands that a person is asked about. Reads one snapshot, and the actions after it.

    Raises `TaskFailed` where the task's code does, and where the chain has gone on since.
    """
    path = path_of(database, key.chain) or ROOT
    chain = find_chain(database, key.chain, path)
    parent, at, epoch, number = chain.place
    if parent is None:
        point = found(database, decomposer, key.chain, path, None, 0)
    else:
        snapshot = snapshot_at(database, parent, at, epoch)
        above = path[:-2] if is_single(path) else path[:-3]
        forked = ChainAt(parent, above, at, epoch, b"", "" if snapshot is None else snapshot.state)
        if is_single(path):
            fork, state = opened(decomposer, forked)
            where = f"chain {chain_name(path, key.idx)}: {decomposer.name}: child"
            child = call_user_code(where, fork.child, state, key.idx)
            return Asked(ChainAt(key.chain, path, key.idx, key.epoch, chain.digest, "", single=True), child)
        point = found(database, decomposer, key.chain, path, forked, number)
    if (point.at.idx, point.at.epoch) != (key.idx, key.epoch):
        raise TaskFailed(f"chain {chain_name(path)} has gone on from step {key.idx} since", step=key.idx)
    return Asked(point.at)


def decide(shared: Shared, asked: Asked, row: ReferralRow, text: str, person: Person) -> AnsweredStep:
    """Return the step that an answer decides. Raises `TaskFailed` where the rules forbid it, or the task's code raises.

    ``text`` is the answer as the task writes it, and ``asked`` where the step stands.
    """
    runner: ChainRunner[Any, Any] = ChainRunner(shared, asked.at, state=asked.state)
    task, where = shared.decomposer, runner.where
    key = call_user_code(f"{where}: {task.name}: its answer", lambda: vote_key(task.action, task.action.read(text)))
    decided = runner.take_answer(text, answered(unpack(row.tally), key, person), row.tokens)
    if not asked.at.single:
        return AnsweredStep(decided, runner.standing())
    ended = runner.ask()
    assert isinstance(ended, Ended)  # noqa: S101 - a runner of a single step raises for anything else
    return AnsweredStep(decided, ended)


class Referrals:
    """What people are asked about in a run that is worked on.

    ``open`` are the steps that waited when it began.

    Args:
        database: The store.
        run: The run's key.
        decomposer: The task.
        rules: How its steps are decided.
    """

    def __init__(self, database: Database, run: int, decomposer: Decomposer[Any, Any], rules: Rules) -> None:
        self._database = database
        self._run = run
        self._decomposer = decomposer
        self._shared = Shared.of(decomposer, rules)
        self.open = open_steps(database, run)
        self._count = len(self.open)
        self._taken: set[StepKey] = set()
        self._looked_s = 0.0
        self._rows_of = lru_cache(8)(self._read_rows)

    @property
    def waiting(self) -> bool:
        """Whether anybody is asked."""
        return self._count > 0

    def begin(self, referred: Sequence[ReferredStep]) -> list[ReferralRow]:
        """Return the rows that ask about steps from now on."""
        self._count += len(referred)
        now = time.time()
        return [self._row(one, now) for one in referred]

    def news(self, *, now: bool = False) -> list[ReferralRow]:
        """Return the steps that were answered since the last call; looks twice a second, or ``now``."""
        if not self._count or not (now or time.monotonic() - self._looked_s >= LOOK_S):
            return []
        self._looked_s = time.monotonic()
        rows = [row for row in answered_steps(self._database, self._run) if row.key not in self._taken]
        self._taken.update(row.key for row in rows)
        return rows

    def decide(self, row: ReferralRow) -> AnsweredStep:
        """Return the step that its answer decides. Raises `TaskFailed` as `decide` does."""
        asked = asked_at(self._database, self._decomposer, row.key)
        person = Person(row.by, int((row.answered_at or 0.0) * 1000))
        made = decide(self._shared, asked, row, row.answer or "", person)
        self._count -= 1
        return made

    def names(self) -> tuple[list[str], int]:
        """Return the names of the steps that have waited longest, and how many wait; as of what is committed."""
        return open_names(self._database, self._run, MOST_NAMED) if self._count else ([], 0)

    def _row(self, one: ReferredStep, now: float) -> ReferralRow:
        stuck, referred = one.stuck, one.stuck.referred
        assert referred is not None  # noqa: S101 - nobody is asked about others
        step = stuck.idx if one.fork is None else 0
        return ReferralRow(
            StepKey(one.chain, stuck.idx, stuck.epoch), one.place, step, self._name(one, step), stuck.kind,
            referred.proposals, referred.tally, referred.tokens, False, now,
        )  # fmt: skip

    def _name(self, one: ReferredStep, step: int) -> str:
        task = self._decomposer
        if one.fork is not None and isinstance(task, RowDecomposer):
            # A row that cannot be named is answered by its place.
            try:
                return str(task.row(self._rows_of(one.fork)[one.stuck.idx])[0])
            except BadInput:
                pass
        return f"step-{step}" if one.place == chain_name(ROOT) else f"{one.place}:{step}"

    def _read_rows(self, fork: ChainAt) -> Sequence[int]:
        task = self._decomposer
        assert isinstance(task, RowDecomposer)  # noqa: S101 - the caller has looked
        return task.rows(task.state.read(fork.state))
