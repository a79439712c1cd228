"""What a process has open of each database: all who open the same one share its connections.

A service works on dozens of runs, and each run opens its store. With an engine for each, every run would take places of
a server, render each statement anew, and keep thousands of objects that Python's garbage collection walks.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from sqlalchemy import URL

K = TypeVar("K")
_opening = threading.Lock()
_open: WeakValueDictionary[object, Holding[object]] = WeakValueDictionary()


class Holding(Generic[K]):
    """A kind of database with its engine, and how many databases of this process use it."""

    def __init__(self, kind: K) -> None:
        self.kind = kind
        self._users = 1
        self._made: dict[Hashable, Any] = {}

    def once(self, what: Hashable, make: Callable[[], Any]) -> Any:
        """Return what all users have of a thing together: what ``make`` returned to the first who asked."""
        try:
            return self._made[what]
        except KeyError:
            made = make()
            return self._made.setdefault(what, made)

    def share(self) -> bool:
        """Count a user more, unless the last one has let go."""
        self._users += self._users > 0
        return self._users > 0

    def let_go(self) -> bool:
        """Count a user less; returns whether it was the last one."""
        with _opening:
            self._users -= 1
            return self._users == 0


def hold(url: URL, make: Callable[[], K]) -> Holding[K]:
    """Return what this process has open of a database, or what ``make`` opens of it."""
    place = _place(url)
    with _opening:
        held: Holding[K] | None = _open.get(place)  # type: ignore[assignment]
        if held is not None and held.share():
            return held
        held = Holding(make())
        if place is not None:
            _open[place] = held  # type: ignore[assignment]
        return held


def _place(url: URL) -> object:
    """Return what tells a database from others; None for a file that is not there yet.

    A process that was forked has its parent's memory, and must not use its connections.
    """
    if not url.drivername.startswith("sqlite"):
        return os.getpid(), url
    try:
        found = os.stat(str(url.database))  # noqa: PTH116 - a name that is no path fails alike
    except (OSError, ValueError):
        return None
    return os.getpid(), url, os.path.abspath(str(url.database)), found.st_dev, found.st_ino  # noqa: PTH100
