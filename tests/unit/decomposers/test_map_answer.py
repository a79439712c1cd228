"""The answers of a map: how replies are read, checked, voted on and written."""

from __future__ import annotations

import json
import pickle
import random
import unicodedata
from collections import Counter
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from decomposers.common import strict_json
from decomposers.common.strict_json import DEPTH, DIGITS, Number, exact, number, object_in, read_object, written
from decomposers.map.answer import Answer, AnswerFormat, FieldRule
from decomposers.map.fields import as_set, folded, numeric, stepped


def schema_of(**properties: Any) -> dict[str, Any]:
    """Return a schema for objects with these properties."""
    return {"type": "object", "properties": properties}


TEXT = {"type": "string"}
INVOICE = schema_of(
    label={"enum": ["bill", "note"]}, amount={"type": "number", "minimum": 0.1}, tags={"type": "array"}, reason=TEXT
) | {"required": ["label", "amount"], "additionalProperties": False}
RULES: dict[str, Any] = {"amount": {"vote": "number", "tolerance": 0.01}, "tags": "set", "reason": "carry"}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.decimals(-(10**9), 10**9, allow_nan=False).map(lambda value: object_in(f'{{"n":{value:f}}}')["n"])
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
answers = st.dictionaries(st.sampled_from(["label", "amount", "é", 'a"\\b']), values, max_size=4)


@cache
def open_format(**rules: str) -> AnswerFormat:
    """Return a format whose fields may hold anything."""
    return AnswerFormat(schema_of(**dict.fromkeys(["label", "amount", "é", 'a"\\b'], True)), rules)


def key_of(value: Any, rule: Any) -> str:
    """Return the key of an answer of one field, which may hold anything."""
    return one_field(json.dumps(rule)).codec.key({"x": value})


@cache
def one_field(rule: str) -> AnswerFormat:
    """Return a format of one field, which may hold anything, for a rule as JSON."""
    return AnswerFormat(schema_of(x=True), {"x": json.loads(rule)})


# Reading a reply


@pytest.mark.parametrize(
    "reply",
    [
        '{"label": "a"}',
        ' \n\t{ "label"\r\n:"a" } ',
        '\ufeff{"label": "a"}',
        '```json\n{"label": "a"}\n```',
        'Sure!\n\n  ```JSON \r\n\r\n{"label": "a"}\r\n``` \nIs {that} all?',
        '```json\n{"label": "a"}',
        '```\n{"label": "a"}\n```',
        'Given {"label": "a"}:\n```json\n{"label": "a"}\n```\nagain\n```json\n{ "label":"a"}\n```',
        'The answer is {"label": "a"}.',
        '"Yes" is what I say, so {"label": "a"}',
        'From {text} and {{name}}, with \\frac{1}{2}, [1] and [{so}]: {"label": "a"}',
        'First {"label": "a"}, so, as I said, {"label" : "\\u0061"}.',
        '1. {"label": "a"}',
        'NaN? {"label": "a"}',
    ],
)
def test_one_object_is_found_wherever_it_stands(reply: str) -> None:
    """The whole reply, a fence, or the only object in running text."""
    assert object_in(reply) == {"label": "a"}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("", "holds no JSON object"),
        ("the label is a", "holds no JSON object"),
        ("{'label': 'a'}", "holds no JSON object"),
        ("{label: a}", "holds no JSON object"),
        ('{answer: {"label": "a"}}', "holds no JSON object"),
        ('\\boxed{{"label": "a"}}', "holds no JSON object"),
        ('[{"label": "a"}]', "a list, not an object"),
        ('So: [ {"label": "a"} ]', "a list, not an object"),
        ('```json\n[{"label": "a"}]\n```', "a list, not an object"),
        ('"{}"', "a text, not an object"),
        ("```json\n12\n```", "a number, not an object"),
        ("```json\nnull\n```", "null, not an object"),
        ('{"label": "a"} or {"label": "b"}', "holds several objects"),
        ('{"label": 1}\n{"label": true}', "holds several objects"),
        ("Fill {} in: {}, or { }: " + '{"label": "a"}', "holds several objects"),
        ('```json\n{"label": "a"}\n```\n```json\n{"label": "b"}\n```', "holds several objects"),
        ('The form is\n```json\n{"label": "b"}\n```\nand my answer is {"label": "a"}', "holds several objects"),
        ('Given {"label": "b"}:\n```json\n{"label": "a"}\n```', "holds several objects"),
        ('```json\n{"label": "a"}\n``` \nIs {that} all? {"no": 1}', "holds several objects"),
        ('```json\n{"label": "a"}\n```\nor [{"label": "a"}]', "a list, not an object"),
        ('```json\n{"label": "a"}\n```\nor {"label": ', "broken JSON"),
        ('```json\n{"label": "a"} {"label": "a"}\n```', "a code fence holds more than one object"),
        ('```json\n{"label": "a",}\n```', "broken JSON: .* at character 2[23]"),
        ('{"label": "a", "more": {"label": "b"}', "broken JSON: .* at character 38"),
        ('So {"label": "a", more: {"label": "b"}}', "broken JSON"),
        ('So { "label": "a', "broken JSON: Unterminated string"),
        ('So {label of {"label": "a"}', "a brace is not closed"),
        ('{"label": "two\nlines"}', "broken JSON: Invalid control character"),
        ('{"label": "a\0"}', "broken JSON: Invalid control character"),
        ('{"label": "a", "label": "a"}', "the key 'label' is there twice"),
        ('So {"x": {"label": "a", "label": "b"}}', "the key 'label' is there twice"),
        ('{"label": NaN}', "'NaN' is not a number"),
        ('{"label": [-Infinity]}', "'-Infinity' is not a number"),
        (f'{{"label": 1{"0" * DIGITS}}}', "more than 300 digits"),
        ('{"label": 1e300}', "more than 300 digits"),
        ('{"label": -1.5e-300}', "more than 300 digits"),
        ('{"label": 1e99999999999999999999}', "not a number"),
        ('{"label":' * 5 + "[" * (DEPTH - 4) + "]" * (DEPTH - 4) + "}" * 5, "nested more than 32 deep"),
        ('{"label":' * 100_000, "nested more than 32 deep"),
        ("{" * 100_000, "a brace is not closed"),
        ("[{" * 100_000, "a brace is not closed"),
    ],
)
def test_nothing_is_guessed(reply: str, words: str) -> None:
    """Broken, doubtful and several objects are flagged, in few words."""
    with pytest.raises(ValueError, match=words) as caught:
        object_in(reply)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("reply", ['{"label":' * 100_000, "[" * 100_000, 'So {"x":{}, "y": ' + "[1, " * 100_000])
def test_what_is_nested_too_deep_is_not_decoded(monkeypatch: pytest.MonkeyPatch, reply: str) -> None:
    """A decoder would go down to the end of the stack."""
    monkeypatch.setattr(strict_json, "_DECODER", None)
    with pytest.raises(ValueError, match="nested more than 32 deep"):
        object_in(reply)


@pytest.mark.parametrize(
    "text",
    ["}", "{", "{}}{", '"', "\\", '\\"}', "```", "```json\n{}\n```", "\n", "😀", "\0", "\u2028", "[", '{"label": "b"}'],
)
def test_what_stands_in_a_text_is_text(text: str) -> None:
    """Braces, quotes, fences and controls within a string are its own."""
    for reply in (json.dumps({"label": text}), f"It is {json.dumps({'label': text}, ensure_ascii=False)}, I think"):
        assert object_in(reply) == {"label": text}
        assert object_in(f"```json\n{reply}\n```" if reply[0] == "{" else reply) == {"label": text}


def test_objects_within_the_object_are_its_own() -> None:
    """The outermost object counts, and the deepest allowed one is read."""
    assert object_in('So {"a": {"b": {"c": [{}]}}} it is') == {"a": {"b": {"c": [{}]}}}
    deep = '{"a":' + "[" * (DEPTH - 1) + "]" * (DEPTH - 1) + "}"
    assert written(object_in(deep)) == deep
    many = {"a": [[i] for i in range(2 * DEPTH)]}
    assert object_in(json.dumps(many)) == many


@given(st.text('{}[]"\\ab:,1.-`\n json😀', max_size=40) | st.text(max_size=40))
@settings(max_examples=300)
def test_any_reply_is_an_object_or_a_flag(reply: str) -> None:
    """No other error, whatever the reply."""
    try:
        found = object_in(reply)
    except ValueError:
        return
    assert isinstance(found, dict)


@given(answers, st.text("ab .,'[]1`\n😀", max_size=20), st.text("ab .,\"'[]1`\n😀", max_size=20))
def test_prose_around_an_object_does_not_matter(answer: Answer, before: str, after: str) -> None:
    """Prose without braces leaves the object what it is, unless it makes a list or a text of it."""
    assume(not before.rstrip().endswith("["))
    assert object_in(before + written(answer) + after) == answer


@given(answers.filter(bool), st.sampled_from(["", "It is ", "```json\n"]), st.data())
def test_a_cut_object_is_never_read(answer: Answer, before: str, data: st.DataObject) -> None:
    """No object is taken out of one that is cut off, wherever it is cut."""
    text = written(answer)
    with pytest.raises(ValueError, match=r"\w"):
        object_in(before + text[: data.draw(st.integers(0, len(text) - 1))])


# Writing


@given(answers)
def test_what_is_written_is_read_again(answer: Answer) -> None:
    """Writing and reading, and writing and parsing, give the answer back, and the same text again."""
    form = open_format()
    text = form.codec.write(answer)
    for again in (form.codec.read(text), form.parse(text)):
        assert again == answer
        assert form.codec.write(again) == text


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans() | st.none()), max_size=4))
def test_the_form_is_that_of_json(answer: Answer) -> None:
    """Members sorted by name, no blanks, Unicode as it is."""
    assert written(answer) == json.dumps(answer, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize(
    ("numeral", "plain"),
    [
        ("0.1", "0.1"),
        ("9007199254740993", "9007199254740993"),
        ("123456789012345678901234567890.123456789012345678901234567890", None),
        ("1.0", "1"),
        ("-0.0", "0"),
        ("0e999999", "0"),
        ("2.50", "2.5"),
        ("1E2", "100"),
        ("12.5e-1", "1.25"),
        ("1e-7", "0.0000001"),
        ("1e299", "1" + "0" * 299),
        ("-" + "7" * DIGITS, "-" + "7" * DIGITS),
    ],
)
def test_no_digit_is_lost(numeral: str, plain: str | None) -> None:
    """Numbers are written in plain digits, each of them that tells something."""
    expected = numeral.rstrip("0") if plain is None else plain
    answer = object_in(f'{{"n": {numeral}}}')
    assert written(answer) == f'{{"n":{expected}}}'
    assert read_object(written(answer)) == answer


def test_values_of_a_program_are_written_as_those_of_a_reply() -> None:
    """Floats count as the decimal that Python shows; what JSON cannot hold is refused."""
    assert written({"n": [0.1, 1.0, 1e22, Decimal("2.50"), -0.0]}) == '{"n":[0.1,1,10000000000000000000000,2.5,0]}'
    for wrong in (float("nan"), float("inf"), Decimal("sNaN"), object(), {1: 2}, b"x"):
        with pytest.raises(ValueError, match="no"):
            written({"n": wrong})


def test_shown_is_plain_json() -> None:
    """Programs get floats where a number is not whole, and whole numbers to the last digit."""
    form = open_format()
    answer = form.parse('{"label": [0.1, {"x": 12345678901234567890}], "amount": 2.0}')
    shown = form.codec.show(answer)
    assert shown == {"label": [0.1, {"x": 12345678901234567890}], "amount": 2}
    assert type(shown["label"][0]) is float
    assert json.loads(json.dumps(shown)) == shown


@pytest.mark.parametrize("text", ["", "x", "[]", "1", '{"a":1} ,', '{"a":1}{"a":1}', 'So {"a":1}', '{"a":1'])
def test_only_an_object_is_read_from_the_log(text: str) -> None:
    """The codec searches for nothing."""
    with pytest.raises(ValueError, match=r"\w"):
        open_format().codec.read(text)


# Which answers are the same vote


def json_equal(a: Any, b: Any) -> bool:
    """Say whether two values are equal as JSON values, Unicode in NFC: written down apart from the code."""
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, str) and isinstance(b, str):
        return unicodedata.normalize("NFC", a) == unicodedata.normalize("NFC", b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(json_equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return sorted(a) == sorted(b) and all(json_equal(a[name], b[name]) for name in a)
    numbers = isinstance(a, int | Decimal) and isinstance(b, int | Decimal)
    return numbers and Fraction(a) == Fraction(b)


def respelled(value: Any, rng: random.Random) -> str:
    """Return JSON of a value in some other spelling: order, blanks, escapes, numerals."""
    blank = rng.choice(["", " ", "\n "])
    if isinstance(value, dict):
        pairs = [f"{json.dumps(name)}{blank}:{respelled(member, rng)}" for name, member in value.items()]
        rng.shuffle(pairs)
        return "{" + blank + ",".join(pairs) + blank + "}"
    if isinstance(value, list):
        return "[" + f"{blank},".join(respelled(item, rng) for item in value) + blank + "]"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return rng.choice(["{:f}", "{:f}e0", "{:f}E+00"]).format(Decimal(value))
    return json.dumps(value, ensure_ascii=rng.random() < 0.5)


@given(answers, st.randoms(use_true_random=False))
def test_equal_answers_are_one_vote(answer: Answer, rng: random.Random) -> None:
    """Order, blanks, escapes and the spelling of numbers do not matter, in key and canonical text."""
    form = open_format()
    again = form.parse(respelled(answer, rng))
    assert form.codec.key(again) == form.codec.key(answer)
    assert form.codec.write(again) == form.codec.write(answer)


small = st.recursive(
    st.sampled_from([None, True, False, 0, 1, -1, Number("0.5"), Number("-0.5"), "", "1", "a", "é", "e\u0301", "null"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=3,
)


@given(small, small)
@example(["é"], ["e\u0301"])
@settings(max_examples=300)
def test_exact_is_json_equality(a: Any, b: Any) -> None:
    """Two values have the same key exactly when they are equal, 1 and true, "1" and 1 apart."""
    assert (key_of(a, "exact") == key_of(b, "exact")) == json_equal(a, b)


def test_names_that_are_one_in_nfc_stay_two_members() -> None:
    """Normalising loses no member, and their order does not matter."""
    one, other = {"é": 1, "e\u0301": 2}, {"e\u0301": 2, "é": 1}
    assert key_of(one, "exact") == key_of(other, "exact") == '{"x":{"é":1,"é":2}}'


def test_a_missing_field_a_null_and_an_empty_text_are_three_votes() -> None:
    """What an answer leaves out is not in its key."""
    form = open_format(label="casefold")
    assert {form.codec.key(a) for a in ({}, {"label": None}, {"label": ""})} == {
        "{}",
        '{"label":null}',
        '{"label":""}',
    }


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Yes", "yes"),
        (" \t YES \n", "yes"),
        ('"Yes."', "yes"),
        ("“Yes”!", "yes"),
        ("**Yes.**", "yes"),
        ("_'Yes'_.", "yes"),
        ("¿Sí?", "sí"),
        ("（Ｂ）", "b"),
        ("B)", "b"),
        ("Straße", "strasse"),
        ("ﬁ  ne\u00a0x", "fi ne x"),
        ("e\u0301", "é"),
        ("Σίσυφος", "σίσυφοσ"),
        ("-5", "-5"),
        ("50%", "50%"),
        ("C#", "c#"),
        ("A*", "a*"),
        (".NET", ".net"),
        ("<5", "<5"),
        ("snake_case", "snake_case"),
        ("", ""),
        (" ", " "),
        (" !! ", "!!"),
        ("…", "…"),
        ("**", "**"),
        ('"*"', "*"),
        ('"()"', '"()"'),
        ("\u200b", "\u200b"),
    ],
)
def test_folded_texts(text: str, bare: str) -> None:
    """Case, blanks and wrapping go, signs that tell answers apart stay, and nothing becomes nothing."""
    assert folded(text) == bare


@given(st.text("aB .,!?*_\"'()-é…“ßİ\u0345\u1fb3\u00a0\u3000", max_size=12) | st.text(max_size=12))
@settings(max_examples=400)
def test_folding_is_done_at_once_and_leaves_something(text: str) -> None:
    """A folded text folds to itself, is in NFC, and is empty only for an empty text."""
    bare = folded(text)
    assert bool(bare) == bool(text)
    if any(sign.isalnum() for sign in text):
        assert folded(bare) == bare
        assert unicodedata.is_normalized("NFKC", bare)


@given(
    st.text("abÉ -#5", min_size=1, max_size=8).filter(str.strip), st.sampled_from(['"{}"', " {}.", "**{}**", "({})"])
)
def test_wrapping_and_case_are_no_other_vote(text: str, wrapping: str) -> None:
    """A wrapped, upper-cased text is the same vote; text and null are not."""
    assert key_of(wrapping.format(text.upper()), "casefold") == key_of(text, "casefold")
    assert key_of("null", "casefold") != key_of(None, "casefold")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", "12"),
        (" 1,234.50\n", "1234.5"),
        ("-1,234,567", "-1234567"),
        ("+0.5", "0.5"),
        ("007", "7"),
        ("0", "0"),
        ("9007199254740993.1", "9007199254740993.1"),
    ],
)
def test_texts_that_are_numbers(text: str, value: str) -> None:
    """Digits, a sign, a point, commas between thousands."""
    assert numeric(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    ["", " ", "12 %", "$5", "5 kg", "7" * 301, "1e3", "1,23", "1,2345", "12,34,567", "1.234,5", "1 234", ".5", "5.",
     "--5", "0,123", "- 5", "1_000", "٣", "½", "NaN", "Infinity", "0x1", "twelve", "1.2.3"],
)  # fmt: skip
def test_texts_that_are_not(text: str) -> None:
    """Nothing is guessed of units, exponents and other countries' commas; the reply is flagged, and names the field."""
    form = AnswerFormat(schema_of(n={"type": ["number", "string"]}), {"n": {"vote": "number", "tolerance": 1}})
    with pytest.raises(ValueError, match=r"^n: .*(not a number|300 digits)"):
        form.parse(json.dumps({"n": text}))


@pytest.mark.parametrize(
    ("value", "tolerance", "counted"),
    [
        ("0.125", 0.01, "0.12"),
        ("0.135", 0.01, "0.14"),
        ("-0.125", 0.01, "-0.12"),
        ("1.004", 0.01, "1"),
        ("1.006", 0.01, "1.01"),
        ("1.0049999999999999999999999", 0.01, "1"),
        ("2.5", 1, "2"),
        ("3.5", 1, "4"),
        ("7", 5, "5"),
        ("8", 5, "10"),
        ("0.1", 0.3, "0"),
        ("0.2", 0.3, "0.3"),
        ("-0.001", 0.01, "0"),
        ("12.5", 1e-9, "12.5"),
        ("9" * DIGITS, 2, "1" + "0" * DIGITS),
        ("9" * DIGITS, 1e-250, "9" * DIGITS),
        ("1234567890123456789", 1000, "1234567890123457000"),
        ('"1,234.504"', 0.01, "1234.5"),
    ],
)
def test_numbers_count_in_steps(value: str, tolerance: float, counted: str) -> None:
    """To the nearest multiple of the tolerance, half to the even one, exactly."""
    assert (
        key_of(object_in(f'{{"n": {value}}}')["n"], {"vote": "number", "tolerance": tolerance}) == f'{{"x":{counted}}}'
    )


@given(st.decimals(-(10**6), 10**6, places=4), st.decimals("0.0001", 1000, places=4))
def test_steps_are_those_of_decimal_arithmetic(value: Decimal, step: Decimal) -> None:
    """The count is x / tolerance rounded half even, and the counted value is within half a step."""
    exactly = Context(prec=60)
    count = exactly.divide(value, step).quantize(Decimal(1), ROUND_HALF_EVEN, exactly)
    counted = stepped(value, step=step)
    assert counted == exactly.multiply(count, step)
    assert abs(Fraction(counted) - Fraction(value)) * 2 <= Fraction(step)


def test_what_is_no_number_counts_exactly_in_a_number_field() -> None:
    """A null is a vote of its own, and true is not 1."""
    rule = {"vote": "number", "tolerance": 1}
    assert [key_of(value, rule) for value in (None, True, 1, "1", [1])] == [
        '{"x":null}',
        '{"x":true}',
        '{"x":1}',
        '{"x":1}',
        '{"x":[1]}',
    ]
    with pytest.raises(ValueError, match="not a number"):
        key_of("none", rule)


@given(st.lists(values, max_size=5), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter_in_a_set(items: list[Any], rng: random.Random) -> None:
    """A list and any shuffling of it with repetitions are one vote."""
    more = items + [rng.choice(items) for _ in range(3) if items]
    rng.shuffle(more)
    assert key_of(more, "set") == key_of(items, "set")
    assert len(as_set(items)) == len({written(folded(i) if isinstance(i, str) else i, _nfc) for i in items})


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def test_items_of_a_set() -> None:
    """Texts are folded, everything else is exact, and a null is no empty list."""
    assert key_of(["Red.", "blue", " RED "], "set") == '{"x":["blue","red"]}'
    assert key_of([["e\u0301"], ["é"]], "set") == '{"x":[["é"]]}'
    assert key_of([1, "1", True], "set") == '{"x":["1",1,true]}'
    assert key_of(None, "set") != key_of([], "set")
    assert key_of("ab", "set") != key_of("ba", "set")


def test_carried_fields_are_written_and_not_voted_on() -> None:
    """The key holds the voted fields alone; what the schema does not name stays in the log."""
    form = AnswerFormat(schema_of(reason=TEXT, label=TEXT), {"reason": "carry"})
    one, other = form.parse('{"label":"a","reason":"x","more":1}'), form.parse('{"reason":"y","label":"a"}')
    assert (form.fields, form.voted) == (("reason", "label"), ("label",))
    assert form.codec.key(one) == form.codec.key(other) == '{"label":"a"}'
    assert form.codec.write(one) == '{"label":"a","more":1,"reason":"x"}'


@pytest.mark.parametrize("named", [{}, {"patternProperties": {"^x": {}}}, {"minProperties": 2}])
def test_what_the_schema_does_not_name_is_checked_and_not_shown(named: dict[str, Any]) -> None:
    """So that a reply cannot give values to columns of the row; the log holds what the schema is asked of again."""
    form = AnswerFormat(schema_of(label=TEXT, part={"type": "object"}) | {"additionalProperties": True} | named)
    answer = form.parse('{"label": "a", "id": "row-9", "x": 1, "part": {"id": 2}}')
    again = form.codec.read(form.codec.write(answer))
    assert again == answer
    assert form.check(answer) is form.check(again) is None
    assert form.codec.show(answer) == form.codec.show(again) == {"label": "a", "part": {"id": 2}}
    assert form.codec.key(answer) == form.codec.key(again) == '{"label":"a","part":{"id":2}}'


def test_an_answer_of_a_parser_shows_the_one_field_without_a_schema() -> None:
    """A parser of one's own may return more than the text."""
    assert AnswerFormat(None).codec.show({"answer": "a", "id": 1}) == {"answer": "a"}


# Without a schema


def test_a_text_is_an_answer_without_a_schema() -> None:
    """The reply, stripped; its key is the text itself in NFC."""
    form = AnswerFormat(None)
    answer = form.parse(' {"label": "e\u0301"}\n')
    assert answer == form.codec.show(answer) == {"answer": '{"label": "e\u0301"}'}
    assert form.codec.key(answer) == '{"label": "é"}'
    assert form.codec.read(form.codec.write(answer)) == answer
    assert form.check(answer) is None
    assert form.fields == form.voted == ("answer",)
    with pytest.raises(ValueError, match="white space"):
        form.parse(" \n")


@pytest.mark.parametrize(
    ("rule", "reply", "key"),
    [
        ("exact", "Yes.", "Yes."),
        ("casefold", ' "Yes." ', "yes"),
        ("casefold", "!!!", "!!!"),
        ({"vote": "number", "tolerance": 0.5}, "1,234.3", "1234.5"),
    ],
)
def test_a_text_counts_by_its_rule(rule: Any, reply: str, key: str) -> None:
    """The whole answer has the one rule."""
    form = AnswerFormat(None, {"answer": rule})
    assert form.codec.key(form.parse(reply)) == key
    assert form.field_margins({key: 3, "other": 1}, key) == {"answer": 2}


def test_a_text_that_should_be_a_number_is_flagged() -> None:
    """By parsing, not by its key."""
    with pytest.raises(ValueError, match="answer: 'about 5' is not a number"):
        AnswerFormat(None, {"answer": {"vote": "number", "tolerance": 1}}).parse("about 5")


@given(st.text(min_size=1), st.sampled_from(["exact", "casefold"]))
def test_no_answer_has_an_empty_key(text: str, rule: str) -> None:
    """Whatever a text is normalised to, something is left."""
    assume(text.strip())
    form = AnswerFormat(None, {"answer": rule})
    assert form.codec.key(form.parse(text))


# Checks


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ('{"label": "bill", "amount": 0.1, "tags": [], "reason": ""}', None),
        ('{"label": "bill", "amount": 1.0}', None),
        ('{"label": "foo", "amount": 1}', "label: 'foo' is not one of ['bill', 'note']"),
        ('{"label": "bill"}', "'amount' is a required property"),
        ('{"label": "bill", "amount": "12"}', None),
        ('{"label": "bill", "amount": []}', "amount: [] is not of type 'number'"),
        ('{"label": "bill", "amount": true}', "amount: True is not of type 'number'"),
        (
            '{"label": "bill", "amount": 0.094999999999999999}',
            "amount: 0.094999999999999999 is less than the minimum of 0.1",
        ),
        ('{"label": "bill", "amount": 1, "x": 1}', "Additional properties are not allowed ('x' was unexpected)"),
    ],
)  # fmt: skip
def test_the_schema_is_asked(reply: str, words: str | None) -> None:
    """The first violation, with its place, numbers as they were written."""
    form = AnswerFormat(INVOICE, RULES)
    assert form.check(form.parse(reply)) == words


def test_a_place_within_an_answer_is_named_and_long_values_are_cut() -> None:
    """Members by dots, items by number."""
    item = schema_of(name=TEXT | {"maxLength": 2}, n={"type": "integer"})
    form = AnswerFormat(schema_of(items={"type": "array", "items": item}))
    assert form.check({"items": [{}, {"n": Number("1.5")}]}) == "items[1].n: 1.5 is not of type 'integer'"
    said = form.check({"items": [{"name": "x" * 5000}]}) or ""
    assert said.startswith("items[0].name: 'xxx")
    assert said.endswith("… is too long")
    assert len(said) < 200
    assert form.check(form.parse('{"items": [{"n": 1.0}]}')) is None


def test_multiples_are_exact() -> None:
    """A cent is a hundredth: decimals do not go by way of binary fractions."""
    form = AnswerFormat(schema_of(n={"multipleOf": 0.01}, m={"type": "number", "exclusiveMaximum": 0.3}))
    for numeral in ("19.99", "0.3", "-7", "1e250", "123456789012345678901234567890.12"):
        assert form.check(form.parse(f'{{"n": {numeral}}}')) is None
    assert form.check(form.parse('{"n": 19.995}')) == "n: 19.995 is not a multiple of 0.01"
    assert form.check(form.parse('{"m": 0.3}')) == "m: 0.3 is greater than or equal to the maximum of 0.3"


def test_the_schema_says_its_draft() -> None:
    """A list of item schemas is Draft 7's; Draft 2020-12 refuses it."""
    pair = schema_of(x={"items": [TEXT, {"type": "integer"}]})
    with pytest.raises(ValueError, match="the schema is not valid"):
        AnswerFormat(pair)
    form = AnswerFormat(pair | {"$schema": "http://json-schema.org/draft-07/schema#"})
    assert form.check({"x": ["a", "b"]}) == "x[1]: 'b' is not of type 'integer'"


def test_references_within_the_schema_hold() -> None:
    """To a definition, to an anchor, to the schema by its own name, and round."""
    node = {
        "$anchor": "node",
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}},
    }
    schema = schema_of(a={"$ref": "#node"}, b={"$ref": "mine#/$defs/node"}) | {
        "$id": "http://example.invalid/mine",
        "$defs": {"node": node},
    }
    form = AnswerFormat(schema)
    assert form.check({"a": {"next": {"n": 1}}, "b": {}}) is None
    assert form.check({"a": {"next": {"next": {"n": "x"}}}}) == "a.next.next.n: 'x' is not of type 'integer'"
    deep = '{"a":' + '{"next":' * (DEPTH - 1) + "1" + "}" * DEPTH
    assert str(form.check(form.parse(deep))).endswith("1 is not of type 'object'")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "must be an object"),
        ({}, "properties at its top level"),
        (schema_of(), "properties at its top level"),
        (schema_of(a=TEXT) | {"type": "array"}, "properties at its top level"),
        (schema_of(a={"type": "strin"}), "the schema is not valid: properties.a.type: 'strin' is not"),
        (schema_of(a={"pattern": "("}), r"properties.a.pattern: '\(' is not a 'regex'"),
        (schema_of(a={"maximum": float("nan")}), "'nan' is not a number"),
        (schema_of(a=TEXT) | {"$schema": "http://example.invalid/draft"}, "not a known draft"),
        (schema_of(a=TEXT) | {"$schema": "http://json-schema.org/draft-03/schema#"}, "not a known draft"),
        (schema_of(a=TEXT) | {"$schema": 7}, "not a known draft"),
        (schema_of(a={"$schema": "http://json-schema.org/draft-07/schema#"}), "at the top level of a schema only"),
        (schema_of(a={"$ref": "http://example.invalid/x"}), "example.invalid/x' points to nothing in this schema"),
        (schema_of(a={"$ref": "https://json-schema.org/draft/2020-12/schema"}), "points to nothing"),
        (schema_of(a={"items": {"anyOf": [{"$ref": "#/$defs/no"}]}}), "'#/\\$defs/no' points to nothing"),
        (schema_of(a={"$dynamicRef": "#no"}), "'#no' points to nothing"),
        (schema_of(a={"$ref": "#/x"}) | {"x": {"$ref": "http://example.invalid/x"}}, "invalid/x' points to nothing"),
        (schema_of(a={"$ref": "#/x"}) | {"x": {"type": "strin"}}, "'#/x': type: 'strin'"),
        (schema_of(a={"$ref": "#/x"}) | {"x": "y"}, "'#/x': 'y' is not of type"),
        (schema_of(a={"allOf": [{"$ref": "#/properties/a"}]}), "a: its schema refers to itself endlessly"),
    ],
)
def test_a_schema_that_is_not_one_is_refused(schema: Any, words: str) -> None:
    """When the format is built, saying what is wrong and where."""
    with pytest.raises(ValueError, match=words):
        AnswerFormat(schema)


def test_what_only_looks_like_a_reference_is_data() -> None:
    """In values, and as a field's name."""
    data = {"$ref": "http://example.invalid/x"}
    form = AnswerFormat({"properties": {"$ref": {"enum": [data], "default": data}, "$schema": True}})
    assert form.check({"$ref": data}) is None


def test_the_schema_is_copied() -> None:
    """Who gave it may change it, and a worker still gets what was checked."""
    schema = schema_of(a={"enum": ["x"]})
    form = AnswerFormat(schema)
    schema["properties"]["a"]["enum"].append("y")
    for same in (form, pickle.loads(pickle.dumps(form))):  # noqa: S301
        assert same.check({"a": "y"}) == "a: 'y' is not one of ['x']"


# Rules


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"lable": "exact"}, "^lable: there is no such field; did you mean 'label'\\? known: label, n, tags, mixed"),
        ({"label": "casefolded"}, "^label.vote: there is no vote 'casefolded'; did you mean 'casefold'"),
        ({"": "exact"}, "^: there is no such field"),
        ({"label": 3}, "^label: "),
        ({"label": {"tolerance": 1}}, "^label.vote: Field required"),
        ({"n": "number"}, "^n: number needs a tolerance"),
        ({"n": {"vote": "number", "tolerance": 0}}, "^n.tolerance: .*greater than 0"),
        ({"n": {"vote": "number", "tolerance": float("inf")}}, "^n.tolerance: .*finite"),
        ({"n": {"vote": "number", "tolerance": 1e-310}}, "^n: a number has more than 300 digits"),
        ({"n": {"vote": "number", "tolerance": 1, "unit": "m"}}, "^n.unit: Extra"),
        ({"n": {"vote": "exact", "tolerance": 1}}, "^n: exact takes no tolerance"),
        ({"n": "casefold"}, "^n: casefold is for string; the schema allows integer or number"),
        ({"label": "set"}, "^label: set is for array; the schema allows string"),
        ({"tags": {"vote": "number", "tolerance": 1}}, "^tags: number is for .*; the schema allows array or null"),
        ({"mixed": "set"}, "^mixed: set is for array; the schema allows integer or string"),
        (dict.fromkeys(["label", "n", "tags", "mixed"], "carry"), "at least one must be voted on"),
    ],
)
def test_rules_that_cannot_be_are_refused(rules: dict[str, Any], words: str) -> None:
    """By field, saying what would do."""
    schema = schema_of(
        label={"$ref": "#/$defs/text"},
        n={"type": "number"},
        tags={"anyOf": [{"type": "array"}, {"type": "null"}]},
        mixed={"allOf": [{"enum": ["a", 1, None]}, {"type": ["string", "integer"]}]},
    )
    with pytest.raises(ValueError, match=words):
        AnswerFormat(schema | {"$defs": {"text": {"const": "a"}}}, rules)


def test_rules_fit_what_a_field_may_also_be() -> None:
    """A field that allows several types takes a rule for any of them, one that says nothing takes all."""
    number = {"vote": "number", "tolerance": 1}
    AnswerFormat(schema_of(a={"type": ["string", "null"]}, b=True, c=TEXT), {"a": "casefold", "b": "set", "c": number})
    AnswerFormat(schema_of(a={"$ref": "#/properties/b"}, b={"oneOf": [TEXT, {"type": "array"}]}), {"a": "set"})


def test_a_rule_is_written_as_it_was_given() -> None:
    """A name or a table; both are settings that are stored and read again."""
    for given_rule in ("exact", "carry", {"vote": "number", "tolerance": 0.01}):
        rule = FieldRule.model_validate(given_rule)
        assert rule.model_dump(mode="json") == given_rule
        assert FieldRule.model_validate(json.loads(rule.model_dump_json())) == rule
        assert FieldRule.model_validate(rule) == rule
    with pytest.raises(ValidationError, match="did you mean 'exact'"):
        FieldRule.model_validate("exacct")


def test_a_format_pickles() -> None:
    """So do its codec and its answers: they travel to workers."""
    form = AnswerFormat(INVOICE, RULES)
    reply = '{"label": "bill", "amount": "1,234.504", "tags": ["b", "A"], "reason": "\\u00e9"}'
    for other in (pickle.loads(pickle.dumps(form)), AnswerFormat(INVOICE, RULES)):  # noqa: S301
        answer = pickle.loads(pickle.dumps(other.parse(reply)))  # noqa: S301
        assert answer == form.parse(reply)
        assert answer == {"label": "bill", "amount": number("1234.5"), "tags": ["a", "b"], "reason": "é"}
        codec = pickle.loads(pickle.dumps(other.codec))  # noqa: S301
        assert codec.key(answer) == form.codec.key(answer) == '{"amount":1234.5,"label":"bill","tags":["a","b"]}'
        assert repr(pickle.loads(pickle.dumps(Number("0.5")))) == "0.5"  # noqa: S301


# The form that stands for all answers of one vote

LABEL: dict[str, Any] = {"enum": ["Spam", "ham", None]}
CANONICAL = AnswerFormat(
    schema_of(
        label=LABEL,
        city=TEXT,
        code={"type": "string", "pattern": "^[A-Z]{2}$"},
        price={"type": "number", "minimum": 1},
        told={"type": "string"},
        tags={"type": "array", "items": {"$ref": "#/$defs/tag"}},
        quote=TEXT,
    )
    | {"$defs": {"tag": {"anyOf": [{"enum": ["A+", "B"]}, {"type": "string", "minLength": 3}]}}},
    {
        "label": "casefold", "city": "casefold", "code": "casefold", "price": {"vote": "number", "tolerance": 5},
        "told": {"vote": "number", "tolerance": 0.5}, "tags": "set", "quote": "carry",
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ({"label": "SPAM"}, {"label": "Spam"}),
        ({"label": ' **"spam."** '}, {"label": "Spam"}),
        ({"label": None}, {"label": None}),
        ({"city": " New  YORK. "}, {"city": "new york"}),
        ({"code": "DE"}, {"code": "DE"}),
        ({"price": 14}, {"price": 15}),
        ({"price": "1,012"}, {"price": 1010}),
        ({"price": 2}, {"price": 2}),
        ({"told": "2.6"}, {"told": "2.5"}),
        ({"tags": ["b", "a+", "Big", "B", "BIG."]}, {"tags": ["A+", "B", "big"]}),
        ({"quote": "As IT is."}, {"quote": "As IT is."}),
    ],
)
def test_an_answer_is_written_in_the_form_in_which_it_counts(said: dict[str, Any], counts: dict[str, Any]) -> None:
    """As the schema spells it, else folded, stepped or as a set; where the schema forbids that, as it was said."""
    answer = CANONICAL.parse(json.dumps(said))
    assert answer == CANONICAL.taken(said) == counts
    assert CANONICAL.check(answer) is None
    assert CANONICAL.codec.key(answer) == CANONICAL.codec.key(CANONICAL.parse_before(json.dumps(said)))
    assert CANONICAL.parse_before(json.dumps(said)) == CANONICAL.taken_before(said) == exact(said)


def test_what_counts_as_nothing_that_the_schema_allows_is_told_as_it_was_said() -> None:
    """The reason names the reply's own words."""
    for said, told in (({"label": "Eggs"}, "label: 'eggs' is not one of"), ({"code": "d"}, "code: 'd' does not match")):
        assert told.replace("eggs", "Eggs") in (CANONICAL.check(CANONICAL.parse(json.dumps(said))) or "")


def test_a_schema_about_several_fields_may_ask_for_a_form_of_its_own() -> None:
    """What the whole schema takes as it was said, and not as it counts, stays as it was said."""
    schema = schema_of(kind=TEXT) | {"oneOf": [{"properties": {"kind": {"const": "Big"}}}]}
    form = AnswerFormat(schema, {"kind": "casefold"})
    answer = form.parse('{"kind": "Big"}')
    assert answer == {"kind": "Big"}
    assert form.check(answer) is None


def test_of_two_spellings_that_count_alike_the_first_stands_for_both() -> None:
    """Which sample comes first does not show in the result."""
    form = AnswerFormat(schema_of(x={"enum": ["yes", "Yes"]}), {"x": "casefold"})
    assert {form.parse(f'{{"x": "{said}"}}')["x"] for said in ("yes", "Yes", "YES")} == {"yes"}


VALUES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["SPAM", " spam.", "Ham", "a+", "B", "b.", "1,000", "-5", "+2.25"]),
    st.integers(-100, 100),
    st.decimals(-100, 100, places=3).map(lambda value: number(str(value))),
    st.lists(st.sampled_from(["a+", "A+", "b", " B.", "cat", "Cat"]), max_size=5),
)


@given(
    st.dictionaries(st.sampled_from(["label", "city", "code", "price", "told", "tags", "quote"]), VALUES, max_size=4),
    st.dictionaries(st.sampled_from(["label", "city", "code", "price", "told", "tags", "quote"]), VALUES, max_size=4),
)
def test_valid_answers_of_one_vote_are_written_alike(first: Answer, second: Answer) -> None:
    """And reading what was written changes nothing; whatever the rule of the schema takes as it counts."""
    read = []
    for one in (first, second):
        try:
            read.append(CANONICAL.parse(written(one)))
        except ValueError:
            return
    for answer in read:
        assert CANONICAL.parse(written(answer)) == answer
    if CANONICAL.codec.key(read[0]) != CANONICAL.codec.key(read[1]) or any(map(CANONICAL.check, read)):
        return
    # A code is told by its pattern, a price by its least: of these the first sample's form stays where it must.
    loose = {"quote", "code", "price"}
    assert [{k: v for k, v in one.items() if k not in loose} for one in read[:1]] == [
        {k: v for k, v in one.items() if k not in loose} for one in read[1:]
    ]


@pytest.mark.parametrize("rule", ["set", "exact"])
@pytest.mark.parametrize("item", ['{{"k": {}}}', "[{}]", '"t{}"', "{}.5"])
def test_long_lists_are_read_in_one_pass(rule: str, item: str) -> None:
    """Twenty thousand items that must differ take about a second, where comparing each with every other takes hours."""
    form = AnswerFormat(schema_of(c={"type": "array", "uniqueItems": True}), {"c": rule})
    items = [item.format(n) for n in range(20_000)]
    answer = form.parse(f'{{"c": [{",".join(items)}]}}')
    assert form.check(answer) is None
    form = AnswerFormat(schema_of(c={"type": "array", "uniqueItems": True}))
    twice = form.check(form.parse(f'{{"c": [{",".join([*items[:9], items[3]])}]}}')) or ""
    assert "has non-unique elements" in twice


@pytest.mark.parametrize(
    ("items", "unique"),
    [
        ("[1, true]", True), ("[0, false]", True), ("[1, 1.0]", False), ("[1, \"1\"]", True), ("[[1], [true]]", True),
        ('[{"a": 1, "b": 2}, {"b": 2, "a": 1.0}]', False), ("[null, null]", False), ('["\\u00e9", "e\\u0301"]', True),
    ],
)  # fmt: skip
def test_items_are_equal_as_json_values(items: str, unique: bool) -> None:
    """As the library has it: true is not 1, 1.0 is, and the order of members does not matter."""
    form = AnswerFormat(schema_of(c={"uniqueItems": True}))
    assert (form.check(form.parse(f'{{"c": {items}}}')) is None) is unique


def test_a_name_that_is_there_twice_is_found_in_one_pass() -> None:
    """The last of two hundred thousand names."""
    names = ",".join(f'"k{n}":1' for n in [*range(200_000), 199_999])
    with pytest.raises(ValueError, match="the key 'k199999' is there twice"):
        object_in(f"{{{names}}}")


# How sure each field is


def test_fields_lead_by_what_they_share() -> None:
    """Votes for the winner's value of a field, less those for its strongest other value."""
    form = open_format(amount="carry", é="carry", **{'a"\\b': "carry"})
    two = open_format(é="carry", **{'a"\\b': "carry"})
    key = two.codec.key
    votes = {
        key({"label": "a", "amount": 1}): 3,
        key({"label": "a", "amount": 2}): 2,
        key({"label": "b", "amount": 2}): 1,
    }
    winner = key({"label": "a", "amount": 1})
    assert two.field_margins(votes, winner) == {"amount": 0, "label": 4}
    assert two.field_margins({winner: 5}, winner) == {"amount": 5, "label": 5}
    assert form.field_margins({'{"label":"a"}': 4, '{"label":"b"}': 1, "{}": 2}, '{"label":"a"}') == {"label": 2}
    with pytest.raises(ValueError, match="the winner has no vote"):
        two.field_margins(votes, "{}")


def test_the_losers_can_agree_against_the_winner() -> None:
    """A field's lead can be below 0 though the answer won: nobody voted for the other value with all else equal."""
    key = open_format(é="carry", **{'a"\\b': "carry"}).codec.key
    votes = {key({"label": "a", "amount": 0}): 3} | {key({"label": "b", "amount": n}): 2 for n in (1, 2, 3)}
    assert open_format().field_margins(votes, key({"label": "a", "amount": 0}))["label"] == 3 - 6
    assert open_format().field_margins(votes, key({"label": "a", "amount": 0}))["amount"] == 3 - 2


@given(st.lists(answers, min_size=1, max_size=6), st.data())
def test_leads_are_those_of_counting_each_field_alone(samples: list[Answer], data: st.DataObject) -> None:
    """Counting one field's values over all samples gives its lead, whatever the values hold."""
    form = open_format(label="casefold")
    votes = Counter(map(form.codec.key, samples))
    winner = data.draw(st.sampled_from(samples))
    leads = form.field_margins(votes, form.codec.key(winner))
    for name in form.voted:
        others = dict.fromkeys(set(form.voted) - {name}, "carry")
        alone = open_format(**others, **{name: "casefold" if name == "label" else "exact"}).codec.key
        counts = Counter(map(alone, samples))
        assert leads[name] == counts.pop(alone(winner)) - max(counts.values(), default=0)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        # A text of CSV stands for the number, the list or the text that it is.
        ({"label": "note", "amount": "12.304"}, {"label": '"note"', "amount": "12.3"}),
        ({"amount": 12.3, "other": "x"}, {"amount": "12.3"}),
        ({"amount": "1,234.5"}, {"amount": "1234.5"}),
        ({"tags": '["b", "A", "b"]'}, {"tags": '["a","b"]'}),
        ({"label": "", "amount": None, "tags": '["b"]'}, {"tags": '["b"]'}),
        ({"answer": '{"label": "bill", "reason": "no"}'}, {"label": '"bill"'}),
        ({"answer": {"label": "bill", "amount": 2}}, {"label": '"bill"', "amount": "2"}),
        ({"label": ""}, {}),
        ({"answer": ""}, {}),
    ],
)
def test_a_label_says_what_is_right_in_the_form_that_counts(columns: dict[str, Any], expected: dict[str, str]) -> None:
    """What it says of a field is what a right answer's key holds there; blank fields say nothing."""
    assert AnswerFormat(INVOICE, RULES).label(columns) == expected


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"reason": "so"}, "it has no column 'label' or 'amount' or 'tags' or 'answer'"),
        ({"label": "letter"}, "label: 'letter' is against the schema"),
        ({"amount": "a lot"}, "amount: "),
        ({"tags": "b"}, "tags: 'b' is not JSON, and no answer is a text there"),
        ({"tags": '[], "label": "bill"'}, "tags: .* is not JSON"),
        ({"amount": "0.01"}, "amount: '0.01' is against the schema"),
        ({"answer": "bill"}, "answer: broken JSON"),
        ({"answer": '{"reason": "so"}'}, "is no object with 'label' or 'amount' or 'tags'"),
    ],
)
def test_a_label_that_no_answer_can_equal_is_refused(columns: dict[str, Any], told: str) -> None:
    """The column is named, and what is wrong with it."""
    with pytest.raises(ValueError, match=told):
        AnswerFormat(INVOICE, RULES).label(columns)


def test_a_label_of_a_text_counts_as_replies_do() -> None:
    """Without a schema the answer is the reply's text, folded where that is the rule."""
    plain = AnswerFormat(None, {"answer": "casefold"})
    assert plain.label({"answer": " **Spam.**"}) == plain.codec.counted(plain.codec.key(plain.parse("spam")))
