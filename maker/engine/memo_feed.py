"""What the workers of a run are told of decisions that may be taken again: committed ones alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from maker.store.entry import Entry
from maker.voting.memo import Known, Memo, Memory, Remembered
from maker.voting.tally import Source


class _New(NamedTuple):
    worker: int | None
    decision: Remembered


class MemoFeed:
    """Holds the decisions that are committed, and says which of them a worker has not heard of yet.

    A worker knows at once what it decides itself: what it tells of it is committed in order, so that a step never cites
    one that is not. Another worker may be lost with what it has not told; so nobody else hears of that.

    Args:
        known: What the store held when the work began.
        most: How many decisions are held at a time.
    """

    def __init__(self, known: Memory, most: int) -> None:
        self._memo = Memo(most)
        self._memo.learn(known)
        self._new: deque[_New] = deque()
        self._met: set[int] = set()

    def note(self, entries: Iterable[Entry]) -> None:
        """Take in what is committed, in the writer's thread."""
        for entry in entries:
            for step in chain(entry.decided, entry.rows):
                if step.memo:
                    source = Source(step.chain, step.idx, step.epoch, step.calls)
                    decision = Remembered(step.memo, Known(step.action, source))
                    self._new.append(_New(entry.worker, decision))

    def news(self, workers: Sequence[int]) -> Iterator[tuple[int, Memory]]:
        """Yield what each of the workers is to be told: all that is held where it is new, else what is."""
        fresh = [self._new.popleft() for _ in range(len(self._new))]
        self._memo.learn(one.decision for one in fresh)
        for worker in workers:
            news: Memory
            if worker in self._met:
                news = tuple(one.decision for one in fresh if one.worker != worker)
            else:
                self._met.add(worker)
                news = self._memo.all()
            if news:
                yield worker, news
