"""Label a map's sample row by row: what a row asks, and whether a person's answer is the one that votes decided."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from maker.core.user_code import call_user_code
from maker.engine.referrals import Asked, asked_at
from maker.errors import BadInput, TaskFailed
from maker.job.job import Job
from maker.lifecycle.answers import accepted, answering_jobs
from maker.lifecycle.rows import RowLog
from maker.plugin import vote_key
from maker.reporting.audit import Sampled
from maker.reporting.labels import read_begun, write_label
from maker.store.backend.database import Database
from maker.store.referrals import StepKey
from maker.store.runs import RunRow
from maker.types import Step


class Labelling:
    """A sample's file that is being labelled. What is labelled is in the file at once.

    Args:
        database: The store.
        run: The map's run, as it was when the sample was drawn.
        file: The file that `maker audit` wrote.

    Raises:
        BadInput: The file cannot be read, or belongs to another run or state of it.
    """

    def __init__(self, database: Database, run: RunRow, file: Path) -> None:
        self._database = database
        self._file = file
        self.sample, self._labels = read_begun(database, run, file)
        self._rounds = RowLog(database, run).rounds()
        self._job = answering_jobs(database)

    def __iter__(self) -> Iterator[Sampled]:
        """Yield the rows that had no label when the file was read."""
        return (one for one in self.sample.rows if one.result.row not in self._labels)

    def question(self, one: Sampled) -> str:
        """Return the part of a row's prompt that varies."""
        job, asked = self._asked(one)
        task = job.decomposer
        move = call_user_code(f"{one.result.id}: {task.name}: next", task.next, asked.state_of(task))
        return move.prompt if isinstance(move, Step) else ""

    def is_right(self, one: Sampled, reply: str) -> bool:
        """Say whether the decision on a row is a person's own answer, as votes compare them.

        Raises:
            BadInput: The rules refuse the answer, and say why.
        """
        job, asked = self._asked(one)
        codec = job.decomposer.action
        try:
            own = codec.read(accepted(job, asked, one.result.id, reply))
        except TaskFailed as error:
            raise BadInput(f"{one.result.id} takes no such answer: {error.message}") from error
        return vote_key(codec, own) == next(iter(one.result.votes))

    def label(self, one: Sampled, *, right: bool, by: str) -> None:
        """Write a row's label into the file. Raises `BadInput` where somebody else has labelled it meanwhile."""
        if not write_label(self._file, one.result.row, right=right, by=by):
            raise BadInput(f"{one.result.id} has been labelled by somebody else meanwhile", over=True)

    def _asked(self, one: Sampled) -> tuple[Job, Asked]:
        """Return where a row was asked last, and the job that asked it."""
        row = one.result.row
        asked, child = next((one, child) for one in reversed(self._rounds) if (child := one.child_of(row)) is not None)
        job = self._job(asked.chain.run)
        return job, asked_at(self._database, job.decomposer, StepKey(asked.chain.key, child, 0))
