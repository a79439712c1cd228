"""Files and folders that take their name when they are whole."""

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
    """Give a file that takes the place of ``out`` when the block ends well, and is gone when it does not.

    ``check`` is called just before it does; what it raises keeps ``out`` as it was. Raises `BadInput` where no file can
    be made beside it.
    """
    # A name of its own: two processes at once must not write into one another's file.
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
    folder = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def replacing_folder(out: Path, check: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """Give a new folder that takes the place of ``out`` when the block ends well, and is gone when it does not.

    ``check`` is as with `replacing`. Between two renames there is no folder of that name for a moment; one that was
    there lies beside it then, as ``.old``. Raises `BadInput` where no folder can be made beside it.
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
            # A signal came between the two.
            old.rename(out)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def refuse_taken(out: Path, *, force: bool, held: str = "") -> None:
    """Raise `BadInput` for a file that is there and not to be replaced, or one that cannot be.

    ``held`` is what the message says of a file that is there.
    """
    if not out.parent.is_dir():
        raise BadInput(f"the folder {out.parent} for {out.name} does not exist", fix="create it, or name another one")
    if out.exists() and not out.is_file():
        raise BadInput(f"{out} is not a file", fix="name another one with --out FILE")
    if out.exists() and not force:
        raise BadInput(
            f"{out} exists already{held}", fix="name another file with --out FILE, or replace it with --force"
        )


@contextmanager
def telling_unwritable(out: Path | IO[bytes], fix: str = "free some disk space, and try again") -> Iterator[None]:
    """Raise `MakerError` where a file or a stream cannot be written to its end; a pipe that nobody reads is let by."""
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
