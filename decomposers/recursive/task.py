"""Recursive decomposition, with plans that a model proposes: Algorithm 4 of MAKER (arXiv 2511.09030), made general.

One role plans, one solves, one composes (arXiv 2402.15000), and where it is wanted one chooses among plans; what each
of them says is voted on. A problem's parts are children of its chain, and parts of theirs in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar, cast

from decomposers.common.strict_json import object_in_before
from decomposers.recursive.context import Budget, fullest, size, whole
from decomposers.recursive.params import RecursiveParams
from decomposers.recursive.plan import (
    ATOMIC_SCHEMA,
    Action,
    ActionCodec,
    Answer,
    Choice,
    Part,
    TaskPlan,
    plan_of,
    plan_schema,
    plan_schema_before,
    plan_value,
    read_plan,
)
from decomposers.recursive.prompts import (
    COMPOSER,
    DECOMPOSER,
    DISCRIMINATOR,
    GENERIC,
    SOLVER,
    Prompts,
    Writer,
    faults,
)
from decomposers.recursive.state import Concluded, Node, NodeCodec, TextCodec
from maker.plugin import BadInput, Codec, Decomposer, Done, Fork, Oracle, Step, StepClass

G = TypeVar("G")
R = TypeVar("R")


class Recursive(Decomposer[Node, Action], Generic[G, R]):
    """Breaks a problem into parts as a model proposes, solves what is atomic, and composes the answers.

    As it is, problems and answers are texts. For others subclass it: ``goals`` and ``answers`` are the codecs of your
    types (``PydanticCodec(YourModel)``, say), ``words`` what the roles are asked, and `check_plan` and `check_answer`
    the rules of your task. They must know the rules alone: a check that knows the answer would be the answer.
    """

    name: ClassVar[str] = "recursive"
    version: ClassVar[int] = 1
    Params: ClassVar[type[RecursiveParams]] = RecursiveParams
    words: ClassVar[Prompts] = GENERIC
    """What the roles are asked where the job has no words of its own."""
    goals: Codec[G] = cast("Codec[G]", TextCodec())
    """How problems are read and written. What stands in a prompt, and is compared, is what it writes."""
    answers: Codec[R] = cast("Codec[R]", TextCodec())
    """How answers are read from replies and written: two are the same vote where they are written the same."""

    def __init__(self, params: RecursiveParams) -> None:
        self.params = params
        self.state: Codec[Node] = NodeCodec()
        self.action: Codec[Action] = ActionCodec()
        self._budget = Budget(params.base_bytes, params.level_bytes)
        self._prompts = params.prompts(self.words)
        if told := faults(self._prompts):
            raise ValueError(told)
        newest, shipped = params.words > 1, self._prompts.decomposer == GENERIC.decomposer
        # Words that are not shipped may ask for plans in another form.
        last = params.max_depth if newest and shipped else None
        self._writer = Writer(self._prompts, self._budget, params.operations, params.max_parts, last=last)
        self._draws = params.proposals if params.vote_plans == "discriminator" else 0
        tokens, checked = params.answer_tokens, self._answer_fault
        self._plan: StepClass[Node, Action] = StepClass(
            "plan", self.read_plan, self._plan_fault, params.plan_tokens, role=DECOMPOSER,
            # A reply is the plan and little else: names and blanks make it longer than what is voted on.
            verbatim=True, schema=self._plan_schema() if newest else plan_schema_before(params.operations),
            memo=not self._draws,
            # A subclass that reads plans its own way has always done so.
            read_before=self._read_plan_before if type(self).read_plan is Recursive.read_plan else None,
        )  # fmt: skip
        self._last_plan = replace(self._plan, schema=ATOMIC_SCHEMA)
        self._solve: StepClass[Node, Action] = StepClass("solve", self.read_answer, checked, tokens, role=SOLVER)
        self._compose: StepClass[Node, Action] = StepClass("compose", self.read_answer, checked, tokens, role=COMPOSER)
        self._choose: StepClass[Node, Action] = StepClass("choose", _choice, _no_such_plan, 8, role=DISCRIMINATOR)
        self.classes = (self._plan, self._solve, self._compose, *([self._choose] if self._draws else []))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.params,)

    # --- what a subclass may have its own way ---

    def prompt(self, role: str, node: Node) -> str:
        """Return what a role is asked about a node; by default its words, filled in.

        Before a plan is accepted, prompts are written for answers as long as they may be or a few bytes longer, all of
        them nines: what is written for others must not be longer than that, nor may it rest on what an answer says.
        """
        return self._writer.write(role, node)

    def check_plan(self, goal: G, parts: Sequence[G], compose: str) -> str | None:
        """Say why the rules of the task forbid a plan, or None. One without parts says that the problem is atomic."""
        return None

    def check_answer(self, goal: G, answer: R) -> str | None:
        """Say why the rules of the task forbid an answer to a problem, or None."""
        return None

    def read_plan(self, text: str) -> TaskPlan:
        """Return the plan that a reply proposes. Raises ``ValueError``."""
        return read_plan(text, self._goal)

    def read_answer(self, text: str) -> Answer:
        """Return the answer that a reply gives: all of it, as `answers` reads it. Raises ``ValueError``."""
        return Answer(self.answers.write(self.answers.read(text.strip())))

    def oracle(self) -> Oracle | None:
        """Return the function that the job names for a simulated model, or None."""
        return self.params.truth

    # --- the interface ---

    def start(self) -> Node:
        """Return the root.

        Raises:
            BadInput: The problem is none, or too long for the prompts of the root.
        """
        try:
            node = Node(self._goal(self.params.problem))
        except ValueError as error:
            raise BadInput(f"task.problem cannot be read: {error}") from error
        for role in (DECOMPOSER, SOLVER):
            if told := self._too_long(role, node):
                raise BadInput(
                    f"{told} at the root", fix="raise task.base_bytes, or shorten the problem or the role prompts"
                )
        return node

    def prompts(self) -> str:
        """Return the words of all roles."""
        return "\n".join(self._prompts)

    def next(self, state: Node) -> Step[Node, Action] | Fork[Node] | Done:
        """Ask for a plan, for an answer, or for both from the parts; end with an answer."""
        if state.draft and state.plan is not None:
            return Done([plan_value(state.plan), state.prompt])
        if state.answer is not None:
            return Done(self._result(state))
        if state.plan is None and self._draws and not state.draft and not state.drafts:
            return Fork(self._draws, self._draft, self._drawn, self._agreed, single=True)
        if ready := state.ready():
            return Fork(
                len(ready), lambda node, i: node.part(ready[i]), lambda node, i, told: node.join(ready[i], told)
            )
        kind = self._kind(state)
        prompt = self.prompt(kind.role, state)
        if (found := size(prompt)) > (most := self._budget.at(state.depth)):
            raise BadInput(
                f"depth {state.depth}, {state.goal[:80]!r}: the {kind.role}'s prompt has {found:,} bytes, "
                f"over {most:,}",
                fix="raise task.base_bytes or task.level_bytes, or shorten what `prompt` writes",
            )
        return Step(kind, prompt)

    def apply(self, state: Node, action: Action) -> Node:
        """Take in what was decided, and how long the prompt was that asked for it."""
        role = self._kind(state).role
        seen = state._replace(prompt=max(state.prompt, size(self.prompt(role, state))))
        if isinstance(action, Answer):
            return seen._replace(answer=action.text)
        return seen.planned(seen.drafts[action.number - 1] if isinstance(action, Choice) else action)

    def _kind(self, node: Node) -> StepClass[Node, Action]:
        if node.plan is None:
            if node.drafts:
                return self._choose
            # Parts would be too deep: at the last level every problem is atomic.
            return self._plan if node.depth < self.params.max_depth else self._last_plan
        return self._solve if node.plan.atomic else self._compose

    def _result(self, node: Node) -> Any:
        found = node.conclusion()
        if node.above:
            return list(found)
        plan = {"digest": found.plans, "nodes": found.nodes, "depth": len(found.prompts) - 1}
        prompts = {"largest": found.prompts, "budget": [self._budget.at(depth) for depth in range(len(found.prompts))]}
        return {"answer": self.answers.show(self.answers.read(found.answer)), "plan": plan, "prompt_bytes": prompts}

    def _plan_schema(self) -> dict[str, Any]:
        """Return the schema of plans; what is no text cannot be a problem that is one."""
        return plan_schema(self.params.operations, {"type": "string"} if isinstance(self.goals, TextCodec) else None)

    # --- plans that are drawn ---

    def _draft(self, state: Node, _number: int) -> Node:
        return state._replace(draft=True)

    def _drawn(self, state: Node, _number: int, result: Any) -> Node:
        plan, prompt = result
        key = self.action.write
        drafts = sorted({*state.drafts, plan_of(plan)}, key=key)
        return state._replace(drafts=tuple(drafts), prompt=max(state.prompt, prompt))

    def _agreed(self, state: Node) -> Node:
        return state.planned(state.drafts[0]) if len(state.drafts) == 1 else state

    # --- red flags ---

    def _plan_fault(self, node: Node, action: Action) -> str | None:
        params, plan = self.params, cast("TaskPlan", action)
        if not plan.atomic:
            if len(plan.parts) > params.max_parts:
                return f"too many parts: {len(plan.parts)}, task.max_parts = {params.max_parts}"
            if node.depth >= params.max_depth:
                return f"too deep: its parts would be {node.depth + 1} levels down, task.max_depth = {params.max_depth}"
            if params.operations and plan.compose not in params.operations:
                return f"there is no operation {plan.compose[:80]!r}, only {', '.join(params.operations)}"
            ancestors = {node.goal, *(level.goal for level in node.above)}
            if circle := next((part.goal for part in plan.parts if part.goal in ancestors), None):
                return f"a circle: part {circle[:80]!r} is the problem itself, or one that it is part of"
        goals = [self.goals.read(part.goal) for part in plan.parts]
        told = self.check_plan(self.goals.read(node.goal), goals, plan.compose)
        return told or self._unfit(node, plan)

    def _unfit(self, node: Node, plan: TaskPlan) -> str | None:
        """Say which prompt that a plan leads to would be too long, whatever its parts' answers will be, or None."""
        if self._draws and (told := self._too_long(DISCRIMINATOR, node._replace(drafts=(plan,) * self._draws))):
            return told
        if plan.atomic:
            return self._too_long(SOLVER, node._replace(plan=plan))
        longest = Concluded("9" * self.params.conclusion_bytes, "", 1, ())
        answered = node._replace(plan=plan, done=(longest,) * len(plan.parts))
        for number, part in enumerate(plan.parts):
            child = answered.part(number)
            if not whole(child.above[-1], self._budget.level):
                return f"what part {part.goal[:80]!r} needs can be longer than a level's {self._budget.level} bytes"
            child = child._replace(above=(*child.above[:-1], fullest(child.above[-1], self._budget.level)))
            if told := self._too_long(DECOMPOSER, child) or self._too_long(SOLVER, child):
                return f"part {part.goal[:80]!r}: {told}"
        return self._too_long(COMPOSER, answered)

    def _too_long(self, role: str, node: Node) -> str | None:
        found, most = size(self.prompt(role, node)), self._budget.at(node.depth)
        return f"the {role}'s prompt has {found:,} bytes, over {most:,}" if found > most else None

    def _answer_fault(self, node: Node, action: Action) -> str | None:
        text = cast("Answer", action).text
        if node.above and size(text) > self.params.conclusion_bytes:
            return f"{size(text):,} bytes, task.conclusion_bytes = {self.params.conclusion_bytes:,}"
        return self.check_answer(self.goals.read(node.goal), self.answers.read(text))

    def _read_plan_before(self, text: str) -> TaskPlan:
        return read_plan(text, self._goal, object_in_before)

    def _goal(self, text: str) -> str:
        return self.goals.write(self.goals.read(text))


def _choice(text: str) -> Action:
    return Choice(int(text))


def _no_such_plan(node: Node, action: Action) -> str | None:
    number = cast("Choice", action).number
    return None if 1 <= number <= len(node.drafts) else f"there is no plan {number}, of {len(node.drafts)}"


__all__ = ["Answer", "Node", "Part", "Prompts", "Recursive", "RecursiveParams", "TaskPlan", "TextCodec"]
