"""Call a task's own code: any exception becomes a `TaskFailed` that says where it happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from traceback import walk_tb
from typing import Any

from maker.core.plugins import FILE_MODULE
from maker.errors import MakerError, TaskFailed

FIX = "fix the task's code; if a reply cannot be parsed, parse must raise ValueError"


def call_user_code(what: str, call: Callable[..., Any], *args: Any, **facts: Any) -> Any:
    """Return ``call(*args)``. Raises `TaskFailed`, with ``what`` and the facts, for any exception but maker's own."""
    try:
        return call(*args)
    except MakerError:
        raise
    except Exception as error:
        raise user_code_failure(what, error, **facts) from error


def user_code_failure(what: str, error: Exception, **facts: Any) -> TaskFailed:
    """Return a `TaskFailed` for an exception of a task's own code."""
    return TaskFailed(f"{what} raised {type(error).__name__}: {error}{_line(error)}", fix=FIX, **facts)


def _line(error: Exception) -> str:
    """Return the file and line of an error, if it came from a file that the job names; else ""."""
    frames = walk_tb(error.__traceback__)
    lines = [(frame.f_code.co_filename, line) for frame, line in frames if _of_a_file(frame.f_globals)]
    return f" ({Path(lines[-1][0]).name}, line {lines[-1][1]})" if lines else ""


def _of_a_file(names: dict[str, Any]) -> bool:
    return str(names.get("__name__")).startswith(FILE_MODULE)
