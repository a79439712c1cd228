"""Collect what a run's log and labels say of its rows: how unsure each is by a signal, and which are right."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeAlias

from maker.errors import BadInput
from maker.lifecycle.rows import Settled
from maker.reporting.accept_labels import LabelledRows
from maker.reporting.row_scores import NEEDS, Signal, scores_of
from maker.stats.acceptance import Order, Score, order_of
from maker.stats.bounds import Labelled

Scored: TypeAlias = Callable[[Settled, Iterable[Signal]], Mapping[Signal, Score | None]]


class ScoredRows:
    """What the log and the labels say of each row: scores are kept once, and rows as numbers.

    ``numbers`` are the rows that votes decided, ``answered`` those that a person did, ``missed`` counts the others by
    outcome; ``labels`` says of rows whether they are right.

    Args:
        signals: What rows are ordered by.
        given: The labels.
        scored: Says how unsure a decided row is by each signal, as `scores_of` does.
    """

    def __init__(self, signals: Sequence[Signal], given: LabelledRows, scored: Scored = scores_of) -> None:
        self._given = given
        self._scored = scored
        self._marks = {signal: array("I") for signal in signals}
        self._scores: dict[Signal, dict[Score, int]] = {signal: {} for signal in signals}
        self._unknown = Counter[Signal]()
        self._sampled: dict[int, bool | None] = {}
        self.labels: dict[int, bool] = {}
        self.numbers = array("Q")
        self.answered = array("Q")
        self.missed = Counter[str]()

    def add(self, settled: Settled) -> None:
        """Take in a row that is settled."""
        if settled.outcome is not None:
            self.missed[settled.outcome.outcome] += 1
            return
        right = self._given.is_right(settled)
        if right is not None:
            self.labels[settled.row] = right
        if settled.by_person:
            self.answered.append(settled.row)
            return
        if self._given.is_sampled(settled.row):
            self._sampled[len(self.numbers)] = right
        self.numbers.append(settled.row)
        for signal, found in self._scored(settled, self._scores).items():
            scores = self._scores[signal]
            self._unknown[signal] += found is None
            self._marks[signal].append(0 if found is None else scores.setdefault(found, len(scores)))

    @property
    def sampled(self) -> int:
        """How many decided rows rules are tested by."""
        return len(self._sampled)

    @property
    def blank(self) -> int:
        """How many of them have no label."""
        return sum(right is None for right in self._sampled.values())

    def strata(self) -> list[Labelled]:
        """Return the decided rows with those of the sample, by stratum."""
        return self._given.strata(len(self.numbers), self.sampled)

    def order(self, signal: Signal) -> Order:
        """Return the rules of a signal. Raises `BadInput` where the log lacks it."""
        if missing := self._unknown[signal]:
            raise BadInput(
                f"the log does not say {signal} of {missing:,} of the {len(self.numbers):,} decided rows",
                fix=f"that takes {NEEDS[signal]}; order rows by votes instead",
            )
        marks, scores = self._marks[signal], list(self._scores[signal])
        counts = Counter(marks)
        sample = ((scores[marks[place]], bool(right)) for place, right in self._sampled.items())
        return order_of({one: counts[mark] for mark, one in enumerate(scores)}, sample)

    def mask(self, signal: Signal, order: Order, last: int | None) -> bytearray:
        """Return for each row of the input whether it is accepted, 1 or 0; ``last`` is the rule, None for none."""
        found = bytearray(1 + max(chain(self.numbers, self.answered), default=-1))
        passing = [last is not None and order.rank[one] <= last for one in self._scores[signal]]
        for row, mark in zip(self.numbers, self._marks[signal], strict=True):
            found[row] = passing[mark]
        for row in self.answered:
            found[row] = True
        for row, right in self.labels.items():
            found[row] = right
        return found
