"""Say that nothing has come for a while, and what is waited for: a command that is silent looks as if it hung."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from maker.cli.output import print
from maker.errors import OutputFailed


class Silence:
    """Says so on a stream, from a thread of its own, in ever longer intervals.

    Args:
        stream: Where to write.
        first_s: Seconds without anything new before it is said first; then after twice as many, and so on.
        told: Returns the line to write after so many seconds, and None where there is nothing to say.
    """

    def __init__(self, stream: TextIO, *, first_s: float, told: Callable[[float], str | None]) -> None:
        self._stream = stream
        self._first_s = first_s
        self._told = told
        self._news_s = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="maker-silence", daemon=True)

    def __enter__(self) -> Silence:
        self._news_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        # A line that is being written comes before what the command says last.
        self._thread.join()

    def end(self) -> None:
        """Take note that something has come."""
        self._news_s = time.monotonic()

    def _tell(self) -> None:
        due_s = self._first_s
        while not self._over.wait(min(1.0, self._first_s / 10)):
            quiet_s = time.monotonic() - self._news_s
            if quiet_s < self._first_s:
                due_s = self._first_s
            elif quiet_s >= due_s and (line := self._told(quiet_s)) is not None:
                due_s *= 2
                # A stream that takes no more stops the command where it next prints its own.
                with contextlib.suppress(OutputFailed):
                    print(line, file=self._stream, flush=True)


def lasting(seconds: float) -> str:
    """Return how long something has lasted: ``40 s``, and from a minute on as `clock` shows it."""
    return f"{seconds:.0f} s" if round(seconds) < 60 else clock(seconds)


def clock(seconds: float) -> str:
    """Return a length of time: ``0:40``, ``1:15``, ``2:00:00``, ``3 d 4 h``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
