"""Labels of a map's rows: a file that says of rows, by their ids, what is right; what a run's answers come to by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from maker.errors import BadInput
from maker.inputs.handle import Input
from maker.inputs.ids import id_text
from maker.inputs.parts import BrokenRow
from maker.lifecycle.rows import DECIDED, Round, RowLog, RowResult, Settled, all_settled, result, row_decomposer
from maker.plugin import RowDecomposer, vote_key
from maker.reporting.labels import holds_sample
from maker.stats.paired import mcnemar
from maker.store.backend.database import Database
from maker.store.log import SampleRow, read_samples
from maker.store.runs import RunRow
from maker.voting.tally import unpack

ID, ANSWER = "id", "answer"
MOST_SHOWN = 1000
"""So many wrong rows are kept, the first in the order of the input."""
OPEN = "not settled"


class LabelFile(NamedTuple):
    """Where labels are: a file that maker reads as an input, and its columns; "" takes the usual ones.

    Usual are the column of the run's own ids, else `ID`, and those with the names of the answer's fields, else
    `ANSWER`.
    """

    path: Path
    id_column: str = ""
    answer_column: str = ""


class Label(NamedTuple):
    """What is right of a row: by the answer's fields, each as it counts."""

    id: str
    right: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RowLabels:
    """The labels of a run's rows, by row number. ``blank`` lines of the file label nothing."""

    file: str
    rows: Mapping[int, Label]
    blank: int

    def is_right(self, task: RowDecomposer[Any, Any], row: int, key: str | None) -> bool:
        """Say whether a vote with this key is right on a labelled row; None is no answer."""
        if key is None:
            return False
        counted = task.counted(key)
        return all(counted.get(name) == text for name, text in self.rows[row].right.items())


class WrongRow(NamedTuple):
    """A decided row that its label says is wrong. ``against`` counts the valid votes for other answers than its own."""

    row: int
    id: str
    answer: Any
    right: Mapping[str, str]
    votes: int
    against: int


class FirstReplies(NamedTuple):
    """The first reply of each labelled row, as one plain call would have brought it, beside what votes have decided.

    Args:
        rows: Labelled rows that are settled, whose first reply is on record: that of the round that asked them first.
            Without a decision a row is not right, and neither is one whose first reply is flagged.
        votes: Rows that the run's answer is right on.
        calls: Rows that the first reply is right on.
        only_votes: Rows that the run's answer alone is right on.
        only_call: Rows that the first reply alone is right on.
        samples: Replies that the run asked of these rows.
        p: Of both being right equally often, by `mcnemar`.
    """

    rows: int
    votes: int
    calls: int
    only_votes: int
    only_call: int
    samples: int
    p: float


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """What labels say of a run's rows.

    ``right`` and ``wrong`` count labelled rows that are decided; ``missed`` the others by outcome, `OPEN` ones too.
    ``unopposed`` of the wrong ones have no vote for another answer. ``unrecorded`` rows have no first reply on record.
    ``first`` is None where that are all of them, or some that are decided: the others would be no fair sample.
    """

    file: str
    labelled: int
    blank: int
    right: int
    wrong: int
    missed: Mapping[str, int]
    unopposed: int
    wrong_rows: tuple[WrongRow, ...]
    first: FirstReplies | None
    unrecorded: int

    @property
    def decided(self) -> int:
        """Labelled rows that have an answer."""
        return self.right + self.wrong

    def to_json(self) -> dict[str, Any]:
        """Return the check as JSON."""
        facts = asdict(self) | {"decided": self.decided}
        facts["wrong_rows"] = [one._asdict() for one in self.wrong_rows]
        return facts | {"first": None if self.first is None else self.first._asdict()}


def read_row_labels(database: Database, run: RunRow, labels: LabelFile) -> RowLabels:
    """Read the labels of the rows of a map's run. Blocks: reads the ids of all rows.

    Raises:
        BadInput: The run's task has no rows; or as `labels_of_rows` does.
    """
    task, own = row_decomposer(database, run), str(run.settings["task"].get("id_column") or "")
    ids = f"write ids as `maker results {run.run_id}` prints them"
    return labels_of_rows(task, labels, id_column=own, whose=f"run {run.run_id}", ids=ids)


def labels_of_rows(
    task: RowDecomposer[Any, Any], labels: LabelFile, *, id_column: str, whose: str, ids: str
) -> RowLabels:
    """Read the labels of a map's rows. Blocks: reads the ids of all rows.

    Args:
        task: The map.
        labels: The file.
        id_column: The map's own column of ids, "" for none.
        whose: Whose rows they are, for messages.
        ids: How ids are to be written, for messages.

    Raises:
        BadInput: The file is a sample of an audit, cannot be read, lacks a column, holds no label, a label twice, one
            of a row that the map does not have, or one that no answer can equal.
    """
    if holds_sample(labels.path):
        raise BadInput(
            f"{labels.path} is a sample of `maker audit`, whose labels say y or n and not what is right",
            fix="give a file with the rows' ids and their right answers; `maker report` reads samples too",
        )
    given = {label.id: label for label in _given(labels, id_column)}
    found: dict[int, Label] = {}
    blank = 0
    task.parts()
    for row in range(task.count()):
        name, values = task.row(row)
        label = given.pop(name, None) or given.pop(_text_file(values), None)
        if label is None:
            continue
        if right := _right(task, label):
            found[row] = Label(label.id, right)
        else:
            blank += 1
    if given:
        more = f", and {len(given) - 1:,} other labels are of none either" if len(given) > 1 else ""
        raise BadInput(
            f"{next(iter(given.values())).place}: {whose} has no row with this id{more}",
            fix=f"{ids}, such as {task.row(0)[0]!r}; name their column with --id-column",
        )
    if not found:
        raise BadInput(f"no row of {labels.path} is labelled: the answers are blank", fix="fill them in")
    return RowLabels(str(labels.path), found, blank)


def check_labels(database: Database, run: RunRow, labels: RowLabels) -> LabelCheck:
    """Compare the answers of a run's labelled rows with their labels. Blocks; reads the log once."""
    log = RowLog(database, run)
    rounds = log.rounds()
    counting = _Checking(labels, log.task, rounds)
    for settled in all_settled(rounds):
        if settled.row in labels.rows:
            counting.add(settled)
    return counting.check()


class _Checking:
    """Counts labelled rows by what became of them."""

    def __init__(self, labels: RowLabels, task: RowDecomposer[Any, Any], rounds: Sequence[Round]) -> None:
        self._labels = labels
        self._task = task
        self._rounds = rounds
        self._right = self._wrong = self._unopposed = self._unrecorded = 0
        # Decided rows lack a first reply where replies differed and were not kept, or where the memo decided them. The
        # undecided ones have theirs, so the comparison would rest on other rows than the run's.
        self._is_sample_fair = True
        self._missed: Counter[str] = Counter()
        self._wrong_rows: list[WrongRow] = []
        # Whether the run's answer, and the first reply, are right.
        self._pairs: Counter[tuple[bool, bool]] = Counter()
        self._samples = 0

    def add(self, settled: Settled) -> None:
        """Count a labelled row that is settled."""
        label = self._labels.rows[settled.row]
        found = result(settled, label.id)
        # What a person answered says nothing of the votes.
        winner = next(iter(found.votes)) if settled.step is not None and not settled.by_person else None
        # A row that the task itself has found wrong is decided, and not right.
        right = found.outcome == DECIDED and self._labels.is_right(self._task, settled.row, winner)
        if winner is None:
            self._missed[found.outcome] += 1
        elif right:
            self._right += 1
        else:
            self._add_wrong(label, found)
        before = [samples for one in self._rounds if (samples := _asked_in(one, settled))]
        first = FirstReply(before[0][0].candidate) if before else first_reply(settled)
        if first is None:
            self._unrecorded += 1
            self._is_sample_fair &= settled.step is None
            return
        self._pairs[right, self._labels.is_right(self._task, settled.row, first.key)] += 1
        self._samples += sum(found.votes.values()) + sum(found.flags.values()) + sum(map(len, before))

    def check(self) -> LabelCheck:
        """Return what was counted."""
        labels = self._labels
        settled = self._right + self._wrong + self._missed.total()
        if left := len(labels.rows) - settled:
            self._missed[OPEN] = left
        return LabelCheck(
            labels.file, len(labels.rows), labels.blank, self._right, self._wrong, dict(sorted(self._missed.items())),
            self._unopposed, tuple(self._wrong_rows), self._first(), self._unrecorded,
        )  # fmt: skip

    def _add_wrong(self, label: Label, found: RowResult) -> None:
        self._wrong += 1
        votes, *others = found.votes.values()
        self._unopposed += not any(others)
        if len(self._wrong_rows) < MOST_SHOWN:
            self._wrong_rows.append(WrongRow(found.row, label.id, found.answer, label.right, votes, sum(others)))

    def _first(self) -> FirstReplies | None:
        pairs = self._pairs
        if not pairs or not self._is_sample_fair:
            return None
        only_votes, only_call = pairs[True, False], pairs[False, True]
        return FirstReplies(
            rows=pairs.total(),
            votes=pairs[True, True] + only_votes,
            calls=pairs[True, True] + only_call,
            only_votes=only_votes,
            only_call=only_call,
            samples=self._samples,
            p=mcnemar(only_votes, only_call),
        )


class FirstReply(NamedTuple):
    """The first sample of a row: the key that it votes for, None if it was flagged."""

    key: str | None


def _asked_in(one: Round, settled: Settled) -> Sequence[SampleRow]:
    """Return a row's samples in an earlier round than the one that settled it; () where that did not ask it."""
    child = one.child_of(settled.row)
    if one is settled.round or child is None:
        return ()
    return list(read_samples(one.database, one.chain.key, child, child + 1))


def first_reply(settled: Settled) -> FirstReply | None:
    """Return the first sample of a row's votes, None if it is not on record."""
    voted = settled.step or settled.outcome
    chain, child = settled.round.chain.key, settled.child
    for sample in read_samples(settled.round.database, chain, child, child + 1):
        if voted is not None and sample.epoch == voted.epoch and sample.vote == 0:
            return FirstReply(sample.candidate)
    if settled.step is None:
        return None
    tally = unpack(settled.step.tally)
    if tally.source is not None or tally.person is not None or tally.disputed or tally.flags:
        return None
    # Samples that all say the same need not be kept: the first of them is the answer.
    codec = settled.round.decomposer.action
    return FirstReply(vote_key(codec, codec.read(settled.step.action)))


def _text_file(values: Mapping[str, Any]) -> str:
    """Return the name of the file that a row is the whole text of, by which its label may name it; "" for others."""
    return str(values["file"]) if values.keys() == {"file", "text"} else ""


class _Given(NamedTuple):
    """A label as its file has it: the id, the place for messages, and the columns."""

    id: str
    place: str
    columns: Mapping[str, Any]


def _given(labels: LabelFile, own: str) -> Iterator[_Given]:
    """Yield the labels of a file; ``own`` is the run's own column of ids. Raises `BadInput`."""
    source = Input(str(labels.path))
    source.scan()
    columns = source.columns
    id_column = labels.id_column or (own if own in columns else ID)
    _must_have(labels, columns, id_column, "--id-column")
    if labels.answer_column:
        _must_have(labels, columns, labels.answer_column, "--answer-column")
    seen: dict[str, int] = {}
    for number in range(len(source)):
        try:
            row = source.row(number)
        except BrokenRow as error:
            raise BadInput(f"labels: {error}", fix="mend the row") from error
        place, name = f"{labels.path}, row {row.number}", id_text(row.values.get(id_column))
        if not name:
            raise BadInput(f"{place} has no id in its column {id_column!r}", fix="give each label the id of its row")
        if name in seen:
            raise BadInput(f"{place}: the id {name!r} is that of row {seen[name]} too", fix="keep one label a row")
        seen[name] = row.number
        answers = {ANSWER: row.values.get(labels.answer_column)} if labels.answer_column else row.values
        yield _Given(name, f"{place} (id {name!r})", answers)


def _must_have(labels: LabelFile, columns: Collection[str], name: str, option: str) -> None:
    if name not in columns:
        raise BadInput(
            f"{labels.path} has no column {name!r}; it has {', '.join(map(repr, columns))}",
            fix=f"name the column with {option}",
        )


def _right(task: RowDecomposer[Any, Any], label: _Given) -> Mapping[str, str]:
    try:
        return task.label(label.columns)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{label.place}: {error}",
            fix="write an answer that the task allows, or leave the label blank; name another column of answers with"
            " --answer-column",
        ) from error
