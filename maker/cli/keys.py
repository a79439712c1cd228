"""Read what a person presses: single keys on a terminal, lines where there is none."""

from __future__ import annotations

import codecs
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from maker.cli.output import print

try:
    import termios
    import tty
except ImportError:
    # Windows.
    termios = None  # type: ignore[assignment]

ENDS, ESCAPE = ("", "\x04", "\x00"), "\x1b"
"""How standard input ends: the terminal is gone, Ctrl-D, and a Ctrl-D that was pressed while no key was read. And what
arrows and function keys begin with."""


def read_key(prompt: str) -> str:
    """Return the key that is pressed, or the line that standard input holds next, without blanks around it. Blocks.

    Raises:
        EOFError: Standard input is over.
        KeyboardInterrupt: Ctrl-C.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        return read_text(prompt).strip()
    print(prompt, end="", flush=True)
    with _interrupts_alone():
        key = str(typer.getchar()) if termios is None else _pressed(sys.stdin.fileno())
    print(key if key.isprintable() else "", flush=True)
    if key in ENDS:
        raise EOFError
    return key.strip()


def read_text(prompt: str) -> str:
    """Return the next line of standard input. Blocks. Raises as `read_key` does."""
    print(prompt, end="", flush=True)
    with _interrupts_alone():
        line = "" if sys.stdin is None else sys.stdin.readline()
    if not line:
        print()
        raise EOFError
    return line.removesuffix("\n").removesuffix("\r")


@contextmanager
def _interrupts_alone() -> Iterator[None]:
    """End the prompt's line where Ctrl-C ends the block: what is said then stands on a line of its own."""
    try:
        yield
    except KeyboardInterrupt:
        print()
        raise


def _pressed(terminal: int) -> str:
    """Return the next key, "" where the terminal is gone. Keys that were pressed before count too."""
    decode = codecs.getincrementaldecoder("utf-8")("replace")
    with _single_keys(terminal):
        key = ""
        while not key:
            if not (byte := _read(terminal, 1)):
                return ""
            key = decode.decode(byte)
        if key == ESCAPE and select.select([terminal], [], [], 0)[0]:
            # An arrow: one key, and none of ours.
            _read(terminal, 16)
    return key


def _read(terminal: int, most: int) -> bytes:
    try:
        return os.read(terminal, most)
    except OSError:
        # Who looked at it has hung up.
        return b""


@contextmanager
def _single_keys(terminal: int) -> Iterator[None]:
    """Let a terminal give each key at once while the block lasts; Ctrl-C stays an interrupt."""
    before = termios.tcgetattr(terminal)
    # Not flushed, as `typer.getchar` does: a quick person's next key is not lost.
    tty.setcbreak(terminal, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
