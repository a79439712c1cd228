"""The red-flagger: turns a raw sample into a candidate, or into the reason why it gets no vote."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from maker.plugin import Codec
from maker.types import Flag, RedFlag, Sample, StepClass
from maker.voting.thinking import KNOWN, OnlyThinking, Thinking

S = TypeVar("S")
A = TypeVar("A")

REPEAT_CHARS = 64
"""Free text of this length, equal word for word in two samples, is one stream: two independent draws would differ.
Short replies must agree, so they are never flagged for it."""


class Candidate(NamedTuple, Generic[A]):
    """A parsed proposal: the key that says which vote it is, and its canonical text."""

    key: str
    text: str
    action: A


def screen(
    kind: StepClass[S, A], state: S, sample: Sample, codec: Codec[A], thinking: Thinking = KNOWN
) -> Candidate[A] | RedFlag:
    """Parse and check one sample. The first reason found is the one that counts.

    ``thinking`` takes off what is no answer: no parser sees it.
    """
    if sample.flag is not None or sample.cut or not sample.text or sample.text.isspace():
        return _incomplete(sample, thinking)
    try:
        action = kind.parse(thinking.answer(sample.text))
    except OnlyThinking as error:
        return RedFlag(Flag.REASONING, str(error))
    except (ValueError, RecursionError) as error:
        return RedFlag(Flag.FORMAT, str(error))
    if forbidden := kind.check(state, action):
        return RedFlag(Flag.ILLEGAL, forbidden)
    text = codec.write(action)
    unfit, key = _unfit(text), text
    own_key = getattr(codec, "key", None)
    if own_key is not None:
        key = own_key(action)
        unfit = unfit or _unfit(key)
    if unfit:
        return RedFlag(Flag.FORMAT, unfit)
    return Candidate(key, text, action)


def _incomplete(sample: Sample, thinking: Thinking) -> RedFlag:
    """Return the flag of a sample that its model has flagged, that was cut, or is empty."""
    if sample.flag is not None:
        return sample.flag
    if not sample.cut:
        return RedFlag(Flag.EMPTY)
    inside = " in its thinking: raise max_tokens" if thinking.is_all(sample.text) else ""
    return RedFlag(Flag.LENGTH, f"cut after {sample.tokens} tokens{inside}")


def _unfit(key: str) -> str:
    """Say why no database and no digest takes a text, "" for one that they take."""
    try:
        key.encode()
    except UnicodeEncodeError as error:
        # Half a surrogate pair, which JSON can spell.
        return f"not valid Unicode: {error.reason}"
    return "it contains a NUL character" if "\0" in key else ""


def repeats(text: str, action: str) -> bool:
    """Say whether a reply that equals an earlier one of the step is a repeated stream rather than agreement."""
    # White space is layout.
    return len("".join(text.split())) - len("".join(action.split())) >= REPEAT_CHARS
