"""Towers of Hanoi, one move a step: as one chain, or as a tree."""

from __future__ import annotations

from decomposers.hanoi.task import Hanoi, HanoiParams

__all__ = ["Hanoi", "HanoiParams"]
