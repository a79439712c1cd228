"""What Ctrl-C and SIGTERM do to the command line."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
Handler = Callable[[int, FrameType | None], NoReturn]


def on_signals(handler: Handler) -> None:
    """Handle Ctrl-C and SIGTERM alike: a cluster ends jobs with the latter.

    A signal that is ignored stays so: that is how a shell keeps Ctrl-C from what it runs in the background.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Exit: nothing has begun yet, or all is over."""
    raise SystemExit(INTERRUPTED)


def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Interrupt a command, which commits what it has and pauses."""
    raise KeyboardInterrupt
