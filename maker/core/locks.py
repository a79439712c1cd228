"""Lock a folder: one process at a time writes into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:
    # Windows.
    fcntl = None  # type: ignore[assignment]

LOCK = ".maker-lock"
"""The file that stands for a folder's lock while it is held, where folders themselves cannot be locked."""


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a folder while the block lasts. The lock of a process that dies is free at once.

    Raises ``BlockingIOError`` if another process holds it, ``OSError`` if the folder cannot be opened.
    """
    if fcntl is None:
        with _locked_file(folder / LOCK):
            yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


@contextmanager
def _locked_file(path: Path) -> Iterator[None]:
    # Not needed elsewhere, and a tenth of a second to import.
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise BlockingIOError(f"{path} is locked") from error
    try:
        yield
    finally:
        lock.release()
        path.unlink(missing_ok=True)
