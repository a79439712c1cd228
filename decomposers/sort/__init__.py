"""Merge sort, one comparison of two items a step."""

from __future__ import annotations

from decomposers.sort.task import Sort, SortParams

__all__ = ["Sort", "SortParams"]
