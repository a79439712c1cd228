"""How errors leave the command line: a message, what to do, an exit code; never a traceback."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from maker.cli.advice import begin, completed
from maker.cli.signals import INTERRUPTED, interrupting
from maker.errors import MakerError


class KnownCommand(TyperCommand):
    """A command whose arguments the messages know that suggest another command."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        begin(**{name: ctx.params.get(name) for name in ("run_id", "store", "job")})
        return super().invoke(ctx)


class ErrorGroup(TyperGroup):
    """Runs a command; prints maker's own errors without a traceback and turns them into exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with interrupting():
                return super().invoke(ctx)
        except MakerError as error:
            first, *rest = completed(str(error), run_id=error.facts.get("run_id")).splitlines()
            print(f"maker: {first}", *(f"  {line}" for line in rest), sep="\n", file=sys.stderr)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
        finally:
            begin()
