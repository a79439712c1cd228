"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="Job file, in TOML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="TABLE.KEY=VALUE", help="Settings that override the job file, e.g. vote.k=3."),
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Run id, the first characters of one, or `last`.")]
WholeRun = Annotated[
    str, typer.Argument(metavar="RUN", help="Whole run id or name; asks you about a prefix or `last`.")
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
