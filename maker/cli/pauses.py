"""Say how a run goes on that an interrupt or a fault has paused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from maker.cli.advice import completed
from maker.cli.exit_codes import ExitCode
from maker.cli.known import know
from maker.cli.output import print
from maker.cli.progress import Progress
from maker.errors import MakerError, ModelFailed, StoreFailed, WorkerLost

RESUME = "continue with `maker resume RUN`"
SAME_COMMAND = "give the same command again to continue it"
"""How a pilot, or a precomputation, goes on."""


@contextmanager
def progress_of(then: str) -> Iterator[Progress]:
    """Show the progress of runs; where an interrupt or a fault ends one, say that it is paused, and what to do then.

    Raises what is raised within. A fault that has paused a run ends the command with `ExitCode.FAULT`.
    """
    progress = Progress(sys.stderr)
    try:
        with progress:
            yield progress
    except (KeyboardInterrupt, ModelFailed, StoreFailed, WorkerLost) as error:
        if progress.run_id:
            know(run_id=progress.run_id)
            print(f"run {progress.run_id} is paused; {completed(then)}", file=sys.stderr)
            if isinstance(error, MakerError):
                error.exit_code = ExitCode.FAULT
        raise
