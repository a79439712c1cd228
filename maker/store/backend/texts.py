"""Escape texts that databases do not take."""

from __future__ import annotations


def stored(text: str) -> str:
    """Return a text with halves of surrogate pairs and NULs as escapes, which no database takes as they are."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
