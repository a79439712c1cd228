"""Logging for the command line; the library itself configures none."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging() -> None:
    """Print maker's events to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
            ],
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso"),
            ],
        )
    )
    logging.getLogger("maker").addHandler(handler)
    logging.getLogger("maker").setLevel(logging.INFO)
