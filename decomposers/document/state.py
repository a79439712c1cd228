"""Where a long text's task stands, and how that and its replies are written."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

from decomposers.common.strict_json import nfc, read_object, shown, written
from decomposers.document.prompts import Reply
from decomposers.document.text import Finding
from maker.plugin import OpenPart

READ, NARROW, SETTLE, END = "read", "narrow", "settle", "end"
UNDECIDED = "undecided"
"""The key of a reply that says which lines its votes leave undecided, and the outcome of their slice."""


class Reading(NamedTuple):
    """A slice that is to be read for a question; of its lines only ``lines`` are taken, where there are any."""

    question: str
    number: int
    lines: tuple[int, ...] = ()


class Narrowing(NamedTuple):
    """Findings of which those that the question needs most are to be kept."""

    asked: tuple[str, ...]
    findings: tuple[Finding, ...]


class OpenLine(NamedTuple):
    """A line of a slice that its votes leave undecided: its number, and how many votes name it, and do not."""

    number: int
    votes: int
    against: int


class Missing(NamedTuple):
    """A slice without a good decision: for which question, by its place among those asked, and its outcome.

    ``lines`` are those without one, where the others have one. ``group`` are findings that were to be narrowed down:
    the group is what has no good decision, and the slice is the one where it begins.
    """

    question: int
    slice: int
    outcome: str
    lines: tuple[OpenLine, ...] = ()
    group: tuple[Finding, ...] = ()

    @classmethod
    def read(
        cls,
        question: int,
        slice: int,
        outcome: str,
        lines: Sequence[Sequence[int]] = (),
        group: Sequence[tuple[int, str]] = (),
    ) -> Missing:
        """Return what `written` was made from, as JSON holds it."""
        left, findings = (OpenLine(*line) for line in lines), (Finding(*one) for one in group)
        return cls(question, slice, outcome, tuple(left), tuple(findings))

    @property
    def written(self) -> Sequence[Any]:
        """What is written of it: of slices the same as before there were lines, and groups."""
        return self[: 5 if self.group else 4 if self.lines else 3]


class Replied(NamedTuple):
    """A slice that is read, or a group that is narrowed."""

    value: Any


@dataclass(slots=True)
class Root:
    """Where the whole text stands.

    Args:
        phase: What comes next: `READ` all slices, `NARROW` what was found, `SETTLE` the answer, or `END`.
        asked: The question, and what was asked on the way.
        found: What bears on them.
        fresh: What this pass over the text, or over the findings, has left so far.
        items: What was extracted, each item once, in the order of the text.
        count: What was counted.
        answer: The answer, when it is settled.
        missing: Slices and groups without a good decision, in earlier passes.
        lost: Those of this pass.
        round: How often such slices and groups were asked again.
    """

    phase: str
    asked: tuple[str, ...]
    found: tuple[Finding, ...] = ()
    fresh: list[Finding] = field(default_factory=list)
    items: dict[str, Any] = field(default_factory=dict)
    count: int = 0
    answer: str = ""
    missing: tuple[Missing, ...] = ()
    lost: list[Missing] = field(default_factory=list)
    round: int = 0

    def settled(self, reply: Reply) -> Root:
        """Return the root with an answer, or with one more question that the text is read for."""
        if "ask" in reply:
            return replace(self, phase=READ, asked=(*self.asked, reply["ask"]))
        return replace(self, phase=END, answer=reply["answer"])


State: TypeAlias = Root | Reading | Narrowing | Replied


class RootCodec:
    """Writes roots as JSON. The states of slices and groups are made from their root, and never written but alone."""

    def write(self, value: State) -> str:
        """Return the JSON text."""
        if isinstance(value, Reading):
            return json.dumps([value.question, value.number], ensure_ascii=False)
        if not isinstance(value, Root):
            raise TypeError(f"{type(value).__name__} is made from its root, and not written")
        root = [value.phase, value.asked, value.found, value.fresh, list(value.items), value.count, value.answer]
        if value.missing or value.lost or value.round:
            missing, lost = ([one.written for one in some] for some in (value.missing, value.lost))
            root += [missing, lost, value.round]
        return json.dumps(root, ensure_ascii=False, separators=(",", ":"))

    def read(self, text: str) -> State:
        """Return the state of a text. Raises ``ValueError``."""
        parts = json.loads(text)
        if len(parts) == 2:
            return Reading(*parts)
        phase, asked, found, fresh, items, count, answer, *more = parts
        missing, lost, round_ = more or ((), (), 0)
        kept = {item: read_object(item) for item in items}
        return Root(
            phase, tuple(asked), tuple(Finding(*one) for one in found), [Finding(*one) for one in fresh], kept, count,
            answer, tuple(Missing.read(*one) for one in missing), [Missing.read(*one) for one in lost], round_,
        )  # fmt: skip

    def show(self, value: State) -> Any:
        """Return how far it is."""
        if isinstance(value, Root):
            missing = len(value.missing) + len(value.lost)
            shown = {"phase": value.phase, "asked": list(value.asked), "found": len(value.found)}
            return shown | ({"missing": missing} if missing else {})
        return type(value).__name__.lower()


class ReplyCodec:
    """Writes replies as canonical JSON. Items count whatever their order, texts whatever their case."""

    def write(self, value: Reply) -> str:
        """Return the JSON text."""
        return written(value)

    def read(self, text: str) -> Reply:
        """Return the reply of a text. Raises ``ValueError``."""
        return read_object(text)

    def show(self, value: Reply) -> Any:
        """Return the reply as JSON-compatible Python."""
        return shown(value)

    def key(self, value: Reply) -> str:
        """Return the text that says which vote a reply is."""
        if UNDECIDED in value:
            # How many votes there are on a line is not what is voted on.
            value = value | {UNDECIDED: [number for number, *_ in value[UNDECIDED]]}
        if "items" in value:
            return "\n".join(sorted({written(item, nfc) for item in value["items"]}))
        return written(value, nfc).casefold()


def lines_named(key: str) -> Collection[str]:
    """Return the lines that a vote on a slice names, from its key."""
    return [str(line) for line in read_object(key)["lines"]]


def lines_elected(won: Sequence[str], undecided: Sequence[OpenPart]) -> Reply:
    """Return the reply that names the lines that won, and those that are undecided with their votes."""
    reply: Reply = {"lines": sorted(map(int, won))}
    if undecided:
        reply[UNDECIDED] = sorted([int(line.name), line.votes, line.against] for line in undecided)
    return reply
