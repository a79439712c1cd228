"""Draw a random sample of a map's decided rows, and bound the share of wrong rows from its labels."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple

from maker.errors import BadInput
from maker.lifecycle.queries import opened
from maker.lifecycle.rows import RowLog, RowResult, Settled, result, row_decomposer, settled_rows
from maker.stats.bounds import Labelled, allocate, estimate, most_wrong, most_wrong_in
from maker.store.backend.database import Database
from maker.store.runs import ACTIVE, RunRow, find_run
from maker.voting.tally import unpack

LEAST = 10
"""At least this many rows of each stratum are drawn, or all that it has."""


class Stratum(StrEnum):
    """How clear a row's vote was, by its least margin: the answer's, or that of a field if it is smaller."""

    UNANIMOUS = "unanimous"
    """No valid vote went to another answer."""
    CLEAR = "clear"
    """The least margin is at least half of the valid votes."""
    NARROW = "narrow"
    """The least margin is less than half of the valid votes."""


class Sampled(NamedTuple):
    """A row that was drawn.

    ``values`` are those of the input. ``in_part`` says that the row belongs to the proportional part of the sample; the
    other rows were added so that no stratum has too few.
    """

    result: RowResult
    values: Mapping[str, Any]
    stratum: Stratum
    in_part: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of a run's decided rows.

    ``size`` is the requested size, ``decided`` counts the decided rows of each stratum, ``rows`` are in input order.
    Rows with another outcome are not sampled; ``missed`` counts them. Neither are the ``unsettled`` rows, which are
    still open or come after the first row that is.
    """

    run_id: str
    digest: str
    seed: int
    size: int
    decided: Mapping[Stratum, int]
    rows: Sequence[Sampled]
    missed: Mapping[str, int]
    unsettled: int

    def counts(self) -> dict[Stratum, int]:
        """Return how many rows of each stratum were drawn."""
        drawn = Counter(one.stratum for one in self.rows)
        return {stratum: drawn[stratum] for stratum in self.decided}

    def promise(self, confidence: float) -> float:
        """Return the bound on the share of wrong rows if all of the sample turn out right. Raises `BadInput`."""
        check_confidence(confidence)
        part = Counter(one.stratum for one in self.rows if one.in_part)
        found = [Labelled(rows, part[stratum], 0) for stratum, rows in self.decided.items()]
        return most_wrong(found, confidence) / sum(self.decided.values())


@dataclass(frozen=True, slots=True)
class Judged:
    """Error counts and bounds for one stratum, or for all: counts of rows, and shares from 0 to 1.

    ``estimate`` is None if some stratum has no label. ``at_most`` is the upper confidence bound on the share of wrong
    rows, ``at_most_rows`` that on their number. ``at_most_worst`` is the bound if all sampled rows without a label are
    wrong.
    """

    decided: int
    sampled: int
    labelled: int
    wrong: int
    estimate: float | None
    at_most: float
    at_most_rows: int
    at_most_worst: float


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of a labelled sample. The bound on the whole uses ``part`` labels, those of the proportional part."""

    run_id: str
    digest: str
    seed: int
    size: int
    confidence: float
    strata: Mapping[Stratum, Judged]
    whole: Judged
    part: int
    missed: Mapping[str, int]
    unsettled: int

    @property
    def census(self) -> bool:
        """Whether every decided row is labelled: then nothing is estimated."""
        return self.whole.labelled == self.whole.decided

    def to_json(self) -> dict[str, Any]:
        """Return the audit as JSON."""
        facts = asdict(self)
        facts["strata"] = {str(stratum): asdict(judged) for stratum, judged in self.strata.items()}
        return facts | {"census": self.census}


def draw(run_id: str, *, size: int = 300, seed: int = 0, store: str | None = None) -> Sample:
    """Return a random sample of a map's decided rows, stratified by how clear their votes were.

    Blocks; changes nothing. Reads the log once, and holds only the rows that may be drawn in memory. The rows of a
    stratum are ordered by a hash of the run's digest, the seed and the row's number, and the first ones are taken: the
    same seed gives the same rows, and a larger sample contains a smaller one.

    Args:
        run_id: A run's id, its unique beginning, or ``last``.
        size: Rows to draw in proportion to the strata (`allocate`); strata with fewer than `LEAST` get more on top.
        seed: Another seed gives other rows.
        store: The database of runs, else that of MAKER_STORE.

    Raises:
        RunNotFound: No such run.
        BadInput: The run is not a map, is still running, or has no decided row; its input has changed; size is below 1.
    """
    with opened(store) as database:
        return draw_from(database, find_run(database, run_id), size, seed)


def judged(sample: Sample, labels: Mapping[int, bool], confidence: float) -> Audit:
    """Return bounds on the errors among all decided rows; the labels are taken as the truth. Pure.

    A stratum's bound is `most_wrong_in` over all its labelled rows; the bound on all strata is `most_wrong` over the
    proportional part. ``labels`` maps a row's number to whether its answer is right.
    """
    strata = {stratum: _judged(sample, labels, confidence, [stratum]) for stratum in sample.decided}
    part = sum((one.in_part or len(strata) == 1) and one.result.row in labels for one in sample.rows)
    return Audit(
        sample.run_id, sample.digest, sample.seed, sample.size, confidence, strata,
        _judged(sample, labels, confidence, list(sample.decided)), part, sample.missed, sample.unsettled,
    )  # fmt: skip


def stratum_of(one: RowResult) -> Stratum:
    """Return the stratum of a decided row."""
    votes = sum(one.votes.values())
    if one.margin == votes:
        return Stratum.UNANIMOUS
    return Stratum.CLEAR if 2 * least_margin(one) >= votes else Stratum.NARROW


def least_margin(one: RowResult) -> int:
    """Return the smallest margin of a row's answer and its fields, in votes; it can be negative."""
    return min([one.margin, *one.margins.values()])


class RowDraw:
    """Draws rows without replacement from a stream: keeps those with the smallest hashes.

    Args:
        name: Part of the hash, beside each row's number; it fixes the draw.
        most: How many rows to keep, at least 1.
    """

    def __init__(self, name: str, most: int) -> None:
        self._base = blake2b(name.encode(), digest_size=8, person=b"maker-audit")
        self._most = most
        self._kept: list[tuple[int, int, Settled]] = []
        self.seen = 0

    def add(self, settled: Settled) -> None:
        """Consider a row."""
        self.seen += 1
        place = self._base.copy()
        place.update(settled.row.to_bytes(8, "little"))
        lot = (-int.from_bytes(place.digest(), "little"), settled.row, settled)
        if len(self._kept) < self._most:
            heapq.heappush(self._kept, lot)
        elif lot > self._kept[0]:
            heapq.heapreplace(self._kept, lot)

    def first(self, count: int) -> list[Settled]:
        """Return the ``count`` rows with the smallest hashes, in their order."""
        return [settled for _, _, settled in sorted(self._kept, reverse=True)[:count]]


def draw_from(database: Database, run: RunRow, size: int, seed: int) -> Sample:
    """Return a sample as `draw` does, from an open database."""
    if size < 1:
        raise BadInput(f"a sample of {size} rows is empty", fix="give --sample 1 or more")
    task = row_decomposer(database, run)
    if run.status == ACTIVE:
        raise BadInput(f"run {run.run_id} is still running", fix="audit it when it is done or paused")
    rows = sum(part.rows for part in task.parts())
    draws = {stratum: RowDraw(f"{run.digest.hex()}/{seed}/{stratum}", max(size, LEAST)) for stratum in Stratum}
    missed: Counter[str] = Counter()
    for settled in settled_rows(RowLog(database, run).rounds()):
        if settled.outcome is not None or settled.by_person:
            missed[settled.outcome_name] += 1
        else:
            draws[_stratum(settled)].add(settled)
    decided = {stratum: one.seen for stratum, one in draws.items() if one.seen}
    if not decided:
        raise BadInput(f"run {run.run_id} has no decided row", fix=f"see why with `maker results {run.run_id}`")
    drawn: list[Sampled] = []
    for stratum, part in zip(decided, allocate(list(decided.values()), size), strict=True):
        for place, settled in enumerate(draws[stratum].first(max(part, LEAST))):
            name, values = task.row(settled.row)
            drawn.append(Sampled(result(settled, name), values, stratum, place < part))
    drawn.sort(key=lambda one: one.result.row)
    unsettled = rows - sum(decided.values()) - missed.total()
    return Sample(run.run_id, run.digest.hex(), seed, size, decided, drawn, dict(sorted(missed.items())), unsettled)


def _stratum(settled: Settled) -> Stratum:
    # Most rows are undisputed: skip reading their answers.
    if settled.step is not None:
        tally = unpack(settled.step.tally)
        if tally.source is None and not tally.disputed:
            return Stratum.UNANIMOUS
    return stratum_of(result(settled, ""))


def _judged(sample: Sample, labels: Mapping[int, bool], confidence: float, strata: Sequence[Stratum]) -> Judged:
    """Return the figures of one stratum from all its rows, or of several from the proportional part."""

    def counts(*, in_part: bool, worst: bool = False) -> list[Labelled]:
        found = []
        for stratum in strata:
            rows = [one.result.row for one in sample.rows if one.stratum == stratum and (one.in_part or not in_part)]
            right = [row in labels and labels[row] for row in rows if worst or row in labels]
            found.append(Labelled(sample.decided[stratum], len(right), right.count(False)))
        return found

    def bound(*, worst: bool) -> int:
        seen = counts(in_part=False, worst=worst)
        if len(strata) == 1:
            return most_wrong_in(seen[0], confidence)
        # Rows found wrong are a lower limit, also those drawn beyond the proportional part.
        return max(sum(one.wrong for one in seen), most_wrong(counts(in_part=True, worst=worst), confidence))

    found = counts(in_part=False)
    decided, most = sum(one.rows for one in found), bound(worst=False)
    return Judged(
        decided=decided,
        sampled=sum(one.stratum in strata for one in sample.rows),
        labelled=sum(one.labelled for one in found),
        wrong=sum(one.wrong for one in found),
        estimate=estimate(found),
        at_most=most / decided,
        at_most_rows=most,
        at_most_worst=bound(worst=True) / decided,
    )


def check_confidence(confidence: float) -> None:
    """Raise `BadInput` for a confidence that is not in (0, 1)."""
    if not 0 < confidence < 1:
        raise BadInput(f"the confidence {confidence:g} is not between 0 and 1", fix="give one like 0.95")
