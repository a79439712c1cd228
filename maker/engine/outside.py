"""Effects and waits: calls what a task wants done in the world, once, and takes in what people answer.

The fork that stands for an effect or a wait is committed before anything of it is done. Then its row is
(`maker.store.outside`), and then the function is called, in a thread. What comes of it is the only row of the fork's
child. A row of an effect without a record, left by another process, is an effect in doubt.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.engine.open_fork import OpenFork
from maker.errors import TaskFailed
from maker.inputs.nesting import too_deep
from maker.plugin import Decomposer
from maker.store.backend.database import Database
from maker.store.entry import Closed, Entry, OutsideState, StoredEvent
from maker.store.outside import IN_DOUBT, WAIT_BEGUN, WAIT_ENDED, Kind, OutsideRow, State, read_outside
from maker.store.seals import Place
from maker.types import Effect, Record, Wait
from maker.voting.forks import child_at, record_text, recorded
from maker.voting.paths import chain_name

EFFECTS_AT_ONCE = 32
LOOK_S = 0.5
"""The store is asked so often, in seconds, whether somebody has answered."""
STAY_S = 60.0
"""A run with nothing else to do waits so long for a deadline, in seconds, before it rests."""


class OutsideCall(NamedTuple):
    """An effect or a wait that a chain has come to: its fork, and the key of the child that takes the record."""

    fork: OpenFork
    chain: int

    @property
    def where(self) -> str:
        """The step that waits, in words."""
        at = self.fork.at
        return f"chain {chain_name(at.path)}, step {at.idx}" if at.path else f"step {at.idx}"


class Settled(NamedTuple):
    """A call that is over: what the journal is to take in, or why its branch rests."""

    call: OutsideCall
    entry: Entry
    trouble: str = ""


class Outside:
    """What a run has under way in the world, and what it waits for.

    Args:
        database: The store.
        run: The run's key, and its public id, which stands in the keys of its effects.
        run_id: See ``run``.
        decomposer: The task.
        rehearse: Whether nothing is to be done in the world, nor waited for: the run is a pilot's.
    """

    def __init__(
        self, database: Database, run: int, run_id: str, decomposer: Decomposer[Any, Any], *, rehearse: bool = False
    ) -> None:
        self._database = database
        self._run = run
        self._run_id = run_id
        self._decomposer = decomposer
        self._rehearse = rehearse
        self._rows: dict[int, OutsideRow] | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._effects: dict[Future[Any], OutsideCall] = {}
        self._waits: dict[int, OutsideCall] = {}
        self._moves: dict[int, Effect[Any] | Wait[Any]] = {}
        self._settled: list[Settled] = []
        self._looked_s = 0.0

    @property
    def waits(self) -> list[OutsideRow]:
        """The waits that are open, oldest first."""
        rows = self._rows or {}
        return sorted((rows[chain] for chain in self._waits), key=lambda row: row.begun_at)

    @property
    def calling(self) -> bool:
        """Whether an effect is being done."""
        return bool(self._effects)

    @property
    def busy(self) -> bool:
        """Whether something is under way that is worth staying for: an effect, or a deadline that is near."""
        deadlines = [row.deadline for row in self.waits if row.deadline is not None]
        near = bool(deadlines) and min(deadlines) <= time.time() + STAY_S
        return bool(self._effects or self._settled) or near

    def begin(self, call: OutsideCall) -> Entry | None:
        """Take up what a chain has come to; returns what must be committed before `go` is called. Raises `TaskFailed`.

        None where everything is committed already.
        """
        move = self._moves[call.chain] = self._move(call)
        row = self._held().get(call.chain)
        if row is not None:
            return None
        now = time.time()
        place = chain_name(call.fork.at.path)
        if isinstance(move, Effect):
            row = OutsideRow(call.chain, place, call.fork.at.idx, Kind.EFFECT, move.name, "", {}, State.BEGUN, now)
        else:
            deadline = None if move.deadline_s is None else now + move.deadline_s
            row = OutsideRow(
                call.chain, place, call.fork.at.idx, Kind.WAIT, move.name, move.prompt, move.schema, State.OPEN, now,
                deadline,
            )  # fmt: skip
        self._held()[call.chain] = row
        facts = {"at": row.at, "name": row.name, "prompt": row.prompt, "deadline": row.deadline}
        told = row.kind == Kind.WAIT and row.name
        return Entry(outside=[row], events=[StoredEvent(WAIT_BEGUN, facts)] if told else [])

    def go(self, call: OutsideCall, *, fresh: bool) -> None:
        """Do it: what it needs is committed. ``fresh`` says that this process has begun with it."""
        row, move = self._held()[call.chain], self._moves[call.chain]
        if self._rehearse:
            self._pretend(call, move)
        elif isinstance(move, Wait) and row.deadline is not None and row.deadline <= (now := time.time()):
            self._record(call, Record(None, now, expired=True))
        elif isinstance(move, Wait):
            self._waits[call.chain] = call
        elif fresh or (row.answer or {}).get("again") or (row.answer is None and move.retry == "same-key"):
            self._call(call, move)
        elif row.answer is not None:
            self._record(call, Record(row.answer["value"], row.answered_at or time.time(), row.by))
        else:
            self._doubt(call, f"was begun {_ago(row.begun_at)}, and nobody knows whether it was done")

    def take(self, wait_s: float = 0.0) -> list[Settled]:
        """Return what is over since the last call; waits so long for an effect, where none is over."""
        if self._waits and time.monotonic() - self._looked_s >= LOOK_S:
            self._look()
        if self._effects:
            timeout = 0.0 if self._settled else wait_s
            for done in wait(self._effects, timeout=timeout, return_when=FIRST_COMPLETED).done:
                self._end(self._effects.pop(done), done)
        elif wait_s and not self._settled:
            time.sleep(min(wait_s, LOOK_S))
        settled, self._settled = self._settled, []
        return settled

    def give_up(self, after_s: float) -> list[Settled]:
        """Take effects that are still under way for in doubt; those that may be repeated are, by whoever goes on."""
        for call in self._effects.values():
            if getattr(self._moves[call.chain], "retry", "") != "same-key":
                self._doubt(call, f"was under way when the run was stopped, and not over {after_s:g} s later")
        self._effects = {}
        settled, self._settled = self._settled, []
        return settled

    def close(self) -> None:
        """Give up what is under way: it is in doubt."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _held(self) -> dict[int, OutsideRow]:
        if self._rows is None:
            found = read_outside(self._database, self._run, State.BEGUN, State.DOUBT, State.OPEN)
            self._rows = {row.chain: row for row in found}
        return self._rows

    def _move(self, call: OutsideCall) -> Effect[Any] | Wait[Any]:
        at, task = call.fork.at, self._decomposer
        state = call_user_code(f"{call.where}: {task.name}: state.read", task.state.read, at.state)
        move = call_user_code(f"{call.where}: {task.name}: next", task.next, state)
        if not isinstance(move, Effect | Wait):
            raise TaskFailed(
                f"{call.where}: {task.name}.next returned an effect or a wait before, and for the same state now"
                f" {type(move).__name__}",
                fix="make next() depend on the state only",
            )
        return move

    def _call(self, call: OutsideCall, effect: Effect[Any]) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(EFFECTS_AT_ONCE, thread_name_prefix="maker-effect")
        at = call.fork.at
        key = f"{self._run_id}/{chain_name(at.path)}/{at.idx}/{at.epoch}"
        self._effects[self._threads.submit(_done, effect.call, key)] = call

    def _end(self, call: OutsideCall, done: Future[Any]) -> None:
        effect = self._moves[call.chain]
        try:
            value = call_user_code(f"{call.where}: effect {effect.name}", done.result)
        except TaskFailed as error:
            self._doubt(call, f"raised: {error.message}")
            return
        record = Record(value, time.time())
        try:
            if deep := too_deep(value):
                raise ValueError(deep)
            record_text(record).encode()
        except (TypeError, ValueError, RecursionError) as error:
            self._doubt(call, f"was done, but JSON cannot hold what it returned: {error}")
            return
        self._record(call, record)

    def _look(self) -> None:
        """See which waits have an answer, and which are over without one."""
        self._looked_s, now = time.monotonic(), time.time()
        for row in read_outside(self._database, self._run, State.OPEN):
            call = self._waits.get(row.chain)
            if call is None:
                continue
            if row.answer is not None:
                self._record(call, Record(row.answer["value"], row.answered_at or now, row.by))
            elif row.deadline is not None and row.deadline <= now:
                self._record(call, Record(None, now, expired=True))

    def _record(self, call: OutsideCall, record: Record) -> None:
        self._waits.pop(call.chain, None)
        at, row_of = call.fork.at, self._held()[call.chain]
        row = recorded(child_at(at, 0, call.chain, 0, single=False), record)
        place = Place(at.chain, at.idx, at.epoch, 0)
        closed = Closed(call.chain, place, "done", "", record._asdict())
        stands = OutsideState(call.chain, State.CLOSED)
        facts = {"at": row_of.at, "name": row_of.name, "by": record.by, "expired": record.expired}
        events = [StoredEvent(WAIT_ENDED, facts)] if row_of.kind == Kind.WAIT and row_of.name else []
        self._settled.append(Settled(call, Entry(decided=[row], closed=[closed], stands=[stands], events=events)))

    def _pretend(self, call: OutsideCall, move: Effect[Any] | Wait[Any]) -> None:
        """Record what stands for an effect or a wait in a pilot."""
        record = move.rehearsed()
        if record is not None:
            self._record(call, record)
            return
        trouble = f"{call.where}: a pilot does not do {move.name}: say by its `truth` what stands for it"
        self._settled.append(Settled(call, Entry(), trouble))

    def _doubt(self, call: OutsideCall, why: str) -> None:
        name = self._moves[call.chain].name
        step = self._held()[call.chain].at
        trouble = (
            f"{call.where}: effect {name} is in doubt: it {why}. Look whether it was done; `maker effect RUN {step}"
            " --again` calls it again, and --done takes what it returned instead"
        )
        stands = OutsideState(call.chain, State.DOUBT)
        event = StoredEvent(IN_DOUBT, {"at": step, "name": name, "reason": why})
        self._settled.append(Settled(call, Entry(stands=[stands], events=[event]), trouble))


def _done(call: Callable[[str], Any], key: str) -> Any:
    """Do an effect, in a thread. An async function has a loop of its own."""
    result = call(key)
    return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


async def _awaited(result: Any) -> Any:
    return await result


def _ago(begun_at: float) -> str:
    return time.strftime("on %Y-%m-%d at %H:%M:%S UTC", time.gmtime(begun_at))
