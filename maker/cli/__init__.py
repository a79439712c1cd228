"""The command line: arguments, output, exit codes.

`app` has the table of commands; `commands` has their modules. `display`, `tables` and `progress` print. `errors` turns
errors into messages and exit codes, `signals` handles Ctrl-C and SIGTERM. `logs` and `spans` configure logging and
OpenTelemetry, which the library itself never does.
"""

from __future__ import annotations

import io
import sys

from maker.cli.signals import leave, on_signals


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed or paused, 2 bad input, 130 interrupted."""
    on_signals(leave)
    # Rows and replies may hold half a surrogate pair, which no encoding can write: print it as an escape.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Imported here, under the handlers: it takes half a second, in which you may already press Ctrl-C.
    from maker.cli.app import app

    app(prog_name="maker")
