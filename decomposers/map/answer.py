"""The answer to one row of a map over data: how it is read, checked, voted on and written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import ValidationError

from decomposers.common.schema import AnswerSchema
from decomposers.common.short_answer import short_reader
from decomposers.common.strict_json import (
    DEPTH,
    deeper,
    exact,
    members,
    nfc,
    object_in,
    object_in_before,
    read_object,
    shown,
    written,
)
from decomposers.map.fields import FITS, FieldRule, Form, canonical, folded, near, numeric

__all__ = ["ANSWER", "Answer", "AnswerCodec", "AnswerFormat", "FieldRule"]

Answer: TypeAlias = dict[str, Any]
"""Field → value. Its numbers are ints, or decimals where they are not whole; nothing is rounded."""

ANSWER = "answer"
"""The only field of an answer that is no object: the reply's text, or a short answer."""


class AnswerCodec:
    """Writes answers as canonical JSON, and says which of them are the same vote. Picklable.

    Args:
        forms: Voted field → what makes of its value the one that it counts as.
        fields: All fields: what else an answer holds is not shown.
        plain: The answer is a text, and its key the text that it counts as, without JSON around it.
    """

    def __init__(self, forms: Mapping[str, Form], *, fields: Sequence[str], plain: bool = False) -> None:
        self._forms = dict(forms)
        self._fields = frozenset(fields)
        self._plain = plain

    def write(self, value: Answer) -> str:
        """Return canonical JSON of the whole answer; equal answers are written alike.

        That takes in carried fields, and what is no field: the schema is asked again of what the log holds.
        """
        return written(value)

    def read(self, text: str) -> Answer:
        """Return the answer of a canonical text. Raises ``ValueError`` for a text that is no JSON object."""
        return read_object(text)

    def show(self, value: Answer) -> dict[str, Any]:
        """Return the answer's fields as JSON-compatible Python; a number that is not whole as the nearest float.

        What is no field is left out: nobody has named it, so it may be called as a column of the row is.
        """
        return {name: shown(member) for name, member in value.items() if name in self._fields}

    def key(self, value: Answer) -> str:
        """Return the canonical text of the voted fields: two answers are the same vote exactly when it is the same.

        A field that the answer does not have is not in it, so a missing one and a null are two votes.

        Raises:
            ValueError: A field that is voted on as a number holds a text that is none; `AnswerFormat.parse` lets no
                such answer through.
        """
        voted = {name: form(value[name]) for name, form in self._forms.items() if name in value}
        return self._plain_key(voted[ANSWER]) if self._plain else written(voted, nfc)

    def counted(self, key: str) -> dict[str, str]:
        """Return what a key holds: voted field → canonical text of its value, "" where it is missing."""
        if self._plain:
            return {ANSWER: key}
        found = members(key)
        return {name: found.get(name, "") for name in self._forms}

    def _plain_key(self, counted: Any) -> str:
        return nfc(counted) if isinstance(counted, str) else written(counted)


class AnswerFormat:
    """What answers to a map's rows look like and how they count; built once for a run. Picklable.

    Args:
        schema: A JSON schema for objects, see `AnswerSchema`, or for a short answer, see `short_reader`, which is the
            one field `ANSWER`. None: an answer is the reply's text, stripped, as that field.
        rules: Field → `FieldRule`, or what one is made from. Fields that are not named count as ``exact``; what an
            answer holds beside the schema's ``properties`` is checked by the schema, and stays in the log.

    Raises:
        ValueError: The schema is not one, or a rule does not fit it; names the field.
    """

    def __init__(self, schema: Mapping[str, Any] | None, rules: Mapping[str, Any] | None = None) -> None:
        self._given = copy.deepcopy((schema, rules))
        self._short = None if schema is None else short_reader(schema)
        self._schema = None if schema is None else AnswerSchema(schema if self._short is None else _as_field(schema))
        types = {ANSWER: frozenset({"string"})} if self._schema is None else self._schema.fields
        checked = _rules(types, rules or {})
        self.fields: tuple[str, ...] = tuple(checked)
        """The fields in the schema's order."""
        self.voted: tuple[str, ...] = tuple(name for name, rule in checked.items() if rule.vote != "carry")
        """Those of them that are voted on."""
        self._numbers = tuple(name for name, rule in checked.items() if rule.vote == "number")
        forms = {name: checked[name].form() for name in self.voted}
        self.codec = AnswerCodec(forms, fields=self.fields, plain=schema is None)
        # What counts otherwise than as it stands, with the texts that the schema names by what they count as; of two
        # that count alike the first stands for both.
        self._formed = {
            name: (forms[name], {folded(text): text for text in reversed(self._named(name))})
            for name in self.voted
            if checked[name].vote != "exact"
        }

    def parse(self, text: str) -> Answer:
        """Return the answer that a reply gives, in the form that equal answers have.

        Raises:
            ValueError: It gives none, several, or one that cannot be counted; says why in few words.
        """
        return self._canonical(self._countable(self._read(text, object_in)))

    def parse_before(self, text: str) -> Answer:
        """Return the answer that earlier versions took from a reply, for `StepClass.read_before`; as `parse`."""
        return self._countable(self._read(text, object_in_before))

    def taken(self, value: Any) -> Answer:
        """Return the answer that a parser of the task's own has read: with a schema its fields, else the value itself.

        It is in the form that equal answers have.

        Raises:
            TypeError: It is not of that kind: the parser is wrong, not the reply.
            ValueError: It is nested too deep, or cannot be counted; says why in few words.
        """
        return self._canonical(self.taken_before(value))

    def taken_before(self, value: Any) -> Answer:
        """Return the answer that earlier versions took such a value for, for `StepClass.read_before`; as `taken`."""
        if deeper(value):
            raise ValueError(f"nested more than {DEPTH} deep")
        if self.lone and value is not None:
            return self._countable({ANSWER: exact(value if not isinstance(value, str) else _nonblank(value))})
        if not isinstance(value, dict):
            what = "an answer" if self.lone else "a dict of the schema's fields"
            raise TypeError(f"parse must return {what}, but returned {value!r:.80}")
        return self._countable(exact(value))

    def given(self, answer: Answer) -> Any:
        """Return an answer as `taken` takes it."""
        return answer[ANSWER] if self.lone else answer

    def check(self, answer: Answer) -> str | None:
        """Say in what an answer is against the schema, the first thing found, or None."""
        return None if self._schema is None else self._schema.violation(answer)

    def _countable(self, answer: Answer) -> Answer:
        """Return an answer whose fields that count as numbers are some. Raises ``ValueError``."""
        for name in self._numbers:
            if isinstance(value := answer.get(name), str):
                try:
                    numeric(value)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
        return answer

    def _named(self, name: str) -> tuple[str, ...]:
        return () if self._schema is None else self._schema.spellings[name]

    def _canonical(self, answer: Answer) -> Answer:
        """Return an answer with its fields in the form in which they count, wherever the schema allows that."""
        found = dict(answer)
        for name, (form, spellings) in self._formed.items():
            if name in answer:
                value = answer[name]
                forms = canonical(value, form, spellings)
                found[name] = next((one for one in forms if one == value or self._allows(name, one)), value)
        if found == answer or self.check(found) is None or self.check(answer) is not None:
            return found
        # Parts of the schema that are about several fields name a form of their own.
        return answer

    def _allows(self, name: str, value: Any) -> bool:
        return self._schema is None or self._schema.allows(name, value)

    def label(self, columns: Mapping[str, Any]) -> dict[str, str]:
        """Return what a label says of the voted fields, each as it counts; of a blank one it says nothing.

        A text stands for the JSON that it is where the schema allows the field no text: "4" for the number 4.

        Raises:
            ValueError: It has a column for none of them, or a value that no answer can have there; names the field.
        """
        given = {name: columns[name] for name in self.voted if name in columns} or self._whole(columns)
        said = {name: self._said(name, value) for name, value in given.items() if not _is_blank(value)}
        counted = self.codec.counted(self.codec.key(said))
        return {name: counted[name] for name in said}

    def _whole(self, columns: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the voted fields of a label that has its answer in the one column `ANSWER`. Raises ``ValueError``."""
        if ANSWER not in columns:
            raise ValueError(f"it has no column {' or '.join(map(repr, dict.fromkeys([*self.voted, ANSWER])))}")
        value = columns[ANSWER]
        if len(self.voted) == 1 or _is_blank(value):
            return {self.voted[0]: value}
        try:
            held = read_object(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"{ANSWER}: {error}") from error
        if not isinstance(held, Mapping) or not (given := {name: held[name] for name in self.voted if name in held}):
            raise ValueError(f"{ANSWER}: {value!r:.80} is no object with {' or '.join(map(repr, self.voted))}")
        return given

    def _said(self, name: str, value: Any) -> Any:
        """Return a field's value by a label, in the form in which it counts. Raises ``ValueError``."""
        if isinstance(value, ValueError):
            raise value
        if self._short is not None and isinstance(value, str):
            value = self._short(value)
        read = exact(value)
        if isinstance(value, str) and name not in self._numbers and not self._may_be_text(name):
            try:
                [(_, read)] = read_object(f'{{"value":{value}}}').items()
            except ValueError:
                raise ValueError(f"{name}: {value!r:.80} is not JSON, and no answer is a text there") from None
        found = self._canonical(self._countable({name: read.strip() if isinstance(read, str) else read}))[name]
        if not self._allows(name, found):
            raise ValueError(f"{name}: {value!r:.80} is against the schema: no answer can be right")
        return found

    def _may_be_text(self, name: str) -> bool:
        return self._schema is None or "string" in self._schema.fields[name]

    def field_margins(self, votes: Mapping[str, int], winner: str) -> dict[str, int]:
        """Return by how many votes each field of the winner leads the strongest other value of that field.

        With {"a","x"}: 3 votes, {"a","y"}: 2, {"b","y"}: 1, the winner is the first; its fields lead by 5 - 1 = 4 and
        3 - 3 = 0. Answers that lose can agree on a field against the winner: a lead can be less than the winner's
        own, and below 0.

        Args:
            votes: Key (as `AnswerCodec.key` makes it) → votes.
            winner: One of the keys.

        Returns:
            Voted field → lead in votes.

        Raises:
            ValueError: The winner has no vote.
        """
        if winner not in votes:
            raise ValueError(f"the winner has no vote: {winner[:80]}")
        counts: dict[str, dict[str, int]] = {name: {} for name in self.codec.counted(winner)}
        for key, n in votes.items():
            for name, value in self.codec.counted(key).items():
                counts[name][value] = counts[name].get(value, 0) + n
        return {
            name: counts[name].pop(value) - max(counts[name].values(), default=0)
            for name, value in self.codec.counted(winner).items()
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return AnswerFormat, self._given

    @property
    def lone(self) -> bool:
        """Whether a reply is one value, and no object."""
        return self._schema is None or self._short is not None

    def _read(self, text: str, find: Callable[[str], Answer]) -> Answer:
        if not self.lone:
            return find(text)
        return {ANSWER: _nonblank(text) if self._short is None else self._short(text)}


def _as_field(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object whose one field is a short answer."""
    part = {name: value for name, value in schema.items() if name != "$schema"}
    draft = {"$schema": schema["$schema"]} if "$schema" in schema else {}
    return {**draft, "type": "object", "properties": {ANSWER: part}, "required": [ANSWER]}


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _nonblank(text: str) -> str:
    """Return a text without blanks around it. Raises ``ValueError`` where nothing is left."""
    if not (found := text.strip()):
        raise ValueError("the reply is only white space")
    return found


def _rules(types: Mapping[str, frozenset[str]], given: Mapping[str, Any]) -> dict[str, FieldRule]:
    """Return the rule of every field, in the order of ``types``. Raises ``ValueError``."""
    for name in given:
        if name not in types:
            raise ValueError(f"{name}: there is no such field; {near(name, types)}")
    rules = {name: _rule(name, given.get(name, "exact")) for name in types}
    for name, rule in rules.items():
        fit = FITS[rule.vote]
        if fit is not None and not fit & types[name]:
            allowed = " or ".join(sorted(types[name])) or "nothing"
            raise ValueError(f"{name}: {rule.vote} is for {' or '.join(sorted(fit))}; the schema allows {allowed}")
    if all(rule.vote == "carry" for rule in rules.values()):
        raise ValueError('every field has vote = "carry"; at least one must be voted on')
    return rules


def _rule(name: str, given: Any) -> FieldRule:
    try:
        return FieldRule.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([name, *map(str, first["loc"])])
        raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from error
