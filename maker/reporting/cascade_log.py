"""Read the logs of a map's stages as one: which stage has the last word on each row, and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from maker.errors import BadInput, RunNotFound
from maker.job.settings import StagesSettings
from maker.job.stages import is_stage
from maker.lifecycle.rows import RowLog, Settled, all_settled
from maker.store.backend.database import Database
from maker.store.entry import StoredEvent
from maker.store.runs import RunRow, add_event, find_run, read_events

ALL_KEPT = "all_rows_kept"
"""The kind of the event of a stage that hands no row on. The labels that said so may test nothing."""


class StageLog(NamedTuple):
    """A stage that has begun. ``rows`` are those that it asks, by their numbers in the first stage; None: all."""

    name: str
    run: RunRow
    log: RowLog
    rows: Sequence[int] | None

    def settled(self) -> Iterator[Settled]:
        """Yield what is settled in the order of the rows; ``row`` is the number in the first stage."""
        for one in all_settled(self.log.rounds()):
            yield one if self.rows is None else one._replace(row=self.rows[one.row])

    @property
    def asked(self) -> int:
        """How many rows it asks."""
        return self.log.task.count() if self.rows is None else len(self.rows)


class LastWord(NamedTuple):
    """What a row's last stage says of it; ``before`` is what the stages before it said, in their order."""

    stage: int
    settled: Settled
    before: tuple[Settled, ...]


class CascadeLog:
    """The stages of a map that have begun, in their order.

    Args:
        database: The store.
        run: The run of one of them.

    Raises:
        BadInput: The run is no stage.
    """

    def __init__(self, database: Database, run: RunRow) -> None:
        self._database = database
        self.told = stages_of(run)
        self.stages: list[StageLog] = []
        for number, one in enumerate(self.told.all):
            try:
                found = find_run(database, self.told.run_id(number), exact=True)
            except RunNotFound:
                break
            rows = found.settings["task"].get("rows")
            self.stages.append(StageLog(one.name, found, RowLog(database, found), rows))

    @property
    def first(self) -> StageLog:
        """The first stage, which asks all rows."""
        return self.stages[0]

    @property
    def tuning(self) -> frozenset[int]:
        """The rows whose labels have said what stages keep; none where no stage has been asked for its rows yet."""
        return frozenset(stages_of(self.stages[-1].run).tuning or self.kept_all or ())

    @cached_property
    def kept_all(self) -> list[int] | None:
        """The tuning rows by which the newest stage has kept all that came to it, None where it has not."""
        told = [one for one in read_events(self._database, self.stages[-1].run.key) if one["kind"] == ALL_KEPT]
        return told[-1]["tuning"] if told else None

    def keep_all(self, tuning: Sequence[int]) -> None:
        """Record that the newest stage keeps all that came to it, by the labels of these rows."""
        add_event(self._database, self.stages[-1].run.key, StoredEvent(ALL_KEPT, {"tuning": list(tuning)}))

    @cached_property
    def last_of(self) -> bytearray:
        """The number of the last stage that is asked each row."""
        found = bytearray(self.first.asked)
        for number, stage in enumerate(self.stages):
            for row in stage.rows or ():
                found[row] = number
        return found

    def words(self) -> Iterator[LastWord]:
        """Yield the last word on each row on which there is one, in the order of the input."""
        logs = [_numbered(number, stage) for number, stage in enumerate(self.stages)]
        for row, its in groupby(merge(*logs, key=itemgetter(0, 1)), key=itemgetter(0)):
            *before, (_, number, settled) = its
            if number == self.last_of[row]:
                yield LastWord(number, settled, tuple(one for _, _, one in before))


def stages_of(run: RunRow) -> StagesSettings:
    """Return what a run stores of the stages that it is one of. Raises `BadInput` where it is none."""
    if not is_stage(run.settings):
        raise BadInput(f"run {run.run_id} has no stages", fix=f"see what it has with `maker show {run.run_id}`")
    return StagesSettings.model_validate(run.settings["stages"])


def _numbered(number: int, stage: StageLog) -> Iterator[tuple[int, int, Settled]]:
    return ((one.row, number, one) for one in stage.settled())
