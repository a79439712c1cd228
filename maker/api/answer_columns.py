"""What a map is asked for: the JSON schema of an answer type, and the columns that its answers fill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError

from maker.errors import BadInput

ANSWER = "answer"
"""The column of an answer that is no object."""
OUTCOME, MARGIN, VOTES, COST = "_outcome", "_margin", "_votes", "_cost"
"""The columns that say how a row was decided."""
ADDED = (OUTCOME, MARGIN, VOTES, COST)
TYPES = "give str, int, bool, a Literal, an Enum, a pydantic model or a JSON schema"


Kind: TypeAlias = Literal["string", "integer", "number", "boolean", ""]
"""The type of a column's values, as JSON schemas call it; "" where they may be of several, or lists or objects."""
ADDED_KINDS: Mapping[str, Kind] = {OUTCOME: "string", MARGIN: "integer", VOTES: "integer", COST: "number"}


class AnswerColumns(NamedTuple):
    """An answer type as a map's job has it. ``schema`` is None for a text; ``kinds`` are the columns with types."""

    schema: Mapping[str, Any] | None
    kinds: Mapping[str, Kind]


def answer_columns(answer: Any) -> AnswerColumns:
    """Return the schema and the columns of an answer type.

    Raises:
        BadInput: No JSON schema says what it is, or a column would have the name of one that maker adds.
    """
    if answer is str:
        return AnswerColumns(None, {ANSWER: "string"})
    schema = dict(answer) if isinstance(answer, Mapping) else _schema_of(answer)
    properties = schema.get("properties")
    fields = properties if isinstance(properties, Mapping) else {ANSWER: schema}
    if taken := [name for name in fields if name in ADDED]:
        raise BadInput(
            f"the answer's field {taken[0]!r} is a column that maker adds", fix="give the field another name"
        )
    return AnswerColumns(schema, {name: _kind_of(part, schema.get("$defs", {})) for name, part in fields.items()})


def _kind_of(part: Any, parts: Mapping[str, Any]) -> Kind:
    """Return the type of a field by its part of a schema, or of one that it names; null may be beside it."""
    if not isinstance(part, Mapping):
        return ""
    if isinstance(named := part.get("$ref"), str):
        return _kind_of(parts.get(named.rpartition("/")[2]), {})
    if isinstance(several := part.get("anyOf"), list):
        kinds = {_kind_of(one, parts) for one in several if one != {"type": "null"}}
        return kinds.pop() if len(kinds) == 1 else ""
    return next((kind for kind in get_args(Kind) if kind and part.get("type") == kind), "")


def _schema_of(answer: Any) -> dict[str, Any]:
    name = getattr(answer, "__name__", None) or repr(answer)
    if isinstance(answer, str) or answer is None:
        raise BadInput(f"answer = {answer!r:.80} is no type", fix=TYPES)
    _refuse_validators(answer, name)
    try:
        found: dict[str, Any] = TypeAdapter(answer).json_schema()
    except (PydanticUserError, NameError, TypeError) as error:
        # Its second line is an address of pydantic's own documents.
        raise BadInput(f"no JSON schema says what {name} is: {str(error).splitlines()[0]}", fix=TYPES) from error
    return found


def _refuse_validators(answer: Any, name: str) -> None:
    """Raise `BadInput` for a model that checks itself in Python: a run has its schema alone."""
    if not (isinstance(answer, type) and issubclass(answer, BaseModel)):
        return
    checks = answer.__pydantic_decorators__
    if found := [*checks.field_validators, *checks.model_validators, *checks.validators, *checks.root_validators]:
        raise BadInput(
            f"{name}.{found[0]} is Python that no JSON schema holds: answers would not be asked it",
            fix="say it with Field(ge=…, pattern=…), a Literal or an Enum; or write a workflow, which asks the model",
        )
