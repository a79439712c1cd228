"""Compressed files: read through in order, or by ranges of bytes from a copy that is not compressed."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import posixpath
import tempfile
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from maker.errors import BadInput, extra

ENDINGS = (".gz", ".bz2", ".xz", ".zst")
COPIES = 16
"""Most copies that a process keeps."""
_PIECE_BYTES = 64 << 10
_MOST_BYTES = 1 << 20
"""About the most that one piece may become at once: a file of zeros is a thousand times smaller."""
_ERRORS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)


def split_name(name: str) -> tuple[str, str]:
    """Return a file's name without the ending of its compression, and that ending, "" for none."""
    stem, ending = posixpath.splitext(name)
    return (stem, ending.lower()) if ending.lower() in ENDINGS else (name, "")


def is_compressed(name: str) -> bool:
    """Say whether a file is compressed, by its name."""
    return split_name(name)[1] != ""


class Decompressed(io.RawIOBase):
    """What a compressed file holds, in order. Raises `BadInput` where it is damaged, cut off or another file.

    Several streams after one another are one, with zero bytes between them or not. Nothing else may follow one.

    Args:
        file: The compressed file. Closed with this one.
        name: Its name, whose ending says how it is compressed.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self._ending = split_name(name)[1]
        self._new = _decompressor(self._ending, name)
        self._stream: Any = None
        self._left = b""
        self._begun = self._ended = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what comes next, at least a byte unless nothing does."""
        view = memoryview(buffer)
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close both."""
        self._file.close()
        super().close()

    def _next(self, most: int) -> bytes:
        while True:
            if not (self._left or self._ended or (self._stream is not None and self._stream.more)):
                self._left = self._file.read(_PIECE_BYTES)
                self._ended = not self._left
            if self._stream is None:
                if self._begun:
                    # After a stream some writers leave zero bytes.
                    self._left = self._left.lstrip(b"\0")
                if not self._left:
                    if self._ended:
                        return b""
                    continue
                self._begun = True
                self._stream = self._new()
            if self._ended and not self._left and not self._stream.more:
                raise self._damaged("it ends too early")
            try:
                data, self._left = self._stream.take(self._left, most)
            except _ERRORS as error:
                raise self._damaged(str(error)) from error
            if self._stream.ended:
                self._stream = None
            if data:
                return bytes(data)

    def _damaged(self, why: str) -> BadInput:
        return BadInput(
            f"input part {self._name} cannot be decompressed: {why}",
            fix=f"check that it was copied whole, and that it is a {self._ending} file",
            part=self._name,
        )


class _Stream:
    """One stream of a compressed file."""

    def __init__(self, made: Any, *, gzip: bool) -> None:
        self._made, self._gzip = made, gzip
        self.more = False
        """Something may come without further input."""

    @property
    def ended(self) -> bool:
        return bool(self._made.eof)

    def take(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        """Decompress data to ``most`` bytes; return them, and what is left of the data."""
        found = self._made.decompress(data, most)
        if self._made.eof:
            self.more = False
            return found, self._made.unused_data
        if self._gzip:
            self.more = len(found) == most
            return found, self._made.unconsumed_tail
        self.more = not self._made.needs_input
        return found, b""


class _ZstdStream:
    """One frame of a Zstandard file. Small pieces bound what comes of them."""

    more = False

    def __init__(self, made: Any, error: type[Exception]) -> None:
        self._made, self._error = made, error
        self._kept = b""

    @property
    def ended(self) -> bool:
        return bool(self._made.eof) and not self._kept

    def take(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        if not self._kept and not self._made.eof:
            piece, data = data[:1024], data[1024:]
            try:
                self._kept = self._made.decompress(piece)
            except self._error as error:
                raise ValueError(str(error)) from error
            data = self._made.unused_data + data
        found, self._kept = self._kept[:most], self._kept[most:]
        self.more = bool(self._kept)
        return found, data


def _decompressor(ending: str, name: str) -> Callable[[], Any]:
    """Return what makes a stream. Raises `ExtraMissing` where the package for it is missing."""
    if ending == ".gz":
        return lambda: _Stream(zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), gzip=True)
    if ending == ".bz2":
        return lambda: _Stream(bz2.BZ2Decompressor(), gzip=False)
    if ending == ".xz":
        return lambda: _Stream(lzma.LZMADecompressor(), gzip=False)
    with extra("zstd", f"input part {name}"):
        import zstandard
    return lambda: _ZstdStream(zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError)


class _Copies:
    """Copies of what compressed files hold, in files without a name that vanish with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[tuple[str, str], IO[bytes]] = OrderedDict()

    def read(self, key: tuple[str, str], opened: Callable[[], IO[bytes]], start: int, stop: int) -> bytes:
        """Return bytes of a file; ``opened`` gives what it holds, where there is no copy yet."""
        with self._lock:
            if key not in self._files:
                self._files[key] = _copy(opened)
                while len(self._files) > COPIES:
                    self._files.popitem(last=False)[1].close()
            self._files.move_to_end(key)
            file = self._files[key]
            file.seek(start)
            return file.read(stop - start)

    def forget(self, key: tuple[str, str]) -> None:
        """Drop the copy of a file that is read through anew: it may be another one by now."""
        with self._lock:
            if (file := self._files.pop(key, None)) is not None:
                file.close()


def _copy(opened: Callable[[], IO[bytes]]) -> IO[bytes]:
    copy: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it is kept
    try:
        with opened() as source:
            while piece := source.read(_MOST_BYTES):
                try:
                    copy.write(piece)
                except OSError as error:
                    raise BadInput(
                        f"{tempfile.gettempdir()} has no room for what a compressed input holds: {error.strerror}",
                        fix="set TMPDIR to a folder with more room, or decompress the input",
                    ) from error
    except BaseException:
        with suppress(OSError):
            copy.close()
        raise
    return copy


copies = _Copies()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=copies.__init__)  # type: ignore[misc]
