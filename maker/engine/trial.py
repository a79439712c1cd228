"""Tries the first steps of a task with its real model; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from maker.chain import ChainAt, Decided, Ended, Forked, Heard, Stuck
from maker.errors import BadInput
from maker.swarm.worker import Child, Children, Orders, Report, Worker, WorkerSpec
from maker.tally import unpack
from maker.types import Allowance, Grant


class Trial(NamedTuple):
    """One tried step: what was asked, every sample with what became of it, and what was decided."""

    kind: str
    heard: Heard
    outcome: Decided | Stuck


def try_chain(spec: WorkerSpec, at: ChainAt, steps: int, allowance: Allowance | None) -> Iterator[Trial | Ended]:
    """Decide a few steps, and yield each as it is decided. Where the task forks, its children one after another.

    Ends early with a step that no vote could settle (its outcome is `Stuck`), with the task's own end, or with the
    last child of its first fork.

    Raises:
        ModelUnusable, ModelFailed: The model gave no reply.
        BadInput: The limits do not allow so many steps.
    """
    worker = Worker(spec._replace(rules=spec.rules._replace(samples="all"), strict=False))
    keys = count(at.chain + 1)
    children: Iterator[Orders] = iter(())
    try:
        grant = None if allowance is None else Grant(0, allowance)
        orders = Orders(chains=(at,), grant=grant, steps=steps)
        while True:
            report = worker.advance(orders)
            orders = Orders()
            yield from _trials(spec, report)
            if report.held or report.stuck:
                return
            for fork in report.forked:
                children = _one_by_one(fork, keys)
            if report.ended or report.forked:
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
    for decided in report.decided:
        assert decided.heard is not None  # noqa: S101 - every step's samples are kept here
        yield Trial(spec.decomposer.classes[unpack(decided.tally).kind].name, decided.heard, decided)
    for _, error in report.errors:
        raise error
    if report.starved is not None:
        raise BadInput("the job's limits are used up", fix="raise them, or try fewer steps")
    for _, stuck in report.stuck:
        yield Trial(stuck.kind, stuck.heard, stuck)
    for _, ended in report.ended:
        yield ended
