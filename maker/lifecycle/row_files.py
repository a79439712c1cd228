"""Write a map's answers to files: part files in input order during the run, or one at its end; and rows to review."""

from __future__ import annotations

import json
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import Any

from maker.core.atomic import replacing
from maker.core.locks import locked_folder
from maker.errors import BadInput, StoreFailed
from maker.lifecycle.row_tables import Row, json_line, write_rows
from maker.lifecycle.rows import Round, RowLog, Settled, all_settled, ends, reach, result, settled_rows
from maker.plugin import RowDecomposer
from maker.store.backend.database import Database
from maker.store.chains import root_chain
from maker.store.entry import Entry
from maker.store.log import read_cuts, spans
from maker.store.reviews import read_reviews
from maker.store.runs import RunRow, run_at

PART_ROWS = 10_000
"""How many rows of the input a part file covers, decided or not."""
REVIEW = "review.jsonl"
SINGLE = "rows"
"""The name of the one file of a task that asks for one, without its ending."""
WRITTEN = (*(f"rows{name}.{format}" for format in ("jsonl", "csv", "parquet") for name in ("-*", "")), REVIEW)
"""What a folder of maker's holds."""
PARTLY = ".partly"
MARK = "maker-run.json"
"""The file that names the run that a folder belongs to."""
LOOK_S = 1.0


class Output:
    """Writes the files of one run, in a thread of its own, when its rows are settled.

    A part file holds the decided rows of a range of the input, in input order: their values and answers. It is written
    when all rows of the range are settled, and appears when it is complete: a part file that exists is right, even if
    a process was killed. Rows without a decision go to `REVIEW`, with their candidates. Where the run is paused, what
    is settled of the other ranges is in files with `PARTLY` in their names, until a process works on the run again.
    A task with ``output_single`` has one file, of all ranges, which is written when the run rests.

    Args:
        database: The store.
        run: The run.
        decomposer: Its task, whose folder is `claimed` as long as this writes.
    """

    def __init__(self, database: Database, run: RunRow, decomposer: RowDecomposer[Any, Any]) -> None:
        self._database = database
        self._log = RowLog(database, run)
        # A copy of our own: the input's reader is not safe for two threads.
        self._decomposer = deepcopy(decomposer)
        self._folder = Path(decomposer.output)
        self._format, self._single = decomposer.output_format, decomposer.output_single
        self._rows = decomposer.count()
        self._news, self._over = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="maker-output", daemon=True)
        self._thread.start()

    def note(self, entries: Sequence[Entry]) -> None:
        """Wake the writer if the committed entries settle rows. Raises an error that writing a file raised."""
        # At the run's end, `close` raises it instead: the ending itself must still be handled.
        if self._failure is not None and not any(entry.ending for entry in entries):
            raise self._failure
        if any(entry.settled or entry.answered for entry in entries):
            self._news.set()

    def close(self) -> None:
        """Write the remaining files, and stop. Raises an error that writing a file raised. Blocks."""
        self._over.set()
        self._news.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            part = 0
            while not self._over.is_set():
                self._news.wait()
                self._news.clear()
                part = part if self._single else self._write_parts(part, final=False)
                self._over.wait(LOOK_S)
            if self._single:
                self._write_single()
            else:
                self._write_partly(self._write_parts(0, final=True))
            self._write(self._folder / REVIEW, self._to_review, "jsonl")
        except BaseException as error:  # noqa: BLE001 - raised again in the run's thread
            self._failure = error

    def _write_parts(self, part: int, *, final: bool) -> int:
        """Write missing part files from ``part`` on, as far as their rows are settled; returns the next part.

        Parts with rows that a later round asked again, or a person answered, are written at the end only, even if they
        exist.
        """
        found = self._log.rounds()
        changed = _changed(found, self._database)
        settled: Iterator[Settled] | None = None
        while (first := part * PART_ROWS) < min(self._rows, reach(found)):
            rows = min(PART_ROWS, self._rows - first)
            if first + rows > reach(found):
                break
            if (not final and part in changed) or (part not in changed and self._part(part).exists()):
                settled = None
            else:
                settled = settled_rows(found, first) if settled is None else settled
                taken = list(islice(settled, rows))
                if len(taken) < rows:
                    break
                self._write(self._part(part), partial(self._lines, taken))
            part += 1
        return part

    def _write_partly(self, part: int) -> None:
        """Write what is settled of the parts from ``part`` on that still have open rows: of a run that is paused."""
        found = all_settled(self._log.rounds(), part * PART_ROWS)
        for number, its in groupby(found, key=lambda one: one.row // PART_ROWS):
            if not self._part(number).exists():
                self._write(self._part(number, PARTLY), partial(self._lines, list(its)))

    def _write_single(self) -> None:
        """Write the one file, under its name if all rows are settled."""
        rounds = self._log.rounds()
        mark = PARTLY if reach(rounds) < self._rows else ""
        out = self._folder / f"{SINGLE}{mark}.{self._format}"
        self._write(out, lambda: self._lines(all_settled(rounds)))

    def _part(self, part: int, mark: str = "") -> Path:
        return self._folder / f"rows-{part * PART_ROWS:09}-{(part + 1) * PART_ROWS - 1:09}{mark}.{self._format}"

    def _write(self, out: Path, lines: Callable[[], Iterator[Row]], format: str = "") -> None:
        try:
            with replacing(out) as file:
                write_rows(file, lines, format or self._format)
        except OSError as error:
            raise StoreFailed(
                f"{out} cannot be written: {error.strerror}",
                fix="fix that, then write it with `maker resume`; all decided rows are safe",
            ) from error

    def _lines(self, settled: Iterable[Settled]) -> Iterator[Row]:
        return (row_line(self._decomposer, one) for one in settled if one.outcome is None)

    def _to_review(self) -> Iterator[Row]:
        missed = (one for one in all_settled(self._log.rounds()) if one.outcome is not None)
        return (review_line(self._decomposer, one) for one in missed)


def row_line(task: RowDecomposer[Any, Any], settled: Settled) -> Row:
    """Return what is written of a decided row: its values and its answer."""
    assert settled.step is not None  # noqa: S101 - a row without an outcome has a step
    action = settled.round.decomposer.action
    return {**task.row(settled.row)[1], **action.show(action.read(settled.step.action))}


def review_line(task: RowDecomposer[Any, Any], settled: Settled) -> dict[str, Any]:
    """Return what is written of a row that somebody is to look at: its candidates, and its values."""
    name, values = task.row(settled.row)
    row = result(settled, name)
    return {
        "id": row.id, "row": row.row, "outcome": row.outcome, "reason": row.reason, "candidates": row.votes,
        "flags": row.flags, "flagged": row.flagged, "values": dict(values),
    }  # fmt: skip


def refuse_used(folder: str) -> None:
    """Create the folder for a new run's files. Raises `BadInput` if that fails, or if it holds other files."""
    if "://" in folder:
        raise BadInput(
            f"task.output = {folder} is a URL, but files are written to a local folder",
            fix="give a local folder, and copy it afterwards",
        )
    with _folder_errors(Path(folder)):
        if used := _used(Path(folder)):
            raise BadInput(f"the output folder {folder} holds {used}", fix="choose another folder, or empty it")
        Path(folder).mkdir(parents=True, exist_ok=True)
        with replacing(Path(folder) / MARK):
            pass
        (Path(folder) / MARK).unlink()


def refuse_others(folder: str, run: RunRow, database: Database) -> None:
    """Raise `BadInput` if a folder holds files of another run than this one and those that it continues."""
    with _folder_errors(Path(folder)):
        if (used := _used(Path(folder))) and _marked(Path(folder)) not in _lineage(run, database):
            raise BadInput(
                f"the output folder {folder} holds {used}",
                fix="resume that run instead if it continues this one, or set another folder with task.output=",
            )


def _used(folder: Path) -> str:
    """Say whose files a folder holds; "" if it has no files of maker's."""
    if (folder / MARK).exists():
        return f"the files of run {_marked(folder)}"
    if folder.exists() and not folder.is_dir():
        return "no rows: it is a file"
    found = [one for name in WRITTEN for one in sorted(folder.glob(name))]
    return f"{found[0].name}, which no run has marked as its own" if found else ""


def _marked(folder: Path) -> str:
    try:
        return str(json.loads((folder / MARK).read_text(encoding="utf-8"))["run"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"that {MARK} should name"


def _lineage(run: RunRow, database: Database) -> set[str]:
    """Return a run's id and those of the runs that it continues."""
    found = spans(database, root_chain(database, run.key))
    return {run.run_id} | {run_at(database, span.chain.run).run_id for span in found}


@contextmanager
def claimed(decomposer: RowDecomposer[Any, Any], run: RunRow, database: Database) -> Iterator[None]:
    """Create the folder of a run's files, mark it as this run's, and lock it while the block lasts.

    Does nothing for a task without files. Raises `BadInput` if the folder cannot be created, holds other files, or if
    another process writes to it.
    """
    if not decomposer.output:
        yield
        return
    folder = Path(decomposer.output)
    refuse_others(str(folder), run, database)
    with ExitStack() as stack:
        with _folder_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(locked_folder(folder))
            except BlockingIOError as error:
                raise BadInput(
                    f"another process writes to the output folder {folder}", fix="wait until it ends"
                ) from error
            _mark(folder, run)
        yield


def _mark(folder: Path, run: RunRow) -> None:
    # Left by a process that was killed, and by one that paused the run.
    for name in (*(f"{name}.*.part" for name in (*WRITTEN, MARK)), f"rows*{PARTLY}.*"):
        for left in folder.glob(name):
            left.unlink(missing_ok=True)
    with replacing(folder / MARK) as file:
        file.write(json_line({"run": run.run_id}))


@contextmanager
def _folder_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"the output folder {folder} cannot be written to: {error.strerror}",
            fix="set another one with task.output=",
        ) from error


def _changed(found: Sequence[Round], database: Database) -> set[int]:
    """Return the numbers of part files that may lack rows: asked again, added or answered since they were written."""
    changed = {one.rows[cut.idx] // PART_ROWS for one in found for cut in read_cuts(database, one.chain.key)}
    changed |= {one.rows[child] // PART_ROWS for one in found for child in read_reviews(database, one.chain.key)}
    for later, end in zip(found[1:], ends(found), strict=False):
        # Indices in the round of the first row of each file, and of the first row that was not asked before.
        places = [bisect_left(later.rows, min(row, end)) for row in range(0, end + PART_ROWS, PART_ROWS)]
        changed |= {part for part, (first, stop) in enumerate(pairwise(places)) if first < stop}
        # The last file of the round before, if it was not full.
        changed |= {end // PART_ROWS} if end % PART_ROWS else set()
    return changed
