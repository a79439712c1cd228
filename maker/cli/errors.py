"""How errors leave the command line: a message, what to do, an exit code; never a traceback."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from maker.cli.exit_codes import error_code
from maker.cli.known import begin
from maker.cli.output import print, report
from maker.cli.signals import INTERRUPTED, interrupting
from maker.errors import BadInput, MakerError, OutputFailed

MOST_SHOWN = 1000
"""Characters of a line of an error: a value that was given in it may be of any length."""
# typer brings a click of its own, or uses the installed one: either way its errors of use have this base.
_UsageError: Any = typer.BadParameter.__mro__[1]


class KnownCommand(TyperCommand):
    """A command whose arguments the messages know that suggest another command."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        begin(**{name: ctx.params.get(name) for name in ("run_id", "store", "job")})
        for name, value in ctx.params.items():
            for text in value if isinstance(value, list) else [value]:
                _require_text(name, text)
        return super().invoke(ctx)


class ErrorGroup(TyperGroup):
    """Runs a command; turns maker's own errors into messages and exit codes; its help groups the commands."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with interrupting():
                return super().invoke(ctx)
        except OutputFailed as error:
            raise typer.Exit(report(error)) from error
        except MakerError as error:
            # Here: what it looks commands up by is needed by no help.
            from maker.cli.advice import completed

            told = completed(str(error), run_id=error.facts.get("run_id"))
            first, *rest = (_clipped(line) for line in told.splitlines())
            print(f"maker: {first}", *(f"  {line}" for line in rest), sep="\n", file=sys.stderr)
            raise typer.Exit(error_code(error)) from error
        except _UsageError as error:
            error.message = _clipped(error.message)
            raise
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if _interrupted(error):
                raise typer.Exit(INTERRUPTED) from error
            raise
        finally:
            begin()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands under the titles of their groups, each with the whole first line of its help."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.commands[name]
            if not command.hidden:
                title = getattr(command, "rich_help_panel", None) or "Commands"
                line, *_ = (command.help or "").splitlines() or [""]
                groups.setdefault(str(title), []).append((name, line))
        widest = max(len(name) for rows in groups.values() for name, _ in rows)
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:{widest}}", line) for name, line in rows])


def _require_text(name: str, value: Any) -> None:
    """Raise `BadInput` for a word that is not UTF-8: no database, no server and no file's text can hold it."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            shown = _clipped(value.encode(errors="backslashreplace").decode())
            raise BadInput(f"{name}: {shown!r} is not UTF-8 text", fix="check how it was typed or copied") from error


def _interrupted(error: BaseException | None) -> bool:
    """Say whether an error came of an interrupt: a library that one passes through may fail as it cleans up."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _clipped(line: str) -> str:
    """Return a line of an error; of one that is too long, the beginning and how long it is."""
    return line if len(line) <= MOST_SHOWN else f"{line[:MOST_SHOWN]}… ({len(line):,} characters)"
