"""The worker: sits beside a model, walks chains and holds their elections. One class, local or remote."""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.errors import OWN_FAULT, MakerError, ModelFailed, ModelUnusable, PromptRefused
from maker.models.interface import Model
from maker.plugin import Decomposer
from maker.types import (
    NO_USAGE,
    NOTHING,
    Account,
    Allowance,
    Failed,
    Finished,
    Fork,
    Grant,
    Prices,
    Request,
    Starved,
    Usage,
)
from maker.voting.chain import (
    UNREAD,
    ChainAt,
    ChainRunner,
    Decided,
    Ended,
    Follows,
    Forked,
    Place,
    Stuck,
    child_at,
    opened,
)
from maker.voting.collector import Ask
from maker.voting.memo import Known, Memo, Memory
from maker.voting.policy import Rules, Shared
from maker.voting.seeds import ChainSeeds
from maker.voting.tally import Source

YOUNG_OBJECTS = 100_000
"""How many objects a process that works on runs may make before it looks for cycles among them. A step makes dozens of
tuples and no cycle; with Python's own 700 the looking takes a fifth of the time where a thousand chains are in work."""
SLICE_S = 0.05
SLICE_STEPS = 2000
DOUBTS = 16
"""So many prompts that a server refuses before it has answered any are the settings' fault, not the prompts'."""
LOST_TRIES = 5
"""So often a request is asked for again that was cut off under way: each time it may have been billed."""
KEPT_FORKS = 64
"""Forks whose parent's state a worker keeps at hand while it makes their children."""


class Child(NamedTuple):
    """A child to begin with: its number, its chain's key (one for all of a fork of single steps), its epoch."""

    number: int
    chain: int
    epoch: int


class Children(NamedTuple):
    """New children of a fork: ``fork`` is the parent's place and state, from which the worker makes theirs."""

    fork: ChainAt
    single: bool
    born: tuple[Child, ...]


class Orders(NamedTuple):
    """What the engine tells a worker.

    ``chains`` are to be walked on, ``children`` to be begun. ``recall`` calls every chain back. ``grant`` takes the
    place of the grant before. ``steps``, where given, is how many more steps may be begun. ``mark`` is the newest
    report that is committed: where every step is to be durable before the next, it lets the chains go on.
    ``give_back`` is how many chains that are not begun with yet are wanted back, for another worker, at most.
    ``decorrelated`` numbers step classes whose votes are to be less alike, in steps that begin from now on. ``known``
    are decisions that may be taken again: all of them are committed.
    """

    chains: tuple[ChainAt, ...] = ()
    children: tuple[Children, ...] = ()
    recall: bool = False
    grant: Grant | None = None
    steps: int | None = None
    mark: int = 0
    give_back: int = 0
    decorrelated: tuple[int, ...] = ()
    known: Memory = ()


@dataclass(slots=True)
class Report:
    """What a worker did in one slice; ``number`` counts its reports, from 1.

    ``decided`` is in chain order. ``held`` names chains that may begin no further step, ``errors`` those that an
    error stopped, ``returned`` those that were wanted back, ``recalled`` says that all were called back. ``spent`` is
    what was spent by whom, ``abandoned`` what requests that were cut off or cancelled under way may cost beside it.
    ``unavailable`` names models of the pool that stay away, by number, and why: their votes pass on. ``starved`` says
    what a worker needs that has nothing in flight and no allowance left. ``took_s`` is how long the slice took.
    ``place`` says where the worker is, and ``opened_s`` how long it took to open its model, in its first report.
    """

    number: int
    decided: list[Decided] = field(default_factory=list)
    forked: list[Forked] = field(default_factory=list)
    ended: list[tuple[Place, Ended]] = field(default_factory=list)
    stuck: list[tuple[Place, Stuck]] = field(default_factory=list)
    held: list[Place] = field(default_factory=list)
    errors: list[tuple[Place, MakerError]] = field(default_factory=list)
    returned: list[Place] = field(default_factory=list)
    recalled: bool = False
    spent: dict[Account, Usage] = field(default_factory=dict)
    unavailable: list[tuple[int, str]] = field(default_factory=list)
    abandoned: Allowance = NOTHING
    starved: Starved | None = None
    took_s: float = 0.0
    place: str = ""
    opened_s: float = 0.0


class WorkerSpec(NamedTuple):
    """All that a worker is built from; crosses process borders.

    ``open_model`` opens the model in the worker's process, or all models of a pool; ``prices`` are theirs, by number.
    ``limited`` says that the worker may spend only what its grants cover, ``strict`` that a chain's next step begins
    when the last one is committed. ``chains`` is how many steps may be in work at a time; what else the worker is given
    waits. ``memo`` says that decisions are taken again.
    """

    decomposer: Decomposer[Any, Any]
    rules: Rules
    open_model: Callable[[], Model]
    prices: tuple[Prices, ...] = (Prices(),)
    limited: bool = False
    strict: bool = False
    chains: int = 256
    memo: bool = False


class _OpenRequest(NamedTuple):
    runner: ChainRunner[Any, Any]
    request: Request
    worst: Allowance
    tries: int = 1


class _CachedFork(NamedTuple):
    """A fork whose children are being made: the parent's state, what it returned, the seeds of single steps."""

    state: Any
    fork: Fork[Any]
    seeds: ChainSeeds


class Worker:
    """Walks chains beside a model, one slice of time after another.

    Raises `ModelUnusable` where the model cannot be opened.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        began = time.monotonic()
        self._spec = spec
        self._model = spec.open_model()
        self._memo = Memo() if spec.memo else None
        self._shared = Shared.of(spec.decomposer, spec.rules, self._model.most_n, self._memo)
        self._asked: dict[int, _OpenRequest] = {}
        self._waiting: deque[_OpenRequest] = deque()
        self._backlog: deque[ChainAt | tuple[Children, Child]] = deque()
        self._parked: deque[tuple[int, ChainRunner[Any, Any]]] = deque()
        # Chains that can go on without a reply: a step was taken from the memo, or what they waited for is decided.
        self._going: deque[ChainRunner[Any, Any]] = deque()
        self._followers: dict[bytes, list[ChainRunner[Any, Any]]] = {}
        self._cached_forks: dict[tuple[int, int, int], _CachedFork] = {}
        # A step of a pool has a request under way for each model of its rotation.
        self._room = spec.chains * max(len(set(role.rotation)) for role in spec.rules.roles.values())
        self._grant = 0
        self._left: Allowance | None = NOTHING if spec.limited else None
        self._steps: int | None = None
        self._answered: set[int] = set()
        self._hopeless = False
        self._doubtful: list[tuple[_OpenRequest, Failed]] = []
        # A list of amounts for each account, made a Usage when the slice ends: one for each reply would be dear.
        self._spent: dict[tuple[int, str], list[int]] = {}
        opened_s = time.monotonic() - began
        self._report = Report(1, place=f"{platform.node()}:{os.getpid()}", opened_s=opened_s)

    def advance(self, orders: Orders) -> Report:
        """Take orders in, work for about 50 ms or until nothing is left to do, and report.

        Requests in flight stay in the model between calls.
        """
        began = time.monotonic()
        until = began + SLICE_S
        self._take(orders)
        # A report that an interrupt kept from being returned is still here: the next one goes on from it.
        report = self._report
        while (self._asked or self._going) and len(report.decided) < SLICE_STEPS:
            if self._going:
                self._go_on_without(until)
            wait_s = 0.0 if self._going else max(0.0, until - time.monotonic())
            for reply in self._model.poll(wait_s) if self._asked else ():
                self._hear(reply)
            if self._doubtful:
                self._judge_doubtful()
            if self._waiting:
                self._retry_waiting()
            if self._backlog:
                self._begin_more()
            if time.monotonic() >= until:
                break
        if self._doubtful and not self._asked:
            self._judge_doubtful()
        if self._waiting and not self._asked and not self._going:
            report.starved = Starved(self._grant, self._waiting[0].worst)
            # The grant is given back with this: whatever comes before the next one has to wait for that.
            self._left = NOTHING
        report.spent = {Account(*account): Usage(*amounts) for account, amounts in self._spent.items()}
        report.took_s = time.monotonic() - began
        self._report, self._spent = Report(report.number + 1), {}
        return report

    def close(self) -> None:
        """Close the model."""
        self._model.close()

    def _take(self, orders: Orders) -> None:
        if orders.recall:
            self._recall()
        if orders.grant is not None:
            self._grant, self._left = orders.grant
        if orders.steps is not None:
            self._steps = orders.steps
        if self._memo is not None:
            self._memo.learn(orders.known)
        for number in orders.decorrelated:
            self._room = max(self._room, self._spec.chains * self._shared.decorrelate(number).turns)
        while self._parked and self._parked[0][0] <= orders.mark:
            self._try_on(self._parked.popleft()[1])
        self._backlog.extend(orders.chains)
        self._backlog.extend((children, child) for children in orders.children for child in children.born)
        for _ in range(min(orders.give_back, len(self._backlog))):
            self._report.returned.append(_place(self._backlog.pop()))
        self._retry_waiting()
        self._begin_more()

    def _begin_more(self) -> None:
        """Begin with what waits, as far as there is room: for little, until a reply shows that the model works."""
        room = self._room if self._answered else min(self._room, DOUBTS - len(self._doubtful))
        while self._backlog and not self._hopeless and len(self._asked) + len(self._waiting) < room:
            item = self._backlog.popleft()
            if isinstance(item, ChainAt):
                self._begin(item)
            else:
                self._begin_child(*item)

    def _begin(self, at: ChainAt, seeds: ChainSeeds | None = None, state: Any = UNREAD) -> None:
        try:
            runner: ChainRunner[Any, Any] = ChainRunner(self._shared, at, seeds=seeds, state=state)
        except MakerError as error:
            self._report.errors.append((Place(at.chain, at.idx if at.single else None), error))
            return
        self._try_on(runner)

    def _begin_child(self, children: Children, child: Child) -> None:
        at, single, _ = children
        try:
            cached = self._cached_fork(at)
            what = f"{self._spec.decomposer.name}: child {child.number} of step {at.idx}"
            state = call_user_code(what, cached.fork.child, cached.state, child.number)
        except MakerError as error:
            self._report.errors.append((Place(child.chain, child.number if single else None), error))
            return
        place = child_at(at, child.number, child.chain, child.epoch, single=single)
        self._begin(place, cached.seeds if single else None, state)

    def _cached_fork(self, at: ChainAt) -> _CachedFork:
        key = (at.chain, at.idx, at.epoch)
        cached = self._cached_forks.get(key)
        if cached is None:
            fork, state = opened(self._spec.decomposer, at)
            seeds = ChainSeeds(self._spec.rules.seed, (*at.path, at.idx, at.epoch))
            self._cached_forks[key] = cached = _CachedFork(state, fork, seeds)
            if len(self._cached_forks) > KEPT_FORKS:
                del self._cached_forks[next(iter(self._cached_forks))]
        return cached

    def _hear(self, reply: Finished | Failed) -> None:
        asked = self._asked.pop(reply.id, None)
        if asked is None:
            return
        self._count(reply, asked)
        if isinstance(reply, Failed):
            self._hear_failure(reply, asked)
            return
        runner = asked.runner
        self._answered.add(asked.request.model)
        try:
            decided = runner.hear(reply)
        except MakerError as error:
            self._give_up(runner, error)
            return
        if decided is None:
            self._try_on(runner)
            return
        if runner.leftover:
            self._drop(runner.left())
        if runner.place.child is not None:
            self._end_single(runner, decided)
            return
        self._report.decided.append(decided)
        if self._memo is not None:
            self._remember(runner, decided, self._memo)
        if self._spec.strict:
            self._parked.append((self._report.number, runner))
        else:
            self._try_on(runner)

    def _hear_failure(self, reply: Failed, asked: _OpenRequest) -> None:
        runner, model = asked.runner, asked.request.model
        if _repeats(reply, asked):
            self._send(asked._replace(tries=asked.tries + 1))
        elif self._spec.rules.pass_on and not reply.refused and runner.can_pass(model):
            if model not in self._shared.unavailable:
                self._shared.unavailable.add(model)
                self._report.unavailable.append((model, reply.reason))
            self._send_all(runner, runner.pass_on(asked.request))
        elif reply.refused and reply.unusable and model not in self._answered:
            self._doubtful.append((asked, reply))
        else:
            self._give_up(runner, self._failure(reply, asked))

    def _judge_doubtful(self) -> None:
        """Tell whose fault it was that prompts were refused before any was answered, as soon as that is known."""
        alone = not (self._asked or self._waiting or self._backlog)
        known = all(asked.request.model in self._answered for asked, _ in self._doubtful)
        if known or alone or len(self._doubtful) >= DOUBTS:
            while self._doubtful:
                asked, reply = self._doubtful[0]
                self._give_up(asked.runner, self._failure(reply, asked))

    def _end_single(self, runner: ChainRunner[Any, Any], decided: Decided) -> None:
        """Report a single step together with its end: one whose task does not end there is not decided."""
        try:
            ended = runner.ask()
        except MakerError as error:
            self._give_up(runner, error)
            return
        assert isinstance(ended, Ended)  # noqa: S101 - a runner of a single step raises for anything else
        self._report.decided.append(decided)
        self._report.ended.append((runner.place, ended))
        if self._memo is not None:
            self._remember(runner, decided, self._memo)

    def _remember(self, runner: ChainRunner[Any, Any], decided: Decided, memo: Memo) -> None:
        """Take in what was decided, once it is reported: whatever cites it is reported, and committed, after it."""
        if decided.memo:
            source = Source(decided.chain, decided.idx, decided.epoch, decided.calls)
            memo.learn([(decided.memo, Known(decided.action, source))])
        self._release(runner)

    def _release(self, runner: ChainRunner[Any, Any]) -> None:
        """Let chains go on that wait for what a chain was voting on: it is decided, or another one has to vote."""
        if self._memo is not None and runner.question:
            self._memo.asked.discard(runner.question)
            self._going.extend(self._followers.pop(runner.question, ()))
            runner.question = b""

    def _go_on_without(self, until: float) -> None:
        """Let chains go on that need no reply, one step each in turn, until none is left or time is up."""
        while self._going and len(self._report.decided) < SLICE_STEPS and time.monotonic() < until:
            self._try_on(self._going.popleft())

    def _take_again(self, runner: ChainRunner[Any, Any], decided: Decided) -> None:
        """Report a step that was taken from the memo."""
        if runner.place.child is not None:
            self._end_single(runner, decided)
            return
        self._report.decided.append(decided)
        if self._spec.strict:
            self._parked.append((self._report.number, runner))
        else:
            self._going.append(runner)

    def _try_on(self, runner: ChainRunner[Any, Any]) -> None:
        try:
            self._go_on(runner)
        except MakerError as error:
            self._give_up(runner, error)

    def _go_on(self, runner: ChainRunner[Any, Any]) -> None:
        begins = not runner.deciding
        emitted = runner.ask()
        if runner.leftover:
            self._drop(runner.left())
        if isinstance(emitted, Ask):
            if begins and not self._may_begin(runner):
                return
            if self._memo is not None and runner.question:
                self._memo.asked.add(runner.question)
            self._send_all(runner, emitted)
            return
        if isinstance(emitted, Decided):
            if self._may_begin(runner):
                self._take_again(runner, emitted)
            return
        if isinstance(emitted, Follows):
            self._followers.setdefault(emitted.question, []).append(runner)
            return
        self._drop(runner.let_go())
        self._release(runner)
        if isinstance(emitted, Ended):
            self._report.ended.append((runner.place, emitted))
        elif isinstance(emitted, Forked):
            self._report.forked.append(emitted)
        else:
            self._report.stuck.append((runner.place, emitted))

    def _may_begin(self, runner: ChainRunner[Any, Any]) -> bool:
        """Count a step that begins; where no more may, hold its chain, and say so."""
        if self._steps == 0:
            self._report.held.append(runner.place)
            return False
        if self._steps is not None:
            self._steps -= 1
        return True

    def _send_all(self, runner: ChainRunner[Any, Any], ask: Ask) -> None:
        for request in ask.requests:
            self._send(_OpenRequest(runner, request, self._worst(request) if self._left is not None else NOTHING))

    def _send(self, asked: _OpenRequest) -> None:
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

    def _count(self, reply: Finished | Failed, asked: _OpenRequest) -> None:
        request, untold, cached = asked.request, 0, 0
        read, written = reply.prompt_tokens, reply.completion_tokens
        if isinstance(reply, Finished):
            calls, cached = len(reply.samples), reply.cached_tokens
        else:
            calls, untold = reply.calls, max(0, request.n - reply.calls) if reply.lost else 0
        repeats = _repeats(reply, asked)
        spent = self._of(request)
        spent[0] += calls
        spent[1] += read
        spent[2] += written
        spent[3] += not repeats
        spent[4] += cached
        spent[5] += reply.retries + repeats
        spent[6] += untold
        if not untold and self._left is None:
            return
        used = Allowance(calls, read + written, self._spec.prices[request.model].of(read, written))
        # What is told of a request that was cut off is not untold as well.
        lost = self._reserved(asked).less(used) if untold else NOTHING
        self._report.abandoned = self._report.abandoned.plus(lost)
        if self._left is not None:
            self._left = self._left.plus(asked.worst).plus(used, -1).plus(lost, -1)

    def _of(self, request: Request) -> list[int]:
        """Return what whoever answers a request has spent in this slice: amounts in the order of `Usage`."""
        account = (request.model, request.role)
        spent = self._spent.get(account)
        if spent is None:
            spent = self._spent[account] = list(NO_USAGE)
        return spent

    def _worst(self, request: Request) -> Allowance:
        """Return the most that a request may cost."""
        tokens, written = self._model.worst_tokens(request), request.n * request.max_tokens
        return Allowance(request.n, tokens, self._spec.prices[request.model].of(tokens - written, written))

    def _reserved(self, asked: _OpenRequest) -> Allowance:
        """Return the most that a request that was sent may cost: where that is limited, what was reserved for it."""
        return asked.worst if self._left is not None else self._worst(asked.request)

    def _failure(self, reply: Failed, asked: _OpenRequest) -> MakerError:
        # What never worked is a wrong setting; what worked and stopped is a fault that a resume can outlive.
        runner, unusable = asked.runner, reply.unusable and asked.request.model not in self._answered
        error = ModelUnusable if unusable else PromptRefused if reply.refused else ModelFailed
        fix = reply.fix or "fix the model, then continue with `maker resume`"
        return error(f"{runner.where}: {reply.reason}", fix=fix, step=runner.index)

    def _give_up(self, runner: ChainRunner[Any, Any], error: MakerError) -> None:
        """Let one chain go and say why, once; the others go on."""
        self._drop(runner.let_go())
        self._release(runner)
        self._doubtful = [doubt for doubt in self._doubtful if doubt[0].runner is not runner]
        self._report.errors.append((runner.place, error))
        # What is not the chain's own fault ends the run: nothing that is begun now would be of use.
        self._hopeless = self._hopeless or not isinstance(error, OWN_FAULT)

    def _drop(self, ids: Sequence[int]) -> None:
        """Cancel what a chain has under way that can decide nothing any more."""
        if ids:
            self._cancel([self._asked[i] for i in ids if i in self._asked])
            dropped = set(ids)
            self._waiting = deque(asked for asked in self._waiting if asked.request.id not in dropped)
            self._doubtful = [doubt for doubt in self._doubtful if doubt[0].request.id not in dropped]

    def _cancel(self, cancelled: list[_OpenRequest]) -> None:
        """Cancel requests under way: of those that may be billed nobody says how much, so that the worst counts."""
        self._model.cancel([asked.request.id for asked in cancelled])
        for asked in cancelled:
            request = asked.request
            del self._asked[request.id]
            spent = self._of(request)
            spent[3] += 1
            spent[6] += request.n
            if self._model.bills(request.model):
                self._report.abandoned = self._report.abandoned.plus(self._reserved(asked))
            elif self._left is not None:
                self._left = self._left.plus(asked.worst)

    def _recall(self) -> None:
        """Let go of every chain; what is in flight is cancelled."""
        self._cancel(list(self._asked.values()))
        for kept in (self._asked, self._waiting, self._parked, self._backlog, self._doubtful, self._going):
            kept.clear()
        self._followers.clear()
        self._hopeless = False
        if self._memo is not None:
            self._memo.asked.clear()
        self._report.recalled = True


def _repeats(reply: Finished | Failed, asked: _OpenRequest) -> bool:
    """Say whether a request is asked again: it was lost under way, and not too often yet."""
    return isinstance(reply, Failed) and reply.lost and not reply.unusable and asked.tries < LOST_TRIES


def _place(item: ChainAt | tuple[Children, Child]) -> Place:
    """Return the place of a chain that is not begun with."""
    if isinstance(item, ChainAt):
        return Place(item.chain, item.idx if item.single else None)
    children, child = item
    return Place(child.chain, child.number if children.single else None)
