"""The ids of rows, and whether two rows have the same one."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from array import array
from typing import Any

_BUCKETS = 1024
_SUSPECTS = 100_000
_KINDS = (str, int, float, decimal.Decimal, datetime.date, datetime.time, uuid.UUID)


def id_text(value: Any) -> str:
    """Return a value of the id column as text; empty for what is no id: nothing, blanks, a list, a boolean."""
    if isinstance(value, str):
        return value if value.strip() else ""
    if isinstance(value, bool) or not isinstance(value, _KINDS):
        return ""
    return str(value) if not isinstance(value, float) or math.isfinite(value) else ""


class Ids:
    """Ids seen once or more, of which 8 bytes each are kept."""

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(_BUCKETS)]

    def add(self, text: str) -> None:
        """Take an id in."""
        hashed = hash(text)
        self._hashes[hashed % _BUCKETS].append(hashed)

    def suspects(self) -> set[int]:
        """Return the ``hash`` of ids that may have come twice: of every one, unless there are over 100,000."""
        found: set[int] = set()
        for hashes in self._hashes:
            if len(set(hashes)) < len(hashes) and len(found) < _SUSPECTS:
                seen: set[int] = set()
                found.update(one for one in hashes if one in seen or seen.add(one))  # type: ignore[func-returns-value]
        return found
