"""Goals split into parts by voted plans, until a part can be answered in one step."""

from __future__ import annotations

from decomposers.recursive.params import RecursiveParams
from decomposers.recursive.plan import TaskPlan
from decomposers.recursive.prompts import GENERIC, Prompts
from decomposers.recursive.state import Node
from decomposers.recursive.task import Recursive

__all__ = ["GENERIC", "Node", "Prompts", "Recursive", "RecursiveParams", "TaskPlan"]
