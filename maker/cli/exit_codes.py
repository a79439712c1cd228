"""Exit codes: one table, for the commands, their help and the documentation."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from maker.cli import output, signals
from maker.errors import MakerError, PilotPaused

if TYPE_CHECKING:
    from maker.lifecycle.queries import RunReport


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    MISSING = 3
    LIMIT = 4
    REQUEST = 5
    UNDECIDED = 6
    FAULT = 7
    WAITS = 8
    INTERRUPTED = signals.INTERRUPTED
    BROKEN_PIPE = output.BROKEN_PIPE


MEANINGS = {
    ExitCode.DONE: "done; for `verify`: complete, clean and right",
    ExitCode.FAILED: "failed, not written, or not verified",
    ExitCode.BAD_INPUT: "bad input; nothing is lost",
    ExitCode.MISSING: "done, but rows or slices are without a good decision",
    ExitCode.LIMIT: "paused at a limit, or by `monitor.policy`",
    ExitCode.REQUEST: "paused or cancelled as somebody asked: `--limit-steps`, `maker cancel`",
    ExitCode.UNDECIDED: "paused at a step that no vote could settle",
    ExitCode.FAULT: "paused by a fault: the model, the database, a worker, the task's code",
    ExitCode.WAITS: "paused until an answer, a time or a batch has come: `maker waits`",
    ExitCode.INTERRUPTED: "interrupted; what was decided is committed and the run is paused",
    ExitCode.BROKEN_PIPE: "whoever read the output has gone, as `head` goes",
}


def exit_code(report: RunReport) -> ExitCode:
    """Return the exit code of a command that worked on a run, or watched it."""
    if report.status == "done":
        return ExitCode.MISSING if report.missing else ExitCode.DONE
    return _unfinished(report.status, report.reason)


def error_code(error: MakerError) -> int:
    """Return the exit code of a command that an error ended. A pilot that is paused counts as any run does."""
    if isinstance(error, PilotPaused) and "status" in error.facts:
        return _unfinished(error.facts["status"], error.facts["reason"])
    return error.exit_code


def _unfinished(status: str, reason: str) -> ExitCode:
    # The help has the table, and is not to wait for what opens a store.
    from maker.engine.causes import cause_of
    from maker.store.runs import CANCELLED

    if status == CANCELLED:
        return ExitCode.REQUEST
    return ExitCode[cause_of(reason).name] if status == "paused" else ExitCode.FAILED


def help_text() -> str:
    """Return the table for a command's help."""
    # The first line keeps the paragraph from being wrapped.
    return "\n".join(["\b", "Exit codes:", *(f"  {code.value:3}  {text}" for code, text in MEANINGS.items())])
