"""Tries the first steps of a task before anything is paid for or stored."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from maker.chain import ChainAt, ChainRunner, Decided, Ended, Stuck
from maker.election import Heard
from maker.errors import ModelFailed, ModelUnusable
from maker.swarm.worker import WorkerSpec
from maker.types import Failed, Request


class Trial(NamedTuple):
    """One tried step: what was asked, every sample with what became of it, and what was decided."""

    idx: int
    kind: str
    system: str
    prompt: str
    heard: tuple[Heard, ...]
    outcome: Decided | Stuck | None


def try_chain(spec: WorkerSpec, at: ChainAt, steps: int) -> Iterator[Trial | Ended]:
    """Decide a few steps with the real model, and yield each as it is decided; nothing is stored.

    Ends early with a step that no vote could settle (its outcome is `Stuck`), or with the task's own end.

    Raises:
        ModelUnusable, ModelFailed: The model gave no reply.
    """
    model = spec.open_model()
    try:
        runner = ChainRunner(spec.decomposer, spec.rules._replace(samples="all"), at, count(1))
        asked: Request | None = None
        while runner.index < at.idx + steps:
            emitted = runner.ask()
            if isinstance(emitted, Ended):
                yield emitted
                return
            if isinstance(emitted, Stuck):
                system, prompt = (asked.system, asked.prompt) if asked else ("", "")
                yield Trial(emitted.idx, emitted.kind, system, prompt, runner.heard, emitted)
                return
            asked = emitted
            model.submit((emitted,))
            while not (replies := model.poll(1.0)):
                pass
            for reply in replies:
                if isinstance(reply, Failed):
                    error = ModelUnusable if reply.unusable else ModelFailed
                    raise error(f"step {runner.index}: {reply.reason}", fix=reply.fix)
                decided = runner.hear(reply)
                if decided is not None:
                    yield Trial(decided.idx, asked.kind, asked.system, asked.prompt, decided.heard, decided)
    finally:
        model.close()
