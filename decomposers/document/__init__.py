"""A question about a long text, read slice by slice."""

from __future__ import annotations

from decomposers.document.task import Document, DocumentParams

__all__ = ["Document", "DocumentParams"]
