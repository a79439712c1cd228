"""Merge sort, one comparison of two items a step."""

from __future__ import annotations

from decomposers.sort.task import Sort, SortParams
from maker.plugin import by_keywords

__all__ = ["Sort", "SortParams", "sort"]

sort = by_keywords(Sort, SortParams)
