"""Where in a reply a model thinks aloud: that part is never its answer. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from maker.inputs.nesting import written_too_deep

Marks: TypeAlias = tuple[str, str]
"""The text that opens thinking, and the one that closes it."""

# Of these families the name, a prefix (`<seed:think>`, `<mm:think>`, `<ifm|think_fast>`) and a suffix
# (`<think:high>`) differ from model to model. A closing tag has the whole name of its opening one.
_TAG = (
    r"<(?P<slash>/?)(?P<name>(?:[A-Za-z]+[:|])?(?i:think(?:ing|_fast(?:er)?)?|reasoning|thoughts?)"
    r"(?::[^\s<>]*)?)\s*>"
)
_MARKS: tuple[Marks, ...] = (
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"),
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    ("<unused94>thought", "<unused95>"),
    ("<|channel>", "<channel|>"),
    # gpt-oss, and below what is left of its marks where a server drops special tokens. What it tells before its final
    # channel, in whatever channels, is not the answer.
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    ("<|channel|>commentary<|message|>", "<|channel|>final<|message|>"),
)
_CLOSES_ALONE = "assistantfinal"
_DECODER = json.JSONDecoder()
_INK = re.compile(r"\S")


class OnlyThinking(ValueError):
    """The reply ends inside its thinking, or with it."""


class Thinking:
    """Takes what a model thinks aloud off its replies. Picklable.

    Thinking comes before the answer: one block or several in their marks, the first of which may lack its opening one
    (a chat template has written it into the prompt). A mark anywhere else makes a reply unreadable, for nobody can tell
    which part of it is the answer. In a reply that is one JSON object or list, marks are part of its texts. A mark in
    inline code, right between backticks, is spoken of, and none.

    Args:
        further: Marks beside the known ones, to the letter. None: there are no marks, replies are answers as they are.
    """

    __slots__ = ("_closing", "_further", "_hints", "_mark")

    def __init__(self, further: Sequence[Marks] | None = ()) -> None:
        self._further = further
        self._closing: dict[str, str] = {}
        if further is not None:
            self._closing = dict((*_MARKS, *further))
        # The longest first: one mark may begin with another.
        exact = sorted({*self._closing, *self._closing.values(), _CLOSES_ALONE}, key=len, reverse=True)
        self._mark = re.compile("|".join([*map(re.escape, exact), _TAG]))
        # Without one of these there is no mark: looking for a short text is many times faster than matching.
        marks = [] if further is None else exact
        self._hints = tuple(dict.fromkeys(mark[:1] if mark[:1] in "<◁" else mark for mark in marks))

    def __reduce__(self) -> tuple[Any, ...]:
        return Thinking, (self._further,)

    def answer(self, reply: str) -> str:
        """Return what follows a reply's thinking; the reply as it is where there is none.

        Raises:
            OnlyThinking: Its thinking does not end, or nothing follows it.
            ValueError: A mark stands where no thinking can be.
        """
        for hint in self._hints:
            if hint in reply:
                return self._after(reply)
        return reply

    def _after(self, reply: str) -> str:
        if (found := self._next(reply, 0)) is None:
            return reply
        place = _ink(reply, 0)
        ended = False
        while found is not None and not _is_json(reply, place):
            closing = self._closing_of(found)
            if ended if closing is None else found.start() > place:
                raise ValueError(f"{found[0]} stands within the answer; vote.thinking = [] reads it as text")
            place = _ink(reply, found.end() if closing is None else self._end(reply, found, closing))
            ended = True
            found = self._next(reply, place)
        if ended and place == len(reply):
            raise OnlyThinking("nothing follows its thinking")
        return reply[place:] if ended else reply

    def is_all(self, reply: str) -> bool:
        """Say whether a reply holds thinking and no answer."""
        try:
            self.answer(reply)
        except ValueError as error:
            return isinstance(error, OnlyThinking)
        return False

    def _closing_of(self, found: re.Match[str]) -> str | None:
        """Return the mark that closes what a mark opens, None for a closing one."""
        if found["name"] is None:
            return self._closing.get(found[0])
        return None if found["slash"] else f"</{found['name'].lower()}>"

    def _next(self, reply: str, place: int) -> re.Match[str] | None:
        return next(self._marks(reply, place), None)

    def _marks(self, reply: str, place: int) -> Iterator[re.Match[str]]:
        """Yield the marks from an index on, without those in inline code."""
        ticks = 0
        for found in self._mark.finditer(reply, place):
            start, stop = found.span()
            if (line := reply.rfind("\n", place, start)) >= 0:
                ticks, place = 0, line
            ticks += reply.count("`", place, start)
            place = start
            # An even number of backticks in the line has closed all code before the mark.
            if not (ticks % 2 and reply[start - 1] == "`" == reply[stop : stop + 1]):
                yield found

    def _end(self, reply: str, opening: re.Match[str], closing: str) -> int:
        for mark in self._marks(reply, opening.end()):
            # Tags are equal whatever their case and blanks, other marks to the letter.
            told = mark[0] if mark["name"] is None else f"<{mark['slash']}{mark['name'].lower()}>"
            if told == closing:
                return mark.end()
        raise OnlyThinking(f"its thinking does not end: {opening[0]} has no {closing}")


def _ink(text: str, place: int) -> int:
    """Return the index of the first character from ``place`` on that is no white space."""
    found = _INK.search(text, place)
    return found.start() if found else len(text)


def _is_json(text: str, place: int) -> bool:
    """Say whether a text is one JSON object or list from an index on: marks in it stand in its texts."""
    if text[place : place + 1] not in ("{", "[") or written_too_deep(text, place):
        return False
    try:
        _, end = _DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
        return False
    return _ink(text, end) == len(text)


KNOWN = Thinking()
"""Takes off what is known of models."""
AS_IT_IS = Thinking(None)
"""Takes off nothing."""
