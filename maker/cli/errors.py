"""How errors leave the command line: a message, what to do, an exit code; never a traceback."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from maker.cli.signals import INTERRUPTED, interrupting
from maker.errors import MakerError


class ErrorGroup(TyperGroup):
    """Runs a command; prints maker's own errors without a traceback and turns them into exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with interrupting():
                return super().invoke(ctx)
        except MakerError as error:
            first, *rest = str(error).splitlines()
            print(f"maker: {first}", *(f"  {line}" for line in rest), sep="\n", file=sys.stderr)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
