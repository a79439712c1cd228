"""Write files and folders atomically: they appear under their name when they are complete."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from maker.errors import BadInput, MakerError


@contextmanager
def replacing(out: Path, check: Callable[[], None] = lambda: None) -> Iterator[IO[bytes]]:
    """Open a file that replaces ``out`` when the block succeeds, and is deleted when it fails.

    ``check`` is called just before the replacement; if it raises, ``out`` stays as it was. Raises `BadInput` if no file
    can be created beside ``out``.
    """
    # A random name: two processes must not write into the same file.
    part = out.with_name(f"{out.name}.{secrets.token_hex(4)}.part")
    try:
        with _made(part, out) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        check()
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    _flush_folder(out.parent)


def _flush_folder(path: Path) -> None:
    """Make a file's new name durable."""
    if os.name == "nt":
        # Windows opens no folder, and writes names down by itself.
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def replacing_folder(out: Path, check: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """Create a folder that replaces ``out`` when the block succeeds, and is deleted when it fails.

    ``check`` is as in `replacing`. Between two renames there is no folder ``out`` for a moment; the old one is beside
    it then, as ``.old``. Raises `BadInput` if no folder can be created beside ``out``.
    """
    fresh = out.with_name(f"{out.name}.{secrets.token_hex(4)}.part")
    old = fresh.with_suffix(".old")
    try:
        try:
            fresh.mkdir()
        except OSError as error:
            raise BadInput(f"{out} cannot be created: {error.strerror}") from error
        yield fresh
        check()
        if out.exists():
            out.rename(old)
        fresh.rename(out)
    finally:
        if old.exists() and not out.exists():
            # A signal came between the two renames: put the old folder back.
            old.rename(out)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def refuse_taken(out: Path, *, force: bool, held: str = "") -> None:
    """Raise `BadInput` if a file exists and ``force`` is not set, or if it cannot be created.

    ``held`` is added to the message about an existing file.
    """
    if not out.parent.is_dir():
        raise BadInput(f"the folder {out.parent} for {out.name} does not exist", fix="create it, or name another one")
    try:
        there = out.exists()
    except OSError as error:
        # A name that is too long, or a folder that must not be looked into.
        raise BadInput(f"{out}: {error.strerror}", fix="name another one with --out FILE") from error
    if there and not out.is_file():
        raise BadInput(f"{out} is not a file", fix="name another one with --out FILE")
    if there and not force:
        raise BadInput(
            f"{out} exists already{held}", fix="name another file with --out FILE, or replace it with --force"
        )


@contextmanager
def write_errors(out: Path | IO[bytes], fix: str = "free some disk space, and try again") -> Iterator[None]:
    """Turn a write error of a file or stream into `MakerError`; lets a ``BrokenPipeError`` pass."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        shown = out if isinstance(out, Path) else "the output"
        raise MakerError(f"{shown} cannot be written: {error.strerror or error}", fix=fix) from error


def _made(part: Path, out: Path) -> IO[bytes]:
    try:
        return part.open("xb")
    except OSError as error:
        raise BadInput(f"{out} cannot be created: {error.strerror}") from error
