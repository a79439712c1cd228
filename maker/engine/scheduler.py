"""Which chains are in work, which forks are open, what is handed out next. The driver does what it says.

Pure but for the chains of an earlier process, which it takes from the store one by one through what it is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from maker.engine.causes import undecided
from maker.engine.open_fork import OpenFork
from maker.engine.outside import OutsideCall
from maker.engine.recovery import RecoveryPoint
from maker.engine.referrals import AnsweredStep, ReferredStep
from maker.engine.row_faults import RowFaults, Unanswered
from maker.errors import OWN_FAULT, MakerError, RowUnanswered, TaskFailed
from maker.store.chains import CHAIN_BITS, first_chain
from maker.store.deferred import deferral_text
from maker.store.entry import Closed, Missed, NewChain, NewFork, Settled, UndecidedStep
from maker.store.referrals import StepKey
from maker.store.seals import Place
from maker.swarm.messages import DOUBTS, Child, Children, Report
from maker.types import Outcome
from maker.voting.forks import child_at
from maker.voting.messages import ChainAt, ChainRef, Decided, Deferral, EarlierVotes, Ended, Forked, Stuck
from maker.voting.paths import ROOT, Path, chain_name

RESTORED_AT_ONCE = 16
"""How many chains of an earlier process are restored before the worker gets what there is: each takes milliseconds."""


class Handed(NamedTuple):
    """What a worker is to be given, and the chains that begin with it."""

    chains: tuple[ChainAt, ...]
    children: tuple[Children, ...]
    begun: tuple[NewChain, ...]


@dataclass(slots=True)
class LogChanges:
    """What a report adds to the log: parts of an `Entry`, by its names."""

    decided: list[Decided] = field(default_factory=list)
    rows: list[Decided] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    chains: list[NewChain] = field(default_factory=list)
    forks: list[NewFork] = field(default_factory=list)
    closed: list[Closed] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)
    undecided: list[UndecidedStep] = field(default_factory=list)
    forgotten: list[StepKey] = field(default_factory=list)
    unresolved: list[Stuck] = field(default_factory=list)
    referred: list[ReferredStep] = field(default_factory=list)
    deferred: list[UndecidedStep] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return any(getattr(self, part.name) for part in fields(self))


class _Parent(NamedTuple):
    """The fork that a child chain belongs to, and the child's number."""

    fork: OpenFork
    number: int

    @property
    def path(self) -> Path:
        """The child's path from the root."""
        at = self.fork.at
        return (*at.path, at.idx, at.epoch, self.number)

    @property
    def place(self) -> Place:
        """Where the child stands in the store."""
        return Place(self.fork.at.chain, self.fork.at.idx, self.fork.at.epoch, self.number)


class KnownChain(NamedTuple):
    """A chain in work: its name, and whether its fork can do without it."""

    name: str
    spared: bool


class Scheduler:
    """The chains of a run: those in work, those that wait for children, those to be begun.

    The newest forks come first, so that the chains in memory are bounded by the window times the depth, whatever the
    width.

    Args:
        root: The root chain's key.
        last: The highest key that the run's chains have; new ones get the next.
        reopen: Returns a fork as the store holds it, for a chain that waits for its children.
        find: Returns where a chain goes on as the store holds it: its key and path, and for a child its parent's place
            and its number.
        faults: Tells whose fault it is that rows get no reply.
        referred: Steps that people are asked about: their chains wait.
        earlier: Returns the votes that deferred children of a fork go on from, by the key of its chain and their places
            (number, epoch); None where no step is put off.
    """

    def __init__(
        self,
        root: int,
        last: int,
        reopen: Callable[[RecoveryPoint], OpenFork],
        find: Callable[[int, Path, ChainAt | None, int], RecoveryPoint],
        faults: RowFaults | None = None,
        referred: Collection[StepKey] = (),
        earlier: Callable[[int, Sequence[tuple[int, int]]], Mapping[int, EarlierVotes]] | None = None,
    ) -> None:
        self._root = root
        self._find = find
        self._last = last
        self._end = first_chain((last >> CHAIN_BITS) + 1)
        self._reopen = reopen
        self._ready: deque[ChainAt] = deque()
        self.forks: list[OpenFork] = []
        self._outside: list[OutsideCall] = []
        self._rows: dict[int, OpenFork] = {}
        self._parents: dict[int, _Parent] = {}
        self._voted: set[ChainRef] = set()
        self._epochs: dict[ChainRef, int] = {}
        self._out: dict[int, set[ChainRef]] = {}
        self.held = 0
        self.root_end: Ended | Stuck | MakerError | None = None
        self.fatal: MakerError | None = None
        self.missed = 0
        self._decided = False
        self._failures = 0
        self._faults = faults or RowFaults()
        self._referred = referred
        self._earlier = earlier
        self._called_back = False
        self.troubles = 0
        self.first_trouble = ""

    def restore(self, point: RecoveryPoint, parent: OpenFork | None = None) -> None:
        """Take in where a chain goes on: the root, or one of a fork's unfinished children."""
        at = point.at
        if parent is not None:
            self._parents[at.chain] = _Parent(parent, point.number)
            if parent.outside:
                self._outside.append(OutsideCall(parent, at.chain))
                return
        if point.failed:
            self._trouble(at.path, point.failed)
            return
        if point.fork is None:
            if StepKey(at.chain, at.idx, at.epoch) in self._referred:
                return
            # Votes may have left it undecided here: what was kept of them must make room.
            self._voted.add(ChainRef(at.chain))
            self._ready.append(at)
            return
        fork = self._reopen(point)
        self._voted |= {ChainRef(child.chain, child.number) for child in fork.again_rows}
        self.missed += fork.missed
        for number, reason in fork.wrong.items():
            self._trouble((*at.path, at.idx, at.epoch, number), reason)
        self._add(fork)

    def take_outside(self) -> list[OutsideCall]:
        """Return the effects and waits that chains have come to since the last call."""
        calls, self._outside = self._outside, []
        return calls

    def settle(self, call: OutsideCall, trouble: str = "") -> None:
        """Take note that an effect or a wait is over: its chain goes on, or rests, if there is trouble."""
        if trouble:
            self._trouble(ROOT, trouble)
            return
        self._parents.pop(call.chain)
        call.fork.finished += 1

    @property
    def idle(self) -> bool:
        """Whether nothing is in work, and nothing more is to be handed out."""
        return not any(self._out.values()) and bool(self.held or not self.has_work)

    @property
    def has_work(self) -> bool:
        """Whether there are chains to hand out now."""
        return bool(self._ready) or any(fork.has_work for fork in self.forks)

    def out(self, worker: int) -> int:
        """Return how many chains a worker holds."""
        return len(self._out.get(worker, ()))

    def known(self, ref: ChainRef) -> KnownChain:
        """Return the name of a chain in work, and whether its fork can do without it."""
        if ref.chain == self._root:
            return KnownChain(chain_name(ROOT), spared=False)
        if ref.child is not None:
            fork, number = self._rows[ref.chain], ref.child
        else:
            fork, number = self._parents[ref.chain]
        return KnownChain(chain_name((*fork.at.path, fork.at.idx, fork.at.epoch), number), fork.lenient)

    def share(self, workers: int) -> int:
        """Return how many chains each of so many workers has its hands full with, if all have as many."""
        waiting = len(self._ready) + sum(fork.waiting for fork in self.forks)
        return -(-(waiting + sum(map(len, self._out.values()))) // workers)

    def hand(self, worker: int, room: int) -> Handed:
        """Return what a worker is to be given next, ``room`` chains at most."""
        out = self._out.setdefault(worker, set())
        chains: list[ChainAt] = []
        children: list[Children] = []
        begun: list[NewChain] = []
        restored = 0
        while room > 0:
            if self._ready:
                chains.append(self._ready.popleft())
                out.add(ChainRef(chains[-1].chain))
                room -= 1
                continue
            fork = next((fork for fork in reversed(self.forks) if fork.has_work), None)
            if fork is None or restored == RESTORED_AT_ONCE:
                break
            if fork.again is not None:
                restored += 1
                self._take_up(fork)
                continue
            born = self._born(fork, room, begun)
            children.append(Children(fork.at, fork.single, born, self._go_on(fork, born)))
            out.update(map(children[-1].ref, born))
            room -= len(born)
        return Handed(tuple(chains), tuple(children), tuple(begun))

    def lose(self, worker: int) -> int:
        """Take back all that a worker holds which is gone, to go on from what is committed; returns how many chains."""
        return self._put_back(self._out.pop(worker, set()))

    def take(self, worker: int, report: Report) -> LogChanges:
        """Take a worker's report in; returns what it adds to the log."""
        changes = LogChanges()
        for step in report.decided if self._rows else ():
            (changes.rows if step.chain in self._rows else changes.decided).append(step)
        if not self._rows:
            changes.decided.extend(report.decided)
        self._decided = self._decided or bool(report.decided)
        if self._voted:
            self._forget(changes)
        for forked in report.forked:
            self._open(forked, changes)
        for ended in report.ended:
            self._ended(ended.ref, ended.ended, changes)
        for stuck in report.stuck:
            self._stuck(stuck.ref, stuck.stuck, changes)
        for failed in report.errors:
            self._failed(failed.ref, failed.error, changes)
        out = self._out.setdefault(worker, set())
        out.difference_update(ChainRef(forked.at.chain) for forked in report.forked)
        for gone in (report.ended, report.stuck, report.errors):
            out.difference_update(one.ref for one in gone)
        out.difference_update(report.held)
        if report.returned:
            out.difference_update(report.returned)
            self._put_back(report.returned)
        if report.recalled:
            out.clear()
        self.held += len(report.held)
        self._called_back = self._called_back or report.recalled
        self._give_up_rows(changes, len(changes.rows) + sum(stuck.ref.child is not None for stuck in report.stuck))
        return changes

    def _give_up_rows(self, changes: LogChanges, answered: int) -> None:
        """Give up rows that got no reply by their own fault; stop where it is the model's."""
        own = self._faults.answered(answered)
        # Rows that were called back are left to ask.
        over = self.idle and not (self.held or self._called_back or self.fatal)
        if over:
            own += self._faults.over()
        for row in own:
            self._unanswered(row, changes)
        self.fatal = self.fatal or self._faults.models_fault(over=over)

    def _unanswered(self, row: Unanswered, changes: LogChanges) -> None:
        self._stopped(row.ref, row.error.message, changes, Outcome.FAILED)

    def joined(self, fork: OpenFork, row: Decided) -> None:
        """Let a fork's parent go on: all its children are joined, and ``row`` says so."""
        self._close(fork)
        at = fork.at
        self._ready.append(ChainAt(at.chain, at.path, at.idx + 1, at.epoch, row.digest, row.state or ""))

    def break_off(self, fork: OpenFork, error: TaskFailed) -> None:
        """Let a fork's parent wait: a child could not be joined. The other children go on."""
        fork.broken = True
        self._trouble(ROOT, error.message)

    def _put_back(self, refs: Iterable[ChainRef]) -> int:
        """Let chains that a worker held be handed out again, from where the store says that they are."""
        count = 0
        for ref in sorted(refs, reverse=True):
            count += 1
            if ref.child is not None:
                fork = self._rows[ref.chain]
                fork.again_rows.appendleft(Child(ref.child, ref.chain, self._epochs.get(ref, 0)))
            elif ref.chain == self._root:
                self.restore(self._find(ref.chain, ROOT, None, 0))
            else:
                parent = self._parents[ref.chain]
                fork, number = parent
                self.restore(self._find(ref.chain, parent.path, fork.at, number), fork)
        return count

    def _add(self, fork: OpenFork) -> None:
        self.forks.append(fork)
        while fork.outside and fork.again is not None:
            self._take_up(fork)
        if fork.single:
            self._rows[fork.rows] = fork
            self._epochs |= {
                ChainRef(child.chain, child.number): child.epoch for child in fork.again_rows if child.epoch
            }

    def _close(self, fork: OpenFork) -> None:
        self.forks.remove(fork)
        self.missed -= fork.missed
        self._rows.pop(fork.rows, None)

    def _take_up(self, fork: OpenFork) -> None:
        assert fork.again is not None  # noqa: S101 - the caller has looked
        point = next(fork.again, None)
        if point is None:
            fork.again = None
        else:
            self.restore(point, fork)

    def _born(self, fork: OpenFork, room: int, begun: list[NewChain]) -> tuple[Child, ...]:
        if fork.again_rows:
            return tuple(fork.again_rows.popleft() for _ in range(min(room, len(fork.again_rows))))
        first, stop = fork.next, min(fork.count, fork.next + room)
        fork.next = stop
        if fork.single:
            return tuple(Child(number, fork.rows, 0) for number in range(first, stop))
        born = tuple(Child(number, self._key(), 0) for number in range(first, stop))
        for child in born:
            self._parents[child.chain] = _Parent(fork, child.number)
            at, here = fork.at, child_at(fork.at, child.number, child.chain, 0, single=False)
            begun.append(NewChain(child.chain, at.chain, at.idx, at.epoch, child.number, here.digest))
        return born

    def _go_on(self, fork: OpenFork, born: tuple[Child, ...]) -> Mapping[int, EarlierVotes]:
        """Return the votes that children go on from, by their numbers."""
        if self._earlier is None or not fork.single:
            return {}
        places = [(child.number, child.epoch) for child in born if ChainRef(child.chain, child.number) in self._voted]
        return self._earlier(fork.rows, places) if places else {}

    def _key(self) -> int:
        self._last += 1
        if self._last >= self._end:
            raise self._too_many()
        return self._last

    def _too_many(self, more: str = "", **facts: int) -> TaskFailed:
        return TaskFailed(
            f"the run has forked into {2**CHAIN_BITS:,} chains, the most allowed{more}",
            fix="where each child is a single step, use Fork(single=True), which counts as one chain",
            **facts,
        )

    def _open(self, forked: Forked, changes: LogChanges) -> None:
        at, count, single, lenient, outside = forked
        if not single and count > self._end - 1 - self._last:
            self._failed(ChainRef(at.chain), self._too_many(f" (it forks into {count:,} more)", step=at.idx), changes)
            return
        rows_key = self._key() if single else 0
        fork = OpenFork(at, count, single=single, lenient=lenient, rows=rows_key, outside=outside)
        changes.forks.append(NewFork(at.chain, at.idx, at.epoch, count, single, at.state, at.digest))
        if single:
            rows = child_at(at, 0, fork.rows, 0, single=True)
            changes.chains.append(NewChain(fork.rows, at.chain, at.idx, at.epoch, 0, rows.digest))
        self._add(fork)
        if outside:
            (child,) = self._born(fork, 1, changes.chains)
            self._outside.append(OutsideCall(fork, child.chain))

    def _ended(self, ref: ChainRef, ended: Ended, changes: LogChanges) -> None:
        if ref.chain == self._root:
            self.root_end = ended
        elif not ended.ok:
            self._stopped(ref, ended.reason or "it ended wrong", changes, Outcome.WRONG)
        elif ref.child is not None:
            fork = self._rows[ref.chain]
            fork.finished += 1
            self._settle(fork, ref.child, changes)
        else:
            parent = self._parents.pop(ref.chain)
            parent.fork.finished += 1
            changes.closed.append(Closed(ref.chain, parent.place, "done", "", ended.result))

    def _failed(self, ref: ChainRef, error: MakerError, changes: LogChanges) -> None:
        if isinstance(error, RowUnanswered):
            for row in self._faults.unanswered(Unanswered(ref, error)):
                self._unanswered(row, changes)
            return
        own = isinstance(error, OWN_FAULT)
        if not own:
            # What the model or the machine did is not this chain's own: every other one would meet it too.
            self.fatal = self.fatal or error
        if own and "step" in error.facts and not self._decided:
            # Not a row that cannot be read: the task's own code, or the model, fails for all that has been asked.
            self._failures += 1
            self.fatal = self.fatal or (error if self._failures >= DOUBTS else None)
        if ref.chain == self._root:
            self.root_end = error
        elif own:
            self._stopped(ref, error.message, changes, Outcome.FAILED)

    def _stuck(self, ref: ChainRef, stuck: Stuck, changes: LogChanges) -> None:
        if stuck.referred is not None:
            self._refer(ref, stuck, changes)
            return
        if stuck.deferred is not None and ref.child is not None:
            self._defer(ref, ref.child, stuck, stuck.deferred, changes)
            return
        valid = any(isinstance(sample.outcome, str) for sample in stuck.heard.samples)
        outcome = Outcome.UNDECIDED if valid else Outcome.REJECTED
        reason = undecided(stuck.idx, stuck.kind, stuck.reason)
        self._stopped(ref, reason, changes, outcome, stuck)

    def _refer(self, ref: ChainRef, stuck: Stuck, changes: LogChanges) -> None:
        """Let a person be asked about a step. Its chain waits; of a fork of single steps the others go on."""
        changes.undecided.append(UndecidedStep(ref.chain, stuck))
        # Nobody votes on it again, unless it is cut off.
        changes.unresolved.append(stuck)
        self._make_room(ref, stuck.idx, stuck.epoch, changes)
        fork = None
        if ref.child is not None:
            rows = self._rows[ref.chain]
            fork = rows.at
            reason = undecided(stuck.idx, stuck.kind, stuck.reason)
            changes.missed.append(Missed(ref.chain, ref.child, stuck.epoch, str(Outcome.ASKED), reason))
            self._settle(rows, ref.child, changes)
        changes.referred.append(ReferredStep(ref.chain, self.known(ref).name, fork, stuck))

    def _defer(self, ref: ChainRef, number: int, stuck: Stuck, deferral: Deferral, changes: LogChanges) -> None:
        """Put a single step off, for further votes of the run's budget."""
        changes.deferred.append(UndecidedStep(ref.chain, stuck))
        self._make_room(ref, stuck.idx, stuck.epoch, changes)
        reason = deferral_text(deferral)
        changes.missed.append(Missed(ref.chain, number, stuck.epoch, str(Outcome.DEFERRED), reason))
        self._settle(self._rows[ref.chain], number, changes)

    def ask_again(self, fork: OpenFork, children: Iterable[Child]) -> None:
        """Let deferred children of a fork of single steps ask for further votes."""
        for child in children:
            fork.again_rows.append(child)
            self._voted.add(ref := ChainRef(child.chain, child.number))
            if child.epoch:
                self._epochs[ref] = child.epoch

    def give_up(self, fork: OpenFork, children: int) -> None:
        """Go on without so many deferred children of a fork of single steps."""
        fork.finished += children
        fork.missed += children
        self.missed += children

    def answered(self, answered: AnsweredStep) -> LogChanges:
        """Let a chain go on that a person's answer takes further; returns what that adds to the log."""
        changes, (decided, after) = LogChanges(), answered
        if isinstance(after, Ended):
            changes.rows.append(decided)
            self._ended(ChainRef(decided.chain, decided.idx), after, changes)
        else:
            changes.decided.append(decided)
            self._ready.append(after)
        return changes

    def unanswerable(self, error: TaskFailed) -> None:
        """Let a chain rest whose answer the task's own code does not take."""
        self._trouble(ROOT, error.message)

    def _stopped(
        self, ref: ChainRef, reason: str, changes: LogChanges, outcome: Outcome, stuck: Stuck | None = None
    ) -> None:
        """Let a branch rest, and the others go on."""
        if stuck is not None:
            changes.undecided.append(UndecidedStep(ref.chain, stuck))
            self._make_room(ref, stuck.idx, stuck.epoch, changes)
        elif ref.child is not None:
            self._make_room(ref, ref.child, self._epochs.get(ref, 0), changes)
        if ref.chain == self._root:
            self.root_end = stuck
        elif ref.child is not None:
            fork = self._rows[ref.chain]
            epoch = self._epochs.get(ref, 0)
            changes.missed.append(Missed(ref.chain, ref.child, epoch, str(outcome), reason))
            self._settle(fork, ref.child, changes)
            if fork.lenient:
                fork.finished += 1
                fork.missed += 1
                self.missed += 1
                if stuck is not None:
                    changes.unresolved.append(stuck)
                return
            if outcome.decided:
                fork.first_wrong = min(fork.first_wrong, ref.child)
            self._trouble((*fork.at.path, fork.at.idx, fork.at.epoch, ref.child), reason)
        else:
            parent = self._parents[ref.chain]
            status = "failed" if outcome.decided else "paused"
            changes.closed.append(Closed(ref.chain, parent.place, status, reason, None))
            self._trouble(parent.path, reason)

    def _settle(self, fork: OpenFork, number: int, changes: LogChanges) -> None:
        if fork.settle(number):
            changes.settled.append(Settled(fork.rows, fork.settled))

    def _forget(self, changes: LogChanges) -> None:
        for step in changes.decided:
            self._make_room(ChainRef(step.chain), step.idx, step.epoch, changes)
        for step in changes.rows:
            self._make_room(ChainRef(step.chain, step.idx), step.idx, step.epoch, changes)

    def _make_room(self, ref: ChainRef, idx: int, epoch: int, changes: LogChanges) -> None:
        """What was kept of a step that votes left undecided makes room, once it has been voted on again."""
        if ref in self._voted:
            self._voted.remove(ref)
            changes.forgotten.append(StepKey(ref.chain, idx, epoch))

    def _trouble(self, path: Path, reason: str) -> None:
        self.troubles += 1
        if not self.first_trouble:
            # What the task's own code raised names its chain by itself.
            named = not path or reason.startswith("chain ")
            self.first_trouble = reason if named else f"chain {chain_name(path)}: {reason}"
