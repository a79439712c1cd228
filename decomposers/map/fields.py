"""How a field of a map's answers counts in the vote: its rule, and the form in which two values of it are compared."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, TypeAlias

from pydantic import Field, field_validator, model_serializer, model_validator

from decomposers.common.strict_json import nfc, number, plain, written
from maker.plugin import Params

FITS = {
    "exact": None,
    "casefold": frozenset({"string"}),
    "number": frozenset({"number", "integer", "string"}),
    "set": frozenset({"array"}),
    "carry": None,
}
"""Vote → the JSON types that it is for, None for all. A field must allow one; what else it allows counts exactly."""

Form: TypeAlias = Callable[[Any], Any]
"""Value → the JSON value that it counts as."""

_AROUND = " '\"`‘’‚‛“”„‟‹›«»「」『』()[]{}"
_BEFORE = _AROUND + "¿¡"
_AFTER = _AROUND + ".,;:!?、。"
_EMPHASIS = "*_"
_NUMERAL = re.compile(r"[+-]?(?:[0-9]+|[1-9][0-9]{0,2}(?:,[0-9]{3})+)(?:\.[0-9]+)?")


class FieldRule(Params):
    """How one field counts: ``"exact"``, or a table like ``{ vote = "number", tolerance = 0.01 }``.

    Args:
        vote: ``exact``: equal as JSON values, 1.0 being 1 and Unicode in NFC. ``casefold``: texts are equal whatever
            their case, blanks, quotes and end marks (`folded`). ``number``: numbers, and texts that hold one, count in
            steps of the tolerance (`stepped`). ``set``: lists are equal whatever the order and repetition of
            their items, texts among which count as ``casefold``. ``carry``: is not voted on, and comes from the first
            sample of the answer that wins. Of all but ``exact`` and ``carry`` the answer holds the one form that equal
            values have (`canonical`).
        tolerance: The step of ``number``, in the field's own unit, over 0.
    """

    vote: str
    tolerance: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, rule: Any) -> Any:
        return {"vote": rule} if isinstance(rule, str) else rule

    @field_validator("vote")
    @classmethod
    def _known(cls, vote: str) -> str:
        if vote not in FITS:
            raise ValueError(f"there is no vote {vote!r}; {near(vote, FITS)}")
        return vote

    @model_validator(mode="after")
    def _with_its_tolerance(self) -> FieldRule:
        if self.vote == "number":
            if self.tolerance is None:
                raise ValueError('number needs a tolerance, like { vote = "number", tolerance = 0.01 }')
            number(repr(self.tolerance))
        elif self.tolerance is not None:
            raise ValueError(f'{self.vote} takes no tolerance; only vote = "number" does')
        return self

    @model_serializer
    def _short(self) -> str | dict[str, Any]:
        return self.vote if self.tolerance is None else {"vote": self.vote, "tolerance": self.tolerance}

    def form(self) -> Form:
        """Return what makes of a value the one that it counts as; ``carry`` has none. Pickles."""
        if self.tolerance is not None:
            step = plain(Decimal(repr(self.tolerance)))
            return partial(stepped, step=Decimal(step))
        return _FORMS[self.vote]


def canonical(value: Any, form: Form, spellings: Mapping[str, str]) -> Iterator[Any]:
    """Yield the forms that stand for all values that count as one, the best first.

    ``spellings`` gives texts that the schema names, by their form: where a value counts as one of these, it is written
    so. Else a text is written as it counts, a number as the step that it counts as (as a text too, for a schema that
    asks for one), a list as its items in order, each once.
    """
    counted = form(value)
    if isinstance(value, list):
        counted = [spellings.get(item, item) if isinstance(item, str) else item for item in counted]
    elif isinstance(value, str) and isinstance(counted, str):
        counted = spellings.get(counted, counted)
    yield counted
    if isinstance(value, str) and not isinstance(counted, str):
        yield written(counted)


def near(name: str, known: Iterable[str]) -> str:
    """Say which known name is the nearest to a wrong one, and name them all."""
    names = list(known)
    plain = {one.strip().casefold(): one for one in reversed(names)}
    close = difflib.get_close_matches(name.strip().casefold(), plain, n=1)
    return (f"did you mean {plain[close[0]]!r}? " if close else "") + f"known: {', '.join(names)}"


def folded(text: str) -> str:
    """Return a text as ``casefold`` compares it: folded, in NFKC, white space as one blank, its wrapping dropped.

    Wrapping is quotes and brackets at either end, pairs of ``*`` or ``_`` around the whole, ``.,;:!?`` at the end and
    ``¿¡`` at the start. Other signs tell answers apart (-5, 50%, C#, A*, .NET) and stay. ``' **"Yes."** '`` becomes
    ``yes``. Where nothing would be left the text stays as it is, stripped if that leaves something.
    """
    bare = " ".join(_caseless(text).split()).lstrip(_BEFORE).rstrip(_AFTER)
    while len(bare) > 1 and bare[0] == bare[-1] and bare[0] in _EMPHASIS:
        bare = bare[1:-1].lstrip(_BEFORE).rstrip(_AFTER)
    return bare or text.strip() or text


def numeric(text: str) -> Decimal:
    """Return the number that a text is: digits, maybe a sign, a decimal point, commas between thousands.

    ``"1,234.50"`` is 1234.5. Nothing is guessed: a unit, a currency, a per cent sign, an exponent, a decimal comma,
    commas elsewhere raise ``ValueError``, and so do too many digits.
    """
    numeral = text.strip()
    if not _NUMERAL.fullmatch(numeral):
        raise ValueError(f"{text[:40]!r} is not a number")
    return Decimal(number(numeral.replace(",", "")))


def stepped(value: Any, *, step: Decimal) -> Any:
    """Return a number as the nearest multiple of ``step``, of two equally near ones the even: 0.125 by 0.01 is 0.12.

    So two numbers of one step are the same vote, and two that are closer than the step may be counted apart: by 0.01,
    1.004 is 1.00 and 1.006 is 1.01. Computed in whole numbers, so it is the same on every machine. What is no number
    and no text is returned as it is.

    Raises:
        ValueError: A text is not a number.
    """
    if isinstance(value, str):
        value = numeric(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value
    if isinstance(value, float):
        value = number(repr(value))
    count = round(Fraction(value) / Fraction(step))
    _, digits, exponent = step.as_tuple()
    return plain(Decimal(f"{count * int(''.join(map(str, digits)))}e{exponent}"))


def as_set(value: Any) -> Any:
    """Return a list with its items as ``casefold`` compares them, each once, in the order of their canonical texts."""
    if not isinstance(value, list):
        return value
    # Sorted by the text that the key holds, so that composed and decomposed letters of inner texts are one item.
    items = {written(item, nfc): item for item in map(_item, value)}
    return [items[text] for text in sorted(items)]


def _caseless(text: str) -> str:
    """Return a text by Unicode's compatibility caseless match: folding can decompose letters, so it is done twice."""
    if text.isascii():
        return text.lower()
    once = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFKC", once.casefold())


def _item(value: Any) -> Any:
    return folded(value) if isinstance(value, str) else value


def _same(value: Any) -> Any:
    return value


_FORMS: dict[str, Form] = {"exact": _same, "casefold": _item, "set": as_set}
