"""What the command line writes to terminals, files and pipes: text that does nothing but be read.

Replies, row ids, file names and what servers say come from elsewhere, and may hold what steers a terminal. Every module
of `maker.cli` prints with this module's `print`; what Rich draws goes through `as_text`. Data (`maker export`) is
written to the binary stream as it is.
"""

from __future__ import annotations

import builtins
import codecs
import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from maker.errors import BadInput, OutputFailed

BROKEN_PIPE = 141
"""The exit code where whoever read the output has gone, as that of a program which SIGPIPE ends."""
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of writing
    "\u2028\u2029]"
)


def as_text(text: str) -> str:
    """Return a text in which what steers a terminal is written as an escape, such as ``\\u001b``.

    JSON stays JSON, of the same value.
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print(*values: object, sep: str = " ", end: str = "\n", file: IO[str] | None = None, flush: bool = False) -> None:
    """Print values as text, see `as_text`.

    Raises:
        OutputFailed: Standard output accepts no more. What standard error does not accept is lost.
    """
    stream = sys.stdout if file is None else file
    with writing(stream):
        builtins.print(as_text(sep.join(map(str, values))), end=end, file=stream, flush=flush)


@contextmanager
def writing(stream: object) -> Iterator[None]:
    """Tell what a stream does not accept as `OutputFailed`; of standard error it is lost."""
    try:
        yield
    except OSError as error:
        if stream is not sys.stderr:
            raise _failed(error) from error


def binary_output() -> IO[bytes]:
    """Return standard output for data, a terminal's for JSON to look at. Raises `BadInput` where it is closed."""
    if sys.stdout is None:
        raise BadInput("standard output is closed", fix="name a file with --out FILE")
    return cast("IO[bytes]", _Shown(sys.stdout)) if sys.stdout.isatty() else sys.stdout.buffer


class _Shown(io.RawIOBase):
    """Writes data to a terminal, as text."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(as_text(self._decoder.decode(bytes(data))))
        return len(data)

    def flush(self) -> None:
        self._stream.flush()


def set_up() -> None:
    """Have what an encoding cannot write, half a surrogate pair too, written as an escape that JSON knows as well."""
    codecs.register_error("escaped", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="escaped")


def finish(code: int) -> int:
    """Write what is left; return the exit code, another one where that fails."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError) as error:
            # What is left would be tried again, and told, when the interpreter ends.
            _drop(stream)
            if stream is sys.stdout:
                code = report(_failed(error)) if isinstance(error, OSError) else code
    return code


def report(error: OutputFailed) -> int:
    """Say that standard output failed, unless its reader has gone; return the exit code."""
    _drop(sys.stdout)
    if error.facts.get("broken_pipe"):
        return BROKEN_PIPE
    first, *rest = str(error).splitlines()
    print(f"maker: {first}", *(f"  {line}" for line in rest), sep="\n", file=sys.stderr, flush=True)
    return error.exit_code


def _failed(error: OSError) -> OutputFailed:
    return OutputFailed(
        f"standard output cannot be written: {error.strerror or error}",
        fix="make room, or write to another file",
        broken_pipe=error.errno == errno.EPIPE,
    )


def _drop(stream: IO[str] | None) -> None:
    """Send what is still buffered nowhere."""
    if stream is None:
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - nothing is decoded with it
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[at : at + 2]):04x}" for at in range(0, len(units), 2)), error.end


def quoted(event: Any) -> Any:
    """Return a value, of an event that is logged say, with `as_text` of every text in it."""
    if isinstance(event, str):
        return as_text(event)
    if isinstance(event, dict):
        return {quoted(name): quoted(value) for name, value in event.items()}
    if isinstance(event, list | tuple):
        return [quoted(value) for value in event]
    return event
