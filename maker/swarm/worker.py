"""The worker: sits beside a model, walks chains and holds their elections. One class, local or remote."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.errors import OWN_FAULT, MakerError, ModelFailed, ModelUnusable, PromptRefused, RowUnanswered
from maker.models.quota import Quota
from maker.swarm.fork_cache import ForkCache
from maker.swarm.messages import (
    DOUBTS,
    ChainEnded,
    ChainFailed,
    ChainStuck,
    Child,
    Children,
    Orders,
    Report,
    UnavailableModel,
    WorkerSpec,
)
from maker.swarm.questions import OpenQuestions, Runner
from maker.swarm.spending import BatchSpending, Spending
from maker.types import NOTHING, Account, Allowance, Failed, Finished, RedFlag, Request
from maker.voting.budgeted import BudgetedRunner
from maker.voting.chain import UNREAD, ChainRunner
from maker.voting.collector import Ask
from maker.voting.forks import child_at
from maker.voting.messages import ChainAt, ChainRef, Decided, EarlierVotes, Ended, Follows, Forked, OpenStep, Stuck
from maker.voting.policy import Shared
from maker.voting.seeds import ChainSeeds

YOUNG_OBJECTS = 100_000
"""How many objects a process that works on runs may make before it looks for cycles among them. A step makes dozens of
tuples and no cycle; with Python's own 700 the looking takes a fifth of the time where a thousand chains are in work."""
LOST_TRIES = 5
"""So often a request is asked for again that was cut off under way: each time it may have been billed."""
SLICE_S = 0.05
SLICE_STEPS = 2000


class _OpenRequest(NamedTuple):
    """A request that is not answered yet, and the most that it may cost: `NOTHING` where that is not limited."""

    runner: Runner
    request: Request
    worst: Allowance
    tries: int = 1


class _UnbornChild(NamedTuple):
    """A child that is not begun with, and those that it was handed out with."""

    children: Children
    child: Child

    @property
    def ref(self) -> ChainRef:
        return self.children.ref(self.child)


class _ParkedChain(NamedTuple):
    """A chain that waits until a report is committed."""

    report: int
    runner: Runner


class _Doubt(NamedTuple):
    """A prompt that was refused before any was answered: whose fault that is, is not known yet."""

    asked: _OpenRequest
    reply: Failed


class Worker:
    """Walks chains beside a model, one slice of time after another.

    Raises `ModelUnusable` where the model cannot be opened.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        began = time.monotonic()
        self._spec = spec
        self._model = spec.open_model()
        self._quota = Quota() if spec.quota else None
        if self._quota is not None:
            self._model.share(self._quota)
        self._questions = OpenQuestions() if spec.memo else None
        memo = None if self._questions is None else self._questions.memo
        self._shared = Shared.of(spec.decomposer, spec.rules, self._model.most_n, memo)
        accounts = BatchSpending if self._model.in_batches else Spending
        self._spending = accounts(self._model, spec.prices, limited=spec.limited)
        self._forks = ForkCache(spec.decomposer, spec.rules.seed)
        self._asked: dict[int, _OpenRequest] = {}
        self._waiting: deque[_OpenRequest] = deque()
        self._backlog: deque[ChainAt | _UnbornChild] = deque()
        self._parked: deque[_ParkedChain] = deque()
        # Chains that can go on without a reply: a step was taken from the memo, or what they waited for is decided.
        self._going: deque[Runner] = deque()
        # A step of a pool has a request under way for each model of its rotation.
        self._room = spec.chains * max(len(set(role.rotation)) for role in spec.rules.roles.values())
        self._steps: int | None = None
        self._answered: set[int] = set()
        self._worked = spec.worked
        self._voted = False
        self._hopeless = False
        self._doubtful: list[_Doubt] = []
        opened_s = time.monotonic() - began
        self._report = Report(1, place=f"{platform.node()}:{os.getpid()}", opened_s=opened_s)

    def advance(self, orders: Orders) -> Report:
        """Take orders in, work for about 50 ms or until nothing is left to do, and report.

        Requests in flight stay in the model between calls.
        """
        began = time.monotonic()
        self._take(orders)
        # A report that an interrupt kept from being returned is still here: the next one goes on from it.
        report, spending = self._report, self._spending
        self._work(report, began + SLICE_S)
        if self._doubtful and not self._asked:
            self._judge_doubtful()
        if self._waiting and not self._asked and not self._going:
            report.starved = spending.starve(self._waiting[0].worst)
        if self._model.in_batches:
            self._tell_batches(report)
        report.spent, report.abandoned = spending.usage(), spending.abandoned
        report.requests = len(self._asked)
        report.changes = self._model.changes()
        if self._quota is not None:
            report.claim = self._quota.claim(time.monotonic())
        report.took_s = time.monotonic() - began
        following = Report(report.number + 1)
        # No interrupt comes between these two: what is in one report is counted in no other.
        spending.begin_slice()
        self._report = following
        return report

    def _tell_batches(self, report: Report) -> None:
        """Report what became of batches, what they cost, and whether nobody need wait for those that are out."""
        report.batches = self._model.batch_news()
        for one in report.batches:
            self._spending.add(Account(0, one.role), one.usage)
        busy = self._going or self._waiting or self._parked
        report.rests = "" if busy else self._model.rests()

    def open_steps(self) -> list[OpenStep]:
        """Return the steps that are being voted on, each with what it has heard so far."""
        awaited: Counter[int] = Counter()
        runners = {}
        for asked in (*self._asked.values(), *self._waiting):
            awaited[id(asked.runner)] += asked.request.n
            runners[id(asked.runner)] = asked.runner
        steps = (runner.open_step(awaited[key]) for key, runner in runners.items())
        return [step for step in steps if step is not None]

    def close(self) -> None:
        """Close the model."""
        self._model.close()

    def _work(self, report: Report, until: float) -> None:
        """Hear replies and go on with what they decide, until time is up or nothing is left to do."""
        left_s = until - time.monotonic()
        while (self._asked or self._going) and len(report.decided) < SLICE_STEPS:
            if self._going:
                self._go_on_without(until)
                left_s = until - time.monotonic()
            if self._asked:
                for reply in self._model.poll(0.0 if self._going else max(0.0, left_s)):
                    self._hear(reply)
            if self._doubtful:
                self._judge_doubtful()
            if self._waiting:
                self._retry_waiting()
            if self._backlog:
                self._begin_more()
            if (left_s := until - time.monotonic()) <= 0.0:
                break

    def _take(self, orders: Orders) -> None:
        if orders.recall:
            self._recall()
        if orders.grant is not None:
            self._spending.replace_grant(orders.grant)
        if orders.quota is not None and self._quota is not None:
            self._quota.receive(orders.quota, time.monotonic())
        if orders.steps is not None:
            self._steps = orders.steps
        if self._questions is not None:
            self._questions.memo.learn(orders.known)
        for number in orders.decorrelated:
            self._room = max(self._room, self._spec.chains * self._shared.decorrelate(number).turns)
        while self._parked and self._parked[0].report <= orders.mark:
            self._try_on(self._parked.popleft().runner)
        self._backlog.extend(orders.chains)
        self._backlog.extend(_UnbornChild(children, child) for children in orders.children for child in children.born)
        for _ in range(min(orders.give_back, len(self._backlog))):
            self._report.returned.append(self._backlog.pop().ref)
        self._retry_waiting()
        self._begin_more()

    def _begin_more(self) -> None:
        """Begin with what waits, as far as there is room: for little, until a reply shows that the model works."""
        sure = self._answered or self._model.in_batches
        room = self._room if sure else min(self._room, DOUBTS - len(self._doubtful))
        while self._backlog and not self._hopeless and len(self._asked) + len(self._waiting) < room:
            item = self._backlog.popleft()
            if isinstance(item, ChainAt):
                self._begin(item)
            else:
                self._begin_child(item)

    def _begin(
        self,
        at: ChainAt,
        seeds: ChainSeeds | None = None,
        state: Any = UNREAD,
        earlier: EarlierVotes | None = None,
    ) -> None:
        try:
            runner: Runner
            if self._spec.budgeted:
                runner = BudgetedRunner(self._shared, at, seeds=seeds, state=state, earlier=earlier)
            else:
                runner = ChainRunner(self._shared, at, seeds=seeds, state=state)
        except MakerError as error:
            self._report.errors.append(ChainFailed(at.ref, error))
            return
        self._try_on(runner)

    def _begin_child(self, unborn: _UnbornChild) -> None:
        (parent, single, _, earlier), child = unborn
        try:
            cached = self._forks.get(parent)
            what = f"{self._spec.decomposer.name}: child {child.number} of step {parent.idx}"
            state = call_user_code(what, cached.fork.child, cached.state, child.number)
        except MakerError as error:
            self._report.errors.append(ChainFailed(unborn.ref, error))
            return
        at = child_at(parent, child.number, child.chain, child.epoch, single=single)
        self._begin(at, cached.seeds if single else None, state, earlier.get(child.number))

    def _hear(self, reply: Finished | Failed) -> None:
        asked = self._asked.pop(reply.id, None)
        if asked is None:
            return
        if isinstance(reply, Failed):
            self._hear_failure(reply, asked)
            return
        runner, request, worst, _ = asked
        self._spending.count(request, worst, reply)
        self._answered.add(request.model)
        before = 0 if self._voted else len(runner.outcomes)
        try:
            decided = runner.hear(reply)
        except MakerError as error:
            self._give_up(runner, error)
            return
        if not self._voted:
            self._note_first(runner, before, decided)
        if decided is None:
            self._try_on(runner)
            return
        if runner.leftover:
            self._drop(runner.take_leftover())
        if self._take_step(runner, decided):
            self._try_on(runner)

    def _note_first(self, runner: Runner, before: int, decided: Decided | None) -> None:
        """Report what replies were flagged for, until the first valid vote: a run without any must not go on."""
        fresh = runner.outcomes[before:]
        flagged = [outcome for outcome in fresh if isinstance(outcome, RedFlag)]
        self._report.flagged += flagged
        self._voted = self._report.voted = decided is not None or len(flagged) < len(fresh)

    def _take_step(self, runner: Runner, decided: Decided) -> bool:
        """Report a step; returns whether its chain can go on at once."""
        if runner.ref.child is not None:
            self._end_single(runner, decided)
            return False
        self._report.decided.append(decided)
        if self._questions is not None:
            self._going.extend(self._questions.answer(runner, decided))
        if self._spec.strict:
            self._parked.append(_ParkedChain(self._report.number, runner))
            return False
        return True

    def _hear_failure(self, reply: Failed, asked: _OpenRequest) -> None:
        runner, request, worst, tries = asked
        # What was lost under way is asked again, unless it was too often.
        repeated = reply.lost and not reply.unusable and tries < LOST_TRIES
        self._spending.count_failure(request, worst, reply, repeated=repeated)
        model = request.model
        if repeated:
            self._send(_OpenRequest(runner, request, NOTHING, tries + 1))
        elif reply.alone and runner.ref.child is not None:
            # The model answers others: it is not away.
            self._give_up(runner, self._failure(reply, asked))
        elif self._spec.rules.pass_on and not reply.refused and runner.can_pass(model):
            if model not in self._shared.unavailable:
                self._shared.unavailable.add(model)
                self._report.unavailable.append(UnavailableModel(model, reply.reason))
            self._send_all(runner, runner.pass_on(request))
        elif reply.refused and reply.unusable and model not in self._answered:
            self._doubtful.append(_Doubt(asked, reply))
        else:
            self._give_up(runner, self._failure(reply, asked))

    def _judge_doubtful(self) -> None:
        """Tell whose fault it was that prompts were refused before any was answered, as soon as that is known."""
        alone = not (self._asked or self._waiting or self._backlog)
        known = all(doubt.asked.request.model in self._answered for doubt in self._doubtful)
        if known or alone or len(self._doubtful) >= DOUBTS:
            while self._doubtful:
                asked, reply = self._doubtful[0]
                self._give_up(asked.runner, self._failure(reply, asked))

    def _end_single(self, runner: Runner, decided: Decided) -> None:
        """Report a single step together with its end: one whose task does not end there is not decided."""
        try:
            ended = runner.ask()
        except MakerError as error:
            self._give_up(runner, error)
            return
        assert isinstance(ended, Ended)  # noqa: S101 - a runner of a single step raises for anything else
        self._report.decided.append(decided)
        self._report.ended.append(ChainEnded(runner.ref, ended))
        if self._questions is not None:
            self._going.extend(self._questions.answer(runner, decided))

    def _go_on_without(self, until: float) -> None:
        """Let chains go on that need no reply, one step each in turn, until none is left or time is up."""
        while self._going and len(self._report.decided) < SLICE_STEPS and time.monotonic() < until:
            self._try_on(self._going.popleft())

    def _try_on(self, runner: Runner) -> None:
        """Let a chain go on: ask for what it needs, or report what it has come to."""
        begins = not runner.deciding
        try:
            emitted = runner.ask()
            if runner.leftover:
                self._drop(runner.take_leftover())
            if isinstance(emitted, Ask):
                if begins and not self._may_begin(runner):
                    return
                if self._questions is not None:
                    self._questions.begin(runner)
                self._send_all(runner, emitted)
            elif isinstance(emitted, Decided):
                if self._may_begin(runner) and self._take_step(runner, emitted):
                    self._going.append(runner)
            elif isinstance(emitted, Follows):
                assert self._questions is not None  # noqa: S101 - nobody follows without a memo
                self._questions.follow(emitted.question, runner)
            else:
                self._let_go(runner, emitted)
        except MakerError as error:
            self._give_up(runner, error)

    def _let_go(self, runner: Runner, emitted: Ended | Forked | Stuck) -> None:
        """Report a chain that no vote takes further."""
        self._abandon(runner)
        if isinstance(emitted, Ended):
            self._report.ended.append(ChainEnded(runner.ref, emitted))
        elif isinstance(emitted, Forked):
            self._report.forked.append(emitted)
        else:
            self._report.stuck.append(ChainStuck(runner.ref, emitted))

    def _may_begin(self, runner: Runner) -> bool:
        """Count a step that begins; where no more may, hold its chain, and say so."""
        if self._steps is None:
            return True
        if self._steps == 0:
            self._report.held.append(runner.ref)
            return False
        self._steps -= 1
        return True

    def _send_all(self, runner: Runner, ask: Ask) -> None:
        if self._spending.limited:
            for request in ask.requests:
                self._send(_OpenRequest(runner, request, NOTHING))
            return
        for request in ask.requests:
            self._asked[request.id] = _OpenRequest(runner, request, NOTHING)
        self._model.submit(ask.requests)

    def _send(self, asked: _OpenRequest) -> None:
        if self._spending.limited:
            # What waited may cost more now: a slow server is asked for single replies, each of which bills the prompt.
            asked = asked._replace(worst=self._spending.worst(asked.request))
            if not self._spending.reserve(asked.worst):
                self._waiting.append(asked)
                return
        self._asked[asked.request.id] = asked
        self._model.submit((asked.request,))

    def _retry_waiting(self) -> None:
        for _ in range(len(self._waiting)):
            self._send(self._waiting.popleft())

    def _failure(self, reply: Failed, asked: _OpenRequest) -> MakerError:
        # What never worked is a wrong setting; what worked and stopped is a fault that a resume can outlive.
        runner, model = asked.runner, asked.request.model
        unusable = reply.unusable and not (reply.reached and model in self._worked)
        wrong = unusable and model not in self._answered
        error = ModelUnusable if wrong else PromptRefused if reply.refused else ModelFailed
        facts: dict[str, Any] = {"fix": reply.fix or "fix the model, then continue with `maker resume`"}
        if error is ModelFailed and runner.ref.child is not None and not unusable:
            error, facts["alone"] = RowUnanswered, reply.alone
        return error(f"{runner.where}: {reply.reason}", step=runner.index, **facts)

    def _give_up(self, runner: Runner, error: MakerError) -> None:
        """Let one chain go and say why, once; the others go on."""
        self._abandon(runner)
        self._doubtful = [doubt for doubt in self._doubtful if doubt.asked.runner is not runner]
        self._report.errors.append(ChainFailed(runner.ref, error, *runner.heard))
        # What is not the chain's own fault ends the run: nothing that is begun now would be of use.
        self._hopeless = self._hopeless or not isinstance(error, OWN_FAULT | RowUnanswered)

    def _abandon(self, runner: Runner) -> None:
        """Cancel all that a chain has under way, and let those go on that wait for its answer."""
        self._drop(runner.let_go())
        if self._questions is not None:
            self._going.extend(self._questions.release(runner))

    def _drop(self, ids: Sequence[int]) -> None:
        """Cancel what a chain has under way that can decide nothing any more."""
        if ids:
            self._cancel([self._asked[i] for i in ids if i in self._asked])
            dropped = set(ids)
            self._waiting = deque(asked for asked in self._waiting if asked.request.id not in dropped)
            self._doubtful = [doubt for doubt in self._doubtful if doubt.asked.request.id not in dropped]

    def _cancel(self, cancelled: Sequence[_OpenRequest]) -> None:
        """Cancel requests under way, and count what those have cost that were sent."""
        costs = {cost.id: cost for cost in self._model.cancel([asked.request.id for asked in cancelled])}
        for asked in cancelled:
            del self._asked[asked.request.id]
            cost = costs.get(asked.request.id)
            if cost is None:
                self._spending.free(asked.worst)
            else:
                self._spending.count_failure(asked.request, asked.worst, cost, repeated=False)

    def _dropped(self) -> dict[Account, int]:
        """Return how many samples were flagged of steps that are let go, by whom: no step will tell of them."""
        found: Counter[Account] = Counter()
        runners = {id(asked.runner): asked for asked in (*self._asked.values(), *self._waiting)}
        for asked in runners.values():
            _, heard = asked.runner.heard
            for sample in () if heard is None else heard.samples:
                found[Account(sample.model, asked.request.role)] += isinstance(sample.outcome, RedFlag)
        return found

    def _recall(self) -> None:
        """Let go of every chain; what is in flight is cancelled."""
        if not self._voted:
            self._report.dropped = self._dropped()
        self._cancel(list(self._asked.values()))
        for kept in (self._asked, self._waiting, self._parked, self._backlog, self._doubtful, self._going):
            kept.clear()
        self._hopeless = False
        if self._questions is not None:
            self._questions.clear()
        self._report.recalled = True
