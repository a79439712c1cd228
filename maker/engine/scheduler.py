"""Which chains are in work, which forks are open, what is handed out next. The driver does what it says.

Pure but for the chains of an earlier process, which it takes from the store one by one through what it is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from typing import NamedTuple

from maker.engine.open_fork import OpenFork
from maker.engine.recovery import RecoveryPoint
from maker.errors import OWN_FAULT, MakerError, TaskFailed
from maker.store.chains import CHAIN_BITS, first_chain
from maker.store.entry import Closed, Missed, NewChain, NewFork
from maker.swarm.worker import DOUBTS, Child, Children, Report
from maker.types import Outcome
from maker.voting.chain import ChainAt, Decided, Ended, Forked, Place, Stuck, child_at
from maker.voting.paths import ROOT, Path, chain_name

STOOD_AT_ONCE = 16
"""How many chains of an earlier process are stood up before the worker gets what there is: each takes milliseconds."""


class Handed(NamedTuple):
    """What a worker is to be given, and the chains that begin with it."""

    chains: tuple[ChainAt, ...]
    children: tuple[Children, ...]
    begun: tuple[NewChain, ...]


class News(NamedTuple):
    """What a report comes to: parts of an `Entry`, by its names."""

    decided: list[Decided]
    rows: list[Decided]
    settled: list[tuple[int, int]]
    chains: list[NewChain]
    forks: list[NewFork]
    closed: list[Closed]
    missed: list[Missed]
    undecided: list[tuple[int, Stuck]]
    forgotten: list[tuple[int, int, int]]
    left: list[Stuck]


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
    """

    def __init__(
        self,
        root: int,
        last: int,
        reopen: Callable[[RecoveryPoint], OpenFork],
        find: Callable[[int, Path, ChainAt | None, int], RecoveryPoint],
    ) -> None:
        self._root = root
        self._find = find
        self._last = last
        self._end = first_chain((last >> CHAIN_BITS) + 1)
        self._reopen = reopen
        self._ready: deque[ChainAt] = deque()
        self.forks: list[OpenFork] = []
        self._rows: dict[int, OpenFork] = {}
        self._parents: dict[int, tuple[OpenFork, int]] = {}
        self._voted: set[Place] = set()
        self._epochs: dict[Place, int] = {}
        self._out: dict[int, set[Place]] = {}
        self.held = 0
        self.root_end: Ended | Stuck | MakerError | None = None
        self.fatal: MakerError | None = None
        self.missed = 0
        self._decided = False
        self._failures = 0
        self.troubles = 0
        self.first_trouble = ""

    def stand(self, standing: RecoveryPoint, parent: OpenFork | None = None) -> None:
        """Take in where a chain goes on: the root, or one of a fork's unfinished children."""
        at = standing.at
        if parent is not None:
            self._parents[at.chain] = (parent, standing.number)
        if standing.failed:
            self._trouble(at.path, standing.failed)
            return
        if standing.again:
            self._voted.add(Place(at.chain))
        if standing.fork is None:
            self._ready.append(at)
            return
        fork = self._reopen(standing)
        self._voted |= {Place(child.chain, child.number) for child in fork.again_rows}
        self.missed += fork.missed
        for number, reason in fork.wrong.items():
            self._trouble((*at.path, at.idx, at.epoch, number), reason)
        self._add(fork)

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

    def known(self, place: Place) -> tuple[str, bool]:
        """Return the name of a chain in work, and whether its fork can do without it."""
        if place.chain == self._root:
            return chain_name(ROOT), False
        if place.child is not None:
            fork, number = self._rows[place.chain], place.child
        else:
            fork, number = self._parents[place.chain]
        return chain_name((*fork.at.path, fork.at.idx, fork.at.epoch), number), fork.lenient

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
        stood = 0
        while room > 0:
            if self._ready:
                chains.append(self._ready.popleft())
                out.add(Place(chains[-1].chain))
                room -= 1
                continue
            fork = next((fork for fork in reversed(self.forks) if fork.has_work), None)
            if fork is None or stood == STOOD_AT_ONCE:
                break
            if fork.again is not None:
                stood += 1
                self._take_up(fork)
                continue
            born = self._born(fork, room, begun)
            children.append(Children(fork.at, fork.single, born))
            out.update(Place(child.chain, child.number if fork.single else None) for child in born)
            room -= len(born)
        return Handed(tuple(chains), tuple(children), tuple(begun))

    def lose(self, worker: int) -> int:
        """Take back all that a worker holds which is gone, to go on from what is committed; returns how many chains."""
        return self._put_back(self._out.pop(worker, set()))

    def take(self, worker: int, report: Report) -> News:
        """Take a worker's report in; returns what it adds to the log."""
        news = News([], [], [], [], [], [], [], [], [], [])
        for step in report.decided if self._rows else ():
            (news.rows if step.chain in self._rows else news.decided).append(step)
        if not self._rows:
            news.decided.extend(report.decided)
        self._decided = self._decided or bool(report.decided)
        if self._voted:
            self._forget(news)
        for forked in report.forked:
            self._open(forked, news)
        for place, ended in report.ended:
            self._ended(place, ended, news)
        for place, stuck in report.stuck:
            self._stuck(place, stuck, news)
        for place, error in report.errors:
            self._erred(place, error, news)
        out = self._out.setdefault(worker, set())
        out.difference_update(Place(forked.at.chain) for forked in report.forked)
        out.difference_update(place for place, _ in chain(report.ended, report.stuck, report.errors))
        out.difference_update(report.held)
        if report.returned:
            out.difference_update(report.returned)
            self._put_back(report.returned)
        if report.recalled:
            out.clear()
        self.held += len(report.held)
        return news

    def joined(self, fork: OpenFork, row: Decided) -> None:
        """Let a fork's parent go on: all its children are joined, and ``row`` says so."""
        self._close(fork)
        at = fork.at
        self._ready.append(ChainAt(at.chain, at.path, at.idx + 1, at.epoch, row.digest, row.state or ""))

    def break_off(self, fork: OpenFork, error: TaskFailed) -> None:
        """Let a fork's parent wait: a child could not be joined. The other children go on."""
        fork.broken = True
        self._trouble(ROOT, error.message)

    def _put_back(self, places: Iterable[Place]) -> int:
        """Let chains that a worker held be handed out again, from where the store says that they are."""
        count = 0
        for place in sorted(places, reverse=True):
            count += 1
            if place.child is not None:
                fork = self._rows[place.chain]
                fork.again_rows.appendleft(Child(place.child, place.chain, self._epochs.get(place, 0)))
            elif place.chain == self._root:
                self.stand(self._find(place.chain, ROOT, None, 0))
            else:
                fork, number = self._parents[place.chain]
                path = (*fork.at.path, fork.at.idx, fork.at.epoch, number)
                self.stand(self._find(place.chain, path, fork.at, number), fork)
        return count

    def _add(self, fork: OpenFork) -> None:
        self.forks.append(fork)
        if fork.single:
            self._rows[fork.rows] = fork
            self._epochs |= {Place(child.chain, child.number): child.epoch for child in fork.again_rows if child.epoch}

    def _close(self, fork: OpenFork) -> None:
        self.forks.remove(fork)
        self.missed -= fork.missed
        self._rows.pop(fork.rows, None)

    def _take_up(self, fork: OpenFork) -> None:
        assert fork.again is not None  # noqa: S101 - the caller has looked
        standing = next(fork.again, None)
        if standing is None:
            fork.again = None
        else:
            self.stand(standing, fork)

    def _born(self, fork: OpenFork, room: int, begun: list[NewChain]) -> tuple[Child, ...]:
        if fork.again_rows:
            return tuple(fork.again_rows.popleft() for _ in range(min(room, len(fork.again_rows))))
        first, stop = fork.next, min(fork.count, fork.next + room)
        fork.next = stop
        if fork.single:
            return tuple(Child(number, fork.rows, 0) for number in range(first, stop))
        born = tuple(Child(number, self._key(), 0) for number in range(first, stop))
        for child in born:
            self._parents[child.chain] = (fork, child.number)
            digest = child_at(fork.at, child.number, child.chain, 0, single=False).digest
            begun.append(NewChain(child.chain, fork.at.chain, fork.at.idx, fork.at.epoch, child.number, digest))
        return born

    def _key(self) -> int:
        self._last += 1
        if self._last >= self._end:
            raise TaskFailed(
                f"the run has forked into {2**CHAIN_BITS:,} chains, the most allowed",
                fix="where each child is a single step, use Fork(single=True), which counts as one chain",
            )
        return self._last

    def _open(self, forked: Forked, news: News) -> None:
        at, count, single, lenient = forked
        fork = OpenFork(at, count, single=single, lenient=lenient, rows=self._key() if single else 0)
        news.forks.append(NewFork(at.chain, at.idx, at.epoch, count, single, at.state))
        if single:
            digest = child_at(at, 0, fork.rows, 0, single=True).digest
            news.chains.append(NewChain(fork.rows, at.chain, at.idx, at.epoch, 0, digest))
        self._add(fork)

    def _ended(self, place: Place, ended: Ended, news: News) -> None:
        if place.chain == self._root:
            self.root_end = ended
        elif not ended.ok:
            self._stopped(place, ended.reason or "it ended wrong", news, Outcome.WRONG)
        elif place.child is not None:
            fork = self._rows[place.chain]
            fork.finished += 1
            self._settle(fork, place.child, news)
        else:
            fork, _ = self._parents.pop(place.chain)
            fork.finished += 1
            news.closed.append(Closed(place.chain, "done", "", ended.result))

    def _erred(self, place: Place, error: MakerError, news: News) -> None:
        own = isinstance(error, OWN_FAULT)
        if not own:
            # What the model or the machine did is not this chain's own: every other one would meet it too.
            self.fatal = self.fatal or error
        if own and "step" in error.facts and not self._decided:
            # Not a row that cannot be read: the task's own code, or the model, fails for all that has been asked.
            self._failures += 1
            self.fatal = self.fatal or (error if self._failures >= DOUBTS else None)
        if place.chain == self._root:
            self.root_end = error
        elif own:
            self._stopped(place, error.message, news, Outcome.FAILED)

    def _stuck(self, place: Place, stuck: Stuck, news: News) -> None:
        valid = any(isinstance(sample.outcome, str) for sample in stuck.heard.samples)
        outcome = Outcome.UNDECIDED if valid else Outcome.REJECTED
        reason = f"step {stuck.idx} ({stuck.kind}) is undecided: {stuck.reason}"
        self._stopped(place, reason, news, outcome, stuck)

    def _stopped(self, place: Place, reason: str, news: News, outcome: Outcome, stuck: Stuck | None = None) -> None:
        """Let a branch rest, and the others go on."""
        if stuck is not None:
            news.undecided.append((place.chain, stuck))
            self._make_room(place, stuck.idx, stuck.epoch, news)
        elif place.child is not None:
            self._make_room(place, place.child, self._epochs.get(place, 0), news)
        if place.chain == self._root:
            self.root_end = stuck
        elif place.child is not None:
            fork = self._rows[place.chain]
            epoch = self._epochs.get(place, 0)
            news.missed.append(Missed(place.chain, place.child, epoch, str(outcome), reason))
            self._settle(fork, place.child, news)
            if fork.lenient:
                fork.finished += 1
                fork.missed += 1
                self.missed += 1
                if stuck is not None:
                    news.left.append(stuck)
                return
            if outcome.decided:
                fork.first_wrong = min(fork.first_wrong, place.child)
            self._trouble((*fork.at.path, fork.at.idx, fork.at.epoch, place.child), reason)
        else:
            fork, number = self._parents[place.chain]
            news.closed.append(Closed(place.chain, "failed" if outcome.decided else "paused", reason, None))
            self._trouble((*fork.at.path, fork.at.idx, fork.at.epoch, number), reason)

    def _settle(self, fork: OpenFork, number: int, news: News) -> None:
        if fork.settle(number):
            news.settled.append((fork.rows, fork.settled))

    def _forget(self, news: News) -> None:
        for step in news.decided:
            self._make_room(Place(step.chain), step.idx, step.epoch, news)
        for step in news.rows:
            self._make_room(Place(step.chain, step.idx), step.idx, step.epoch, news)

    def _make_room(self, place: Place, idx: int, epoch: int, news: News) -> None:
        """What was kept of a step that was voted on in vain makes room, once it has been voted on again."""
        if place in self._voted:
            self._voted.remove(place)
            news.forgotten.append((place.chain, idx, epoch))

    def _trouble(self, path: Path, reason: str) -> None:
        self.troubles += 1
        if not self.first_trouble:
            # What the task's own code raised names its chain by itself.
            named = not path or reason.startswith("chain ")
            self.first_trouble = reason if named else f"chain {chain_name(path)}: {reason}"
