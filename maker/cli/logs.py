"""Configure logging for the command line; the library never configures it."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping, Sequence
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

import structlog

from maker.cli.output import print, quoted
from maker.errors import BadInput


def print_events() -> None:
    """Print maker's events to standard error."""
    _handle(logging.StreamHandler(), [_as_text, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())])


def print_waits() -> None:
    """Print to standard error that a database is waited for: nothing else tells a person why nothing happens."""
    handler = _Waits(logging.WARNING)
    handler.set_name("maker-waits")
    waiting = logging.getLogger("maker.store")
    if handler.name not in [one.name for one in waiting.handlers]:
        waiting.addHandler(handler)


class _Waits(logging.Handler):
    """Prints what is waited for, in words."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record of `maker.store.backend.waits`."""
        facts = vars(record)
        if record.msg == "store_waiting":
            print(f"maker: {facts['reason']}; waiting for it, {facts['waited_s']:.0f} s so far", file=sys.stderr)


def print_refusals() -> None:
    """Print to standard error which runs a worker of a queue could not go on with, and why."""
    handler = _Refusals(logging.WARNING)
    handler.set_name("maker-refusals")
    working = logging.getLogger("maker")
    if handler.name not in [one.name for one in working.handlers]:
        working.addHandler(handler)


class _Refusals(logging.Handler):
    """Prints what keeps a queue's runs from going on, in words."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record of `maker.lifecycle.queue_worker`."""
        facts = vars(record)
        if record.msg in ("run_refused", "run_failed"):
            print(f"maker: run {facts['run_id']} waits again: {facts['error']}", file=sys.stderr)
        elif record.msg == "queue_unreachable":
            print(f"maker: queue {facts['queue']!r} cannot be read: {facts['error']}", file=sys.stderr)


def write_events(path: Path) -> None:
    """Append maker's events to a file, one JSON object a line. Raises `BadInput` if it cannot be written."""
    try:
        handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise BadInput(f"--log {path}: {error.strerror or error}", fix="name a file you can write to") from error
    _handle(handler, [structlog.processors.JSONRenderer(ensure_ascii=False)])


class _LogFile(WatchedFileHandler):
    """A log file that may be rotated while the run works; a failed write warns once and stops no run."""

    _warned = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library calls it so
        """Warn once that records are lost."""
        if not self._warned:
            self._warned = True
            print(f"maker: --log {self.baseFilename} cannot be written: {sys.exc_info()[1]}", file=sys.stderr)


def _handle(handler: logging.Handler, renderers: Sequence[Any]) -> None:
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _drop_foreign, *renderers],
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso"),
            ],
        )
    )
    logging.getLogger("maker").addHandler(handler)
    logging.getLogger("maker").setLevel(logging.INFO)


def _as_text(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Let nothing in an event steer the terminal."""
    return {name: quoted(value) for name, value in facts.items()}


def _drop_foreign(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop the fields that Ray and vLLM add to every log record of the process."""
    # They set a record factory: an empty record shows which fields are theirs and not the event's.
    for name in vars(logging.makeLogRecord({})).keys() & facts.keys():
        del facts[name]
    return facts
