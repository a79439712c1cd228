"""Calls a task's own code, so that whatever it raises is told as the task's error, with where it happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maker.errors import MakerError, TaskFailed

FIX = "mend the task's code; in parse, a reply that cannot be read is a ValueError"


def own(what: str, call: Callable[..., Any], *args: Any, **facts: Any) -> Any:
    """Return ``call(*args)``. Raises `TaskFailed` with ``what`` and the facts for anything that it raises."""
    try:
        return call(*args)
    except MakerError:
        raise
    except Exception as error:
        raise failure(what, error, **facts) from error


def failure(what: str, error: Exception, **facts: Any) -> TaskFailed:
    """Return what a task's own code raised as the task's error."""
    return TaskFailed(f"{what} raised {type(error).__name__}: {error}", fix=FIX, **facts)
