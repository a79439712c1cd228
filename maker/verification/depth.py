"""Let code that re-applies a log reach as deep as the code that wrote it, though it stands deeper itself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ROOM = 2000
"""Frames beside those that a run has: forks stand up to 100 within one another, and each takes a dozen here."""
_lock = threading.Lock()
_inside = 0


@contextmanager
def deeper() -> Iterator[None]:
    """Allow so many more frames within the block, whichever thread enters it; as before when the last one has left."""
    global _inside  # noqa: PLW0603 - the limit is the interpreter's
    with _lock:
        _inside += 1
        if _inside == 1:
            sys.setrecursionlimit(sys.getrecursionlimit() + ROOM)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                sys.setrecursionlimit(max(1, sys.getrecursionlimit() - ROOM))
