"""The worker: sits beside a model, walks chains and holds their elections. One class, local or remote."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

from maker.chain import ChainAt, ChainRunner, Decided, Ended, Rules, Stuck
from maker.errors import MakerError, ModelFailed, ModelUnusable
from maker.models.door import Model
from maker.plugin import Decomposer
from maker.types import NO_USAGE, NOTHING, Allowance, Failed, Finished, Grant, Prices, Request, Starved, Usage

SLICE_S = 0.05
SLICE_STEPS = 2000


class ChainOrder(NamedTuple):
    """A chain to walk, up to before index ``until``."""

    at: ChainAt
    until: int | None = None


class Orders(NamedTuple):
    """What the engine tells a worker: new chains, revoked ones by key, and a grant that takes the place of the old."""

    chains: tuple[ChainOrder, ...] = ()
    revoked: tuple[int, ...] = ()
    grant: Grant | None = None


@dataclass(slots=True)
class Report:
    """What a worker did in one slice.

    ``decided`` is in chain order. ``held`` names chains that reached their ``until``, ``revoked`` those that were
    called back, ``errors`` those that an error stopped. ``abandoned`` is what requests that were cancelled in flight
    may cost all the same. ``starved`` says what a worker needs that has nothing in flight and no allowance left.
    """

    decided: list[Decided] = field(default_factory=list)
    ended: list[tuple[int, Ended]] = field(default_factory=list)
    stuck: list[tuple[int, Stuck]] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    revoked: list[int] = field(default_factory=list)
    errors: list[tuple[int, MakerError]] = field(default_factory=list)
    usage: Usage = NO_USAGE
    abandoned: Allowance = NOTHING
    starved: Starved | None = None


class WorkerSpec(NamedTuple):
    """All that a worker is built from; crosses process borders.

    ``open_model`` opens the model in the worker's process. ``limited`` says that the worker may spend only what its
    grants cover.
    """

    decomposer: Decomposer[Any, Any]
    rules: Rules
    open_model: Callable[[], Model]
    prices: Prices = Prices()
    limited: bool = False


class _Asked(NamedTuple):
    runner: ChainRunner[Any, Any]
    request: Request
    worst: Allowance


class Worker:
    """Walks chains beside a model, one slice of time after another.

    Raises `ModelUnusable` where the model cannot be opened.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._model = spec.open_model()
        self._tickets = count(1)
        self._chains: dict[int, tuple[ChainRunner[Any, Any], int | None]] = {}
        self._asked: dict[int, _Asked] = {}
        self._waiting: deque[_Asked] = deque()
        self._grant = 0
        self._left: Allowance | None = NOTHING if spec.limited else None
        self._answered = False
        self._report = Report()

    def advance(self, orders: Orders) -> Report:
        """Take orders in, work for about 50 ms or until nothing is left to do, and report.

        Requests in flight stay in the model between calls.
        """
        until = time.monotonic() + SLICE_S
        self._take(orders)
        # A report that an interrupt kept from being returned is still here: the next one goes on from it.
        report = self._report
        while self._asked and len(report.decided) < SLICE_STEPS:
            replies = self._model.poll(max(0.0, until - time.monotonic()))
            for reply in replies:
                self._hear(reply)
            self._retry_waiting()
            if time.monotonic() >= until:
                break
        if self._waiting and not self._asked:
            report.starved = Starved(self._grant, self._waiting[0].worst)
        self._report = Report()
        return report

    def close(self) -> None:
        """Close the model."""
        self._model.close()

    def _take(self, orders: Orders) -> None:
        for chain in orders.revoked:
            self._drop(chain)
            self._report.revoked.append(chain)
        if orders.grant is not None:
            self._grant, self._left = orders.grant
        for order in orders.chains:
            try:
                runner = ChainRunner(self._spec.decomposer, self._spec.rules, order.at, self._tickets)
                self._chains[order.at.chain] = (runner, order.until)
                self._go_on(runner)
            except MakerError as error:
                self._give_up(order.at.chain, error)
        self._retry_waiting()

    def _hear(self, reply: Finished | Failed) -> None:
        asked = self._asked.pop(reply.id, None)
        self._count(reply, asked)
        if asked is None:
            return
        runner = asked.runner
        if isinstance(reply, Failed):
            self._give_up(runner.chain, self._failure(reply, runner))
            return
        self._answered = True
        try:
            decided = runner.hear(reply)
            if decided is not None:
                self._report.decided.append(decided)
            self._go_on(runner)
        except MakerError as error:
            self._give_up(runner.chain, error)

    def _go_on(self, runner: ChainRunner[Any, Any]) -> None:
        until = self._chains[runner.chain][1]
        if until is not None and runner.index >= until:
            self._drop(runner.chain)
            self._report.held.append(runner.chain)
            return
        emitted = runner.ask()
        if isinstance(emitted, Request):
            tokens = self._model.worst_tokens(emitted)
            self._send(_Asked(runner, emitted, Allowance(emitted.n, tokens, self._cost(emitted, tokens))))
            return
        self._drop(runner.chain)
        if isinstance(emitted, Ended):
            self._report.ended.append((runner.chain, emitted))
        else:
            self._report.stuck.append((runner.chain, emitted))

    def _send(self, asked: _Asked) -> None:
        if self._left is not None:
            if not self._left.covers(asked.worst):
                self._waiting.append(asked)
                return
            self._left = self._left.plus(asked.worst, -1)
        self._asked[asked.request.id] = asked
        self._model.submit((asked.request,))

    def _retry_waiting(self) -> None:
        for _ in range(len(self._waiting)):
            self._send(self._waiting.popleft())

    def _count(self, reply: Finished | Failed, asked: _Asked | None) -> None:
        calls = len(reply.samples) if isinstance(reply, Finished) else 0
        used = Usage(calls, reply.prompt_tokens, reply.completion_tokens, 1)
        self._report.usage = self._report.usage.plus(used)
        if self._left is not None and asked is not None:
            cost = self._spec.prices.of(used.prompt_tokens, used.completion_tokens)
            self._left = self._left.plus(asked.worst).plus(Allowance(used.calls, used.tokens, cost), -1)

    def _cost(self, request: Request, tokens: int) -> float:
        written = request.n * request.max_tokens
        return self._spec.prices.of(tokens - written, written)

    def _failure(self, reply: Failed, runner: ChainRunner[Any, Any]) -> MakerError:
        # What never worked is a wrong setting; what worked and stopped is a fault that a resume can outlive.
        unusable = reply.unusable and not self._answered
        error = ModelUnusable if unusable else ModelFailed
        fix = reply.fix or "see to the model, then `maker resume`"
        return error(f"step {runner.index}: {reply.reason}", fix=fix, step=runner.index)

    def _give_up(self, chain: int, error: MakerError) -> None:
        """Drop one chain and say why; the others go on."""
        self._drop(chain)
        self._report.errors.append((chain, error))

    def _drop(self, chain: int) -> None:
        self._chains.pop(chain, None)
        ids = [id for id, asked in self._asked.items() if asked.runner.chain == chain]
        self._model.cancel(ids)
        for id in ids:
            asked = self._asked.pop(id)
            if self._model.bills_cancelled:
                self._report.abandoned = self._report.abandoned.plus(asked.worst)
        self._waiting = deque(asked for asked in self._waiting if asked.runner.chain != chain)
