"""Long multiplication, one column a step."""

from __future__ import annotations

from decomposers.multiply.task import Multiply, MultiplyParams
from maker.plugin import by_keywords

__all__ = ["Multiply", "MultiplyParams", "multiply"]

multiply = by_keywords(Multiply, MultiplyParams)
