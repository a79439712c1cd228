"""Handle Ctrl-C and SIGTERM in the command line."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
Handler = Callable[[int, FrameType | None], None]
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def on_signals(handler: Handler) -> None:
    """Handle Ctrl-C and SIGTERM alike: clusters end jobs with SIGTERM.

    A signal that is ignored stays ignored: a shell ignores Ctrl-C for commands that it runs in the background. In a
    thread that a program runs a command in, the program handles them.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def interrupting() -> Iterator[None]:
    """Let the signals raise `KeyboardInterrupt` in the block; restores the former handlers."""
    before = [(number, signal.getsignal(number)) for number in _SIGNALS]
    on_signals(_interrupt)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before:
                signal.signal(number, handler)


def leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Exit at once: the command has not begun, or is over."""
    raise SystemExit(INTERRUPTED)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Interrupt the command: it commits what is decided, and pauses the run."""
    raise KeyboardInterrupt
