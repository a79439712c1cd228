"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job file, in TOML.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="TABLE.KEY=VALUE", help="Settings that win over the job's.")
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its unique beginning, or `last`.")]
NamedRun = Annotated[str, typer.Argument(metavar="RUN", help="A run's id or its unique beginning; not `last`.")]
Store = Annotated[
    str, typer.Option("--store", envvar="MAKER_STORE", metavar="URL", help="The database of runs, else MAKER_STORE.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LimitSteps = Annotated[
    int | None, typer.Option("--limit-steps", min=1, metavar="N", help="Pause after N steps; `maker resume` goes on.")
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray-address", metavar="HOST:PORT", help="The Ray cluster to work on: swarm.address in short."),
]
