"""What the roles of a recursive decomposition are asked: the shipped words, and what may stand in a caller's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from decomposers.recursive.context import Budget, lines_of, told
from decomposers.recursive.plan import TaskPlan, plan_value
from decomposers.recursive.state import Node
from maker.plugin import Template

DECOMPOSER, SOLVER, COMPOSER, DISCRIMINATOR = "decomposer", "solver", "composer", "discriminator"
ROLES = (DECOMPOSER, SOLVER, COMPOSER, DISCRIMINATOR)

MUST: Mapping[str, frozenset[str]] = {
    DECOMPOSER: frozenset({"goal"}),
    SOLVER: frozenset({"goal"}),
    COMPOSER: frozenset({"parts", "compose"}),
    DISCRIMINATOR: frozenset({"goal", "plans"}),
}
"""What each role's prompt must name, or it would not say what is asked."""
MAY: Mapping[str, frozenset[str]] = {
    DECOMPOSER: frozenset({"goal", "context", "operations", "most"}),
    SOLVER: frozenset({"goal", "context"}),
    COMPOSER: frozenset({"goal", "context", "parts", "compose"}),
    DISCRIMINATOR: frozenset({"goal", "context", "plans"}),
}
"""What it may name."""


class Prompts(NamedTuple):
    """A text for each role, with ``{{name}}`` where something goes; the names are those of `MAY`.

    ``goal`` is the problem; ``context`` the lines of the levels above, each with a line break at its end, nothing at
    the root; ``operations`` and ``most`` the compositions and the number of parts that a plan may have; ``parts`` a
    line for each part with its answer; ``compose`` what the plan says is to be done with them; ``plans`` a line for
    each proposal, numbered from 1. What all prompts of a role share should come first: servers cache prefixes.
    """

    decomposer: str
    solver: str
    composer: str
    discriminator: str


GENERIC = Prompts(
    decomposer="""\
You plan, and do not solve. Say how to break one problem into smaller ones, or that it can be answered in one step.
Reply with one JSON object alone: {"atomic": true} where one step answers it, else
{"parts": [{"name": "a", "goal": "..."}, {"name": "b", "goal": "...", "needs": ["a"]}], "compose": "..."}
There are at most {{most}} parts. Each goal is a smaller problem in words that can be understood by themselves; needs
names the parts whose answers it must know; compose says how the answers of the parts make the whole{{operations}}.

{{context}}Problem: {{goal}}
Plan: """,
    solver="""\
Answer one problem. Reply with the answer alone, in as few words as it takes.

{{context}}Problem: {{goal}}
Answer: """,
    composer="""\
The parts of one problem are answered. Put their answers together as you are told. Reply with the result alone.

{{context}}Problem: {{goal}}
{{parts}}To do: {{compose}}
Result: """,
    discriminator="""\
These are plans for one problem. Say which is the best: right, complete, and of the simplest parts. Reply with its
number alone.

{{context}}Problem: {{goal}}
{{plans}}Number: """,
)


LAST = """\
You plan, and do not solve. This problem is not broken into smaller ones: one step answers it.
Reply with this JSON object alone: {"atomic": true}

{{context}}Problem: {{goal}}
Plan: """
"""What goes with the decomposer's words of `GENERIC` where no plan with parts is legal."""


class Writer:
    """Writes the prompts of nodes.

    Args:
        prompts: The texts.
        budget: What the levels above may take.
        operations: The compositions that there are; none where a plan may say what it likes.
        most: How many parts a plan may have.
        last: From this depth on no plan with parts is legal, and the decomposer is told so; None where it is not told.
    """

    def __init__(
        self, prompts: Prompts, budget: Budget, operations: Sequence[str], most: int, *, last: int | None = None
    ) -> None:
        self._last = last
        self._last_plan = Template(LAST)
        self._templates = {role: Template(getattr(prompts, role)) for role in ROLES}
        self._budget = budget
        named = f": one of {', '.join(operations)}" if operations else ""
        self._fixed = {"operations": named, "most": str(most)}

    def write(self, role: str, node: Node) -> str:
        """Return what a role is asked about a node; a composer of one whose parts are all done."""
        values: dict[str, Any] = {"goal": node.goal, **self._fixed}
        is_last = role == DECOMPOSER and self._last is not None and node.depth >= self._last
        template = self._last_plan if is_last else self._templates[role]
        if "context" in template.columns:
            values["context"] = told(node.above, self._budget.level)
        if role == COMPOSER and node.plan is not None:
            values |= {"parts": lines_of(node.findings(), "Part"), "compose": node.plan.compose}
        if role == DISCRIMINATOR:
            values["plans"] = plan_lines(node.drafts)
        return template.render(values)


def plan_lines(plans: Sequence[TaskPlan]) -> str:
    """Return a numbered line for each plan."""
    return "".join(
        f"{number}. {json.dumps(plan_value(plan), ensure_ascii=False)}\n" for number, plan in enumerate(plans, 1)
    )


def faults(prompts: Prompts) -> str:
    """Say what prompts name that is nothing, or do not name and must; "" where they are as they should be."""
    for role in ROLES:
        columns = frozenset(Template(getattr(prompts, role)).columns)
        if missing := sorted(MUST[role] - columns):
            return f"{role}: the prompt must contain {{{{{missing[0]}}}}}"
        if unknown := sorted(columns - MAY[role]):
            return f"{role}: {{{{{unknown[0]}}}}} is unknown; the prompt may contain {', '.join(sorted(MAY[role]))}"
    return ""
