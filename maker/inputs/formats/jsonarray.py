"""JSON: a file that is one array of objects, each a row."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from maker.inputs.formats.jsonlines import object_of
from maker.inputs.formats.records import Cut, Records
from maker.inputs.parts import NoText, NotTold
from maker.inputs.scan import Gathering

_BLANK = re.compile(r"[ \t\r\n]*")
_OPENING = "["
_NEAR = 16
"""A value that goes on after the data fails at most so many characters before its end, unless it is a text."""
_EXTENT = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=len)
"""Says where a value ends, whatever it holds."""


@dataclass(frozen=True, slots=True)
class JsonArray(Records):
    """Rows of their own columns each. They are kept as text, and parsed each time that one is asked for.

    What opens the array stands where others have a header. What closes it ends the file, which cannot grow.
    """

    uniform: ClassVar[bool] = False

    header = True
    word = "JSON"
    line_starts = ()

    def cut(self, data: bytes, *, final: bool) -> Cut:
        """Cut off whole objects, each with what separates it from the one before. Raises `NoText` and `NotTold`."""
        try:
            text = codecs.getincrementaldecoder(self.encoding.name)().decode(data, final)
        except UnicodeDecodeError as error:
            raise NoText(error.reason, error.start) from error
        at = _skip(text, 0)
        opened = text.startswith(_OPENING, at)
        entries, stops = ([_OPENING], [at + 1]) if opened else ([], [])
        closed = False
        while not closed and (start := _skip(text, stops[-1] if stops else at)) < len(text):
            if text[start] == "]":
                if (after := _skip(text, start + 1)) < len(text):
                    raise _not_told("there is more after the array", text, after)
                if not final:
                    break
                closed = True
            elif (stop := self._stop(text, start, len(stops) - opened if stops else None, final=final)) > 0:
                entries.append(text[start:stop])
                stops.append(stop)
            else:
                break
        if entries == [_OPENING] and not closed:
            # It is taken with what follows it, so that nothing else is ever taken for it.
            return Cut([], [], 0, missing="]")
        ends = stops if len(text) == len(data) else self._bytes(text, stops)
        return Cut(entries, ends, len(data) if closed else ends[-1] if ends else 0, missing="" if closed else "]")

    def take_header(self, entry: Any, name: str, found: Gathering) -> None:
        """See that the array is opened."""
        if entry != _OPENING:
            raise NotTold("it does not begin with [", 0)

    def values(self, entry: Any, columns: tuple[str, ...], name: str) -> dict[str, Any]:
        """Return the object."""
        return object_of(entry.lstrip(", \t\r\n"))

    def _stop(self, text: str, start: int, before: int | None, *, final: bool) -> int:
        """Return where the object that begins at ``start`` ends, with what is before it; 0 where that is not known.

        ``before`` counts the objects before it in the text; None where the text does not tell.
        """
        if text[start] == ",":
            if before == 0:
                raise _not_told("it begins with a comma", text, start)
            start = _skip(text, start + 1)
        elif before:
            raise _not_told("a comma or ] is missing", text, start)
        if start == len(text):
            return 0
        if text[start] != "{":
            raise _not_told("a row of it is no object", text, start)
        try:
            _, stop = _EXTENT.raw_decode(text, start)
        except json.JSONDecodeError as error:
            if not final and (error.pos > len(text) - _NEAR or error.msg.startswith("Unterminated string")):
                return 0
            raise _not_told(error.msg, text, min(error.pos, len(text))) from error
        except RecursionError as error:
            raise _not_told("it is nested too deep", text, start) from error
        # What comes after an object is looked at with it.
        return 0 if _skip(text, stop) == len(text) and not final else int(stop)

    def _bytes(self, text: str, stops: list[int]) -> list[int]:
        """Return where the characters before which objects stop begin, in bytes."""
        ends, taken, before = [], 0, 0
        for stop in stops:
            taken += len(text[before:stop].encode(self.encoding.name))
            before = stop
            ends.append(taken)
        return ends


def _skip(text: str, at: int) -> int:
    """Return where the next character stands that is not blank."""
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _not_told(why: str, text: str, at: int) -> NotTold:
    return NotTold(why, text.count("\n", 0, at))
