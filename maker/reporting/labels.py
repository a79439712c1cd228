"""Write the CSV file in which people label a sample of a map's decided rows, and read it back."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from maker.core.atomic import refuse_taken, replacing, write_errors
from maker.core.locks import locked_folder
from maker.errors import BadInput
from maker.lifecycle.queries import opened
from maker.reporting.audit import Audit, Sample, Sampled, check_confidence, draw_from, judged, least_margin
from maker.store.backend.database import Database
from maker.store.runs import RunRow, find_run

LONGEST_CELL = 32_000
"""Longest cell, in characters: every spreadsheet accepts it. Longer texts are cut; people only look at them."""
COLUMNS = (
    "row", "id", "input", "answer", "correct", "stratum", "stratum_rows", "margin", "least_margin", "votes", "audit",
)  # fmt: skip
CHECKED = ("id", "answer", "stratum", "stratum_rows")
"""Columns that must be read back unchanged: a label belongs to them."""
BY, AT = "labelled_by", "labelled_at"
"""Further columns of labels that `write_label` has written."""
LOCK_S = 10.0
"""So long a file is waited for that somebody else writes to, in seconds."""
YES, NO = ("y", "yes", "true", "1"), ("n", "no", "false", "0")
_MARK = re.compile(
    r"maker-audit 1 run=(?P<run>\S+) digest=(?P<digest>[0-9a-f]+) seed=(?P<seed>-?\d+) sample=(?P<sample>\d+)"
)


def write_sample(sample: Sample, out: Path, *, force: bool = False) -> None:
    """Write a sample as a CSV file with an empty column ``correct``, to be filled with y or n.

    Ids, inputs and answers are JSON texts, which no spreadsheet takes for a formula, a number or a date.

    Raises:
        BadInput: The file exists already and ``force`` is not set, or it cannot be created.
        MakerError: It cannot be written completely.
    """
    refuse_labels(out, force=force)
    text = io.StringIO(newline="")
    lines = csv.DictWriter(text, COLUMNS)
    lines.writeheader()
    lines.writerows(_cells(sample, one) for one in sample.rows)
    with write_errors(out), replacing(out, lambda: refuse_labels(out, force=force)) as file:
        # The byte order mark: without it some spreadsheets do not read the file as UTF-8.
        file.write(text.getvalue().encode("utf-8-sig"))


def refuse_labels(out: Path, *, force: bool) -> None:
    """Raise `BadInput` if a file exists and ``force`` is not set, or if it cannot be replaced."""
    refuse_taken(out, force=force, held=", and may hold labels")


def holds_sample(file: Path) -> bool:
    """Say whether a file is a sample of `write_sample`, by its columns; other labels are another's to read."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            return {"audit", "correct"} <= {cell.strip() for cell in next(csv.reader(text), [])}
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def judge_labels(run_id: str, labels: Path, *, confidence: float = 0.95, store: str | None = None) -> Audit:
    """Read a sample's file back with its labels, and bound the share of wrong rows. Blocks; changes nothing.

    The sample is drawn again with the file's seed, and each line is compared with it: counts and rows come from the
    log, not from the file. `judged` computes the bounds.

    Raises:
        RunNotFound: No such run.
        BadInput: The file cannot be read, does not belong to this run in its present state, was edited outside of
            ``correct``, or has a label other than y and n, or no label; the confidence is not in (0, 1).
    """
    check_confidence(confidence)
    with opened(store) as database:
        sample, found = read_sample(database, find_run(database, run_id), labels)
    return judged(sample, found, confidence)


def read_sample(database: Database, run: RunRow, file: Path) -> tuple[Sample, dict[int, bool]]:
    """Return a sample, drawn again as its file says, and for each labelled row whether it is right.

    Raises `BadInput` as `judge_labels` does.
    """
    sample, found = read_begun(database, run, file)
    if not found:
        raise BadInput(f"no row of {file} is labelled yet", fix="fill the column 'correct' with y or n")
    return sample, found


def read_begun(database: Database, run: RunRow, file: Path) -> tuple[Sample, dict[int, bool]]:
    """Return the same of a sample that may have no label yet."""
    lines = list(_lines(file))
    size, seed = _drawn_by(lines, file, run)
    sample = draw_from(database, run, size, seed)
    return sample, _labels(lines, sample, file)


def write_label(file: Path, row: int, *, right: bool, by: str) -> bool:
    """Write the label of a row into a sample's file, with who says so and when; returns False if it has one already.

    Several people may label one file at a time. Raises `BadInput` if it cannot be read, or lacks the row.
    """
    with _alone_in(file.parent), write_errors(file):
        header, found, apart = _table(file)
        header += [name for name in (BY, AT) if name not in header]
        rows = [cells + [""] * (len(header) - len(cells)) for _, cells in found]
        place, label = header.index("row"), header.index("correct")
        here = next((cells for cells in rows if cells[place].strip() == str(row)), None)
        if here is None:
            raise BadInput(f"{file} has no row {row} any more", fix="use the file that `maker audit RUN` wrote")
        if here[label].strip():
            return False
        here[label] = YES[0] if right else NO[0]
        here[header.index(BY)] = by
        here[header.index(AT)] = datetime.now(UTC).isoformat(timespec="seconds")
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=apart).writerows([header, *rows])
        with replacing(file) as out:
            out.write(text.getvalue().encode("utf-8-sig"))
    return True


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder's lock while the block lasts, which is short. Raises `BadInput` if others hold it for long."""
    until = time.monotonic() + LOCK_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked_folder(folder))
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise BadInput(
                        f"another process writes to the folder {folder}", fix="wait until it ends"
                    ) from error
                time.sleep(0.02)
        yield


def _mark(sample: Sample) -> str:
    return f"maker-audit 1 run={sample.run_id} digest={sample.digest} seed={sample.seed} sample={sample.size}"


def _cells(sample: Sample, one: Sampled) -> dict[str, str]:
    cells = (
        str(one.result.row), _json(one.result.id), _json(dict(one.values)), _json(one.result.answer), "",
        str(one.stratum), str(sample.decided[one.stratum]), str(one.result.margin), str(least_margin(one.result)),
        str(sum(one.result.votes.values())), _mark(sample),
    )  # fmt: skip
    return dict(zip(COLUMNS, cells, strict=True))


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        # Half a surrogate pair: JSON can write it, as an escape, but UTF-8 cannot.
        text = json.dumps(value, default=str)
    return text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL] + " …"


class _Line(NamedTuple):
    """A line of a labelled file, by its number from 1, and its cells by column."""

    number: int
    cells: Mapping[str, str]


def _lines(file: Path) -> Iterator[_Line]:
    """Yield the non-empty lines of a labelled file."""
    header, rows, _ = _table(file)
    for number, cells in rows:
        padded = [*cells, *[""] * (len(header) - len(cells))]
        yield _Line(number, dict(zip(header, padded, strict=False)))


class _Table(NamedTuple):
    """A labelled file: its columns, the cells of each line that has some by number, and what separates them."""

    header: list[str]
    rows: list[tuple[int, list[str]]]
    apart: str


def _table(file: Path) -> _Table:
    """Read a labelled file; detects the separator, which a spreadsheet may have changed. Raises `BadInput`."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 text", fix="save it as CSV in UTF-8") from error
    head = text.splitlines()[0] if text else ""
    apart = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=apart)
    try:
        header = next(reader, [])
        needed = ("row", "correct", "audit", *CHECKED)
        if absent := [name for name in needed if name not in header]:
            raise BadInput(f"{file} has no column {absent[0]!r}", fix="use the file that `maker audit RUN` wrote")
        rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise BadInput(f"{file}, line {reader.line_num}: {error}", fix="save it as CSV") from error
    return _Table(header, rows, apart)


def _drawn_by(lines: Sequence[_Line], file: Path, run: RunRow) -> tuple[int, int]:
    """Return the size and the seed of a file's sample. Raises `BadInput` if it was drawn from another run."""
    if not lines:
        raise BadInput(f"{file} holds no row", fix="use the file that `maker audit RUN` wrote")
    found = _MARK.fullmatch(lines[0].cells["audit"].strip())
    if found is None:
        raise BadInput(
            f"{file}, line {lines[0].number}: the column 'audit' does not name the run that was sampled",
            fix="restore the column; it is the same in all lines",
        )
    for number, cells in lines:
        if cells["audit"].strip() != found[0]:
            raise BadInput(
                f"{file}, line {number} belongs to another sample than line {lines[0].number}",
                fix="keep the rows of one sample in a file",
            )
    if found["run"] != run.run_id:
        raise BadInput(f"{file} was drawn from run {found['run']}, not from {run.run_id}")
    if found["digest"] != run.digest.hex():
        raise BadInput(
            f"{file} was drawn when run {run.run_id} had digest {found['digest']}; now it is {run.digest.hex()}",
            fix="draw a new sample: the run's decisions have changed since",
        )
    return int(found["sample"]), int(found["seed"])


def _labels(lines: Iterable[_Line], sample: Sample, file: Path) -> dict[int, bool]:
    """Return for each labelled row whether it is right. Raises `BadInput` if the file does not match the sample."""
    rows = {str(one.result.row): one for one in sample.rows}
    found: dict[int, bool] = {}
    seen: dict[str, int] = {}
    for number, cells in lines:
        row = cells["row"].strip()
        if row not in rows:
            raise BadInput(f"{file}, line {number}: row {row!r} is not in the sample of run {sample.run_id}")
        if row in seen:
            raise BadInput(f"{file}, line {number}: row {row} was in line {seen[row]} already")
        seen[row] = number
        written = _cells(sample, rows[row])
        for column in CHECKED:
            if cells[column] != written[column]:
                raise BadInput(
                    f"{file}, line {number}: the {column} of row {row} is {_shown(cells[column])} there, and "
                    f"{_shown(written[column])} in run {sample.run_id}",
                    fix="change only the column 'correct'; if the run has continued since, draw a new sample",
                )
        label = cells["correct"].strip().lower()
        if label in YES or label in NO:
            found[int(row)] = label in YES
        elif label:
            raise BadInput(f"{file}, line {number}: {label!r} is not a label", fix="write y or n, or leave it blank")
    if absent := [row for row in rows if row not in seen]:
        raise BadInput(
            f"{file} lacks {len(absent):,} of the {len(rows):,} sampled rows, the first is row {absent[0]}",
            fix="put them back; leave 'correct' blank for a row without a label",
        )
    return found


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"


judge = judge_labels
"""The name of `judge_labels` in version 0.1."""
