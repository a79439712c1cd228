"""Call a task's own code: whatever it raises, or returns and must not, becomes a `TaskFailed` that says where.

A run works on many chains. What the code of one does wrong is checked here, where it enters: later, in the store or in
a model, it would be the failure of all of them.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from traceback import walk_tb
from types import CodeType
from typing import Any

from maker.errors import ContractBroken, MakerError, TaskFailed

FILE_MODULE = "maker_file_"
"""Prefix of the names of modules that were loaded from a ``path/file.py``."""
OWN_MODULES = {"__main__"}
"""Names of further modules of the user's own: those of files whose objects a job was given."""
FIX = "fix the task's code; a run that has begun keeps its steps with `maker resume RUN run.on_change=migrate`"
FIX_PARSE = "fix the task's code; if a reply cannot be parsed, parse must raise ValueError"
MOST_SAID = 2000
"""Characters of an error's text, or of a rule's reason, that are kept."""
SHOWN = 80
"""Characters of a value that a message shows."""
_ADDRESS = " at 0x"
"""Stands in what Python shows of objects that say nothing of themselves: another one in every run."""


def call_user_code(what: str, call: Callable[..., Any], *args: Any, fix: str = FIX, **facts: Any) -> Any:
    """Return ``call(*args)``.

    Raises `TaskFailed`, with ``what``, ``fix`` and the facts, for any exception but maker's own; for ``SystemExit``
    too. An interrupt passes, and what a signal's handler raises.
    """
    try:
        return call(*args)
    except MakerError:
        raise
    except BaseException as error:
        if ends_the_program(error):
            raise
        raise user_code_failure(what, error, fix, **facts) from error


def call_for_text(what: str, call: Callable[..., Any], *args: Any, **facts: Any) -> str:
    """Return ``call(*args)``, which must be a text that every store takes. Raises `TaskFailed` as `call_user_code`."""
    text: str = call_user_code(what, call, *args, **facts)
    if problem := not_text(text) or unfit(text):
        raise TaskFailed(f"{what} returned {shown(text)}: {problem}", fix="make it return such a text", **facts)
    return text


def user_code_failure(what: str, error: BaseException, fix: str = FIX, **facts: Any) -> TaskFailed:
    """Return a `TaskFailed` for an exception of a task's own code; ``fix`` says what to do about one of any kind."""
    if isinstance(error, ContractBroken):
        return TaskFailed(f"{what}: {error}", fix=error.fix, **facts)
    return TaskFailed(f"{what} raised {type(error).__name__}: {words_of(error)}{_line(error)}", fix=fix, **facts)


def ends_the_program(error: BaseException) -> bool:
    """Say whether an exception that came out of a task's code is not its own: an interrupt, or a signal's handler."""
    if isinstance(error, Exception):
        return False
    # A program may leave by `sys.exit` in a handler, which Python runs wherever the main thread happens to be.
    return isinstance(error, KeyboardInterrupt) or not _handlers().isdisjoint(
        frame.f_code for frame, _ in walk_tb(error.__traceback__)
    )


def words_of(error: BaseException) -> str:
    """Return the text of an exception of a task's own code, whose ``__str__`` may fail too; cut where it is long."""
    try:
        return str(error)[:MOST_SAID]
    except Exception:  # noqa: BLE001 - a task's own code
        return "(its text cannot be made)"


def shown(value: Any) -> str:
    """Return a value of a task's own code for a message."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a task's own code
        text = ""
    if not text or _ADDRESS in text:
        return f"an object of {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def not_text(value: Any) -> str:
    """Say that a value is no text, "" where it is one."""
    return "" if isinstance(value, str) else f"that is {type(value).__name__}, not text"


def not_unicode(text: str) -> str:
    """Say what in a text has no UTF-8, "" where all of it has."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # Half a surrogate pair, which JSON can spell.
        return f"not valid Unicode: {error.reason}"
    return ""


def unfit(text: str) -> str:
    """Say why no database and no digest takes a text, "" for one that they take."""
    return not_unicode(text) or ("it contains a NUL character" if "\0" in text else "")


def _handlers() -> set[CodeType]:
    """Return the code of the program's handlers of signals."""
    codes = map(_code, map(signal.getsignal, signal.valid_signals()))
    return {code for code in codes if code is not None}


def _code(call: Any) -> CodeType | None:
    """Return the code of a function, a method, a partial or an object that can be called; None for what is in C."""
    while isinstance(call, partial):
        call = call.func
    for found in (call, getattr(call, "__func__", None), getattr(type(call), "__call__", None)):  # noqa: B004
        if isinstance(code := getattr(found, "__code__", None), CodeType):
            return code
    return None


def _line(error: BaseException) -> str:
    """Return the file and line of an error, if it came from a file that the job names; else ""."""
    frames = walk_tb(error.__traceback__)
    lines = [(frame.f_code.co_filename, line) for frame, line in frames if _of_a_file(frame.f_globals)]
    return f" ({Path(lines[-1][0]).name}, line {lines[-1][1]})" if lines else ""


def _of_a_file(names: dict[str, Any]) -> bool:
    name = str(names.get("__name__"))
    return name.startswith(FILE_MODULE) or name in OWN_MODULES
