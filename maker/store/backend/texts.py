"""Texts as the store holds them."""

from __future__ import annotations


def stored(text: str) -> str:
    """Return a text as every database takes it: what is no Unicode (half a surrogate pair), and NUL, is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
