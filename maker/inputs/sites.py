"""Where an input's files are: on this machine or behind a URL, always by way of fsspec."""

from __future__ import annotations

import io
import os
import posixpath
import re
from collections.abc import Iterable
from functools import partial
from typing import IO, Any, NamedTuple, cast
from urllib.parse import urlsplit

from maker.errors import BadInput
from maker.inputs.compressed import Decompressed, copies, is_compressed
from maker.inputs.failures import as_bad_input, protocol_of, redacted
from maker.inputs.secrets import check_whole

_WEB = {"http", "https"}
_LOCAL = {"file", "local"}


class Site:
    """A folder or URL, and the files under it. Pickles without anything open.

    Args:
        where: The input as it was declared: says which file system.
        base: What the names of files are relative to, as that file system writes it.
        alone: The path of the only file, if the input is one file.
    """

    def __init__(self, where: str, base: str, alone: str = "") -> None:
        self.where = where
        self._base = base
        self._alone = alone
        self._system: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Site, (self.where, self._base, self._alone)

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading: of a compressed one what it holds, in order alone.

        Raises `BadInput`; wrap what is read from it in `telling`.
        """
        if is_compressed(name):
            copies.forget((self.where, self._path(name)))
        return self._opened(name)

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of a file from ``start`` to before ``stop``, fewer at its end. Raises `BadInput`."""
        if start == stop:
            return b""
        if is_compressed(name):
            with self.telling(name):
                return copies.read((self.where, self._path(name)), partial(self._opened, name), start, stop)
        with self.telling(name):
            data = bytes(self._files().cat_file(self._path(name), start=start, end=stop))
        # A server that does not know ranges sends the whole file.
        return data if len(data) <= stop - start else data[start:stop]

    def telling(self, name: str, fix: str = "") -> Any:
        """Return the context in which whatever reading a file raises becomes a `BadInput`."""
        return as_bad_input(f"input part {name}", self.where, fix)

    def _opened(self, name: str) -> IO[bytes]:
        with self.telling(name):
            file = cast("IO[bytes]", self._files().open(self._path(name), "rb"))
            return cast("IO[bytes]", io.BufferedReader(Decompressed(file, name))) if is_compressed(name) else file

    def _files(self) -> Any:
        if self._system is None:
            self._system, _ = _file_system(self.where)
        return self._system

    def _path(self, name: str) -> str:
        return self._alone or f"{self._base}/{name}"


class Found(NamedTuple):
    """The files of an input. ``names`` are sorted; ``folder`` says that they are whatever a folder holds."""

    site: Site
    names: tuple[str, ...]
    folder: bool


def find(where: str) -> Found:
    """Look for the files of an input.

    Args:
        where: A file, a pattern or a folder: a path, or a URL that fsspec knows. What there is under that very name
            goes before what it would match as a pattern.

    Raises:
        BadInput: There is nothing, a package or credentials are missing, the place cannot be read, or it is one of
            which a secret was left out.
    """
    if not where.strip():
        raise BadInput("the input is empty", fix="give a file, a pattern such as data/*.csv or a folder")
    check_whole(where)
    with as_bad_input(redacted(where), where):
        files, path = _file_system(where)
        if _is_local(where):
            from maker.inputs.folders import Folders

            files = Folders()
        # Listings that this process keeps of a remote place may be older than the files.
        files.invalidate_cache()
        path = path.rstrip("/") or path
        kind = _kind(files, path)
        if kind == "directory":
            return _under(where, path, files.find(path, detail=True), files, folder=True)
        if kind:
            name = posixpath.basename(_bare(where, path))
            return Found(Site(where, posixpath.dirname(path), path), (name,), folder=False)
        magic = _magic(where, path)
        if magic < 0:
            raise BadInput(
                f"there is no input {redacted(where)}", fix="give a file, a pattern such as data/*.csv or a folder"
            )
        return _under(where, path[:magic].rpartition("/")[0], files.glob(path, detail=True), files, folder=False)


def would_read(where: str, file: str) -> bool:
    """Say whether a file of this machine would be one of an input's, if there were one at that path.

    Of a folder, any would that is not hidden, in whatever format. Links are followed; of a URL it is not known: False.

    Raises:
        BadInput: It may not be looked at what the input is.
    """
    if not _is_local(where) or not where.strip():
        return False
    from fsspec.utils import glob_translate  # type: ignore[import-untyped]

    files, path = _file_system(where)
    path, real = path.rstrip("/") or path, os.path.realpath(file)
    with as_bad_input(redacted(where), where):
        kind = _kind(files, path)
    if kind:
        name = _within(path, real)
        return name != "" and not _is_hidden(name.split("/")) if kind == "directory" else os.path.realpath(path) == real
    if (magic := _magic(where, path)) < 0:
        return False
    base = path[:magic].rpartition("/")[0]
    name = _within(base or "/", real)
    return name != "" and re.match(glob_translate(path[len(base) :].lstrip("/")), name) is not None


def _file_system(where: str) -> tuple[Any, str]:
    """Return the file system of a place, and the path in it."""
    # Every plugin and every command imports this module; fsspec takes them 60 ms, and few of them read a file.
    import fsspec  # type: ignore[import-untyped]

    files, path = fsspec.core.url_to_fs(where)
    return files, path


def _is_local(where: str) -> bool:
    return "::" not in where and protocol_of(where) in _LOCAL


def _within(folder: str, real: str) -> str:
    """Return a path as it is relative to a folder, "" where it is not in it."""
    base = os.path.realpath(folder).rstrip("/") + "/"
    return real.removeprefix(base) if real.startswith(base) else ""


def _magic(where: str, path: str) -> int:
    """Return where a path becomes a pattern, -1 if it is none."""
    # In a web address a question mark begins the query.
    marks = "*[" if protocol_of(where) in _WEB else "*?["
    return min((path.index(mark) for mark in marks if mark in path), default=-1)


def _kind(files: Any, path: str) -> str:
    try:
        return str(files.info(path)["type"])
    except FileNotFoundError as error:
        # A web server that refuses or does not answer comes as a missing file.
        cause = error.__cause__
        if isinstance(cause, Exception) and path.startswith("http") and getattr(cause, "status", 0) != 404:
            raise cause from None
        return ""


def _under(where: str, base: str, listed: dict[str, dict[str, Any]], files: Any, *, folder: bool) -> Found:
    base = base.rstrip("/")
    paths = (path for path, info in listed.items() if _is_file(files, path, info))
    names = sorted(path.removeprefix(base).lstrip("/") for path in paths)
    names = [name for name in names if not (folder and _is_hidden(name.split("/")))]
    if not names:
        what = f"the folder {redacted(where)} holds no file" if folder else f"no file matches {redacted(where)}"
        raise BadInput(what, fix="give a file, a pattern such as data/*.csv or a folder")
    return Found(Site(where, base), tuple(names), folder)


def _is_file(files: Any, path: str, info: dict[str, Any]) -> bool:
    return info["type"] == "file" or (bool(info.get("islink")) and bool(files.isfile(path)))


def _is_hidden(steps: Iterable[str]) -> bool:
    return any(step.startswith(".") for step in steps)


def _bare(where: str, path: str) -> str:
    """Return a path without a web address's query, which may be secret and is no part of the file's name."""
    return urlsplit(path).path if protocol_of(where) in _WEB else path
