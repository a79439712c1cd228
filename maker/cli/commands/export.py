"""``maker export``: write a run's steps for other tools, or as training examples for a microagent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from maker.cli.options import RunId, Store
from maker.cli.output import binary_output, print, writing
from maker.errors import BadInput
from maker.job.file import DEFAULT_STORE
from maker.lifecycle.export import export_steps
from maker.lifecycle.sft import export_examples

Kind: TypeAlias = Literal["jsonl", "parquet", "sft"]
PARQUET = ".parquet"
JSON_LINES = ("", ".jsonl", ".ndjson")
OTHERS = (".csv", ".tsv", ".json", ".xlsx", ".gz", ".zst")
"""Endings that promise what is not written, whatever ``--format`` says."""


def export(
    run_id: RunId,
    format_: Annotated[
        Kind | None,
        typer.Option(
            "--format",
            help="sft: training examples from a verified run. [default: parquet if FILE ends so, else jsonl]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File to write. [default: standard output]")
    ] = None,
    store: Store = DEFAULT_STORE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if it exists.")] = False,
) -> None:
    """Export steps as JSON lines, Parquet or training examples."""
    if out is not None:
        _check_name(out, format_)
    if format_ == "sft":
        _export_examples(run_id, out, store, force=force)
        return
    kind = format_ or ("parquet" if out is not None and out.suffix.lower() == PARQUET else "jsonl")
    if kind == "parquet" and out is None:
        raise BadInput("Parquet cannot be written to standard output", fix="give a file with --out FILE")
    with writing(out or sys.stdout):
        done = export_steps(run_id, out or binary_output(), format=kind, store=store, force=force)
    if done.actions == "stored":
        print("the task's code was not found here; actions are written as they are stored", file=sys.stderr)
    if out is not None:
        reviewed = f" and {done.reviewed:,} rows that people decided beside them" if done.reviewed else ""
        print(f"run {done.run_id}: {done.steps:,} steps{reviewed} in {out}")


def _check_name(out: Path, kind: Kind | None) -> None:
    """Raise `BadInput` for a file whose name promises another format than what it would hold."""
    ending = out.suffix.lower()
    if kind is None:
        good = ending in (*JSON_LINES, PARQUET)
    elif kind == "parquet":
        good = ending not in (*OTHERS, *JSON_LINES) or not ending
    else:
        good = ending not in (*OTHERS, PARQUET)
    if good:
        return
    what = "Parquet" if kind == "parquet" else "JSON lines" if kind else "JSON lines or Parquet"
    fix = "parquet" if kind == "parquet" else "jsonl" if kind else "jsonl or FILE.parquet"
    raise BadInput(f"{out} would hold {what}, which its name does not say", fix=f"name it FILE.{fix}")


def _export_examples(run_id: str, out: Path | None, store: str, *, force: bool) -> None:
    with writing(out or sys.stdout):
        done = export_examples(run_id, out or binary_output(), store=store, force=force)
    if done.left_out:
        print(
            f"{done.left_out:,} steps left out: neither a stored reply nor the action as text parses to their action",
            file=sys.stderr,
        )
    if out is not None:
        print(f"run {done.run_id} verifies: {done.steps:,} steps in {out}")
