"""What all tests share."""

from __future__ import annotations

import signal

pytest_plugins = ["needs", "postgres_server"]

# A shell that runs the tests in the background ignores Ctrl-C for them, and every process that they start would
# inherit that; a handler, whichever, is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
