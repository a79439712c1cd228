"""Tries the first steps of a task with its real model; nothing is stored."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import count
from typing import NamedTuple

from maker.errors import OWN_FAULT, BadInput
from maker.swarm.messages import ChainFailed, Child, Children, Orders, Report, WorkerSpec
from maker.swarm.worker import Worker
from maker.types import Allowance, Grant
from maker.voting.messages import ChainAt, Decided, Ended, Forked, KeptVotes, OpenStep, Stuck
from maker.voting.tally import unpack

NOTHING_HEARD = KeptVotes("", "", ())


class Lost(NamedTuple):
    """A step or a child of a fork that an error stopped, or a child that ended wrong: its number, and why."""

    idx: int
    reason: str


class Trial(NamedTuple):
    """One tried step: what was asked, every sample with what became of it, and what was decided.

    Of one that was lost before any reply came neither its class nor what it has heard is known: both are empty.
    """

    kind: str
    heard: KeptVotes
    outcome: Decided | Stuck | Lost


def try_chain(
    spec: WorkerSpec, at: ChainAt, steps: int, allowance: Allowance | None
) -> Generator[Trial | Ended | OpenStep]:
    """Decide a few steps, and yield each as it is decided. Where the task forks, its children one after another.

    While a step waits for replies, yields what it has heard so far, some twenty times a second. Ends early with a step
    that no vote could settle (its outcome is `Stuck`), with the task's own end, or with the last child of its first
    fork. Children of a lenient fork hold nothing up: after one that is stuck, or lost, the next one is tried; either
    counts as a step.

    Raises:
        ModelUnusable, ModelFailed: The model gave no reply.
        BadInput: The limits do not allow so many steps.
    """
    # Each step is asked and shown, whatever a run would know by then.
    worker = Worker(spec._replace(rules=spec.rules._replace(samples="all"), strict=False, memo=False))
    keys = count(at.chain + 1)
    children: Iterator[Orders] = iter(())
    lenient, left = False, steps
    try:
        grant = None if allowance is None else Grant(0, allowance)
        orders = Orders(chains=(at,), grant=grant, steps=steps)
        while True:
            report = worker.advance(orders)
            orders = Orders()
            over = bool(report.ended or report.stuck or report.errors)
            yield from _lenient_trials(spec, report) if lenient else _trials(spec, report)
            yield from worker.open_steps()
            left -= over if lenient else len(report.decided)
            if report.held or (left == 0 if lenient else report.stuck):
                return
            if any(fork.outside for fork in report.forked):
                # What is not stored does nothing in the world, and waits for nobody.
                return
            for fork in report.forked:
                children, lenient = _one_by_one(fork, keys), fork.lenient
            if over or report.forked:
                following = next(children, None)
                if following is None:
                    return
                orders = following
    finally:
        worker.close()


def _one_by_one(fork: Forked, keys: Iterator[int]) -> Iterator[Orders]:
    shared = next(keys)
    for number in range(fork.children):
        child = Child(number, shared if fork.single else next(keys), 0)
        yield Orders(children=(Children(fork.at, fork.single, (child,)),))


def _trials(spec: WorkerSpec, report: Report) -> Iterator[Trial | Ended]:
    yield from _decided(spec, report)
    yield from _unfinished(report)
    _refuse_starved(report)
    yield from _undecided(report)
    for done in report.ended:
        yield done.ended


def _lenient_trials(spec: WorkerSpec, report: Report) -> Iterator[Trial]:
    """Yield what became of a lenient fork's children; how each of them ended says nothing more, where it is right.

    Raises what is no child's own: every other one would meet it too.
    """
    if any(not isinstance(failed.error, OWN_FAULT) for failed in report.errors):
        yield from _unfinished(report)
    _refuse_starved(report)
    yield from _decided(spec, report)
    yield from _undecided(report)
    for ref, ended in report.ended:
        if not ended.ok:
            yield Trial("", NOTHING_HEARD, Lost(ref.child or 0, ended.reason or "it ended wrong"))
    for failed in report.errors:
        yield _lost(failed)


def _unfinished(report: Report) -> Iterator[Trial]:
    """Yield what a step had heard before an error stopped it, and raise the error."""
    for failed in report.errors:
        if failed.heard is not None:
            yield _lost(failed)
        raise failed.error


def _lost(failed: ChainFailed) -> Trial:
    idx = failed.error.facts.get("step", 0) if failed.ref.child is None else failed.ref.child
    return Trial(failed.kind, failed.heard or NOTHING_HEARD, Lost(idx, failed.error.message))


def _undecided(report: Report) -> Iterator[Trial]:
    for _, stuck in report.stuck:
        yield Trial(stuck.kind, stuck.heard, stuck)


def _decided(spec: WorkerSpec, report: Report) -> Iterator[Trial]:
    for decided in report.decided:
        assert decided.heard is not None  # noqa: S101 - every step's samples are kept here
        yield Trial(spec.decomposer.classes[unpack(decided.tally).kind].name, decided.heard, decided)


def _refuse_starved(report: Report) -> None:
    if report.starved is not None:
        raise BadInput("the job's limits are used up", fix="raise them, or try fewer steps")
