"""The JSON schema of a map's answers: checked once, then asked of every answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from jsonschema import Draft3Validator, Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from pydantic import BaseModel
from pydantic_core import CoreSchema, core_schema
from referencing import Registry, Specification
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from decomposers.common.strict_json import Number, exact, written

ALL_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_DEFAULT_DRAFT = Draft202012Validator.META_SCHEMA["$id"]
_SHOWN_CHARS = 80
_TYPE_OF = {
    dict: "object", list: "array", str: "string", Number: "number", int: "integer", bool: "boolean", type(None): "null",
}  # fmt: skip


class GivenSchema:
    """Marks a parameter, by ``Annotated``, that is a schema: as JSON, as the text of a file, or as a pydantic model."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Take each as the schema's JSON, and None."""
        return core_schema.no_info_before_validator_function(as_schema, handler.generate_schema(dict[str, Any] | None))


def as_schema(given: Any) -> dict[str, Any] | None:
    """Return a schema as JSON values, None as it is. Raises ``ValueError`` for a text that is no JSON."""
    if isinstance(given, type) and issubclass(given, BaseModel):
        return given.model_json_schema()
    try:
        found: dict[str, Any] | None = json.loads(given) if isinstance(given, str) else given
    except ValueError as error:
        raise ValueError(f"it is neither a file nor a JSON schema: {error}") from error
    return found


class AnswerSchema:
    """A JSON schema for objects, with ``properties`` at its top level; Draft 2020-12, or one from 4 on by ``$schema``.

    ``format`` is a remark, as that draft has it: what it would check depends on what is installed; use ``pattern``.
    Numbers are compared as decimals, so 19.99 is a multiple of 0.01.

    Args:
        schema: The schema, as JSON values. It is copied.

    Raises:
        ValueError: It is not a schema, and where; it is not one for objects; its ``$schema`` is not known; a reference
            leads out of it (nothing is ever fetched) or nowhere.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        checker = _checker(schema)
        copy = exact({name: part for name, part in schema.items() if name != "$schema"})
        _check_schema(checker, copy, "")
        properties = copy.get("properties")
        if not isinstance(properties, dict) or not properties or "object" not in _allowed(copy.get("type")):
            raise ValueError(
                'a schema needs type = "object" and properties at its top level; that of a short answer needs enum, or '
                'type = "integer" or "boolean"'
            )
        draft = specification_with(checker.META_SCHEMA["$schema"])
        resolver: Any = Registry().resolver_with_root(draft.create_resource(copy))
        _check_references(copy, resolver, checker, draft)
        self.fields: dict[str, frozenset[str]] = {
            name: _types(part, resolver, frozenset()) for name, part in properties.items()
        }
        """Field → the JSON types that the schema allows it, in the schema's order; all where it does not say."""
        self.spellings: dict[str, tuple[str, ...]] = {
            name: tuple(dict.fromkeys(_spellings(part, resolver, frozenset()))) for name, part in properties.items()
        }
        """Field → the texts that the schema names for it, or for the items of its lists, in the schema's order."""
        self._properties = properties
        self._given = {**schema}
        self._validator = checker(copy, registry=Registry())
        _check_ends(self._validator, properties)

    def __reduce__(self) -> tuple[Any, ...]:
        return AnswerSchema, (self._given,)

    def allows(self, name: str, value: Any) -> bool:
        """Say whether a field may hold a value, as far as its own part of the schema goes."""
        try:
            return next(self._validator.descend(value, self._properties[name]), None) is None
        except RecursionError:
            return False

    def violation(self, answer: Mapping[str, Any]) -> str | None:
        """Say in what an answer is against the schema, None where it is not: the first thing found, and where.

        ``"label: 'foo' is not one of ['a', 'b']"``. Numbers of the answer are ints and `Number`, as replies are read.
        """
        try:
            error = next(self._validator.iter_errors(answer), None)
        except RecursionError:
            return "nested too deep for its schema"
        return None if error is None else _told(error)


def _checker(schema: Any) -> Any:
    """Return the validator class of the draft that a schema names: ``multipleOf`` is exact, ``uniqueItems`` linear."""
    if not isinstance(schema, Mapping):
        raise ValueError(f"a schema must be an object, not {schema!r:.40}")
    named = schema.get("$schema", _DEFAULT_DRAFT)
    drafted: Any = Draft3Validator
    if isinstance(named, str):
        drafted = validators.validator_for({"$schema": named}, default=Draft3Validator)
    if drafted is Draft3Validator:
        raise ValueError(f"$schema: {named!r} is not a known draft; leave it out for {_DEFAULT_DRAFT}")
    return validators.extend(drafted, {"multipleOf": _multiple_of, "uniqueItems": _unique_items})  # type: ignore[no-untyped-call]


def _multiple_of(checker: Validator, step: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:
    if checker.is_type(value, "number") and Fraction(value) % Fraction(step):
        yield ValidationError(f"{value!r} is not a multiple of {step!r}")


def _unique_items(checker: Validator, wanted: Any, value: Any, _schema: Any) -> Iterator[ValidationError]:
    # The library compares each item with every other: of 5,000 objects for half a minute.
    if wanted and checker.is_type(value, "array") and len(set(map(written, value))) < len(value):
        yield ValidationError(f"{value!r} has non-unique elements")


def _check_schema(checker: Any, schema: Any, where: str) -> None:
    try:
        checker.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"the schema is not valid: {where}{_told(error)}") from error


def _check_references(root: Any, resolver: Any, checker: Any, draft: Specification[Any]) -> None:
    """Follow every reference of a schema; raises ``ValueError`` for one that leads out of it, or to no schema."""
    seen = set()
    waiting = [(draft.create_resource(root), resolver)]
    while waiting:
        part, at = waiting.pop()
        if id(part.contents) in seen:
            continue
        seen.add(id(part.contents))
        waiting += [(inner, at.in_subresource(inner)) for inner in part.subresources()]
        if not isinstance(part.contents, dict):
            continue
        if "$schema" in part.contents:
            raise ValueError("$schema is allowed at the top level of a schema only: all of its parts use one draft")
        for word in _REFERENCES:
            if isinstance(target := part.contents.get(word), str):
                try:
                    found = at.lookup(target)
                except Unresolvable:
                    raise ValueError(f"{word} = {target!r} points to nothing in this schema") from None
                _check_schema(checker, found.contents, f"{word} = {target!r}: ")
                waiting.append((draft.create_resource(found.contents), found.resolver))


def _check_ends(validator: Any, properties: Mapping[str, Any]) -> None:
    """Refuse a schema that goes round in references whatever the answer is."""
    for name in properties:
        try:
            list(validator.iter_errors({name: None}))
        except RecursionError:
            raise ValueError(f"{name}: its schema refers to itself endlessly") from None


def _types(schema: Any, resolver: Any, followed: frozenset[str]) -> frozenset[str]:
    """Return the JSON types that a schema allows at most; what it does not say in so many words is not worked out."""
    if not isinstance(schema, dict):
        return ALL_TYPES if schema else frozenset()
    types = _allowed(schema.get("type"))
    if "const" in schema:
        types &= {_TYPE_OF[type(schema["const"])]}
    if "enum" in schema:
        types &= {_TYPE_OF[type(value)] for value in schema["enum"]}
    for word in ("anyOf", "oneOf"):
        if word in schema:
            types &= frozenset().union(*(_types(part, resolver, followed) for part in schema[word]))
    for part in schema.get("allOf", ()):
        types &= _types(part, resolver, followed)
    target = schema.get("$ref")
    if isinstance(target, str) and target not in followed:
        found = resolver.lookup(target)
        types &= _types(found.contents, found.resolver, followed | {target})
    return types


def _spellings(schema: Any, resolver: Any, followed: frozenset[str]) -> Iterator[str]:
    """Yield the texts that a schema names, for a value or for the items of a list."""
    if not isinstance(schema, dict):
        return
    named = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())]
    yield from (value for value in named if isinstance(value, str))
    inner = [part for word in ("anyOf", "oneOf", "allOf") for part in schema.get(word, ())]
    for part in (*inner, schema.get("items")):
        yield from _spellings(part, resolver, followed)
    target = schema.get("$ref")
    if isinstance(target, str) and target not in followed:
        found = resolver.lookup(target)
        yield from _spellings(found.contents, found.resolver, followed | {target})


def _allowed(kinds: Any) -> frozenset[str]:
    """Return the types that a ``type`` stands for, all where there is none. Whole numbers are numbers."""
    names = {kinds} if isinstance(kinds, str) else set(kinds or ALL_TYPES)
    return ALL_TYPES & (names | ({"integer"} if "number" in names else set()))


def _told(error: SchemaError | ValidationError) -> str:
    """Return an error's place and words, a long value cut short."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    words, value = error.message, repr(error.instance)
    if len(value) > _SHOWN_CHARS:
        words = words.replace(value, value[:_SHOWN_CHARS] + "…")
    return (place.removeprefix(".") + ": " if place else "") + words[: 4 * _SHOWN_CHARS]
