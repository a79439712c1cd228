"""Write what all stages of a map have answered: accepted rows, and those for review, as one table each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from maker.core.atomic import replacing_folder, write_errors
from maker.errors import BadInput
from maker.lifecycle.queries import report
from maker.lifecycle.row_files import REVIEW, review_line, row_line
from maker.lifecycle.row_tables import Row, write_rows
from maker.lifecycle.rows import RowResult, Settled, result
from maker.reporting.accepted_files import NOT_ACCEPTED, RECORD, refuse_folder
from maker.reporting.cascade import CascadeAcceptance
from maker.reporting.cascade_log import CascadeLog, LastWord

ACCEPTED = "accepted"
"""The name of the file with the accepted rows, without its ending."""


class StagedRow(NamedTuple):
    """The result of a row of a map with stages.

    ``stage`` has the last word on it, and ``result`` is what that says; its ``row`` is the number in the input.
    ``cost`` is that of the row's tokens in all stages that decided it, at each one's mean price of a token; None
    without prices.
    """

    stage: str
    result: RowResult
    cost: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON."""
        return self.result.to_json() | {"stage": self.stage, "cost": self.cost}


def staged_rows(cascade: CascadeLog) -> Iterator[StagedRow]:
    """Yield the result of each row on which a stage has the last word, in the order of the input."""
    prices = [_price(cascade, number) for number in range(len(cascade.stages))]
    first = cascade.first.log
    for word in cascade.words():
        yield StagedRow(
            cascade.stages[word.stage].name, result(word.settled, first.name(word.settled.row)), _cost(word, prices)
        )


def write_cascade(out: Path, cascade: CascadeLog, found: CascadeAcceptance, *, format: str, force: bool) -> None:
    """Write accepted rows with values, answers and how they were decided, and the others with their candidates.

    Raises:
        BadInput: As `refuse_folder`.
        MakerError: A file cannot be written to its end.
    """
    refuse_folder(out, force=force)
    cascade.first.log.task.parts()
    with write_errors(out), replacing_folder(out, lambda: refuse_folder(out, force=force)) as folder:
        with (folder / f"{ACCEPTED}.{format}").open("wb") as file:
            write_rows(file, partial(_accepted, cascade, found), format)
        with (folder / REVIEW).open("wb") as file:
            write_rows(file, partial(_to_review, cascade, found), "jsonl")
        (folder / RECORD).write_text(json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def refuse_other_run(out: Path, first: str) -> None:
    """Raise `BadInput` if a folder holds the accepted rows of another run than this map's first stage."""
    if not (out / RECORD).is_file():
        return
    try:
        held = str(json.loads((out / RECORD).read_text(encoding="utf-8"))["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        held = "that nobody can name"
    if held != first:
        raise BadInput(f"{out} holds the accepted rows of run {held}", fix="set another folder with task.output=")


def _accepted(cascade: CascadeLog, found: CascadeAcceptance) -> Iterator[Row]:
    prices = [_price(cascade, number) for number in range(len(cascade.stages))]
    for word in cascade.words():
        if word.settled.outcome is not None or not found.whole.accepts(word.settled.row):
            continue
        told = result(word.settled, "")
        yield {
            **row_line(cascade.first.log.task, word.settled), "_stage": cascade.stages[word.stage].name,
            "_outcome": told.outcome, "_margin": told.margin, "_votes": sum(told.votes.values()),
            "_cost": _cost(word, prices),
        }  # fmt: skip


def _to_review(cascade: CascadeLog, found: CascadeAcceptance) -> Iterator[Row]:
    for word in cascade.words():
        decided = word.settled.outcome is None
        if decided and found.whole.accepts(word.settled.row):
            continue
        line = review_line(cascade.first.log.task, word.settled) | {"stage": cascade.stages[word.stage].name}
        yield line | ({"reason": NOT_ACCEPTED, "answer": _answer(word.settled)} if decided else {})


def _answer(settled: Settled) -> Any:
    return result(settled, "").answer


def _price(cascade: CascadeLog, number: int) -> float | None:
    """Return the mean price of a token of a stage, None without prices."""
    told = report(cascade.stages[number].run)
    tokens = told.prompt_tokens + told.completion_tokens
    return None if told.cost is None or not tokens else told.cost / tokens


def _cost(word: LastWord, prices: list[float | None]) -> float | None:
    total = 0.0
    for number, settled in enumerate((*word.before, word.settled)):
        price = prices[number]
        if price is None:
            return None
        total += price * (0 if settled.step is None else settled.step.tokens)
    return total
