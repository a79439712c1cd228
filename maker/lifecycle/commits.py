"""What follows from a commit: the memo's readers, a map's files and those who watch the run hear of it then."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maker.core.logs import logger
from maker.engine.memo_feed import MemoFeed
from maker.job.job import Job
from maker.lifecycle.events import Event, RepliesAwaited, StepsAsked, StepsDecided, stored_event
from maker.lifecycle.row_files import Output
from maker.store.entry import Entry, StoredEvent
from maker.store.runs import COMPARISON, RunRow
from maker.store.vote_monitor import ALARM, DECORRELATED, UNMADE
from maker.types import RedFlag

log = logger("maker")


class CommitListener:
    """Passes on what was committed. The journal's thread calls it after each commit.

    Args:
        job: What the run works on.
        row: The run.
        on_event: Who watches it; None where nobody does.
        output: The files that a map's answers go to, None where there are none.
        memo: What workers are told of decisions, None where none are taken again.
    """

    def __init__(
        self,
        job: Job,
        row: RunRow,
        *,
        on_event: Callable[[Event], None] | None,
        output: Output | None,
        memo: MemoFeed | None,
    ) -> None:
        self._job = job
        self._row = row
        self._on_event = on_event
        self._output = output
        self._memo = memo

    def __call__(self, entries: Sequence[Entry]) -> None:
        """Pass entries on that are durable now. Raises what the writing of a file or ``on_event`` raises."""
        if self._memo is not None:
            self._memo.note(entries)
        if self._output is not None:
            self._output.note(entries)
        for entry in entries:
            for event in entry.events:
                self._log(event)
        if self._on_event is not None:
            for entry in entries:
                self._tell(entry, self._on_event)

    def _log(self, event: StoredEvent) -> None:
        if event.kind in (ALARM, DECORRELATED, UNMADE):
            # A record's own level is another thing.
            facts = {"alarm_level" if name == "level" else name: fact for name, fact in event.facts.items()}
            log.warning(event.kind, run_id=self._row.run_id, **facts)

    def _tell(self, entry: Entry, on_event: Callable[[Event], None]) -> None:
        run_id, counts = self._row.run_id, entry.counts
        for stored in entry.events:
            if (event := stored_event(run_id, stored.kind, stored.facts)) is not None:
                on_event(event)
        if entry.waiting:
            on_event(RepliesAwaited(run_id, entry.waiting))
        left = (*(undecided.stuck for undecided in entry.undecided), *entry.closing)
        samples = [sample for stuck in left for sample in stuck.heard.samples]
        flagged = sum(isinstance(sample.outcome, RedFlag) for sample in samples)
        if entry.undecided and is_for_samples(self._job, self._row):
            on_event(StepsAsked(run_id, len(entry.undecided), len(samples) - flagged, flagged))
            flagged = 0
        if counts.decided or flagged:
            on_event(
                StepsDecided(
                    run_id,
                    steps=counts.decided,
                    votes=counts.votes,
                    red_flags=counts.flags + flagged,
                    disputed=counts.disputed,
                    _decided=tuple(entry.steps),
                    _classes=self._row.classes,
                    _task=self._job.decomposer,
                )
            )


def is_for_samples(job: Job, row: RunRow) -> bool:
    """Say whether a run is held for its samples, as a pilot's or a comparison's: a step without a decision is done."""
    return job.poll is not None or row.name.startswith(COMPARISON)
