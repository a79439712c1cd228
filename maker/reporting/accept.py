"""Split a map's rows into accepted ones, of which a stated share is wrong at most, and those for review."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from maker.errors import BadInput
from maker.job.stages import is_stage
from maker.lifecycle.queries import opened
from maker.lifecycle.rows import ANSWERED, DECIDED, RowLog, all_settled
from maker.reporting.accept_labels import ReadLabels, read_labels
from maker.reporting.accepted_files import refuse_folder, write_accepted
from maker.reporting.audit import check_confidence
from maker.reporting.row_labels import LabelFile
from maker.reporting.row_scores import Signal, said
from maker.reporting.scored_rows import ScoredRows
from maker.stats.acceptance import (
    FixedSequence,
    Order,
    allowed,
    choose,
    estimated_wrong,
    expected_rows,
    labels_needed,
)
from maker.stats.bounds import Labelled, most_wrong
from maker.store.entry import StoredEvent
from maker.store.runs import RunRow, add_event, find_run, read_events

ROWS_ACCEPTED = "rows_accepted"
"""The kind of the event that records what was accepted."""
DONE = "done"
RECORDED = (
    "digest", "error", "confidence", "by", "signal", "rule", "decided", "sampled", "blank", "accepted", "labels",
)  # fmt: skip
"""What of an acceptance its event records."""
MORE = (1, 2, 4)
"""It is told what so many times as many labels would accept."""


class Forecast(NamedTuple):
    """How many rows are accepted on average with so many labels drawn anew, if rows are as these labels say."""

    labels: int
    rows: float


class Tested(NamedTuple):
    """A rule that was tested: its rows, its sampled rows, how many of those count as wrong, and the test's chance."""

    rows: int
    sampled: int
    wrong: int
    chance: float


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Which rows of a run are accepted, and what that rests on; ``accepts`` says it of each row.

    Args:
        run_id: The run.
        digest: The run's digest.
        error: The share of the accepted rows that is wrong at most.
        confidence: With which this holds.
        by: The signals whose rules were tested, each at its part of the risk.
        signal: Of the rule that was chosen, or where no rule passed of those in ``tested``.
        rule: In words; "" where no rule passed.
        test: The test that this rule passed, None where no rule did.
        decided: Rows that votes have decided.
        sampled: Labelled rows that rules were tested by; ``blank`` of them have no label, and count as wrong.
        accepted: Decided rows that are accepted: those of the rule that no label calls wrong, and those labelled right.
        answered: Rows that are accepted because people decided them, in the log or beside it: what people say is taken
            as right, as labels are.
        allowed: So many of them may be wrong.
        left: The other rows, by outcome: ``decided`` are those that are not accepted.
        tested: The rules of ``signal`` that were tested, in their order.
        reach: About how many rows the best rule would accept, if all rows were labelled, as these labels estimate it.
        forecasts: What as many labels, and more, would accept on average.
        earlier: How often rows of this run were accepted before, by other terms or labels.
        labels: The digest of the file with the labels.
        mask: Whether each row is accepted, a byte a row, 1 or 0; rows after its end are not.
    """

    run_id: str
    digest: str
    error: float
    confidence: float
    by: tuple[str, ...]
    signal: str
    rule: str
    test: Tested | None
    decided: int
    sampled: int
    blank: int
    accepted: int
    answered: int
    allowed: int
    left: Mapping[str, int]
    tested: tuple[Tested, ...]
    reach: int
    forecasts: tuple[Forecast, ...]
    earlier: int
    labels: str
    mask: bytes = field(repr=False)

    def accepts(self, row: int) -> bool:
        """Say whether a row, by its number from 0, is accepted."""
        return 0 <= row < len(self.mask) and bool(self.mask[row])

    def to_json(self) -> dict[str, Any]:
        """Return what was found as JSON, without the rows."""
        facts = {name: value for name, value in asdict(self).items() if name != "mask"}
        facts["test"] = None if self.test is None else self.test._asdict()
        facts["tested"] = [one._asdict() for one in self.tested]
        facts["forecasts"] = [one._asdict() for one in self.forecasts]
        return facts


def accept(
    run_id: str,
    *,
    error: float,
    labels: str | Path | LabelFile,
    confidence: float = 0.95,
    by: Sequence[str] = (Signal.VOTES,),
    shuffled: bool = False,
    out: Path | None = None,
    force: bool = False,
    store: str | None = None,
) -> Acceptance:
    """Accept as many of a map's rows as labels show to be right but for a stated share. Blocks; reads the log once.

    The same run, labels and terms give the same rows. What was found is recorded as an event of the run.

    Args:
        run_id: A run's id, its unique beginning, or ``last``; the run is done.
        error: The share of the accepted rows that may be wrong, between 0 and 1.
        labels: A labelled sample of ``maker audit``, or right answers by the ids of rows drawn at random.
        confidence: With which no more are wrong.
        by: `Signal` names. Of several, each is tested at an equal part of the risk, and the rule with the most rows
            is taken.
        shuffled: The rows stand in random order, so that labels of the first ones are a random sample.
        out: A folder to be made for the files ``accepted.jsonl``, ``review.jsonl`` and ``accept.json``; None: no files.
        force: Replace such a folder.
        store: The database of runs, else that of MAKER_STORE.

    Raises:
        RunNotFound: No such run.
        BadInput: The run is not done or no map; a number or signal will not do, or the log lacks it; the labels do not
            fit the run, or are too few to show such an error.
    """
    file = labels if isinstance(labels, LabelFile) else LabelFile(Path(labels))
    terms = checked_terms(error, confidence, by)
    if out is not None:
        refuse_folder(out, force=force)
    with opened(store) as database:
        run = find_run(database, run_id)
        if is_stage(run.settings):
            raise BadInput(
                f"run {run.run_id} is a stage of a map: rows of all stages are accepted together",
                fix=f"`maker resume {run.run_id}` accepts them, by the labels that accept.labels names",
            )
        log = RowLog(database, run)
        if run.status != DONE:
            raise BadInput(
                f"run {run.run_id} is {run.status}: rows are accepted of a run that is done",
                fix=f"finish it with `maker resume {run.run_id}`",
            )
        given = read_labels(database, run, file, log.task, shuffled=shuffled)
        rows = ScoredRows(terms.by, given.labels)
        for settled in all_settled(log.rounds()):
            rows.add(settled)
        found = accepted_by(run, terms, rows, given)
        facts = {name: getattr(found, name) for name in RECORDED}
        before = [event for event in read_events(database, run.key) if event["kind"] == ROWS_ACCEPTED]
        found = replace(found, earlier=sum(is_other(event, facts) for event in before))
        if out is not None:
            write_accepted(out, log, found.accepts, found.to_json(), force=force)
        add_event(database, run.key, StoredEvent(ROWS_ACCEPTED, facts))
    return found


class Terms(NamedTuple):
    """What is asked for; the risk is shared equally by the signals."""

    error: float
    confidence: float
    by: tuple[Signal, ...]

    @property
    def each(self) -> float:
        """The confidence at which the rules of one signal are tested."""
        return 1 - (1 - self.confidence) / len(self.by)


def checked_terms(error: float, confidence: float, by: Sequence[str]) -> Terms:
    """Return what is asked for. Raises `BadInput` where it cannot be."""
    if not 0 < error < 1:
        raise BadInput(f"the error {error:g} is not between 0 and 1", fix="give a share of rows, like 0.01")
    check_confidence(confidence)
    names = [by] if isinstance(by, str) else list(dict.fromkeys(by))
    if unknown := [name for name in names if name not in list(Signal)]:
        raise BadInput(f"there is no signal {unknown[0]!r}", fix=f"choose from {', '.join(Signal)}")
    if not names:
        raise BadInput("there is no signal to order rows by", fix=f"choose from {', '.join(Signal)}")
    return Terms(error, confidence, tuple(map(Signal, names)))


def accepted_by(run: RunRow, terms: Terms, rows: ScoredRows, given: ReadLabels) -> Acceptance:
    """Choose a rule, and say what it comes to. Raises `BadInput` where the labels are too few for any."""
    strata = rows.strata()
    if not rows.sampled:
        raise BadInput(f"none of the labelled rows of run {run.run_id} is decided", fix="label decided rows")
    orders = {signal: rows.order(signal) for signal in terms.by}
    sequences = {signal: choose(one.rules, strata, terms.error, terms.each) for signal, one in orders.items()}
    if not any(sequence.chances for sequence in sequences.values()):
        raise _too_few(run, terms, strata)

    def accepting(signal: Signal) -> tuple[int, int]:
        """Return how many rows a signal's rule has, and how many were tested, to choose by."""
        last = sequences[signal].last
        return 0 if last is None else orders[signal].rules[last].rows, len(sequences[signal].chances)

    signal = max(terms.by, key=accepting)
    order, sequence = orders[signal], sequences[signal]
    mask = rows.mask(signal, order, sequence.last)
    answered = sum(mask[row] for row in rows.answered)
    accepted = mask.count(1) - answered
    left = {DECIDED: len(rows.numbers) - accepted, ANSWERED: len(rows.answered) - answered}
    left |= dict(sorted(rows.missed.items()))
    reach, forecasts = _forecasts(order, strata, terms)
    tested = _tested(order, sequence)
    return Acceptance(
        run_id=run.run_id, digest=run.digest.hex(), error=terms.error, confidence=terms.confidence,
        by=tuple(map(str, terms.by)), signal=str(signal),
        rule="" if sequence.last is None else said(signal, order.scores[sequence.last]),
        test=None if sequence.last is None else tested[sequence.last - sequence.first],
        decided=len(rows.numbers), sampled=rows.sampled, blank=rows.blank, accepted=accepted, answered=answered,
        allowed=allowed(accepted, terms.error), left={name: count for name, count in left.items() if count},
        tested=tested, reach=reach, forecasts=forecasts, earlier=0, labels=given.digest, mask=bytes(mask),
    )  # fmt: skip


def _tested(order: Order, sequence: FixedSequence) -> tuple[Tested, ...]:
    numbers = range(sequence.first, sequence.first + len(sequence.chances))
    return tuple(
        Tested(order.rules[number].rows, order.sampled[number], order.rules[number].wrong, chance)
        for number, chance in zip(numbers, sequence.chances, strict=True)
    )


def _forecasts(order: Order, strata: Sequence[Labelled], terms: Terms) -> tuple[int, tuple[Forecast, ...]]:
    """Return about how many rows the best rule accepts, and how many this many labels and more would on average."""
    sizes = [one.rows for one in order.rules]
    wrong = estimated_wrong(order.rules, order.sampled)
    good = [rows for rows, bad in zip(sizes, wrong, strict=True) if bad <= terms.error * rows]
    found: dict[int, Forecast] = {}
    for times in MORE:
        more = [one._replace(labelled=min(one.rows, times * one.labelled)) for one in strata]
        labels = sum(one.labelled for one in more)
        found[labels] = Forecast(labels, round(expected_rows(sizes, wrong, more, terms.error, terms.each), 1))
    return max(good, default=0), tuple(found.values())


def _too_few(run: RunRow, terms: Terms, strata: Sequence[Labelled]) -> BadInput:
    decided, labels = sum(one.rows for one in strata), sum(one.labelled for one in strata)
    needed = labels_needed([one.rows for one in strata], terms.error, terms.each)
    best = math.ceil(1000 * most_wrong(strata, terms.each) / decided) / 1000
    other = f"; or state an error of {best:g} or more" if best < 1 else ""
    return BadInput(
        f"{labels:,} labels of run {run.run_id} are too few for an error of {terms.error:g} with a confidence of"
        f" {terms.confidence:g}: of {decided:,} decided rows it takes at least {needed:,}, all of them right",
        fix=f"label more rows, `maker audit {run.run_id}` draws them{other}",
        needed=needed,
    )


def is_other(event: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Say whether an event tells of other terms or labels."""
    known = json.loads(json.dumps(facts))
    return any(event.get(name) != value for name, value in known.items())


def accepted_lines(events: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return in a sentence what was accepted of a run, by its events; () where nothing was."""
    told = [event for event in events if event["kind"] == ROWS_ACCEPTED]
    if not told:
        return ()
    last = told[-1]
    said = (
        f"at most {last['error']:.4g} of them wrong with a confidence of {last['confidence']:.4g}, by"
        f" {last['sampled']:,} labels of random rows, if these are right; rule: {last['rule']}"
    )
    if not last["rule"]:
        said = "all of them labelled right: labels could show no rule to keep the stated error"
    often = f" This was choice number {len(told):,}; the confidence is that of a single one." if len(told) > 1 else ""
    return (f"Accepted: {last['accepted']:,} of {last['decided']:,} decided rows, {said}.{often}",)
