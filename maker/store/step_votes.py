"""Reads steps together with the votes that were kept of them, undecided steps as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from maker.store.backend.database import Database
from maker.store.log import StepRow, VoteRow, live_places, read_steps, read_votes
from maker.voting.tally import cites


class HeardStep(NamedTuple):
    """A live step, None where it is undecided, and what was kept of its samples, in the order of the votes."""

    idx: int
    epoch: int
    step: StepRow | None
    kept: Sequence[VoteRow]

    @property
    def tally(self) -> bytes | None:
        """The step's packed tally; empty for a join."""
        return None if self.step is None else self.step.tally

    @property
    def taken(self) -> bool:
        """Whether the step was taken from the memo: nobody was asked."""
        return self.step is not None and cites(self.step.tally)


def read_heard(
    database: Database, chain: int, start: int = 0, stop: int | None = None, *, single: bool = False
) -> Iterator[HeardStep]:
    """Yield the live steps that a chain itself holds, as `read_steps` does, and those that votes left undecided."""
    live = live_places(database, chain, single=single)
    by_place = groupby(read_votes(database, chain, start, stop), lambda row: (row.idx, row.epoch))
    groups = ((place, list(rows)) for place, rows in by_place if live(*place))
    place, kept = next(groups, (None, []))
    for step in read_steps(database, chain, start, stop, single=single):
        here = (step.idx, step.epoch)
        while place is not None and place < here:
            yield HeardStep(*place, None, kept)
            place, kept = next(groups, (None, []))
        if place == here:
            yield HeardStep(*here, step, kept)
            place, kept = next(groups, (None, []))
        else:
            yield HeardStep(*here, step, ())
    while place is not None:
        yield HeardStep(*place, None, kept)
        place, kept = next(groups, (None, []))
