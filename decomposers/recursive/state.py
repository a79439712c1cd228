"""Where a node of a recursive decomposition stands: goals and conclusions, and nothing of how they were come by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from decomposers.recursive.context import Finding, Level
from decomposers.recursive.plan import TaskPlan, digest, one_line, plan_of, plan_value


class Concluded(NamedTuple):
    """What a finished part leaves behind.

    Its answer, the digest of all plans from it down, how many nodes there are, and the bytes of the largest prompt at
    its own depth and at each one below.
    """

    answer: str
    plans: str
    nodes: int
    prompts: tuple[int, ...]


class Node(NamedTuple):
    """One problem of the tree.

    Args:
        goal: The problem, as its codec writes it.
        above: What is known of the levels above, root first: one for each, so their number is the node's depth.
        draft: Whether it only stands for one proposal of a plan for its problem.
        drafts: Plans that were proposed, in the order of their text, where one of them is still to be chosen.
        plan: The plan that was decided.
        done: What became of each part of the plan; None for those that are not done.
        answer: The answer that was decided.
        prompt: Bytes of the node's largest prompt so far.
    """

    goal: str
    above: tuple[Level, ...] = ()
    draft: bool = False
    drafts: tuple[TaskPlan, ...] = ()
    plan: TaskPlan | None = None
    done: tuple[Concluded | None, ...] = ()
    answer: str | None = None
    prompt: int = 0

    @property
    def depth(self) -> int:
        """How many levels are above: 0 for the root."""
        return len(self.above)

    def planned(self, plan: TaskPlan) -> Node:
        """Return the node with its plan decided."""
        return self._replace(drafts=(), plan=plan, done=(None,) * len(plan.parts))

    def ready(self) -> tuple[int, ...]:
        """Return the numbers of the parts that can be begun with: those whose needs are done."""
        done = {number for number, one in enumerate(self.done) if one is not None}
        return self.plan.ready(done) if self.plan else ()

    def part(self, number: int) -> Node:
        """Return a part of the plan as a node: it knows of its finished siblings the conclusions that it needs."""
        assert self.plan is not None  # noqa: S101 - only a node with parts has them
        part = self.plan.parts[number]
        findings = tuple(self.finding(need) for need in part.needs)
        return Node(part.goal, (*self.above, Level(self.goal, findings)))

    def finding(self, number: int) -> Finding:
        """Return what was found for a part. Raises ``ValueError`` where it is not done."""
        one = self.done[number]
        if one is None or self.plan is None:
            raise ValueError(f"part {number} of {self.goal[:80]!r} is not done")
        return Finding(self.plan.parts[number].goal, one.answer)

    def findings(self) -> tuple[Finding, ...]:
        """Return what was found for all parts, in their order."""
        return tuple(self.finding(number) for number in range(len(self.done)))

    def join(self, number: int, result: Sequence[Any]) -> Node:
        """Return the node with a part done, whose chain's result is a `Concluded` as a list."""
        return self._replace(done=(*self.done[:number], _concluded(result), *self.done[number + 1 :]))

    def conclusion(self) -> Concluded:
        """Return what the node leaves behind. Raises ``ValueError`` before its answer is there."""
        if self.answer is None or self.plan is None:
            raise ValueError(f"{self.goal[:80]!r} is not answered")
        parts = [one for one in self.done if one is not None]
        below = _largest([one.prompts for one in parts])
        nodes = 1 + sum(one.nodes for one in parts)
        return Concluded(
            self.answer, digest(self.goal, self.plan, [one.plans for one in parts]), nodes, (self.prompt, *below)
        )


def _largest(depths: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(max(sizes) for sizes in zip_longest(*depths, fillvalue=0))


class TextCodec:
    """Texts of one line, see `one_line`; an empty one is none."""

    def write(self, value: str) -> str:
        """Return the text."""
        return one_line(value)

    def read(self, text: str) -> str:
        """Return the text. Raises ``ValueError`` where it is empty."""
        if not (found := self.write(text)):
            raise ValueError("an empty text")
        return found

    def show(self, value: str) -> str:
        """Return the text."""
        return value


class NodeCodec:
    """Writes a node as a JSON list; what is at its end and as it is in a new node is left out."""

    def write(self, value: Node) -> str:
        """Return the canonical text."""
        plan = None if value.plan is None else plan_value(value.plan)
        drafts = [plan_value(draft) for draft in value.drafts]
        fields: list[Any] = [
            value.goal, list(value.above), value.draft, drafts, plan, list(value.done), value.answer, value.prompt
        ]  # fmt: skip
        for new in reversed(_NEW):
            if fields[-1] != new:
                break
            fields.pop()
        return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)

    def read(self, text: str) -> Node:
        """Return the node of a canonical text. Raises ``ValueError``."""
        try:
            fields: list[Any] = json.loads(text)
            goal, *rest = fields
            above, draft, drafts, plan, done, answer, prompt = [*rest, *_NEW[len(rest) :]]
            node = Node(
                goal,
                tuple(Level(level, tuple(Finding(*found) for found in findings)) for level, findings in above),
                draft,
                tuple(plan_of(one) for one in drafts),
                None if plan is None else plan_of(plan),
                tuple(None if one is None else _concluded(one) for one in done),
                answer,
                prompt,
            )
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a node: {text[:120]!r}") from error
        if self.write(node) != text:
            raise ValueError(f"not a canonical node: {text[:120]!r}")
        return node

    def show(self, value: Node) -> dict[str, Any]:
        """Return the node as JSON: problem, depth, plan, and the answers that there are."""
        return {
            "goal": value.goal,
            "depth": value.depth,
            "plan": None if value.plan is None else plan_value(value.plan),
            "parts": [None if one is None else one.answer for one in value.done],
            "answer": value.answer,
        }


def _concluded(value: Sequence[Any]) -> Concluded:
    answer, plans, nodes, prompts = value
    return Concluded(answer, plans, nodes, tuple(prompts))


_NEW: tuple[Any, ...] = ([], False, [], None, [], None, 0)
"""The fields of a new node as they are written, but for its problem."""
