"""Plans: how a problem is to be broken into parts, or that it is not; how they are read, checked and written. Pure."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from decomposers.common.strict_json import object_in, written

DIGEST_BYTES = 16


class Part(NamedTuple):
    """A smaller problem, and the numbers (from 0, ascending) of the parts whose conclusions it is told."""

    goal: str
    needs: tuple[int, ...] = ()


class TaskPlan(NamedTuple):
    """What is proposed for a problem: its parts and how their answers make its own; no parts where it is atomic."""

    parts: tuple[Part, ...] = ()
    compose: str = ""

    @property
    def atomic(self) -> bool:
        """Whether the problem is to be answered as it is."""
        return not self.parts

    def ready(self, done: Collection[int]) -> tuple[int, ...]:
        """Return the numbers of the parts that are not done and need only parts that are."""
        numbers = enumerate(self.parts)
        return tuple(n for n, part in numbers if n not in done and all(need in done for need in part.needs))


ATOMIC = TaskPlan()


class Choice(NamedTuple):
    """The number of one of several plans, from 1."""

    number: int


class Answer(NamedTuple):
    """The answer to a problem, as its codec writes it."""

    text: str


Action: TypeAlias = TaskPlan | Choice | Answer


class PartReply(BaseModel):
    """A part as a decomposer writes it. One without a name is called by its place, from 1."""

    model_config = ConfigDict(extra="forbid")

    name: str = ""
    goal: Any
    needs: list[str] = []


class PlanReply(BaseModel):
    """A plan as a decomposer writes it: ``{"atomic": true}``, or parts and what is to be done with their answers."""

    model_config = ConfigDict(extra="forbid")

    atomic: bool = False
    parts: list[PartReply] = []
    compose: str = ""


ATOMIC_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"atomic": {"type": "boolean", "enum": [True]}},
    "required": ["atomic"],
    "additionalProperties": False,
}
"""The schema of replies where no plan with parts is legal: a model that is held to it has nothing else to say."""


def plan_schema(operations: Sequence[str], goal: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON schema of a decomposer's replies: that the problem is atomic, or parts and their composition.

    It holds a reply to the form alone. What it cannot say (names that are none, circles) `read_plan` finds.

    Args:
        operations: The compositions that there are; none where a plan may say what it likes.
        goal: The schema of a part's problem; it may be any value where it is left out.
    """
    compose = {"type": "string"} | ({"enum": [*operations]} if operations else {})
    parts = {
        "type": "object",
        "properties": {"parts": {"type": "array", "items": _part(goal or {}), "minItems": 1}, "compose": compose},
        "required": ["parts", "compose"],
        "additionalProperties": False,
    }
    return {"anyOf": [ATOMIC_SCHEMA, parts]}


def plan_schema_before(operations: Sequence[str]) -> dict[str, Any]:
    """Return the schema of the first edition, which lets through what is neither: no parts and not atomic, or both."""
    compose = {"type": "string"} | ({"enum": ["", *operations]} if operations else {})
    properties = {
        "atomic": {"type": "boolean"},
        "parts": {"type": "array", "items": _part({})},
        "compose": compose,
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _part(goal: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "goal": goal,
            "needs": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["goal"],
        "additionalProperties": False,
    }


def read_plan(text: str, goal: Callable[[str], str], find: Callable[[str], dict[str, Any]] = object_in) -> TaskPlan:
    """Return the plan that a reply proposes: one JSON object, alone, in a fence or in running text.

    Names of parts become their numbers, what they need is sorted, and goals are written as ``goal`` writes them: two
    plans that differ in nothing else are one vote. The order of the parts is kept: a composition may rest on it.

    Args:
        text: The reply.
        goal: Gives a problem its canonical text; raises ``ValueError`` for what is none. A goal that is no text in
            the reply is given to it as JSON.
        find: Finds the object of a reply's text.

    Raises:
        ValueError: There is no such object, it is no plan, it is empty, two of its parts have one name, a part needs
            one that is not there, or parts need each other in a circle.
    """
    try:
        reply = PlanReply.model_validate(find(text), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if reply.atomic:
        if reply.parts or reply.compose:
            raise ValueError("the plan is atomic, but also has parts or compose")
        return ATOMIC
    if not reply.parts:
        raise ValueError('the plan has no parts and is not "atomic": true')
    return _numbered(reply, goal)


def one_line(text: str) -> str:
    """Return a text in Unicode's composed form, with single blanks and no line breaks."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _numbered(reply: PlanReply, goal: Callable[[str], str]) -> TaskPlan:
    compose = one_line(reply.compose)
    if not compose:
        raise ValueError("compose is missing: it says what to do with the answers of the parts")
    names = [part.name.strip() or str(number) for number, part in enumerate(reply.parts, 1)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two parts have the name {twice[0]!r}")
    numbers = {name: number for number, name in enumerate(names)}
    parts = []
    for name, part in zip(names, reply.parts, strict=True):
        if unknown := [need for need in part.needs if need.strip() not in numbers]:
            raise ValueError(f"part {name!r} needs {unknown[0]!r}, but no part has that name")
        needs = sorted({numbers[need.strip()] for need in part.needs})
        parts.append(Part(goal(part.goal if isinstance(part.goal, str) else written(part.goal)), tuple(needs)))
    plan = TaskPlan(tuple(parts), compose)
    if circle := _circle(plan):
        raise ValueError(f"the parts {', '.join(repr(names[n]) for n in circle)} need each other in a circle")
    return plan


def _circle(plan: TaskPlan) -> list[int]:
    """Return the numbers of parts that can never be begun, for what they need; [] where there are none."""
    done: set[int] = set()
    while ready := plan.ready(done):
        done.update(ready)
    return [number for number in range(len(plan.parts)) if number not in done]


def digest(goal: str, plan: TaskPlan, parts: Iterable[str]) -> str:
    """Return a digest of all plans from a problem down: of its own, and of the digests of its parts in their order.

    Answers are not in it. BLAKE2b, 16 bytes, hex.
    """
    told = json.dumps([goal, plan_value(plan), list(parts)], ensure_ascii=True)
    return hashlib.blake2b(told.encode(), digest_size=DIGEST_BYTES).hexdigest()


def plan_value(plan: TaskPlan) -> dict[str, Any]:
    """Return a plan as JSON values."""
    if plan.atomic:
        return {"atomic": True}
    parts = [{"goal": part.goal, "needs": list(part.needs)} if part.needs else {"goal": part.goal}
             for part in plan.parts]  # fmt: skip
    return {"parts": parts, "compose": plan.compose}


def plan_of(value: Mapping[str, Any]) -> TaskPlan:
    """Return the plan of JSON values that `plan_value` made. Raises ``ValueError`` for others."""
    try:
        if "atomic" in value:
            return ATOMIC
        parts = tuple(Part(str(one["goal"]), tuple(map(int, one.get("needs", ())))) for one in value["parts"])
        return TaskPlan(parts, str(value["compose"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a plan: {value!r:.120}") from error


class ActionCodec:
    """Writes plans, choices and answers as canonical JSON objects."""

    def write(self, value: Action) -> str:
        """Return canonical JSON."""
        return json.dumps(self.show(value), separators=(",", ":"), ensure_ascii=False)

    def read(self, text: str) -> Action:
        """Return the action of a canonical text. Raises ``ValueError`` for any other text."""
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError(f"not an action: {text[:120]!r}")
        found: Action
        if "answer" in value:
            found = Answer(str(value["answer"]))
        elif "choice" in value:
            found = Choice(int(value["choice"]))
        else:
            found = plan_of(value)
        if self.write(found) != text:
            raise ValueError(f"not a canonical action: {text[:120]!r}")
        return found

    def show(self, value: Action) -> dict[str, Any]:
        """Return the action as JSON."""
        if isinstance(value, TaskPlan):
            return plan_value(value)
        return {"choice": value.number} if isinstance(value, Choice) else {"answer": value.text}
