"""Read the results of a map's rows from the log, in input order, during the run or after it."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby, islice, zip_longest
from operator import itemgetter
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.errors import BadInput
from maker.job.resolve import stored_job
from maker.lifecycle.code_change import job_in_order
from maker.lifecycle.queries import opened
from maker.plugin import Decomposer, RowDecomposer, vote_key
from maker.store.backend.database import Database
from maker.store.chains import ChainRow, read_children, read_forks, root_chain
from maker.store.log import (
    OutcomeRow,
    SampleRow,
    StepRow,
    read_outcomes,
    read_samples,
    read_snapshots,
    read_step,
    read_steps,
    spans,
)
from maker.store.reviews import ReviewRow, read_reviews
from maker.store.runs import ACTIVE, RunRow, find_run, read_parts, run_at
from maker.types import Outcome
from maker.voting.parts import least_lead
from maker.voting.tally import Tally, by_person, unpack

DECIDED, ANSWERED, REVIEWED = "decided", "answered", "reviewed"
WITH_ANSWER = (DECIDED, ANSWERED, REVIEWED)
"""Outcomes of rows that have an answer: votes decided; a person, in the log; a person, beside the log."""
LOOK_S = 1.0
"""Seconds between two looks of `follow`."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """The result of one row.

    ``row`` is its number in the input, from 0; ``id`` is its id in the input. ``outcome`` is ``decided``, ``answered``
    or ``reviewed``, or says why the row is not decided, and ``reason`` says more.
    ``answer`` is None without a decision.
    ``votes`` counts those of every candidate, the winner first. ``flags`` counts the samples that got no vote, by flag;
    ``flagged`` those of a row without a decision, by flag and reason in words ("format: no JSON object"). ``margin`` is
    0 if nothing won; ``margins`` are those of the answer's fields. ``tokens`` were read and written for the row. A row
    that is ``answered`` or ``reviewed`` was decided by a person, ``answered_by``, as its votes elected nobody: in the
    log where the run had waited for the person, else beside it.
    """

    row: int
    id: str
    outcome: str
    reason: str
    answer: Any
    votes: Mapping[str, int]
    flags: Mapping[str, int]
    margin: int
    margins: Mapping[str, int]
    tokens: int
    flagged: Mapping[str, int] = field(default_factory=dict)
    answered_by: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class Settled(NamedTuple):
    """A row whose result is final: it has a step or an outcome, or both if it ended wrong.

    It is child ``child`` of ``round``. A ``reviewed`` one has been decided by a person after its votes were over
    (`maker.store.reviews`): its step is that answer, which the log does not have.
    """

    row: int
    round: Round
    child: int
    step: StepRow | None
    outcome: OutcomeRow | None
    reviewed: bool = False

    @property
    def by_person(self) -> bool:
        """Whether a person has decided it."""
        return self.step is not None and by_person(self.step.tally)

    @property
    def outcome_name(self) -> str:
        """Its outcome, as people read it."""
        if self.outcome is not None:
            return self.outcome.outcome
        return REVIEWED if self.reviewed else ANSWERED if self.by_person else DECIDED


class Round(NamedTuple):
    """One fork of a map's root: its rows, and the chain that holds a step for each."""

    database: Database
    chain: ChainRow
    rows: Sequence[int]
    decomposer: RowDecomposer[Any, Any]

    def child_of(self, row: int) -> int | None:
        """Return which child asks a row, None if the round does not ask it."""
        place = bisect_left(self.rows, row)
        return place if place < len(self.rows) and self.rows[place] == row else None

    def settled(self, start: int = 0) -> Iterator[Settled]:
        """Yield the children from ``start`` up to the first that is still open."""
        steps = read_steps(self.database, self.chain.key, start, self.chain.cursor, single=True)
        outcomes = read_outcomes(self.database, self.chain.key, start, self.chain.cursor)
        step, outcome = next(steps, None), next(outcomes, None)
        reviews = read_reviews(self.database, self.chain.key)
        for child in range(start, self.chain.cursor):
            here = step if step is not None and step.idx == child else None
            why = outcome if outcome is not None and outcome.idx == child else None
            if (here is None and why is None) or (why is not None and Outcome(why.outcome).open):
                return
            yield self.as_settled(child, here, why, reviews)
            step = next(steps, None) if here is not None else step
            outcome = next(outcomes, None) if why is not None else outcome

    def reached(self, start: int = 0) -> Iterator[Settled | None]:
        """Yield the children from ``start`` to the last that is settled; None for one that is still open."""
        steps = read_steps(self.database, self.chain.key, start, single=True)
        outcomes = read_outcomes(self.database, self.chain.key, start)
        step, outcome = next(steps, None), next(outcomes, None)
        reviews = read_reviews(self.database, self.chain.key)
        child = start
        while step is not None or outcome is not None:
            here = step if step is not None and step.idx == child else None
            why = outcome if outcome is not None and outcome.idx == child else None
            again = why is not None and Outcome(why.outcome).open
            yield None if again or (here is None and why is None) else self.as_settled(child, here, why, reviews)
            step = next(steps, None) if here is not None else step
            outcome = next(outcomes, None) if why is not None else outcome
            child += 1

    def as_settled(
        self, child: int, step: StepRow | None, outcome: OutcomeRow | None, reviews: Mapping[int, ReviewRow]
    ) -> Settled:
        """Return a child that is settled, with the answer of a person where one has decided what votes did not."""
        if outcome is None or (found := reviews.get(child)) is None:
            return Settled(self.rows[child], self, child, step, outcome)
        answer = StepRow(child, found.key.epoch, found.answer, found.tally, found.tokens, b"")
        return Settled(self.rows[child], self, child, answer, None, reviewed=True)


class RowLog:
    """Reads a map's log by row.

    Args:
        database: The store.
        run: The map's run.

    Raises:
        BadInput: The run's task has no rows.
    """

    def __init__(self, database: Database, run: RunRow) -> None:
        self._database = database
        self._run = run
        self._tasks = {run.key: row_decomposer(database, run)}
        self._counted = False

    @property
    def task(self) -> RowDecomposer[Any, Any]:
        """The run's own task."""
        return self._tasks[self._run.key]

    def name(self, row: int) -> str:
        """Return a row's id. Raises `BadInput` if the input cannot be read, or has changed."""
        if not self._counted:
            self.task.parts()
            self._counted = True
        return self.task.row(row)[0]

    def rounds(self) -> list[Round]:
        """Return the map's rounds in their present state, those of the runs that it continues first."""
        found = []
        for span in spans(self._database, root_chain(self._database, self._run.key)):
            task = self._task(span.chain.run)
            states = {(kept.idx, kept.epoch): kept.state for kept in read_snapshots(self._database, span.chain.key)}
            for fork in read_forks(self._database, span.chain.key, span.start, span.stop):
                state = call_user_code(f"{task.name}: state.read", task.state.read, states[fork.idx, fork.epoch])
                rows = call_user_code(f"{task.name}: rows", task.rows, state)
                chain = next(read_children(self._database, fork, span.chain.path))
                found.append(Round(self._database, chain, rows, task))
        return found

    def _task(self, run: int) -> RowDecomposer[Any, Any]:
        if run not in self._tasks:
            self._tasks[run] = row_decomposer(self._database, run_at(self._database, run))
        return self._tasks[run]


class RowNames:
    """Names rows by their ids where the log alone is needed: an input that can no longer be read names none."""

    def __init__(self, log: RowLog) -> None:
        self._log = log
        self._lost = False

    def of(self, row: int) -> str | None:
        """Return a row's id, None where the input cannot be read."""
        if self._lost:
            return None
        try:
            return self._log.name(row)
        except BadInput:
            # Not tried again: it may take as long as reading the input through.
            self._lost = True
            return None


class RowFeed:
    """Reads the results of a map's rows as they are settled, in input order. Constructed like `RowLog`."""

    def __init__(self, database: Database, run: RunRow) -> None:
        self._log = RowLog(database, run)
        self._next = 0

    def news(self) -> Iterator[RowResult]:
        """Yield the rows settled since the last call, up to the first that is still open."""
        for settled in settled_rows(self._log.rounds(), self._next):
            self._next += 1
            yield result(settled, self._log.name(settled.row))

    def rest(self) -> Iterator[RowResult]:
        """Yield the settled rows after the first that is still open. Call it last, when nobody works on the run."""
        for settled in all_settled(self._log.rounds(), self._next):
            yield result(settled, self._log.name(settled.row))


def results(run_id: str, *, store: str | None = None, start: int = 0) -> Generator[RowResult, None, None]:
    """Yield the results of a map's rows that are settled, from row ``start`` on, in constant memory.

    Rows that are still open are left out, whatever comes after them.

    Raises:
        RunNotFound: There is no such run.
        BadInput: The run's task has no rows.
    """
    with opened(store) as database:
        log = RowLog(database, find_run(database, run_id))
        for settled in all_settled(log.rounds(), start):
            yield result(settled, log.name(settled.row))


def follow(run_id: str, *, store: str | None = None) -> Iterator[RowResult]:
    """Yield the results of a map's rows as they are settled, until no process works on the run any more. Blocks.

    They come in the order of the input; the rows that then are still open are left out.

    Raises as `results` does.
    """
    with opened(store) as database:
        run = find_run(database, run_id)
        feed = RowFeed(database, run)
        while True:
            over = find_run(database, run.run_id).status != ACTIVE
            yield from feed.news()
            if over:
                yield from feed.rest()
                return
            time.sleep(LOOK_S)


def row_decomposer(database: Database, run: RunRow) -> RowDecomposer[Any, Any]:
    """Return the decomposer of a map's run, with the input that the run began with. Raises `BadInput`."""
    task = _task(database, run)
    if not isinstance(task, RowDecomposer):
        raise BadInput(
            f"run {run.run_id} is not a map over rows; its task is {task.name}",
            fix=f"see its steps with `maker steps {run.run_id}`",
        )
    return task


def is_map(database: Database, run: RunRow) -> bool:
    """Say whether a run is a map over rows. Raises `BadInput` where its task cannot be loaded."""
    # Documents go on in rounds too, and have no rows.
    return "round" in run.settings["task"] and isinstance(_task(database, run), RowDecomposer)


def _task(database: Database, run: RunRow) -> Decomposer[Any, Any]:
    job = stored_job(run.settings, run.run_id, parts=read_parts(database, run.key), kept=run.sources)
    return (job_in_order(job, run.classes) if run.changes else job).decomposer


def settled_rows(rounds: Sequence[Round], start: int = 0) -> Iterator[Settled]:
    """Yield each row from ``start`` on with the result of its newest round, up to the first that is still open."""
    after = start
    for number, (one, end) in enumerate(zip(rounds, ends(rounds), strict=True)):
        # A round first asks rows of earlier rounds again, then new rows after them.
        newer = [_Newer(again, after) for again in reversed(rounds[number + 1 :])]
        for settled in one.settled(bisect_left(one.rows, after)):
            found = next((again.found for again in newer if again.asks(settled.row)), settled)
            if found is None:
                return
            yield found
        if one.chain.cursor < len(one.rows):
            return
        after = max(start, end)


def all_settled(rounds: Sequence[Round], start: int = 0) -> Iterator[Settled]:
    """Yield each row from ``start`` on that its newest round has settled, in the order of the input."""
    newest_first = merge(*(_by_row(one, -number, start) for number, one in enumerate(rounds)), key=itemgetter(0, 1))
    for _, its in groupby(newest_first, key=itemgetter(0)):
        _, _, settled = next(its)
        if settled is not None:
            yield settled


def _by_row(one: Round, place: int, start: int) -> Iterator[tuple[int, int, Settled | None]]:
    """Yield all rows that a round asks, with its place among the rounds, and what became of them so far."""
    first = bisect_left(one.rows, start)
    for row, settled in zip_longest(islice(one.rows, first, None), one.reached(first)):
        yield row, place, settled


def ends(rounds: Sequence[Round]) -> list[int]:
    """Return for each round the number of rows, from the first, that it and the rounds before it cover."""
    found: list[int] = []
    for one in rounds:
        found.append(max([*found[-1:], one.rows[-1] + 1 if len(one.rows) else 0]))
    return found


class _Newer:
    """Reads the rows that a newer round asks again, from row ``start`` on, in order.

    ``found`` is the result of the row that `asks` was called with last, None if the row is still open.
    """

    def __init__(self, one: Round, start: int) -> None:
        first = bisect_left(one.rows, start)
        self._rows = islice(one.rows, first, None)
        self._settled = one.settled(first)
        self._row = next(self._rows, None)
        self.found = next(self._settled, None)

    def asks(self, row: int) -> bool:
        """Say whether the round asks a row; call it with increasing rows."""
        while self._row is not None and self._row < row:
            self._row = next(self._rows, None)
            self.found = next(self._settled, None)
        return self._row == row


def reach(rounds: Sequence[Round]) -> int:
    """Return the first row that is not settled yet, by the chains' cursors."""
    after = 0
    for one, end in zip(rounds, ends(rounds), strict=True):
        if one.chain.cursor < len(one.rows):
            return max(after, one.rows[one.chain.cursor])
        after = end
    return after


def result(settled: Settled, name: str) -> RowResult:
    """Return the result of a settled row; ``name`` is its id."""
    row, round_, _, step, outcome, _ = settled
    if step is None:
        assert outcome is not None  # noqa: S101 - a settled row has one of them
        cast, flags, said = Counter[str](), Counter[str](), Counter[str]()
        for sample in samples(settled):
            if sample.candidate is not None:
                cast[sample.candidate] += 1
            elif sample.flag is not None:
                flags[sample.flag] += 1
                said[f"{sample.flag}: {sample.detail}" if sample.detail else sample.flag] += 1
        return RowResult(
            row, name, outcome.outcome, outcome.reason, None, dict(cast.most_common()), dict(flags), 0, {}, 0,
            dict(said.most_common()),
        )  # fmt: skip
    task, tally = round_.decomposer, tally_of(round_.database, step)
    action = call_user_code(f"row {row}: its action", task.action.read, step.action)
    winner = vote_key(task.action, action)
    votes, parts = tally.counts(winner), task.classes[tally.kind].parts
    return RowResult(
        row=row,
        id=name,
        outcome=settled.outcome_name,
        reason="" if outcome is None else outcome.reason,
        answer=task.action.show(action),
        votes=votes,
        flags=tally.reasons(),
        margin=tally.won_by if parts is None or tally.judge or tally.person else least_lead(parts, votes),
        margins={} if tally.person else call_user_code(f"row {row}: margins", task.margins, votes, winner),
        tokens=step.tokens,
        answered_by="" if tally.person is None else tally.person.name,
    )


def tally_of(database: Database, step: StepRow) -> Tally:
    """Return the tally that decided a row: its source's, if the row was taken from the memo."""
    tally = unpack(step.tally)
    source = tally.source
    row = None if source is None else read_step(database, source.chain, source.idx, source.epoch)
    return tally if row is None else unpack(row.tally)


def samples(settled: Settled) -> list[SampleRow]:
    """Return the stored samples of a row without a decision."""
    round_, outcome = settled.round, settled.outcome
    found = read_samples(round_.database, round_.chain.key, settled.child, settled.child + 1)
    return [sample for sample in found if outcome is not None and sample.epoch == outcome.epoch]
