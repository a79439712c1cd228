"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maker.errors import MakerError
from maker.lifecycle.queries import runs, store_url

COMPLETED = 20
"""Runs that a shell offers."""


def complete_run(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the newest run ids that begin so, with what each is; [] where the store cannot be read."""
    store = ctx.params.get("store") or store_url(None)
    try:
        found = runs(store=store, limit=COMPLETED)
    except MakerError:
        return []
    return [
        (run.run_id, f"{run.name or run.settings['task']['decomposer']}, {run.status}")
        for run in found
        if run.run_id.startswith(incomplete)
    ]


JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="Job file, in TOML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="TABLE.KEY=VALUE", help="Settings that override the job file, e.g. vote.k=3."),
]
JobStore = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="Database of runs; overrides [store] and MAKER_STORE.")
]
RunId = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Run id, the first characters of one, or `last`.", autocompletion=complete_run),
]
WholeRun = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Whole run id or name; asks you about a prefix or `last`.", autocompletion=complete_run
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, also for a prefix or `last`.")]
Store = Annotated[str, typer.Option("--store", envvar="MAKER_STORE", metavar="URL", help="Database of runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
LimitSteps = Annotated[
    int | None, typer.Option("--limit-steps", min=1, metavar="N", help="Pause after N steps; `maker resume` continues.")
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray-address", metavar="HOST:PORT", help="Ray cluster to run on; sets swarm.address."),
]
RepeatEffects = Annotated[bool, typer.Option("--repeat-effects", help="Do effects again that the run has done.")]


def with_store(overrides: list[str] | None, store: str | None) -> list[str]:
    """Return overrides of a job with that of its store, where one was named."""
    return [*(overrides or []), *([f"store.url={store}"] if store else [])]
