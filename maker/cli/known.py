"""What a command is about: the run, the store and the job that suggested commands name."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

_KNOWN: ContextVar[dict[str, Any]] = ContextVar("known", default={})  # noqa: B039 - never changed in place


def begin(**facts: Any) -> None:
    """Forget the command before, and remember what this one is about, as `know` does."""
    _KNOWN.set({})
    know(**facts)


def know(**facts: Any) -> None:
    """Remember what suggested commands are about: ``run_id``, ``store`` (its URL) and ``job`` (its file)."""
    _KNOWN.set(known() | {name: fact for name, fact in facts.items() if fact})


def known() -> dict[str, Any]:
    """Return what is known."""
    return _KNOWN.get()
