"""Workflows: an async function made into a task, whose steps are voted on.

`workflow` is the decorator, `Run` what its function is given first. `asked` holds what a function may wait for, `play`
where it stands, `task` the decomposer. Users import both names from `maker`.
"""

from decomposers.workflow.asked import Awaited
from decomposers.workflow.decorator import Workflow, workflow
from decomposers.workflow.run import Run

__all__ = ["Awaited", "Run", "Workflow", "workflow"]
