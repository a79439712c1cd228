"""Read what a person presses: single keys on a terminal, lines where there is none."""

from __future__ import annotations

import sys

import typer

from maker.cli.output import print


def read_key(prompt: str) -> str:
    """Return the key that is pressed, or the line that standard input holds next, without blanks around it. Blocks.

    Raises:
        EOFError: Standard input is over.
        KeyboardInterrupt: Ctrl-C.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        return read_text(prompt).strip()
    print(prompt, end="", flush=True)
    key = str(typer.getchar())
    print(key if key.isprintable() else "", flush=True)
    return key.strip()


def read_text(prompt: str) -> str:
    """Return the next line of standard input. Blocks. Raises as `read_key` does."""
    print(prompt, end="", flush=True)
    line = "" if sys.stdin is None else sys.stdin.readline()
    if not line:
        print()
        raise EOFError
    return line.removesuffix("\n").removesuffix("\r")
