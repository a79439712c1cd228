"""Long multiplication, one column a step."""

from __future__ import annotations

from decomposers.multiply.task import Multiply, MultiplyParams

__all__ = ["Multiply", "MultiplyParams"]
