"""Answer types: how a reply is read as one, how an answer is stored, and what a rehearsal needs of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError

from decomposers.common.last_line import LastLine
from decomposers.common.short_answer import Choice, whole, yes_or_no
from decomposers.common.strict_json import object_in, shown
from maker.plugin import Truth

T = TypeVar("T")
TYPES = "give str, int, bool, an Enum, a Literal, a pydantic model, or another type that pydantic writes as JSON"
_MISFIT = re.compile(r"Expected (.+?) - .*?input_value=(.*), input_type=(\w+)", re.DOTALL)

PLAIN = (str, int, bool)
"""Types whose values are JSON as they are."""


class AnswerType(Generic[T]):
    """A type that a step is answered with. Picklable, and equal to that of the same type.

    Args:
        of: ``str``, ``int``, ``bool``, an ``Enum``, a ``Literal``, a pydantic model, or any other type that pydantic
            reads from a JSON object.

    Raises:
        TypeError: It is no type, no JSON can hold its values, or it has none.
    """

    def __init__(self, of: Any) -> None:
        self.of = of
        self.name: str = getattr(of, "__name__", None) or str(of)
        if isinstance(of, str):
            raise TypeError(f"{of!r} is a text, not a type: {TYPES}")
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(of)
        except (PydanticUserError, NameError) as error:
            raise TypeError(f"{self.name} is no type that JSON can hold: {TYPES}") from error
        self._choices = _choices(of)
        self.read: Callable[[str], Any] = self._reader()
        """Returns the answer of a reply, as JSON; raises ``ValueError`` where it gives none, or several."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON schema of its replies, None where a reply is no JSON object."""
        return None if self.of in PLAIN or self._choices else self.whole_schema

    @property
    def whole_schema(self) -> Mapping[str, Any]:
        """The JSON schema of its answers."""
        return self._adapter.json_schema()

    def typed(self, answer: Any) -> T:
        """Return the Python value of an answer. Raises pydantic's ``ValidationError`` for one that does not fit."""
        # Pydantic would return the same, and take a tenth of what a step takes.
        return answer if answer.__class__ is self.of and self.of in PLAIN else self._adapter.validate_python(answer)

    def stored(self, value: T) -> Any:
        """Return a Python value as JSON. Raises ``ValueError`` for one of another type."""
        if value.__class__ is self.of and self.of in PLAIN:
            return value
        if value is None and self.of not in (None, Any):
            # Pydantic writes it, whatever the type is.
            try:
                self._adapter.validate_python(value)
            except ValidationError as error:
                raise ValueError(f"None is NoneType, not {self.name}") from error
        try:
            return self._adapter.dump_python(value, mode="json", warnings="error")
        except PydanticSerializationError as error:
            raise ValueError(_misfit(str(error))) from error

    def truth(self, value: T) -> Truth:
        """Return what a simulated model replies where ``value`` is right; wrong ones are of the same type."""
        right = self.stored(value)
        return Truth((self._reply(right),), tuple(self._reply(one) for one in self._others(right)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnswerType) and self.of == other.of

    def __hash__(self) -> int:
        return hash((AnswerType, self.name))

    def __reduce__(self) -> tuple[Any, ...]:
        return AnswerType, (self.of,)

    def _reader(self) -> Callable[[str], Any]:
        if self.of is str:
            return str.strip
        if self.of is int:
            return LastLine(whole)
        if self.of is bool:
            return LastLine(yes_or_no)
        if self._choices:
            return LastLine(Choice(tuple(self._choices.items())))
        return self._object

    def _object(self, text: str) -> Any:
        return self.stored(self._adapter.validate_python(shown(object_in(text))))

    def _reply(self, answer: Any) -> str:
        return str(answer) if answer.__class__ in (str, int) else json.dumps(answer, ensure_ascii=False)

    def _others(self, right: Any) -> Sequence[Any]:
        """Return wrong answers of the type: other choices, or one with a value changed."""
        if self._choices:
            return [one for one in self._choices.values() if one != right]
        if not isinstance(right, dict):
            return _changed(right)
        found = []
        for name, member in right.items():
            for other in _changed(member):
                changed = {**right, name: other}
                try:
                    self._adapter.validate_python(changed)
                except ValueError:
                    continue
                found.append(changed)
        return found


@lru_cache(maxsize=1024)
def answer_type(of: Any) -> AnswerType[Any]:
    """Return the answer type of a Python type: one for each. Raises ``TypeError`` for what is none."""
    return AnswerType(of)


def _choices(of: Any) -> dict[str, Any]:
    """Return the values of an ``Enum`` or a ``Literal`` as JSON, by how a reply names each; {} for other types."""
    if isinstance(of, type) and issubclass(of, Enum):
        if not len(of):
            raise TypeError(f"{of.__name__} has no members: no reply could name one")
        return {str(one.value): one.value for one in of}
    if get_origin(of) is Literal:
        return {str(one): one for one in get_args(of)}
    return {}


def _misfit(told: str) -> str:
    """Return what pydantic tells of a value that is not of its type, in fewer words."""
    found = _MISFIT.search(told)
    return f"{found[2][:80]} is {found[3]}, not {found[1].strip('`')}" if found else told


def _changed(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value - 1]
    return [f"not {value}", f"{value}?"] if isinstance(value, str) else []
