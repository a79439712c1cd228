"""Write accepted rows and those for review to a folder, which appears when it is complete."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maker.core.atomic import replacing_folder, write_errors
from maker.errors import BadInput
from maker.lifecycle.row_files import REVIEW, review_line, row_line
from maker.lifecycle.row_tables import json_line
from maker.lifecycle.rows import RowLog, all_settled

ACCEPTED, RECORD = "accepted.jsonl", "accept.json"
NOT_ACCEPTED = "not accepted: less sure than the rule, or labelled wrong"


def refuse_folder(out: Path, *, force: bool) -> None:
    """Raise `BadInput` if a folder cannot be made, or is there and holds something else, or ``force`` is not set."""
    if not out.parent.is_dir():
        raise BadInput(f"the folder {out.parent} for {out.name} does not exist", fix="create it, or name another one")
    if not out.exists():
        return
    if not (out / RECORD).is_file():
        raise BadInput(f"{out} is there and holds no accepted rows", fix="name another folder with --out FOLDER")
    if not force:
        raise BadInput(
            f"{out} holds accepted rows already",
            fix="name another folder with --out FOLDER, or replace it with --force",
        )


def write_accepted(
    out: Path, log: RowLog, accepts: Callable[[int], bool], record: Mapping[str, Any], *, force: bool
) -> None:
    """Write a run's rows in the order of the input: accepted ones with values and answers, the others for review.

    Raises:
        BadInput: As `refuse_folder`.
        MakerError: A file cannot be written to its end.
    """
    refuse_folder(out, force=force)
    log.task.parts()
    with write_errors(out), replacing_folder(out, lambda: refuse_folder(out, force=force)) as folder:
        with (folder / ACCEPTED).open("wb") as accepted, (folder / REVIEW).open("wb") as review:
            for settled in all_settled(log.rounds()):
                if settled.outcome is None and accepts(settled.row):
                    accepted.write(json_line(row_line(log.task, settled)))
                    continue
                line = review_line(log.task, settled)
                if settled.outcome is None:
                    assert settled.step is not None  # noqa: S101 - a row without an outcome has a step
                    action = settled.round.decomposer.action
                    answer = action.show(action.read(settled.step.action))
                    line |= {"reason": NOT_ACCEPTED, "answer": answer}
                review.write(json_line(line))
        (folder / RECORD).write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
