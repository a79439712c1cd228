"""``maker accept``: split a map's rows into accepted ones, with a stated error, and those for review."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from maker.cli.advice import completed
from maker.cli.labels import AnswerColumn, IdColumn, label_file
from maker.cli.options import AsJson, RunId, Store
from maker.cli.output import print
from maker.errors import BadInput
from maker.job.file import DEFAULT_STORE
from maker.job.settings import AcceptSettings
from maker.lifecycle.queries import RunReport, show
from maker.reporting.accept import Acceptance
from maker.reporting.accept import accept as accept_rows
from maker.reporting.accepted_files import ACCEPTED
from maker.reporting.row_labels import LabelFile


def accept(
    run_id: RunId,
    error: Annotated[
        float | None,
        typer.Option(
            "--error", metavar="SHARE", help="Share of the accepted rows that may be wrong. [default: the job's]"
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="A `maker audit` file, or right answers by id of rows drawn at random. [default: the job's]",
        ),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", metavar="P", help="With which no more are wrong. [default: .95]")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", metavar="SIGNAL", help="votes, models or logprob; several share the risk. [default: votes]"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Folder to make. [default: accept-<run id>]")
    ] = None,
    shuffled: Annotated[
        bool, typer.Option("--shuffled", help="The rows are in random order: labels of the first ones will do.")
    ] = False,
    id_column: IdColumn = "",
    answer_column: AnswerColumn = "",
    store: Store = DEFAULT_STORE,
    force: Annotated[bool, typer.Option("--force", help="Replace FOLDER if it holds accepted rows.")] = False,
    as_json: AsJson = False,
) -> None:
    """Accept rows of a map with a stated error; the rest is for review."""
    run = show(run_id, store=store)
    given = {"error": error, "labels": labels, "confidence": confidence, "by": by, "shuffled": shuffled or None}
    said = run.settings.get("accept", {}) | {name: value for name, value in given.items() if value is not None}
    if "error" not in said:
        raise BadInput("no error is stated", fix="say which share of the accepted rows may be wrong, as --error 0.01")
    file = label_file(Path(said["labels"]) if said.get("labels") else None, id_column, answer_column)
    if file is None:
        raise BadInput("there are no labels", fix="draw rows with `maker audit RUN`, label them, and add --labels FILE")
    terms = {name: said[name] for name in ("error", "confidence", "by", "shuffled") if name in said}
    found = accept_rows(
        run.run_id, labels=file, out=_folder(run.run_id, out), force=force, store=store, **terms
    )  # fmt: skip
    if as_json:
        print(json.dumps(found.to_json()))
        return
    for line in lines(found, _folder(run.run_id, out)):
        print(line)


def accept_at_end(run: RunReport, store: str) -> None:
    """Accept rows of a run that is done, as its job says, if the labels are there; tell it on standard error.

    Raises `BadInput` as `maker.reporting.accept.accept` does.
    """
    said = AcceptSettings.model_validate(run.settings["accept"])
    labels = Path(said.labels)
    if not said.labels or not labels.is_file():
        then = completed("label rows that `maker audit RUN` draws, then run `maker accept RUN`", run_id=run.run_id)
        print(f"accept: no labels yet; {then}", file=sys.stderr)
        return
    folder = _folder(run.run_id, None)
    found = accept_rows(
        run.run_id, error=said.error, labels=LabelFile(labels), confidence=said.confidence, by=said.by,
        shuffled=said.shuffled, out=folder, force=True, store=store,
    )  # fmt: skip
    for line in lines(found, folder):
        print(line, file=sys.stderr)


def lines(found: Acceptance, folder: Path) -> list[str]:
    """Return what was accepted, what it rests on, and what more labels would bring, a line each."""
    share = found.accepted / found.decided
    left = [f"{n:,} {name}" for name, n in found.left.items()]
    told = [
        f"run {found.run_id}: {found.accepted:,} of {found.decided:,} decided rows ({share:.1%}) are accepted, in"
        f" {folder / ACCEPTED}",
        *_promised(found),
        *([f"  beside them {found.answered:,} rows that people decided, as they did"] if found.answered else []),
        f"  for review: {', '.join(left) or 'no row'}",
        f"  basis: {found.sampled:,} labels, taken as the truth, of decided rows that were drawn at random;"
        f" {len(found.tested):,} rules tested in a fixed order",
    ]
    if found.blank:
        told.append(f"  {found.blank:,} of the drawn rows have no label, and count as wrong: label them")
    if found.earlier:
        told.append(
            f"  other terms or labels were tried on this run before ({found.earlier:,}): the confidence is that of a"
            " single choice"
        )
    return told + _outlook(found)


def _promised(found: Acceptance) -> list[str]:
    if found.test is None:
        return [
            f"  no rule could be shown to have at most {found.error:.4g} wrong: rows that a label calls right are"
            " accepted, and no others"
        ]
    rows, sampled, wrong, _ = found.test
    return [
        f"  at most {found.error:.4g} of them are wrong ({found.allowed:,} rows), with a confidence of"
        f" {found.confidence:.4g}",
        f"  rule: {found.rule}; of its {rows:,} rows {sampled:,} are labelled, {wrong:,} of those wrong",
    ]


def _outlook(found: Acceptance) -> list[str]:
    now, *more = found.forecasts
    told = [
        f"  power: if rows are as these labels say, {now.labels:,} labels drawn anew accept {now.rows:,.0f} rows on"
        f" average; with all rows labelled it would be about {found.reach:,}"
    ]
    return told + [f"  with {one.labels:,} labels: {one.rows:,.0f} rows on average" for one in more]


def _folder(run_id: str, out: Path | None) -> Path:
    return out or Path(f"accept-{run_id}")
