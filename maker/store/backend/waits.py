"""Say that a database is waited for."""

from __future__ import annotations

import time

from maker.core.logs import logger

WORD_S = 5.0
"""How long a database is waited for without a word, in seconds."""
_log = logger("maker.store")
_told: list[float] = []


def tell_wait(reason: str, waited_s: float) -> None:
    """Say once in `WORD_S` seconds why a database is waited for; nothing while it is not that long."""
    now = time.monotonic()
    if waited_s >= WORD_S and (not _told or now - _told[-1] >= WORD_S):
        _told[:] = [now]
        _log.warning("store_waiting", reason=reason, waited_s=round(waited_s, 1))
