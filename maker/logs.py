"""Where the library logs: structured events through the standard library's loggers, which it never configures."""

from __future__ import annotations

import logging
from typing import Any

import structlog

# Without a handler the standard library would print errors itself, which the program that embeds maker may not want.
logging.getLogger("maker").addHandler(logging.NullHandler())


def logger(name: str) -> Any:
    """Return a structlog logger that hands each event to ``logging.getLogger(name)``, its facts as ``extra``."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
    )
