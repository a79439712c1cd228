"""Tries the first steps of a task with its real model; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from maker.chain import ChainAt, Decided, Ended, Stuck
from maker.election import Heard
from maker.errors import BadInput
from maker.swarm.worker import ChainOrder, Orders, Report, Worker, WorkerSpec
from maker.types import Allowance, Grant, Step


class Trial(NamedTuple):
    """One tried step: what was asked, every sample with what became of it, and what was decided."""

    kind: str
    system: str
    prompt: str
    heard: tuple[Heard, ...]
    outcome: Decided | Stuck


def try_chain(spec: WorkerSpec, at: ChainAt, steps: int, allowance: Allowance | None) -> Iterator[Trial | Ended]:
    """Decide a few steps, and yield each as it is decided.

    Ends early with a step that no vote could settle (its outcome is `Stuck`), or with the task's own end.

    Raises:
        ModelUnusable, ModelFailed: The model gave no reply.
        BadInput: The limits do not allow so many steps.
    """
    worker = Worker(spec._replace(rules=spec.rules._replace(samples="all")))
    try:
        state = spec.decomposer.state.read(at.state)
        grant = None if allowance is None else Grant(0, allowance)
        report = worker.advance(Orders(chains=(ChainOrder(at, at.idx + steps),), grant=grant))
        while True:
            for decided in report.decided:
                yield _trial(spec, state, decided)
                state = spec.decomposer.apply(state, spec.decomposer.action.read(decided.action))
            yield from _last(spec, state, report)
            if report.held or report.ended or report.stuck:
                return
            report = worker.advance(Orders())
    finally:
        worker.close()


def _last(spec: WorkerSpec, state: Any, report: Report) -> Iterator[Trial | Ended]:
    for _, error in report.errors:
        raise error
    if report.starved is not None:
        raise BadInput("the job's limits are used up", fix="raise them, or try fewer steps")
    for _, stuck in report.stuck:
        yield _trial(spec, state, stuck)
    for _, ended in report.ended:
        yield ended


def _trial(spec: WorkerSpec, state: Any, outcome: Decided | Stuck) -> Trial:
    step = spec.decomposer.next(state)
    assert isinstance(step, Step)  # noqa: S101 - it was one a moment ago, and decomposers are pure
    return Trial(step.kind.name, step.kind.system, step.prompt, outcome.heard, outcome)
