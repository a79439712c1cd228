"""A random sample of a map's decided rows, and what labels of it say of all decided rows."""

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
"""So many rows of each stratum are drawn at least, or all it has."""


class Stratum(StrEnum):
    """How sure a row's vote was, by its least margin: that of the answer, or of one of its fields if that is less."""

    UNANIMOUS = "unanimous"
    """No valid vote went to another answer."""
    CLEAR = "clear"
    """The least margin is at least half of the valid votes."""
    NARROW = "narrow"
    """It is less."""


class Sampled(NamedTuple):
    """A row that was drawn.

    ``values`` are those of the input. ``in_part``: it belongs to its stratum's part of a sample in proportion; the
    others were drawn so that no stratum has too few.
    """

    result: RowResult
    values: Mapping[str, Any]
    stratum: Stratum
    in_part: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of a run's decided rows.

    ``size`` is what was asked for, ``decided`` counts the decided rows of each stratum; ``rows`` are in the order of
    the input. No part of it are the rows with another outcome, which ``missed`` counts, and ``unsettled`` ones: those
    that come after the first of which it is not settled what becomes of it.
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
    """What labels say of the rows of one stratum, or of all: counts of rows, and shares from 0 to 1.

    ``estimate`` is None where nothing is labelled of some stratum. ``at_most`` is the upper confidence bound on the
    share of wrong rows, and ``at_most_rows`` that on their number; ``at_most_worst`` is the share if all rows that
    were drawn and not labelled are wrong.
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
    """What the labels of a sample say. ``part`` of them, of rows that were drawn in proportion, bound the whole."""

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
        told = asdict(self)
        told["strata"] = {str(stratum): asdict(judged) for stratum, judged in self.strata.items()}
        return told | {"census": self.census}


def draw(run_id: str, *, size: int = 300, seed: int = 0, store: str | None = None) -> Sample:
    """Draw a random sample of a map's decided rows, stratified by how sure their votes were. Blocks; changes nothing.

    Reads the log once; memory holds as many rows as may be drawn. The rows of a stratum are ordered by a hash of the
    run's digest, the seed and the row's number, and the first are taken: the same seed gives the same rows, and a
    larger sample holds a smaller one.

    Args:
        run_id: A run's id, its unique beginning, or ``last``.
        size: So many rows are drawn in proportion to the strata (`allocate`); `LEAST` of each stratum come on top.
        seed: Another one gives other rows.
        store: The database of runs, else that of MAKER_STORE.

    Raises:
        RunNotFound: No such run.
        BadInput: The run is no map, is still worked on, or has no decided row; its input has changed; size is below 1.
    """
    with opened(store) as database:
        return draw_from(database, find_run(database, run_id), size, seed)


def judged(sample: Sample, labels: Mapping[int, bool], confidence: float) -> Audit:
    """Return what labels say of all decided rows; they are taken as the truth. Pure.

    A stratum's bound is `most_wrong_in` over all its labelled rows; that of all strata is `most_wrong` over those drawn
    in proportion. ``labels`` tells of row numbers whether the answer is right.
    """
    strata = {stratum: _judged(sample, labels, confidence, [stratum]) for stratum in sample.decided}
    part = sum((one.in_part or len(strata) == 1) and one.result.row in labels for one in sample.rows)
    return Audit(
        sample.run_id, sample.digest, sample.seed, sample.size, confidence, strata,
        _judged(sample, labels, confidence, list(sample.decided)), part, sample.missed, sample.unsettled,
    )  # fmt: skip


def stratum_of(one: RowResult) -> Stratum:
    """Return how sure the vote on a decided row was."""
    votes = sum(one.votes.values())
    if one.margin == votes:
        return Stratum.UNANIMOUS
    return Stratum.CLEAR if 2 * least_margin(one) >= votes else Stratum.NARROW


def least_margin(one: RowResult) -> int:
    """Return the margin of a row's answer, or of the field that leads by least, in votes; it can be below 0."""
    return min([one.margin, *one.margins.values()])


class Lots:
    """Draws rows without replacement as they come by, in memory for as many as are kept: those with the least hash.

    Args:
        name: What the order depends on, beside the rows' numbers.
        most: So many rows are kept, at least 1.
    """

    def __init__(self, name: str, most: int) -> None:
        self._base = blake2b(name.encode(), digest_size=8, person=b"maker-audit")
        self._most = most
        self._kept: list[tuple[int, int, Settled]] = []
        self.seen = 0

    def add(self, settled: Settled) -> None:
        """Take in a row."""
        self.seen += 1
        place = self._base.copy()
        place.update(settled.row.to_bytes(8, "little"))
        lot = (-int.from_bytes(place.digest(), "little"), settled.row, settled)
        if len(self._kept) < self._most:
            heapq.heappush(self._kept, lot)
        elif lot > self._kept[0]:
            heapq.heapreplace(self._kept, lot)

    def first(self, count: int) -> list[Settled]:
        """Return the rows with the least hashes, in the order of these."""
        return [settled for _, _, settled in sorted(self._kept, reverse=True)[:count]]


def draw_from(database: Database, run: RunRow, size: int, seed: int) -> Sample:
    """Draw a sample as `draw` does, from a store that is open."""
    if size < 1:
        raise BadInput(f"a sample of {size} rows is empty", fix="give --sample 1 or more")
    task = row_decomposer(database, run)
    if run.status == ACTIVE:
        raise BadInput(f"run {run.run_id} is still running", fix="audit it when it is done or paused")
    rows = sum(part.rows for part in task.parts())
    lots = {stratum: Lots(f"{run.digest.hex()}/{seed}/{stratum}", max(size, LEAST)) for stratum in Stratum}
    missed: Counter[str] = Counter()
    for settled in settled_rows(RowLog(database, run).rounds()):
        if settled.outcome is not None:
            missed[settled.outcome.outcome] += 1
        else:
            lots[_stratum(settled)].add(settled)
    decided = {stratum: one.seen for stratum, one in lots.items() if one.seen}
    if not decided:
        raise BadInput(f"run {run.run_id} has no decided row", fix=f"see why with `maker results {run.run_id}`")
    drawn: list[Sampled] = []
    for stratum, part in zip(decided, allocate(list(decided.values()), size), strict=True):
        for place, settled in enumerate(lots[stratum].first(max(part, LEAST))):
            name, values = task.row(settled.row)
            drawn.append(Sampled(result(settled, name), values, stratum, place < part))
    drawn.sort(key=lambda one: one.result.row)
    unsettled = rows - sum(decided.values()) - missed.total()
    return Sample(run.run_id, run.digest.hex(), seed, size, decided, drawn, dict(sorted(missed.items())), unsettled)


def _stratum(settled: Settled) -> Stratum:
    # Most rows are undisputed: their answers need not be read.
    if settled.step is not None:
        tally = unpack(settled.step.tally)
        if tally.source is None and not tally.disputed:
            return Stratum.UNANIMOUS
    return stratum_of(result(settled, ""))


def _judged(sample: Sample, labels: Mapping[int, bool], confidence: float, strata: Sequence[Stratum]) -> Judged:
    """Judge one stratum by all its rows, or several by the rows that were drawn in proportion."""

    def counts(*, in_part: bool, worst: bool = False) -> list[Labelled]:
        found = []
        for stratum in strata:
            rows = [one.result.row for one in sample.rows if one.stratum == stratum and (one.in_part or not in_part)]
            told = [row in labels and labels[row] for row in rows if worst or row in labels]
            found.append(Labelled(sample.decided[stratum], len(told), told.count(False)))
        return found

    def bound(*, worst: bool) -> int:
        seen = counts(in_part=False, worst=worst)
        if len(strata) == 1:
            return most_wrong_in(seen[0], confidence)
        # What was seen to be wrong is wrong, also in rows that were drawn beyond a stratum's part.
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
