"""Read steps together with the votes that the store kept of them, undecided steps too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from maker.store.backend.database import Database
from maker.store.log import StepRow, VoteRow, live_places, read_cuts, read_steps, read_votes
from maker.voting.tally import cites


class VotedStep(NamedTuple):
    """A live step with the samples kept of it, in vote order; ``step`` is None if it is undecided."""

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
        """Whether the step was taken from the memo, without asking a model."""
        return self.step is not None and cites(self.step.tally)


def read_voted_steps(
    database: Database, chain: int, start: int = 0, stop: int | None = None, *, single: bool = False
) -> Iterator[VotedStep]:
    """Yield a chain's own live steps, as `read_steps` does, and the steps that its votes left undecided."""
    cuts = read_cuts(database, chain)
    live = live_places(cuts, single=single)
    by_place = groupby(read_votes(database, chain, start, stop), lambda row: (row.idx, row.epoch))
    groups = ((place, list(rows)) for place, rows in by_place if live(*place))
    place, kept = next(groups, (None, []))
    for step in read_steps(database, chain, start, stop, single=single, cuts=cuts):
        here = (step.idx, step.epoch)
        while place is not None and place < here:
            yield VotedStep(*place, None, kept)
            place, kept = next(groups, (None, []))
        if place == here:
            yield VotedStep(*here, step, kept)
            place, kept = next(groups, (None, []))
        else:
            yield VotedStep(*here, step, ())
    while place is not None:
        yield VotedStep(*place, None, kept)
        place, kept = next(groups, (None, []))
