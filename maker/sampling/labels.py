"""Labels: which steps of a task are asked, and what is right there. Files and stored settings hold JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maker.errors import BadInput

FORM = 'write labels like {"state": text, "child": number, "reply": text}; you may leave out state and child'


class Label(BaseModel):
    """A step of a task, and what is right there, said in one of three ways.

    Args:
        state: The text of a state, as the task writes it; its first one where None.
        child: The child of the fork there, where the step is one's.
        reply: A right reply of a model.
        right: The right action, as the task writes it.
        key: What a vote for it is counted under; pilots write it of answers that they have heard.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    state: str | None = None
    child: int | None = Field(default=None, ge=0)
    reply: str | None = None
    right: str | None = None
    key: str | None = None

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if [self.reply, self.right, self.key].count(None) != 2:
            raise ValueError("give either reply or right")
        return self


class NumberedLabel(NamedTuple):
    """A label, and the line that it is on, the first being 1: what is wrong with it is told by that."""

    line: int
    label: Label


def parse_labels(text: str) -> tuple[NumberedLabel, ...]:
    """Return the labels of a text, one a line; () for an empty one.

    Raises:
        BadInput: A line is no label, or there are empty lines alone.
    """
    labels = tuple(
        NumberedLabel(number, _parse(number, line)) for number, line in enumerate(text.splitlines(), 1) if line.strip()
    )
    if text and not labels:
        raise BadInput("the labels name no step", fix=FORM)
    return labels


def format_labels(labels: Iterable[Label]) -> str:
    """Return labels as JSON lines."""
    # Of a label only what it was made with: a pilot is found again by the very text of its labels, and in some of those
    # that are stored a child stands as null.
    return "\n".join(json.dumps(label.model_dump(exclude_unset=True)) for label in labels)


def _parse(number: int, line: str) -> Label:
    try:
        return Label.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise BadInput(f"labels, line {number}: {at or 'the line'}: {first['msg']}", fix=FORM) from error
