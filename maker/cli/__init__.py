"""The command line: arguments, output, exit codes.

`app` has the table of commands; `commands` has their modules. `display`, `tables` and `progress` print, by
`output`, which lets nothing from elsewhere steer a terminal. `errors` turns
errors into messages and exit codes, `signals` handles Ctrl-C and SIGTERM. `logs` and `spans` configure logging and
OpenTelemetry, which the library itself never does.
"""

from __future__ import annotations

import sys

from maker.cli.output import finish, set_up
from maker.cli.signals import leave, on_signals


def main() -> None:
    """Run the command line and exit, see `maker.cli.exit_codes`."""
    on_signals(leave)
    set_up()
    # Imported here, under the handlers: it takes half a second, in which you may already press Ctrl-C.
    from maker.cli.app import app

    try:
        app(prog_name="maker")
    except SystemExit as ended:
        sys.exit(finish(ended.code if isinstance(ended.code, int) else int(ended.code is not None)))
