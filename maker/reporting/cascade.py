"""Hand rows on from stage to stage of a map, and accept rows of all stages together with a stated error."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from maker.errors import BadInput
from maker.job.job import Job
from maker.job.settings import AcceptSettings
from maker.lifecycle.queries import report
from maker.lifecycle.rows import DECIDED, Settled
from maker.plugin import RowDecomposer
from maker.reporting.accept import RECORDED, ROWS_ACCEPTED, Acceptance, accepted_by, checked_terms, is_other
from maker.reporting.accept_labels import IdLabels, ReadLabels
from maker.reporting.cascade_log import CascadeLog
from maker.reporting.labels import holds_sample
from maker.reporting.row_labels import LabelFile, RowLabels, labels_of_rows
from maker.reporting.row_scores import Signal, scores_of
from maker.reporting.scored_rows import ScoredRows
from maker.sampling.label_sample import refuse_in_order
from maker.stats.acceptance import Score, allowed, labels_needed, order_of
from maker.stats.bounds import share_at_most
from maker.stats.cascade import NOTHING, TUNING, composite, hand_off, start_of, tuning_rows
from maker.store.backend.database import Database
from maker.store.entry import StoredEvent
from maker.store.runs import add_event, read_events

SHOWN = 0.95
"""The confidence of the interval of each stage's error."""


class StageFound(NamedTuple):
    """What became of a stage's rows, and what it took.

    Args:
        name: The stage.
        run_id: Its run.
        asked: Rows that it was asked.
        decided: Of these with an answer.
        kept: Of these on which it has the last word.
        accepted: Of these that are accepted.
        handed_on: Rows that the next stage is asked.
        calls: Samples.
        tokens: Read and written.
        cost: In the currency of the prices, None without prices.
        labelled: Kept rows by whose labels the answers were tested.
        wrong: Those of them whose answer is wrong.
        low: The share of wrong kept rows is at least that, with a confidence of 97.5 %.
        high: It is at most that, likewise.
    """

    name: str
    run_id: str
    asked: int
    decided: int
    kept: int
    accepted: int
    handed_on: int
    calls: int
    tokens: int
    cost: float | None
    labelled: int
    wrong: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CascadeAcceptance:
    """Which rows of all stages are accepted. ``tuned`` labels have said what stages keep, and have tested no answer.

    ``whole`` is about the rows of all stages together; it counts rows with a tuning label that says that their answer
    is right as accepted.
    """

    whole: Acceptance
    stages: tuple[StageFound, ...]
    tuned: int

    def to_json(self) -> dict[str, Any]:
        """Return what was found as JSON, without the rows."""
        return self.whole.to_json() | {"tuned": self.tuned, "stages": [one._asdict() for one in self.stages]}


class StageLabels(NamedTuple):
    """Labels of rows that were drawn at random from the input, and the digest of their file."""

    rows: RowLabels
    digest: str


def read_stage_labels(job: Job, terms: AcceptSettings) -> StageLabels:
    """Read the labels of a job with stages, before its models are asked. Blocks: reads the ids of all rows.

    Raises:
        BadInput: There are none, or too few to show such an error of all rows; one is of no row; or they stand
            together as no random sample does.
    """
    task: Any = job.decomposer
    path = Path(terms.labels)
    try:
        digest = sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BadInput(
            f"accept.labels: {path} cannot be read: {error.strerror}",
            fix=f"draw {_needed(task, terms):,} rows of the input at random or more, and write their right answers",
        ) from error
    column = str(job.settings["task"].get("id_column") or "")
    if holds_sample(path):
        raise BadInput(
            f"{path} is a sample of `maker audit`, whose labels are of one model's answers",
            fix="give a file with the rows' ids and their right answers",
        )
    found = labels_of_rows(
        task, LabelFile(path), id_column=column, whose="the input", ids="write ids as the input has them"
    )
    if not terms.shuffled:
        refuse_in_order(found.rows, task.count())
    if not _suffice(task, terms, len(found.rows)):
        needed = max(_needed(task, terms), len(found.rows) + 1)
        raise BadInput(
            f"{path} has {len(found.rows):,} labels: to show an error of {terms.error:g} with a confidence of"
            f" {terms.confidence:g} takes {needed:,}, none of the tested ones wrong, a quarter of them for hand-offs",
            fix=f"label {needed - len(found.rows):,} more rows, drawn at random, or state a larger error",
            needed=needed,
        )
    return StageLabels(found, digest)


def _suffice(task: RowDecomposer[Any, Any], terms: AcceptSettings, labels: int) -> bool:
    """Say whether so many labels can show the error of all rows, if no tested one is wrong."""
    tuned = int(labels * TUNING)
    return labels - tuned >= labels_needed([task.count() - tuned], terms.error, terms.confidence)


def _needed(task: RowDecomposer[Any, Any], terms: AcceptSettings) -> int:
    """Return about how many labels can."""
    rows = task.count()
    return min(rows, math.ceil(labels_needed([rows], terms.error, terms.confidence) / (1 - TUNING)))


def left_rows(cascade: CascadeLog, labels: StageLabels, terms: AcceptSettings) -> tuple[list[int], list[int]]:
    """Return which rows the newest stage, which is done, hands on, and the rows whose labels have said so. Blocks."""
    told = IdLabels(labels.rows, cascade.first.log.task)
    tuning = cascade.tuning or frozenset(tuning_rows(labels.rows.rows))
    kept = NOTHING
    for settled in _early(cascade):
        tuned = settled.row in tuning
        kept = kept._replace(
            rows=kept.rows + 1,
            labelled=kept.labelled + tuned,
            wrong=kept.wrong + (tuned and not told.is_right(settled)),
        )
    [signal] = map(Signal, terms.by)
    sizes, sample, rows, left = Counter[Score](), list[tuple[Score, bool]](), list[tuple[int, Score]](), list[int]()
    for settled in cascade.stages[-1].settled():
        found = None if settled.outcome is not None else _score(signal, settled)
        if found is None:
            left.append(settled.row)
            continue
        sizes[found] += 1
        rows.append((settled.row, found))
        if settled.row in tuning:
            sample.append((found, bool(told.is_right(settled))))
    if rows:
        order = order_of(sizes, sample)
        rule = hand_off(order, terms.error, kept)
        left += [row for row, one in rows if rule is None or order.rank[one] > rule]
    return sorted(left), sorted(tuning)


def _early(cascade: CascadeLog) -> Iterator[Settled]:
    """Yield the rows on which a stage before the newest has the last word."""
    newest = len(cascade.stages) - 1
    for number, stage in enumerate(cascade.stages[:-1]):
        yield from (one for one in stage.settled() if cascade.last_of[one.row] == number < newest)


def accept_cascade(
    database: Database, cascade: CascadeLog, labels: StageLabels, terms: AcceptSettings
) -> CascadeAcceptance:
    """Accept as many rows of all stages as the test labels show to be right but for a stated share. Blocks.

    Raises `BadInput` as `maker.reporting.accept.accept` does.
    """
    checked = checked_terms(terms.error, terms.confidence, terms.by)
    [signal] = checked.by
    told = IdLabels(labels.rows, cascade.first.log.task)
    last, start, tuning = len(cascade.stages) - 1, _start(cascade, signal), cascade.tuning

    def scored(settled: Settled, _: Iterable[Signal]) -> Mapping[Signal, Score | None]:
        if start is None:
            return scores_of(settled, (signal,))
        if cascade.last_of[settled.row] != last:
            return {signal: composite(start, None)}
        found = _score(signal, settled)
        return {signal: None if found is None else composite(start, found)}

    rows, tuned, decided = ScoredRows(checked.by, told, scored), dict[int, bool](), Counter[int]()
    tests = [Counter[bool]() for _ in cascade.stages]
    for number, settled, _ in cascade.words():
        if settled.outcome is None:
            decided[number] += 1
            right = told.is_right(settled)
            if settled.row in tuning:
                # It could not have been drawn as a test label: without its label it is for review.
                tuned[settled.row] = bool(right)
                continue
            if right is not None and not settled.by_person:
                tests[number][right] += 1
        rows.add(settled)
    found = accepted_by(cascade.first.run, checked, rows, ReadLabels(told, labels.digest))
    whole = _with_tuned(found, tuned, cascade, start)
    stages = tuple(
        _stage_found(cascade, number, decided[number], tests[number], whole) for number in range(len(cascade.stages))
    )
    before = [event for event in read_events(database, cascade.first.run.key) if event["kind"] == ROWS_ACCEPTED]
    facts = _facts(whole, stages, len(tuned))
    done = CascadeAcceptance(replace(whole, earlier=sum(is_other(one, facts) for one in before)), stages, len(tuned))
    if not before or is_other(before[-1], facts):
        add_event(database, cascade.first.run.key, StoredEvent(ROWS_ACCEPTED, facts))
    return done


def _start(cascade: CascadeLog, signal: Signal) -> Score | None:
    """Return where the order of all stages begins: None where no stage before the newest keeps rows."""
    last = len(cascade.stages) - 1
    if all(number == last for number in cascade.last_of):
        return None
    found = (_score(signal, one) for one in cascade.stages[-1].settled() if one.outcome is None)
    sizes = Counter(one for one in found if one is not None)
    return start_of(sizes) if sizes else ()


def _with_tuned(found: Acceptance, tuned: dict[int, bool], cascade: CascadeLog, start: Score | None) -> Acceptance:
    """Return an acceptance with the rows of tuning labels, each accepted where its label says that it is right."""
    mask = bytearray(found.mask.ljust(cascade.first.asked, b"\0"))
    for row, is_right in tuned.items():
        mask[row] = is_right
    right = sum(tuned.values())
    accepted, decided = found.accepted + right, found.decided + len(tuned)
    left = {**found.left, DECIDED: found.left.get(DECIDED, 0) + len(tuned) - right}
    early = [one.name for one in cascade.stages[:-1]] if start is not None else []
    of = f"all that {' and '.join(early)} keep{'s' if len(early) == 1 else ''}, and of " if early else "of "
    return replace(
        found, accepted=accepted, decided=decided, left={name: n for name, n in left.items() if n},
        allowed=allowed(accepted, found.error) if accepted else 0, mask=bytes(mask),
        rule=f"{of}{cascade.stages[-1].name} {found.rule}" if found.rule else "",
    )  # fmt: skip


def _score(signal: Signal, settled: Settled) -> Score | None:
    return scores_of(settled, (signal,))[signal]


def _stage_found(cascade: CascadeLog, number: int, decided: int, tests: Counter[bool], whole: Acceptance) -> StageFound:
    stage = cascade.stages[number]
    rows = [row for row, last in enumerate(cascade.last_of) if last == number]
    labelled, wrong = tests.total(), tests[False]
    high = share_at_most(wrong, labelled, (1 + SHOWN) / 2) if labelled else 1.0
    low = 1 - share_at_most(labelled - wrong, labelled, (1 + SHOWN) / 2) if labelled else 0.0
    told = report(stage.run)
    return StageFound(
        stage.name, stage.run.run_id, stage.asked, decided, len(rows), sum(map(whole.accepts, rows)),
        stage.asked - len(rows), told.calls, told.prompt_tokens + told.completion_tokens, told.cost, labelled, wrong,
        low, high,
    )  # fmt: skip


def _facts(whole: Acceptance, stages: Sequence[StageFound], tuned: int) -> dict[str, Any]:
    found = {name: getattr(whole, name) for name in RECORDED}
    return found | {"tuned": tuned, "stages": [one._asdict() for one in stages]}
