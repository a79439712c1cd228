"""This machine's folders, as fsspec lists them; one that cannot be read is told."""

from __future__ import annotations

from typing import Any

from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from maker.inputs.failures import as_bad_input, redacted


class Folders(LocalFileSystem):  # type: ignore[misc]
    """Lists folders. fsspec passes over one that cannot be read, and its rows would be missing: here it is told."""

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:
        """List a folder. Raises `BadInput`, which fsspec does not pass over, where that is not possible."""
        try:
            return super().ls(path, detail=detail, **options)
        except FileNotFoundError:
            raise
        except OSError:
            with as_bad_input(redacted(path), path):
                raise
