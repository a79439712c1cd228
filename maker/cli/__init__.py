"""The command line: arguments, output, exit codes."""

from __future__ import annotations

from maker.cli.signals import leave, on_signals


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed or paused, 2 bad input, 130 interrupted."""
    on_signals(leave)
    # Imported here, under the handlers: it takes half a second, in which one may think better of it.
    from maker.cli.app import app

    app(prog_name="maker")
