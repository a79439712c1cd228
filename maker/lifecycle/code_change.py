"""What becomes of a run whose code has changed: it is refused, or goes on with the new code, checked beforehand."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from maker.core.user_code import call_user_code
from maker.engine.recovery import recovery_point
from maker.errors import RunNotResumable, TaskFailed
from maker.job.fingerprint import code_digest, difference, run_fingerprint, without_code
from maker.job.job import Job
from maker.plugin import Decomposer, StepClass
from maker.store.backend.database import Database
from maker.store.chains import ForkRow, last_chain, read_children, root_chain
from maker.store.code import CodeChange, CodePlace, NewCode
from maker.store.log import read_cuts, read_steps
from maker.store.open_chain import OpenChain, open_chains
from maker.store.outside import OutsideRow, read_outside
from maker.store.runs import RunRow
from maker.types import Effect, Fork, Wait
from maker.voting.forks import is_outside, opened
from maker.voting.messages import ChainAt
from maker.voting.paths import chain_name

BACK = "put the earlier code back, or start a new run with the new code"


def code_change(database: Database, row: RunRow, job: Job, *, back: bool) -> NewCode | None:
    """Return the other code that a run goes on with, None where its code is what it was. Writes nothing.

    Whether the new code can go on is tried for every chain that is not done: its state is rebuilt, and it is asked
    what comes next.

    Args:
        database: The store.
        row: The run.
        job: The job that it is to go on as.
        back: Whether it may go back to code that it has left.

    Raises:
        RunNotResumable: More has changed than code; or the job does not say that other code may go on; or it cannot.
    """
    now = run_fingerprint(job)
    changed = difference(row.fingerprint, now)
    if not changed:
        return None
    if job.run.on_change != "migrate" or not is_code_alone(row.fingerprint, now, job):
        refuse_change(row, job, changed, now)
    if told := _never(job):
        raise RunNotResumable(f"run {row.run_id} cannot go on with other code ({changed}): {told}", fix=BACK)
    left = (one.fingerprint for one in row.changes)
    if not back and any(code_digest(one) == code_digest(now) and not difference(one, now) for one in left):
        raise RunNotResumable(
            f"run {row.run_id} has left the code that this process has: {changed}",
            fix=f"give the process the newer code, or go back with `maker resume {row.run_id} run.on_change=migrate`",
            other_code=True,
        )
    classes = merged(row.classes, job.decomposer)
    places = _checked_places(database, row, in_order(job.decomposer, classes))
    last = last_chain(database, row.key)
    change = CodeChange(row.key, len(row.changes), time.time(), row.fingerprint, last, places)
    return NewCode(now, classes, change, code_digest(now), changed)


def is_code_alone(before: Mapping[str, Any], now: Mapping[str, Any], job: Job) -> bool:
    """Say whether two fingerprints differ in nothing but code: the sources of files, and what prompts are made of."""
    return not difference(without_code(before, job.functions), without_code(now, job.functions))


def refuse_change(row: RunRow, job: Job, changed: str, now: Mapping[str, Any]) -> NoReturn:
    """Raise `RunNotResumable`: the job is not what the run was started with."""
    other = code_digest(row.fingerprint) != code_digest(now)
    fix = "resume it with the code and settings that it was started with, or start a new run"
    if is_code_alone(row.fingerprint, now, job):
        fix = (
            "resume it with the code that it was started with; or keep its steps and go on with the new code, `maker"
            f" resume {row.run_id} run.on_change=migrate`; or start a new run"
        )
    raise RunNotResumable(
        f"run {row.run_id} was started with another task or voter: {changed}", fix=fix, other_code=other
    )


def merged(names: tuple[str, ...], decomposer: Decomposer[Any, Any]) -> tuple[str, ...]:
    """Return a run's step classes by number, with those added that its task has by now."""
    return tuple(dict.fromkeys([*names, *(kind.name for kind in decomposer.classes)]))


def in_order(decomposer: Decomposer[Any, Any], names: tuple[str, ...]) -> Decomposer[Any, Any]:
    """Return a task whose step classes have the numbers that they have in a run: other code may list them otherwise.

    A class that the task does not have any more keeps its number.
    """
    if names == tuple(kind.name for kind in decomposer.classes):
        return decomposer
    known = {kind.name: kind for kind in decomposer.classes}
    made = copy.copy(decomposer)
    classes = tuple(known.get(name) or StepClass(name, _gone) for name in merged(names, decomposer))
    # Whatever the task is: a frozen dataclass, say.
    object.__setattr__(made, "classes", classes)
    return made


def job_in_order(job: Job, names: tuple[str, ...]) -> Job:
    """Return a job whose task numbers its step classes as a run does."""
    return replace(job, decomposer=in_order(job.decomposer, names))


def _gone(_text: str) -> Any:
    raise ValueError("the task does not ask such steps any more")


def _never(job: Job) -> str:
    """Say why a job's runs can never go on with other code, "" where they may."""
    if job.memo != "off":
        return "decisions of the earlier code would answer questions of the new one (task.memo)"
    if job.poll is not None or job.foresight is not None:
        return "a pilot's samples are of one code"
    return ""


def _checked_places(database: Database, row: RunRow, decomposer: Decomposer[Any, Any]) -> dict[int, CodePlace]:
    """Return how far each chain of a run has come that is not done. Raises `RunNotResumable` where one cannot go on."""
    root = OpenChain.alone(database, root_chain(database, row.key))
    walk = _Walk(database, decomposer, {one.chain: one for one in read_outside(database, row.key)})
    try:
        return dict(walk.chain(root, None))
    except TaskFailed as error:
        raise RunNotResumable(f"run {row.run_id} cannot go on with the new code: {error.message}", fix=BACK) from error


class _Walk:
    """Walks the chains that are not done, and tries each with the new code. Raises `TaskFailed`."""

    def __init__(self, database: Database, decomposer: Decomposer[Any, Any], outside: Mapping[int, OutsideRow]) -> None:
        self._database = database
        self._decomposer = decomposer
        self._outside = outside

    def chain(self, open_chain: OpenChain, begin: Any) -> Iterator[tuple[int, CodePlace]]:
        """Yield where a chain stands, and the chains below it."""
        chain = open_chain.row
        point = recovery_point(open_chain, self._decomposer, begin)
        if point.fork is None:
            where = f"chain {chain_name(chain.path)}, step {chain.cursor}: {self._decomposer.name}"
            state = call_user_code(f"{where}: state.read", self._decomposer.state.read, point.at.state)
            call_user_code(f"{where}: next", self._decomposer.next, state)
            yield chain.key, CodePlace(chain.cursor, chain.epoch)
            return
        fork = point.fork
        yield chain.key, CodePlace(chain.cursor, chain.epoch, fork.joined, fork.state)
        broken, state = opened(self._decomposer, point.at)
        self._check(broken, state, fork, point.at)
        yield from self._children(broken, state, fork, point.at)

    def _check(self, broken: Fork[Any], state: Any, fork: ForkRow, at: ChainAt) -> None:
        """Refuse a fork that is not the one that is open."""
        where = f"chain {chain_name(at.path)}, step {at.idx}"
        call_user_code(f"{where}: state.read", self._decomposer.state.read, fork.state)
        if (broken.count, broken.single) != (fork.children, fork.single):
            raise TaskFailed(f"{where}: it has begun {fork.children} children, and now it asks for {broken.count}")
        child = next(read_children(self._database, fork, at.path), None)
        begun = None if child is None else self._outside.get(child.key)
        if child is not None and (begun is not None) != is_outside(broken):
            raise TaskFailed(
                f"{where}: it waits for something outside, and now it asks for other children, or the like"
            )
        move = self._decomposer.next(state)
        if begun is not None and isinstance(move, Effect | Wait) and move.name != begun.name:
            raise TaskFailed(f"{where}: it has begun {begun.kind} {begun.name!r}, and now it asks for {move.name!r}")

    def _children(self, broken: Fork[Any], state: Any, fork: ForkRow, at: ChainAt) -> Iterator[tuple[int, CodePlace]]:
        children = read_children(self._database, fork, at.path, start=0 if fork.single else fork.joined)
        if fork.single or is_outside(broken):
            for child in children:
                cuts = read_cuts(self._database, child.key)
                rows = read_steps(self._database, child.key, child.cursor, single=True, cuts=cuts)
                ahead = tuple(row.idx for row in rows) if fork.single else ()
                yield child.key, CodePlace(child.cursor, len(cuts), ahead=ahead)
            return
        for child, open_child in open_chains(self._database, children):
            if child.status in ("failed", "rejected"):
                # It stays so until somebody retries it.
                yield child.key, CodePlace(child.cursor, child.epoch)
            elif open_child is not None:
                yield from self.chain(open_child, lambda number=child.number: broken.child(state, number))
