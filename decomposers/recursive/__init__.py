"""Goals split into parts by voted plans, until a part can be answered in one step: Algorithm 4 of MAKER.

It goes through the decomposer's interface, with nothing of its own in the engine. A node of the tree is a chain: a
step decides its plan, a `Fork` hands out the parts that need nothing that is not done yet, further forks those that
waited for them, a last step composes. Plans that are drawn for a discriminator are a fork of single steps.

What makes a proposal none (`plan` by itself, `task.Recursive` for its node) is a parser's or a check's word, so a red
flag. A node's state (`state`) holds goals and conclusions: its own, those of its parts, and of each level above what
is told of it. `context` cuts each level to its bytes by itself. A plan is only let through if every prompt that it
leads to fits, whatever the answers will be: a run does not come to a prompt that is too long. docs/recursive.md says
what a user sees.
"""

from __future__ import annotations

from decomposers.recursive.params import RecursiveParams
from decomposers.recursive.plan import TaskPlan
from decomposers.recursive.prompts import GENERIC, Prompts
from decomposers.recursive.state import Node
from decomposers.recursive.task import Recursive
from maker.plugin import by_keywords

__all__ = ["GENERIC", "Node", "Prompts", "Recursive", "RecursiveParams", "TaskPlan", "recursive"]

recursive = by_keywords(Recursive[str, str], RecursiveParams)
