"""Towers of Hanoi, one move a step: as one chain, or as a tree."""

from __future__ import annotations

from decomposers.hanoi.task import Hanoi, HanoiParams
from maker.plugin import by_keywords

__all__ = ["Hanoi", "HanoiParams", "hanoi"]

hanoi = by_keywords(Hanoi, HanoiParams)
