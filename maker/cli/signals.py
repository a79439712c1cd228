"""What Ctrl-C and SIGTERM do to the command line."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
Handler = Callable[[int, FrameType | None], NoReturn]
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def on_signals(handler: Handler) -> None:
    """Handle Ctrl-C and SIGTERM alike: a cluster ends jobs with the latter.

    A signal that is ignored stays so: that is how a shell keeps Ctrl-C from what it runs in the background.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def interrupting() -> Iterator[None]:
    """Let the signals interrupt a command, and do after it what they did before."""
    before = [(number, signal.getsignal(number)) for number in _SIGNALS]
    on_signals(_interrupt)
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Exit: nothing has begun yet, or all is over."""
    raise SystemExit(INTERRUPTED)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Interrupt a command, which commits what it has and pauses."""
    raise KeyboardInterrupt
