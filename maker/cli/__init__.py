"""The command line: arguments, output, exit codes."""

from __future__ import annotations

import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed or paused, 2 bad input, 130 interrupted."""
    # A cluster ends jobs with SIGTERM: to a run that is the same as Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        from maker.cli.app import app

        app(prog_name="maker")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
