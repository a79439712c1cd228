"""Maps whose answer is no object: a number, yes or no, or a choice, on a reply's last line."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from decomposers.common.last_line import LastLine
from decomposers.common.short_answer import Choice, short_reader
from decomposers.map import Map, MapParams
from decomposers.map.answer import AnswerFormat
from decomposers.workflow.answers import AnswerType

CHOICES = {"enum": ["Red", "blue", "Blue"]}


@pytest.mark.parametrize(
    ("schema", "reply", "answer"),
    [
        ({"type": "integer"}, "So it is\n-12", -12),
        ({"type": "boolean"}, "Yes.", True),
        (CHOICES, "red", "Red"),
        (CHOICES, "Blue", "Blue"),
        ({"const": "x"}, " X ", "x"),
        ({"enum": [1, "a"]}, "1", 1),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "type": "integer"}, "3", 3),
    ],
)
def test_the_last_line_is_the_answer(schema: dict[str, Any], reply: str, answer: Any) -> None:
    """In the one field of that name, by the same reader before and after it travelled."""
    form = pickle.loads(pickle.dumps(AnswerFormat(schema)))  # noqa: S301 - our own
    read = form.parse(reply)
    assert read == {"answer": answer} == form.parse_before(reply)
    assert form.check(read) is None
    assert form.codec.show(form.codec.read(form.codec.write(read))) == {"answer": answer}
    assert form.given(read) == answer
    assert form.field_margins({form.codec.key(read): 3}, form.codec.key(read)) == {"answer": 3}


@pytest.mark.parametrize(
    ("schema", "reply", "words"),
    [
        ({"type": "integer"}, "3.5", "no whole number"),
        ({"type": "integer"}, "three", "no whole number"),
        ({"type": "integer"}, "3\n4", "several answers"),
        ({"type": "boolean"}, "maybe", "neither yes nor no"),
        (CHOICES, "BLUE", "none of Red, blue, Blue"),
        (CHOICES, "", "none of"),
    ],
)
def test_other_replies_get_a_red_flag(schema: dict[str, Any], reply: str, words: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=words):
        AnswerFormat(schema).parse(reply)


def test_what_else_the_schema_says_is_checked() -> None:
    """As of any answer."""
    form = AnswerFormat({"type": "integer", "minimum": 1, "maximum": 5})
    assert form.check(form.parse("5")) is None
    assert "6 is greater than the maximum" in (form.check(form.parse("6")) or "")


def test_rules_labels_and_parsers_are_for_it_too() -> None:
    """A number may count in steps; a label names it as a reply does; a parser returns the value itself."""
    form = AnswerFormat({"type": "integer"}, {"answer": {"vote": "number", "tolerance": 5}})
    assert form.codec.key(form.parse("14")) == form.codec.key(form.parse("16"))
    assert AnswerFormat({"type": "boolean"}).label({"answer": "Yes"}) == {"answer": "true"}
    assert AnswerFormat(CHOICES).label({"answer": "red"}) == {"answer": '"Red"'}
    assert AnswerFormat(CHOICES).label({"answer": ""}) == {}
    assert AnswerFormat({"type": "integer"}).taken(7) == {"answer": 7}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number"}, {"type": "array"}, {"enum": []}, {"enum": ["a", None]}, {"enum": "a"}, {"enum": [1.5]}, {},
        {"type": ["integer", "boolean"]}, {"anyOf": [{"type": "integer"}]},
    ],
)  # fmt: skip
def test_schemas_of_other_values_are_refused(schema: dict[str, Any]) -> None:
    """The message says what a short answer is."""
    assert short_reader(schema) is None
    with pytest.raises(ValueError, match=r'"integer" or "boolean"|not valid'):
        AnswerFormat(schema)


def test_a_model_is_not_asked_for_an_object() -> None:
    """A short answer is no JSON, so that structured output leaves it free."""
    task = Map(MapParams.model_validate({"input": "rows.csv", "template": "{{text}}?", "schema": CHOICES}))
    assert task.classes[0].schema is None


def test_maps_and_workflows_read_alike() -> None:
    """By one reader."""
    assert AnswerType(int).read == short_reader({"type": "integer"})
    assert AnswerType(bool).read == short_reader({"type": "boolean"})
    assert short_reader({"enum": ["a"]}) == LastLine(Choice((("a", "a"),)))
