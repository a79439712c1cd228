"""Labels by which rows are accepted: a sample of `maker audit`, or right answers by the rows' ids."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import NamedTuple, Protocol

from maker.errors import BadInput
from maker.lifecycle.rows import Settled, result
from maker.plugin import RowDecomposer
from maker.reporting.audit import Sample
from maker.reporting.labels import holds_sample, read_sample
from maker.reporting.row_labels import LabelFile, RowLabels, read_row_labels
from maker.sampling.label_sample import refuse_in_order
from maker.stats.bounds import Labelled
from maker.store.backend.database import Database
from maker.store.runs import RunRow


class LabelledRows(Protocol):
    """What labels say of decided rows, and how they were drawn."""

    def is_sampled(self, row: int) -> bool:
        """Say whether a row belongs to the random sample that rules are tested by."""

    def is_right(self, settled: Settled) -> bool | None:
        """Say whether a decided row is right; None of one without a label."""

    def strata(self, decided: int, sampled: int) -> list[Labelled]:
        """Return the decided rows with those of the sample, by stratum, given both in all."""


class AuditLabels:
    """A sample that `maker audit` drew: its rows are known, with a label or without.

    Rows that were drawn beyond the proportion of their stratum have labels and are no part of the sample.
    """

    def __init__(self, sample: Sample, labels: dict[int, bool]) -> None:
        self._labels = labels
        self._decided = sample.decided
        whole = len(sample.decided) == 1
        part = [one for one in sample.rows if whole or one.in_part]
        self._part = frozenset(one.result.row for one in part)
        self._by_stratum = Counter(one.stratum for one in part)

    def is_sampled(self, row: int) -> bool:  # noqa: D102 - as `LabelledRows` says
        return row in self._part

    def is_right(self, settled: Settled) -> bool | None:  # noqa: D102
        return self._labels.get(settled.row)

    def strata(self, decided: int, sampled: int) -> list[Labelled]:  # noqa: D102
        return [Labelled(rows, self._by_stratum[name], 0) for name, rows in self._decided.items()]


class IdLabels:
    """Right answers of rows that were drawn at random, as whoever gives them says."""

    def __init__(self, labels: RowLabels, task: RowDecomposer[object, object]) -> None:
        self._labels = labels
        self._task = task

    def is_sampled(self, row: int) -> bool:  # noqa: D102 - as `LabelledRows` says
        return row in self._labels.rows

    def is_right(self, settled: Settled) -> bool | None:  # noqa: D102
        if settled.row not in self._labels.rows:
            return None
        winner = next(iter(result(settled, "").votes))
        return self._labels.is_right(self._task, settled.row, winner)

    def strata(self, decided: int, sampled: int) -> list[Labelled]:  # noqa: D102
        return [Labelled(decided, sampled, 0)]


class ReadLabels(NamedTuple):
    """Labels that were read, and the digest of their file."""

    labels: LabelledRows
    digest: str


def read_labels(
    database: Database, run: RunRow, labels: LabelFile, task: RowDecomposer[object, object], *, shuffled: bool
) -> ReadLabels:
    """Read labels of either kind. Blocks.

    Raises:
        BadInput: As `read_sample` and `read_row_labels` do; or labels by ids stand together as no random sample does,
            in a file whose rows are not ``shuffled``.
    """
    try:
        digest = sha256(labels.path.read_bytes()).hexdigest()
    except OSError as error:
        raise BadInput(
            f"the labels {labels.path} cannot be read: {error.strerror}",
            fix=f"draw rows for them with `maker audit {run.run_id}`",
        ) from error
    if holds_sample(labels.path):
        return ReadLabels(AuditLabels(*read_sample(database, run, labels.path)), digest)
    found = read_row_labels(database, run, labels)
    if not shuffled:
        refuse_in_order(found.rows, task.count(), f"`maker audit {run.run_id}`")
    return ReadLabels(IdLabels(found, task), digest)
