"""``maker.map`` with stages: several models, one after another, and one promise for the answers of all."""

from __future__ import annotations

import json
import threading
from array import array
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from maker.api.answer_columns import ADDED, AnswerColumns, Kind, answer_columns
from maker.api.asked_rows import NOT_ASKED, AskedRows, ask_rows, rows_folder
from maker.api.given_rows import GivenRows, given_rows
from maker.api.map_progress import shown_progress
from maker.api.map_result import MapResult, UndecidedRow
from maker.api.map_rows import Asked, refuse_columns, rows_of, task_table
from maker.api.questions import Question
from maker.api.stages import StagesReport, parts_begun_with, stage_results, work_through
from maker.core.atomic import replacing
from maker.errors import BadInput
from maker.job.job import Job
from maker.job.stages import load_staged
from maker.lifecycle import once
from maker.lifecycle.queries import store_url
from maker.lifecycle.rows import RowResult
from maker.store.runs import new_id

STAGE, ACCEPTED = "_stage", "_accepted"
"""The columns that say which stage has the last word on a row, and whether the row is accepted."""
STAGED: Mapping[str, Kind] = {STAGE: "string", ACCEPTED: "boolean"}


class StagedMapResult(MapResult):
    """The rows that were given to `maker.map` with stages. ``stages`` says how these stand, and what was accepted.

    ``review`` has all rows that are not accepted.
    """

    def __init__(
        self, stages: StagesReport, store: str, given: GivenRows, asked: AskedRows, kinds: Mapping[str, Kind]
    ) -> None:
        super().__init__([one.run_id for one in stages.reports], store, given, asked, kinds)
        self.stages = stages
        self.columns = (*self.columns, *STAGED)
        self._kinds |= STAGED

    @property
    def review(self) -> list[UndecidedRow]:
        """The rows that are not accepted, with what was voted for in the last stage that was asked."""
        pairs = zip(self._given.read(), self._results(), self._asked.places, strict=True)
        return [
            self._undecided(number, row, result)
            for number, (row, result, place) in enumerate(pairs)
            if not self._accepts(place)
        ]

    def _answered(self) -> Iterator[dict[str, Any]]:
        for place, row in zip(self._asked.places, super()._answered(), strict=True):
            yield {**row, STAGE: self._stage_of.get(place), ACCEPTED: self._accepts(place)}

    def _settled(self) -> Generator[RowResult, None, None]:
        yield from (one.result for one in stage_results(self.stages.run_id, store=self._store))

    @cached_property
    def _stage_of(self) -> dict[int, str]:
        return {one.result.row: one.stage for one in stage_results(self.stages.run_id, store=self._store)}

    def _accepts(self, place: int) -> bool:
        accepted = self.stages.accepted
        return place != NOT_ASKED and accepted is not None and accepted.whole.accepts(place)


def map_in_stages(
    asked: Asked,
    stages: Sequence[Mapping[str, Any]],
    accept: Mapping[str, Any],
    *,
    progress: bool | None,
    stop: threading.Event | None,
    keywords: Mapping[str, Any],
) -> StagedMapResult:
    """Do as `maker.api.map_rows.map` does, which see for what is given and raised. Blocks."""
    run_id, url = keywords.get("name") or new_id(), store_url(keywords.get("store"))
    once.refuse_bad_id(run_id)
    question, columns, given = Question(asked.prompt), answer_columns(asked.answer), given_rows(asked.rows)
    refuse_columns(question, columns, given, (*ADDED, *STAGED))
    labels = accept.get("labels")
    if not isinstance(labels, Mapping) or not labels:
        raise BadInput(
            "a map with stages needs labels, by the numbers of rows that were drawn at random",
            fix='give accept={"error": 0.05, "labels": {17: "yes", …}}',
        )
    folder = rows_of(url, run_id)
    with rows_folder(folder), shown_progress(len(given), wanted=progress) as bar:
        known = parts_begun_with(url, run_id)
        found = ask_rows(given, question, folder, known, run_id)
        if known and found.new:
            raise BadInput(
                f"map {run_id} has stages: it takes none of the {found.new:,} rows that are new",
                fix="give another name to ask them",
            )
        file = folder.parent / f"{run_id}-labels.jsonl"
        task = task_table(folder, asked.task, columns) | {"output": str(folder.parent / f"{run_id}-accepted")}
        tables = {"task": task, "stage": list(stages), "accept": {**accept, "labels": str(file)}}
        staged = load_staged(tables, **{"k": 3, **keywords, "name": run_id, "store": url})
        assert staged is not None  # noqa: S101 - it has stages
        _write_labels(file, labels, staged.jobs[0], found.places, columns)
        report = work_through(staged, run_id, on_event=bar.after(0), stop=stop)
    return StagedMapResult(report, url, given, found, columns.kinds)


def _write_labels(file: Path, labels: Mapping[Any, Any], job: Job, places: array[int], columns: AnswerColumns) -> None:
    """Write labels by the ids that rows have in the run. Raises `BadInput` for one of no row that is asked."""
    task: Any = job.decomposer
    task.parts()
    with replacing(file) as out:
        for number, answer in labels.items():
            if not isinstance(number, int) or not 0 <= number < len(places) or places[number] == NOT_ASKED:
                raise BadInput(
                    f"the label of row {number!r} is of no row that can be asked: there are {len(places):,}, from 0",
                    fix="give the numbers of rows",
                )
            said = answer if isinstance(answer, Mapping) else {next(iter(columns.kinds)): answer}
            line = {"id": task.row(places[number])[0], **said}
            out.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
