"""The library's loggers: structured events through the standard library's logging, which it never configures."""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any

import structlog

# Without a handler the standard library prints errors itself, which a program that embeds maker may not want.
logging.getLogger("maker").addHandler(logging.NullHandler())
_LOGIN = re.compile(r"(://[^/\s:@]*):[^/\s]*@")
_WORD = re.compile(r"([?&][^=&\s]*(?:password|secret|token|key|signature)[^=&\s]*=)[^&\s]*", re.IGNORECASE)


def logger(name: str) -> Any:
    """Return a structlog logger that passes each event to ``logging.getLogger(name)``, with its facts as ``extra``."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.filter_by_level, _hide, structlog.stdlib.render_to_log_kwargs],
    )


def hidden(text: str) -> str:
    """Return a text with the secrets of its URLs hidden: passwords, and query parameters named like keys."""
    return _WORD.sub(r"\1***", _LOGIN.sub(r"\1:***@", text))


def _hide(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, fact in facts.items():
        if isinstance(fact, str):
            facts[name] = hidden(fact)
    return facts
