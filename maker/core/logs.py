"""Where the library logs: structured events through the standard library's loggers, which it never configures."""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any

import structlog

# Without a handler the standard library would print errors itself, which the program that embeds maker may not want.
logging.getLogger("maker").addHandler(logging.NullHandler())
_LOGIN = re.compile(r"(://[^/\s:@]*):[^/\s]*@")
_WORD = re.compile(r"([?&][^=&\s]*(?:password|secret|token|key|signature)[^=&\s]*=)[^&\s]*", re.IGNORECASE)


def logger(name: str) -> Any:
    """Return a structlog logger that hands each event to ``logging.getLogger(name)``, its facts as ``extra``."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.filter_by_level, _hide, structlog.stdlib.render_to_log_kwargs],
    )


def hidden(text: str) -> str:
    """Return a text without what URLs in it keep secret: passwords, and what a query calls a password or a key."""
    return _WORD.sub(r"\1***", _LOGIN.sub(r"\1:***@", text))


def _hide(_logger: Any, _method: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, fact in facts.items():
        if isinstance(fact, str):
            facts[name] = hidden(fact)
    return facts
