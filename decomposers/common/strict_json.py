"""JSON without loss: replies are read strictly, numbers keep every digit, and equal values are written alike."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from maker.plugin import written_too_deep

DIGITS = 300
"""Most digits of a number before its point, and after it: any double but the tiniest has fewer before it."""

DEPTH = 32
"""Most objects and lists within one another. A limit of its own: where Python's recursion ends, its caller decides."""

_FENCE = re.compile(r"^[ \t]*```json[ \t\r]*\n\s*", re.MULTILINE | re.IGNORECASE)
_FENCE_END = re.compile(r"\s*(```|\Z)")
_OPENING = re.compile(r"(\[\s*)?\{")
_BRACE = re.compile(r"[{}]")
_JSON_OBJECT = re.compile(r'\{\s*["}]')
_NESTS = re.compile(rf'{_JSON_OBJECT.pattern}|\[(?!\s*\{{\s*[^"}}\s])')
"""How an object or a list of JSON begins."""
_KINDS = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}


class Number(Decimal):
    """A number that is not whole, without superfluous zeros. Its ``repr`` is the numeral, for messages."""

    __slots__ = ()

    def __repr__(self) -> str:
        return format(self, "f")


class TwiceNamed(ValueError):
    """An object has two members of one name."""


class _Place(NamedTuple):
    """A value that was found in a text, and the index after its last character."""

    value: Any
    end: int


def number(numeral: str) -> int | Number:
    """Return what a decimal numeral stands for: an int where it is whole (``1.0`` is 1), else a `Number`.

    Raises:
        ValueError: It is none, it is not finite, or it has more than `DIGITS` digits before or after its point.
    """
    try:
        value = Decimal(numeral)
    except InvalidOperation:
        value = Decimal("nan")
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"{numeral[:40]!r} is not a number")
    if value and (value.adjusted() >= DIGITS or exponent < -DIGITS):
        raise ValueError(f"a number has more than {DIGITS} digits: {numeral[:40]}")
    return plain(value)


def plain(value: Decimal) -> int | Number:
    """Return a finite decimal as an int where it is whole, else as a `Number`; no digit is lost."""
    if value == value.to_integral_value():
        return int(value)
    return Number(format(value, "f").rstrip("0"))


def exact(value: Any) -> Any:
    """Return a copy of a JSON value in which every number is an int or a `Number`.

    Raises:
        ValueError: A number is not finite or too long, or something in it is no JSON value.
    """
    if isinstance(value, dict):
        return {_name(name): exact(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    if value is None or isinstance(value, str | bool | Number):
        return value
    if isinstance(value, int | float | Decimal):
        return number(str(value))
    raise ValueError(f"{value!r} is not a JSON value")


def written(value: Any, form: Callable[[str], str] = str) -> str:
    """Return a value's canonical JSON: members sorted by name, no blanks, numbers in plain digits without exponent.

    Values that are equal as JSON values are written alike: 1.0 as ``1``, 2.50 as ``2.5``.

    Args:
        value: A JSON value; a float counts as the decimal that Python shows it as.
        form: Gives every text in it, names too, the form to be written in.

    Raises:
        ValueError: As `exact`.
    """
    if isinstance(value, str):
        return _quoted(form(value))
    if isinstance(value, dict):
        # Names that ``form`` makes equal stay apart, in an order that does not depend on the order they came in.
        members = sorted((form(_name(name)), written(member, form)) for name, member in value.items())
        return "{" + ",".join([f"{_quoted(name)}:{member}" for name, member in members]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([written(item, form) for item in value]) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | Number) else repr(exact(value))


def nfc(text: str) -> str:
    """Return a text with its letters composed (Unicode NFC): a form for `written`."""
    return unicodedata.normalize("NFC", text)


def shown(value: Any) -> Any:
    """Return a value with `Number` as the nearest float, for programs that read JSON the usual way."""
    if isinstance(value, dict):
        return {name: shown(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value


def read_object(text: str) -> dict[str, Any]:
    """Return the object that a text is, blanks around it aside. Raises ``ValueError`` for any other text."""
    text = text.strip()
    value, end = _started(text, 0)
    if end < len(text):
        raise ValueError(f"the object ends at character {end} of {len(text)}")
    return _object(value)


def object_in(reply: str) -> dict[str, Any]:
    """Return the one JSON object of a model's reply.

    That is the whole reply, or the only object in its text: in ``json`` fences and beside them. Nothing is guessed:
    what is inside of something broken is not looked at, and of two different objects neither is taken.

    Raises:
        ValueError: There is none or more than one; it is broken, a list, nested more than `DEPTH` deep, or names a
            member twice; a number is none, or longer than `DIGITS`.
    """
    return _one_of(reply, lambda text: list(_everywhere(text)))


def object_in_before(reply: str) -> dict[str, Any]:
    """Return the object that earlier versions took for a reply's: what stands in fences outranked what stands beside.

    For `StepClass.read_before`. Raises ``ValueError`` as `object_in` does.
    """
    return _one_of(reply, lambda text: list(_fenced(text)) or list(_loose(text, 0, len(text))))


def _one_of(reply: str, find: Callable[[str], list[dict[str, Any]]]) -> dict[str, Any]:
    text = reply.strip()
    if text[:1] in ("{", "[", '"'):
        try:
            value, end = _decoded(text, 0)
        except json.JSONDecodeError:
            end = 0
        if end == len(text):
            return _object(value)
    found = find(text)
    if not found:
        raise ValueError("holds no JSON object")
    if len(found) > 1 and len(set(map(written, found))) > 1:
        raise ValueError("holds several objects")
    return found[0]


def members(text: str) -> dict[str, str]:
    """Return the members of an object that `written` wrote, by name, each as it is written there."""
    found = {}
    place = 1
    while text[place] != "}":
        name, place = _MEMBERS.raw_decode(text, place)
        _, end = _MEMBERS.raw_decode(text, place + 1)
        found[name] = text[place + 1 : end]
        place = end + (text[end] == ",")
    return found


def _everywhere(text: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost objects in a text, in ``json`` fences and outside of them."""
    place = 0
    for fence in _fences(text):
        yield from _loose(text, place, fence.start)
        yield fence.value
        place = fence.end
    yield from _loose(text, place, len(text))


class _Fence(NamedTuple):
    """A ``json`` fence, and what it holds."""

    value: dict[str, Any]
    start: int
    end: int


def _fences(text: str) -> Iterator[_Fence]:
    """Yield the ``json`` fences of a text, each of which must hold one object and nothing else."""
    place = 0
    while fence := _FENCE.search(text, place):
        value, place = _started(text, fence.end())
        closing = _FENCE_END.match(text, place)
        if not closing:
            raise ValueError("a code fence holds more than one object")
        yield _Fence(_object(value), fence.start(), closing.end())


def _fenced(text: str) -> Iterator[dict[str, Any]]:
    return (fence.value for fence in _fences(text))


def _loose(text: str, place: int, stop: int) -> Iterator[dict[str, Any]]:
    """Yield the outermost objects in running text. Looks at each character a fixed number of times."""
    while opening := _OPENING.search(text, place, stop):
        brace = opening.end() - 1
        if _JSON_OBJECT.match(text, brace):
            value, place = _started(text, brace)
            if opening[1]:
                raise ValueError("a list, not an object")
            yield value
        else:
            place = _closed(text, brace, stop)


def _closed(text: str, start: int, stop: int) -> int:
    """Return the index after the brace that closes the one at ``start``: braces of prose, code or formulas."""
    depth = 0
    for brace in _BRACE.finditer(text, start, stop):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return brace.end()
    raise ValueError("a brace is not closed")


def _started(text: str, start: int) -> _Place:
    """Return the JSON value that starts at an index, one that is broken as a ``ValueError`` in few words."""
    try:
        return _decoded(text, start)
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON: {error.msg} at character {error.pos + 1}") from None


def _decoded(text: str, start: int) -> _Place:
    """Return the JSON value that starts at an index. Raises ``JSONDecodeError``, or another ``ValueError``."""
    if _NESTS.match(text, start) and written_too_deep(text, start):
        raise ValueError(f"nested more than {DEPTH} deep")
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise ValueError(f"nested more than {DEPTH} deep") from None
    # Nearly every answer has too few brackets to be too deep, and need not be walked.
    if text.count("{", start, end) + text.count("[", start, end) > DEPTH and deeper(value):
        raise ValueError(f"nested more than {DEPTH} deep")
    return _Place(value, end)


def deeper(value: Any, depth: int = DEPTH) -> bool:
    """Say whether more than ``depth`` objects and lists of a JSON value are within one another."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(deeper(child, depth - 1) for child in inner)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{_KINDS.get(type(value), 'a number')}, not an object")
    return value


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of an object, whose names must differ. Raises `TwiceNamed`."""
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise TwiceNamed(f"the key {twice[:40]!r} is there twice")
    return found


def _whole(numeral: str) -> int:
    if len(numeral.removeprefix("-")) > DIGITS:
        raise ValueError(f"a number has more than {DIGITS} digits: {numeral[:40]}")
    return int(numeral)


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is not a valid key")
    return name


_quoted: Callable[[str], str] = json.JSONEncoder(ensure_ascii=False).encode
_DECODER = json.JSONDecoder(object_pairs_hook=once, parse_float=number, parse_int=_whole, parse_constant=number)
# Of a canonical text only the places matter; its numbers are not read.
_MEMBERS = json.JSONDecoder(parse_float=str, parse_int=str)
