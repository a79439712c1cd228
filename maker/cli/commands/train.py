"""``maker train`` and ``maker exam``: train a microagent on a task's steps, and compute its exact error rate."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maker.api import load_job
from maker.cli.options import AsJson, Overrides
from maker.cli.output import print
from maker.cli.tables import print_table
from maker.errors import BadInput, extra
from maker.job.fingerprint import task_fingerprint
from maker.training.dataset import EXAM, Dataset, dataset_of
from maker.training.recipe import TEMPERATURES, Recipe
from maker.training.sft_file import read_dataset

if TYPE_CHECKING:
    from maker.training.figures import ClassFigures

EXAMPLES = ".jsonl"
EVERY = 100
"""Batches between two lines of progress."""

TrainingJob = Annotated[
    Path,
    typer.Argument(
        metavar="JOB", help="Job file of a task with examples and an oracle, or a run's exported examples, *.jsonl."
    ),
]
Temperatures = Annotated[str, typer.Option(metavar="T,T,…", help="Temperatures to test at.")]
Examined = Annotated[int, typer.Option("--exam", min=1, metavar="N", help="Held-out prompts to test per class.")]
Threads = Annotated[int, typer.Option(min=1, help="Torch threads.")]
AT = ",".join(map(str, TEMPERATURES))
RECIPE = Recipe()


def train(
    job: TrainingJob,
    overrides: Overrides = None,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write the model to.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps (batches).")] = RECIPE.steps,
    batch: Annotated[int, typer.Option(min=1, help="Prompts per batch.")] = RECIPE.batch,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = RECIPE.rate,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the weights and of the draws.")] = RECIPE.seed,
    slip: Annotated[
        float, typer.Option(help="Share of wrong but legal replies to train on, for a weaker model.")
    ] = RECIPE.slip,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden size.")] = RECIPE.hidden,
    layers: Annotated[int, typer.Option(min=1, help="Layers.")] = RECIPE.layers,
    heads: Annotated[int, typer.Option(min=1, help="Attention heads.")] = RECIPE.heads,
    threads: Threads = RECIPE.threads,
    begun: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="Microagent to train on, instead of fresh weights.")
    ] = None,
    temperatures: Temperatures = AT,
    exam: Examined = EXAM,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the model in FOLDER.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a tiny model on a task's steps; measure its error rate."""
    # Imported here: it needs numpy, and other commands start faster without it.
    with extra("train", "a microagent"):
        from maker.training.make import make

    recipe = Recipe(
        steps=steps, batch=batch, rate=rate, seed=seed, slip=slip, hidden=hidden, layers=layers, heads=heads,
        threads=threads,
    )  # fmt: skip
    at = _temperatures(temperatures)
    dataset = _dataset(job, overrides or [], exam)

    def print_batch(step: int, loss: float, seconds: float) -> None:
        if step % EVERY == 0 or step + 1 == steps:
            print(f"batch {step + 1:,} of {steps:,}: loss {loss:.2e}, {seconds:,.0f} s", file=sys.stderr, flush=True)

    made = make(dataset, recipe, out, temperatures=at, force=force, begun=begun, on_batch=print_batch)
    if as_json:
        print(json.dumps(made.card, ensure_ascii=False))
        return
    card = made.card
    print(
        f"{out}: {card['parameters']:,} parameters, {card['bytes'] / 1e6:.2f} MB, trained in {card['seconds']:,.0f} s"
    )
    shown = {one["class"]: one.get("shown") for one in card["classes"]}
    _print_figures(made.found, shown, by_run=dataset.by_run)


def exam_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the model.")],
    job: TrainingJob,
    overrides: Overrides = None,
    temperatures: Temperatures = AT,
    exam: Examined = EXAM,
    threads: Threads = RECIPE.threads,
    card: Annotated[bool, typer.Option("--card", help="Write the figures into the card in FOLDER too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compute a tiny model's exact error rate on a task's steps."""
    with extra("train", "a microagent"):
        from maker.training.examine import examine, has_card
        from maker.training.figures import to_json
        from maker.training.make import renew_card

    dataset = _dataset(job, overrides or [], exam)
    found = examine(folder, dataset, temperatures=_temperatures(temperatures), threads=threads)
    if card:
        renew_card(folder, dataset, found)
    if as_json:
        print(json.dumps([to_json(one) for one in found], ensure_ascii=False))
        return
    _print_figures(found, {}, by_run=dataset.by_run, known=has_card(folder))


def _dataset(job: Path, overrides: Sequence[str], exam: int) -> Dataset:
    if job.suffix == EXAMPLES:
        if overrides:
            raise BadInput(f"{overrides[0]!r} sets nothing: {job} is not a job file", fix="leave it out")
        return read_dataset(job)
    loaded = load_job(job, overrides)
    fingerprint = task_fingerprint(loaded)
    origin = {name: fingerprint[name] for name in ("decomposer", "decomposer_version", "decomposer_source", "task")}
    return dataset_of(loaded.decomposer, origin, exam=exam)


def _temperatures(words: str) -> list[float]:
    try:
        return list(dict.fromkeys(float(word) for word in words.split(",")))
    except ValueError as error:
        raise BadInput(f"--temperatures {words}: {error}", fix=f"write numbers, e.g. {AT}") from error


def _print_figures(
    found: Sequence[ClassFigures], shown: dict[str, int | None], *, by_run: bool, known: bool = True
) -> None:
    from maker.training.card import BOUND_HEADS, HEADS, KIND_HEADS, basis_words, bound_rows, kind_rows, rows

    print_table(HEADS, rows(found), indent=2)
    for one in found:
        print(f"  {basis_words(one, shown.get(one.name), by_run=by_run, known=known)}")
    if bounds := bound_rows(found):
        print("  upper bounds, each with 95 % confidence on its own, if the tested prompts are independent draws:")
        print_table(BOUND_HEADS, bounds, indent=2)
    if kinds := kind_rows(found):
        print("  by kind of step; other sets than its exam are asked in full, whatever training showed of them:")
        print_table(KIND_HEADS, kinds, indent=2)
