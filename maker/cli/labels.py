"""Options for a file of right answers, by the ids of a map's rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maker.errors import BadInput
from maker.reporting.row_labels import LabelFile

IdColumn = Annotated[
    str,
    typer.Option("--id-column", metavar="NAME", help="Column of the labels' ids. [default: the run's own, else id]"),
]
AnswerColumn = Annotated[
    str,
    typer.Option(
        "--answer-column",
        metavar="NAME",
        help="Column of right answers. [default: the answer's fields, else answer]",
    ),
]


def label_file(path: Path | None, id_column: str, answer_column: str) -> LabelFile | None:
    """Return the labels that are named, None where none are. Raises `BadInput` for columns without a file."""
    if path is not None:
        return LabelFile(path, id_column, answer_column)
    if id_column or answer_column:
        raise BadInput("--id-column and --answer-column are about labels, and there are none", fix="give --labels FILE")
    return None
