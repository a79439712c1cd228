"""A question about a long text, read slice by slice.

The root forks into slices, which are rows of an input that is read in slices (`maker.inputs.formats.slices`). How long
they are follows from the longest prompt that is allowed, and from how much numbering sentences adds to them (`text`).
What slices name is kept in the root's state as findings. Groups of these are narrowed down by half at least until all
fit into one prompt.
"""

from __future__ import annotations

from decomposers.document.task import Document, DocumentParams
from maker.plugin import by_keywords

__all__ = ["Document", "DocumentParams", "document"]

document = by_keywords(Document, DocumentParams)
