"""A map over rows: one answer a row, each voted on by itself."""

from __future__ import annotations

from decomposers.map.task import Map, MapParams

__all__ = ["Map", "MapParams"]
